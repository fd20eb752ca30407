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

# host_suite: the release of Debian that this host has; the tools that run here are taken from it. OVERLAYROOT_SUITE names
# one where that has not been tried: a derivative, or a release that is newer.
host_suite() {
    local name codename machine
    if [ -n "${OVERLAYROOT_SUITE:-}" ]; then
        echo "$OVERLAYROOT_SUITE"
        return
    fi
    machine=$(uname -m)
    # shellcheck source=/dev/null
    name=$(. /etc/os-release 2>/dev/null && echo "$PRETTY_NAME") || name=$(uname -s)
    # shellcheck source=/dev/null
    codename=$(. /etc/os-release 2>/dev/null && echo "$ID:${VERSION_CODENAME:-}") || codename=''
    case $machine:$codename in
    x86_64:debian:bookworm | x86_64:debian:trixie) echo "${codename#*:}" ;;
    *)
        die "this takes Debian 12 or 13 on x86-64, and here is $name on $machine; a container will do:
  docker run --rm -it --privileged -v \"\$PWD\":/work -w /work debian:13 \\
    sh -c 'apt-get update && apt-get install -y make && make demo'"
        ;;
    esac
}

# help USAGE: what --help prints: how the script is called, and the comment at its top, which says what it is for.
help() {
    printf '%s\n\n' "$1"
    sed -n -e '1,2d' -e '/^#/!q' -e 's/^# \{0,1\}//p' "$0"
}

# takes_nothing USAGE WORD...: for a script without arguments: --help is answered, and anything else is refused.
takes_nothing() {
    [ $# -gt 1 ] || return 0
    [ "$2" != --help ] || { help "$1"; exit 0; }
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

# Cargo shows on a terminal what it compiles, and is silent in a log.
# shellcheck disable=SC2034 # for other scripts
cargo_quiet=(--quiet)
# shellcheck disable=SC2034
[ ! -t 2 ] || cargo_quiet=()

# lock NAME [FOLDER]: one such job at a time, of those that use this build/, or FOLDER; waits for the other one.
lock() {
    local folder=${2:-$build/lock}
    mkdir -p "$folder"
    exec 9>"$folder/$1"
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
