# shellcheck shell=bash
# SPDX-License-Identifier: MIT
# Shared by the shell scripts of this folder: `. "$(dirname "$0")/lib.sh"`.

# Top of the work tree, and where all output goes.
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=${OVERLAYROOT_BUILD:-$top/build}
export OVERLAYROOT_BUILD=$build

if [ -t 2 ] && [ -z "${NO_COLOR:-}" ] && [ "${TERM:-}" != dumb ]; then
    bold=$'\e[1m' red=$'\e[31m' plain=$'\e[0m'
else
    bold='' red='' plain=''
fi

# say TEXT...: progress, on standard error, so that output can be piped.
say() { printf '%s==>%s %s\n' "$bold" "$plain" "$*" >&2; }

# die TEXT...: an error and its remedy; exit status 1.
die() {
    printf '%serror:%s %s\n' "$red" "$plain" "$*" >&2
    exit 1
}

# takes_nothing USAGE WORD...: for a script without arguments: --help prints its usage, and anything else is refused.
takes_nothing() {
    [ $# -gt 1 ] || return 0
    [ "$2" != --help ] || { echo "$1"; exit 0; }
    echo "$1" >&2
    exit 2
}

# check_options PROGRAM WORD...: has a Python program that needs no other packages look at its options, before anything
# is built for it. Ends here for --help and for what it does not know.
check_options() {
    local program=$1 word
    shift
    for word in "$@"; do
        case $word in -h | --help) exec python3 "$program" --help ;; esac
    done
    python3 "$program" --options-only "$@" || exit
}

# lock NAME: one such job at a time; waits for the other one.
lock() {
    mkdir -p "$build/lock"
    exec 9>"$build/lock/$1"
    flock -n 9 || { say "waiting for another $1"; flock 9; }
}

# new_cargo: whether the host's cargo is as new as the code needs (rust-version in rust/Cargo.toml).
new_cargo() {
    local minor
    minor=$(cargo --version 2>/dev/null | sed -nE 's/^cargo 1\.([0-9]+)\..*/\1/p') || minor=''
    [ "${minor:-0}" -ge 75 ]
}

# host_rust: CARGO for programs of this host; Debian's newer Rust where the host's is missing or too old.
host_rust() {
    if new_cargo; then
        CARGO=cargo
    else
        eval "$("$top/scripts/rust-toolchain")"
        export RUSTC
    fi
    export CARGO
}
