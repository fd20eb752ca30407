# shellcheck shell=bash disable=SC2034,SC2154 # variables are those of all parts
# SPDX-License-Identifier: MIT
# The boot partition: finding it, and replacing its files so that a cut leaves the old or the new one.

# script_in FOLDER: whether U-Boot finds a boot script there.
script_in() { [ -f "$1/boot.scr" ] || [ -f "$1/6x_bootscript" ]; }
# ours FILE: whether a boot script is ours, of this version or an older one.
ours() { grep -qsF -e overlayroot.uInitrd -e overlayroot.cpio.gz "$1"; }

# first_partition: of the disk that the root is on: MAJOR:MINOR and name.
first_partition() {
    local part
    for part in "${root_device%/*}"/*/partition; do
        [ -e "$part" ] && [ "$(cat "$part")" = 1 ] || continue
        part=${part%/partition}
        echo "$(cat "$part/dev") ${part##*/}"
    done
}

# find_boot: sets `boot`, the folder with the boot script: BOOT of the settings, or on the first partition of the
# root's disk, where U-Boot looks for it, or else where boot partitions are mounted.
find_boot() {
    local number='' name='' numbers root target folder folders=()
    boot=''
    if [ -n "${BOOT:-}" ]; then
        script_in "$R$BOOT" || refuse "there is no boot.scr and no 6x_bootscript in $BOOT" "mount the boot partition there, or correct BOOT= in /etc/default/overlayroot-boot"
        boot=$R$BOOT
        return
    fi
    read -r number name < <(first_partition) || true
    while read -r _ _ numbers root target _; do
        if [ "$numbers" = "$number" ] && [ "$root" = / ]; then folders+=("${target%/}"); fi
    done <"$R/proc/self/mountinfo"
    if [ ${#folders[@]} -eq 0 ] && [ -n "$name" ] && [ -b "$R/dev/$name" ]; then
        folder=/run/overlayroot-boot
        mkdir -p "$folder"
        # Writable only where it is mounted so already, out of sight (overlayrootctl edit).
        for target in ro rw; do
            mount -o "$target,nosuid,nodev,noexec" "/dev/$name" "$folder" >/dev/null 2>&1 || continue
            mounted=$folder
            folders+=("$folder")
            break
        done
    fi
    for target in "${folders[@]}" /boot/firmware /boot; do
        for folder in "$target" "$target/boot"; do
            if script_in "$R$folder"; then
                boot=$R$folder
                return
            fi
        done
    done
}

# From then on a boot without protection is a failure: overlayroot-check.service looks at this file.

mark=$R/var/lib/overlayroot/installed

# clean: at the end, what was mounted or made writable here is so no longer.
clean() {
    local status=$?
    [ -z "$work" ] || rm -rf "$work"
    [ -z "$opened" ] || mount -o remount,ro "$opened" || note "$opened stays writable"
    [ -z "$mounted" ] || umount "$mounted" || note "$mounted stays mounted"
    exit "$status"
}

# open_boot: the boot partition can be written from here on.
open_boot() {
    [ -z "$dry" ] && [ ! -w "$boot" ] || return 0
    opened=$(findmnt --noheadings --output TARGET --target "$boot")
    mount -o remount,rw "$opened" || { opened=''; failed "$boot cannot be made writable" "see dmesg; fsck may help"; }
}

# settled: what was written is on the medium, names included.
settled() { sync --file-system "$boot" && sync "$boot"; }

# exchange FROM TO: two names, in one step. Renaming over a file would free its clusters on vfat before the name points
# to the new ones. renameat2(2) by number: mv has --exchange only since coreutils 9.5.
exchange() {
    local call
    case $(dpkg --print-architecture) in
    armhf | armel) call=382 ;;
    arm64) call=276 ;;
    amd64) call=316 ;;
    *) return 1 ;;
    esac
    perl -e 'exit(syscall($ARGV[0], -100, $ARGV[1], -100, $ARGV[2], 2) != 0)' "$call" "$1" "$2"
}

# discard FILE: first its name, and when that is on the medium, its clusters.
discard() {
    [ -e "$1" ] || return 0
    exec 8<"$1"
    rm "$1" && settled
    exec 8<&-
    settled
}

# put FILE NAME: FILE becomes NAME on the boot partition; a cut leaves the old or the new one.
put() {
    local new=$boot/$2.new
    [ ! -e "$boot/$2" ] || [ -f "$boot/$2" ] || failed "$boot/$2 is no file" "move it away"
    [ -n "$dry" ] || discard "$new" # what a cut has left
    ! cmp -s "$1" "$boot/$2" || return 0
    if [ -n "$dry" ]; then
        say "would write ${boot#"$R"}/$2 ($(stat -c %s "$1") bytes)"
        return
    fi
    { cp "$1" "$new" && sync "$new" && settled; } || {
        rm -f "$new"
        failed "$new cannot be written" "make room there; what was there is as it was"
    }
    if [ -e "$boot/$2" ] && exchange "$new" "$boot/$2"; then
        settled
        discard "$new"
    else
        mv -f "$new" "$boot/$2"
        settled
    fi
    say "wrote ${boot#"$R"}/$2"
}

# take_away NAME: from the boot partition.
take_away() {
    [ -e "$boot/$1" ] || return 0
    if [ -n "$dry" ]; then
        say "would remove ${boot#"$R"}/$1"
    else
        discard "$boot/$1"
        say "removed ${boot#"$R"}/$1"
    fi
}
