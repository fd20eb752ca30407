# shellcheck shell=bash disable=SC2034,SC2154 # variables are those of all parts
# SPDX-License-Identifier: MIT
# The initramfs: for which kernels, and what is in it.

# pack RELEASE...: $work/overlayroot.cpio.gz for these kernels. A kernel refuses modules of others and goes on.
pack() {
    local release name running supplier
    running=$(cat "$R/proc/sys/kernel/osrelease")
    names=() seen=() linked=''
    drivers "$root_device"
    if [ -z "$linked" ]; then
        # Kernels before 5.11 do not say what a device depends on: all regulators and GPIOs.
        for supplier in "$R"/sys/class/regulator/*/device "$R"/sys/bus/gpio/devices/*; do
            [ ! -e "$supplier" ] || drivers "$(readlink -f "$supplier")"
        done
    fi
    rm -rf "$work/tree"
    mkdir -p "$work/tree"/{dev,proc,sys,mnt,etc}
    install -m 755 "$share/overlayroot-init" "$work/tree/init"
    cp "$R/etc/overlayroot/overlayroot.conf" "$work/tree/etc/"
    echo '# Kernel modules, in the order in which they are loaded: path, parameters.' \
        >"$work/tree/etc/overlayroot.modules"
    for release in "$@"; do
        [ -e "$R/lib/modules/$release/modules.dep" ] || [ "$release" = "$running" ] ||
            failed "there is no /lib/modules/$release/modules.dep" "install the package of that kernel, or: depmod $release"
        for name in "${names[@]}"; do
            take "$release" "$name" || ! loaded "$name" ||
                failed "kernel $release has no module $name, which the device of the root needs" \
                    "install that kernel's package as a whole, or: depmod $release"
        done
        for name in ${MODULES:-}; do
            take "$release" "$name" || failed "kernel $release has no module $name" "correct MODULES= in /etc/default/overlayroot-boot"
        done
        take "$release" "fs-$root_type" "$root_type" || { [ "$release" = "$running" ] && built_in "$root_type"; } ||
            failed "kernel $release has no $root_type" "use a kernel that has it, or put the module's name into MODULES= in /etc/default/overlayroot-boot"
        take "$release" overlay overlayfs || { [ "$release" = "$running" ] && built_in overlay overlayfs; } ||
            failed "kernel $release has no overlayfs" "use a kernel with CONFIG_OVERLAY_FS, as Debian's is"
    done
    # The same bytes whenever the content is the same.
    find "$work/tree" -exec touch --no-dereference --date=@0 {} +
    (cd "$work/tree" && find . -mindepth 1 | sort | cpio --create --format=newc --quiet --reproducible --owner=0:0) |
        gzip -9n >"$work/overlayroot.cpio.gz"
    say "initramfs for $*: $(($(wc -l <"$work/tree/etc/overlayroot.modules") - 1)) modules, $(stat -c %s "$work/overlayroot.cpio.gz") bytes"
}

# kernels: sets `releases`: the kernel that is zImage; all that are installed, if it is none of /boot/vmlinuz-*.
kernels() {
    local image folder
    releases=()
    for image in "$R"/boot/vmlinuz-*; do
        if cmp -s "$image" "$boot/zImage"; then
            releases=("${image##*/vmlinuz-}")
            return
        fi
    done
    for folder in "$R"/lib/modules/*/modules.dep; do
        [ ! -e "$folder" ] || { folder=${folder%/*}; releases+=("${folder##*/}"); }
    done
    [ ${#releases[@]} -gt 0 ] || releases=("$(cat "$R/proc/sys/kernel/osrelease")")
    for folder in $(packed); do
        [[ " ${releases[*]} " == *" $folder "* ]] || {
            note "zImage on the boot partition may be kernel $folder, which is not installed any more: the initramfs stays as it is"
            [ -z "$quiet" ] || exit 0
            refuse "the kernel on the boot partition is not installed" "put one there that is: cp /boot/vmlinuz-RELEASE ${boot#"$R"}/zImage"
        }
    done
    note "zImage on the boot partition is none of /boot/vmlinuz-*: initramfs for ${releases[*]}"
}

# crc FILE: its CRC-32 as a number: gzip writes it behind what it has packed (RFC 1952).
crc() { gzip -1nc "$1" | tail -c 8 | od -An -N 4 -t u4 --endian=little | tr -d ' '; }

# ramdisk ARCHIVE: $work/overlayroot.uInitrd, the archive behind U-Boot's header (include/image.h: big-endian; for Linux
# on ARM, a RAM disk, as it is), which has its size and its checksum: one file, so that both change in one step.
ramdisk() {
    local header=$work/header numbers
    numbers=(0 "$(stat -c %s "$1")" 0 0 "$(crc "$1")") # time, size, address, entry, checksum
    header() { perl -e 'print pack("N7 C4 a32", 0x27051956, @ARGV, 5, 2, 3, 0, "overlayroot")' "$1" "${numbers[@]}" >"$header"; }
    header 0
    header "$(crc "$header")"
    cat "$header" "$1" >"$work/overlayroot.uInitrd"
}

# initramfs_there: the file on the boot partition; an older version of this command wrote it without a header.
initramfs_there() {
    local name
    for name in overlayroot.uInitrd overlayroot.cpio.gz; do
        [ ! -e "$boot/$name" ] || { printf '%s\n' "$boot/$name"; return; }
    done
}

# packed: the kernels that the initramfs on the boot partition has modules of.
packed() {
    local file skip=1
    file=$(initramfs_there)
    [[ $file != *.uInitrd ]] || skip=65
    { tail -c "+$skip" "$file" | gzip -dc | cpio --list --quiet; } 2>/dev/null | sed -n 's,^lib/modules/\([^/]*\)$,\1,p' || true
}
