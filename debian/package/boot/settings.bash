# shellcheck shell=bash disable=SC2034,SC2154 # variables are those of all parts
# SPDX-License-Identifier: MIT
# What boot.cmd needs to know of this board: overlayroot.env.

# variable NAME: from U-Boot's environment, if that can be read.
variable() {
    fw_printenv -n "$1" 2>/dev/null || true
}

# owners NAME: from uEnv.txt, whose last line counts.
owners() {
    [ ! -f "$boot/uEnv.txt" ] || env_lines "$boot/uEnv.txt" | sed -n "s/^$1=//p" | tail -n 1
}

# env_lines FILE: NAME=VALUE lines with a value, as env import -t reads them.
env_lines() { tr -d '\r' <"$1" | sed -n 's/^[[:space:]]*\([^#=[:space:]][^=]*=.*[^[:space:]]\)[[:space:]]*$/\1/p'; }

# find_tree: sets `tree`, the device tree that will be loaded, and `fdt`: its name where U-Boot does not say it.
find_tree() {
    local named name trees=()
    fdt=''
    for name in "$(owners fdt_file)" "$(variable fdt_file)" "$(owners fdtfile)" "$(variable fdtfile)"; do
        named=$name
        [ -z "$named" ] || break
    done
    if [ -n "$named" ] && [ ! -f "$boot/$named" ]; then
        refuse "U-Boot's variables say that the device tree is $named, which is not in ${boot#"$R"}" \
            "copy it there, or: fw_setenv fdt_file NAME (uEnv.txt counts before the environment)"
    fi
    tree=$named
    if [ -n "${FDT:-}" ]; then
        [ -f "$boot/$FDT" ] || refuse "there is no $FDT in ${boot#"$R"}" "correct FDT= in /etc/default/overlayroot-boot"
        fdt=$FDT tree=${named:-$FDT}
        return
    fi
    mapfile -t trees < <(perl -e 'local $/; sub all { open(my $f, "<", shift) or return; my $text = <$f>; $text }
        my @same = map { all($_) } splice(@ARGV, 0, 2);
        for my $tree (@ARGV) { my $text = all($tree); print "$tree\n" unless grep { index($text, $_) < 0 } @same }
        ' "$R/proc/device-tree/model" "$R/proc/device-tree/compatible" "$boot"/*.dtb)
    if [ ${#trees[@]} -eq 1 ]; then
        fdt=${trees[0]##*/} tree=${named:-$fdt}
    elif [ -z "$named" ]; then
        refuse "which of the device trees in ${boot#"$R"} is this board's cannot be told (fitting: ${trees[*]##*/})" \
            "FDT=NAME.dtb in /etc/default/overlayroot-boot"
    fi
}

# boot_settings: the content of overlayroot.env. After command_line.
boot_settings() {
    local id
    if id=$(link_to by-partuuid); then
        id=PARTUUID=$id
    elif id=$(link_to by-uuid); then
        id=UUID=$id
    else
        refuse "neither /dev/disk/by-partuuid nor by-uuid names $root_name" "give the partition table a signature: sfdisk --disk-id"
    fi
    echo "# Written by overlayroot-boot install; changes go to uEnv.txt."
    echo "ofs_root=$id"
    # (A last line without an end gets one.)
    { cat "$R/etc/overlayroot/overlayroot.conf"; echo; } |
        sed -nE 's/^[[:space:]]*(ofs[-_])?(overlayfs|size)[[:space:]]*=[[:space:]]*"?([^"[:space:]]*).*/ofs_default_\2=\3/p'
    [ -z "$console" ] || echo "ofs_console=${console%%,*}"
    [ -z "$fdt" ] || echo "ofs_fdt=$fdt"
    [ ${#left[@]} -eq 0 ] || echo "ofs_bootargs=${left[*]}"
}
