# shellcheck shell=bash disable=SC2034,SC2154 # variables are those of all parts
# SPDX-License-Identifier: MIT
# Kernel modules of the root's device, for the initramfs.

# drivers DEVICE: adds to `names` the modules of the drivers of a device, of those above it, and of those that it
# depends on, as the kernel has found out (device links: regulators, GPIOs, clocks).
declare -A seen=()
names=() linked=''
drivers() {
    local device=$1 link name
    [[ $device == "$R"/sys/devices/* && -z ${seen[$device]:-} ]] || return 0
    seen[$device]=1
    drivers "${device%/*}"
    for link in "$device"/supplier:*/supplier; do
        [ -e "$link" ] || continue
        linked=yes
        drivers "$(readlink -f "$link")"
    done
    [ -e "$device/driver/module" ] || return 0
    name=$(basename "$(readlink -f "$device/driver/module")")
    [[ " ${names[*]} " == *" $name "* ]] || names+=("$name")
}

# loaded NAME: whether the running kernel has it as a module, not built in.
loaded() { [ -e "$R/sys/module/${1//-/_}/initstate" ]; }

# depends RELEASE NAME: modprobe's list of what to load; fails when the kernel has no such module.
depends() {
    local root=()
    [ -z "$R" ] || root=(--dirname "$R")
    modprobe "${root[@]}" --set-version "$1" --show-depends "$2" 2>/dev/null
}

# built_in NAME...: whether the running kernel knows one of these file systems without a module.
built_in() {
    local name
    for name in "$@"; do
        ! loaded "$name" || continue
        ! grep -qw "$name" "$R/proc/filesystems" || return 0
    done
    return 1
}

# take RELEASE NAME...: puts the first of these that the kernel has, with what it depends on, into the initramfs.
take() {
    local release=$1 name list word path parameters target
    shift
    for name in "$@"; do
        list=$(depends "$release" "$name") || continue
        while read -r word path parameters; do
            [ "$word" = insmod ] || continue
            target=/lib/modules/$release/$(basename "${path%%.ko*}").ko
            [ ! -e "$work/tree$target" ] || continue
            unpack "$path" "$work/tree$target"
            printf '%s\n' "$target${parameters:+ $parameters}" >>"$work/tree/etc/overlayroot.modules"
        done <<<"$list"
        return 0
    done
    return 1
}

# unpack MODULE TARGET: not every kernel reads compressed modules.
unpack() {
    local program
    mkdir -p "${2%/*}"
    case $1 in
    *.xz) program=xz ;;
    *.zst) program=zstd ;;
    *) program='cat' ;;
    esac
    command -v "$program" >/dev/null || failed "$program, which unpacks $1, is missing" "apt install ${program/xz/xz-utils}"
    [ "$program" = cat ] || program="$program -dc"
    $program "$1" >"$2" || failed "$1 cannot be read" "install that kernel's package again; make room in ${TMPDIR:-/tmp}"
}
