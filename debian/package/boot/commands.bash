# shellcheck shell=bash disable=SC2034,SC2154 # variables are those of all parts
# SPDX-License-Identifier: MIT
# The commands that change the boot partition: install, update, uninstall.

scripts=(boot.scr 6x_bootscript)
before=.before-overlayroot

# installed: whether one of the boot scripts is ours.
installed() { [ -n "$boot" ] && { ours "$boot/boot.scr" || ours "$boot/6x_bootscript"; }; }

# kept: whether a boot script is that was there before; also when uninstalling was cut off.
kept() { [ -n "$boot" ] && compgen -G "$boot/*$before" >/dev/null; }

# put_scripts: the boot script under the names that are there, and what was there under another one. What an older
# version of ours has loaded goes then.
put_scripts() {
    local name
    for name in "${scripts[@]}"; do
        [ -f "$boot/$name" ] || continue
        ours "$boot/$name" || put "$boot/$name" "$name$before"
        put "$share/boot.scr" "$name"
    done
    take_away overlayroot.cpio.gz
}

advise() {
    local number folder fstype source options
    [ ! -e "$boot/uEnv.txt" ] || note "uEnv.txt is there: the new boot script imports it, too"
    mounted_at "${boot#"$R"}"
    if [ -n "$number" ] && [ -w "$boot" ]; then
        note "${boot#"$R"} is mounted writable, and will be on the protected board: ro in its options in /etc/fstab changes that"
    fi
}

# outlook: what the next boot will be. The environment counts where it can be read, and uEnv.txt more.
outlook() {
    local value place unless='' what
    value=$(sed -n 's/^ofs_default_overlayfs=//p' "$work/overlayroot.env" | tail -n 1)
    place=/etc/overlayroot/overlayroot.conf
    set_by() { [ -z "$1" ] || { value=$1 place=$2; }; }
    set_by "$(variable overlayfs)" "U-Boot's environment"
    set_by "$(owners overlayfs)" uEnv.txt
    fw_printenv >/dev/null 2>&1 || unless=", unless U-Boot's own variables, which cannot be read here, say otherwise (overlayfs=no)"
    case $value in
    no | off | 0 | n | false)
        note "the next boot is NOT PROTECTED: overlayfs=$value in $place"
        ;;
    *)
        if [ ${#unseen[@]} -eq 0 ]; then
            say "the next boot is protected$unless. Undo: overlayroot-boot uninstall"
        else
            say "what a protected boot needs is in place$unless. It was not found out:"
            for what in "${unseen[@]}"; do say "  - $what"; done
            say "watch the next boot on the console, and look at overlayrootctl status after it. Undo: overlayroot-boot uninstall"
        fi
        ;;
    esac
}

install_() {
    local release console left tree fdt
    understood
    whole_root
    find_tree
    today
    command_line
    boot_settings >"$work/overlayroot.env"
    kernels
    for release in "${releases[@]}"; do kernel_config "$release"; done
    pack "${releases[@]}"
    ramdisk "$work/overlayroot.cpio.gz"
    advise
    open_boot
    put "$work/overlayroot.uInitrd" overlayroot.uInitrd
    put "$work/overlayroot.env" overlayroot.env
    [ -n "$dry" ] || { mkdir -p "${mark%/*}" && : >"$mark"; }
    # What makes the difference comes last.
    put_scripts
    [ -n "$dry" ] || outlook
}

update() {
    kernels
    local release
    for release in "${also[@]}"; do
        [[ " ${releases[*]} " == *" $release "* ]] || releases+=("$release")
    done
    pack "${releases[@]}"
    ramdisk "$work/overlayroot.cpio.gz"
    open_boot
    put "$work/overlayroot.uInitrd" overlayroot.uInitrd
    put_scripts
}

uninstall() {
    local name old=()
    for name in "${scripts[@]}"; do
        [ ! -f "$boot/$name$before" ] || old+=("$name")
    done
    [ ${#old[@]} -gt 0 ] || {
        [ -z "$quiet" ] || { note "the boot script was not installed by this command; the boot partition stays as it is"; return 0; }
        refuse "there is no boot.scr$before or 6x_bootscript$before in ${boot#"$R"}: nothing to put back" \
            "put a boot script of yours there"
    }
    open_boot
    for name in "${old[@]}"; do put "$boot/$name$before" "$name"; done
    take_away overlayroot.env
    take_away overlayroot.uInitrd
    take_away overlayroot.cpio.gz # of an older version
    # As long as they are there, a cut can be made up for.
    [ -n "$dry" ] || rm -f "$mark"
    for name in "${old[@]}"; do take_away "$name$before"; done
    [ -n "$dry" ] || say "the next boot is as it was before overlayroot-boot install"
}
