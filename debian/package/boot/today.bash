# shellcheck shell=bash disable=SC2034,SC2154 # variables are those of all parts
# SPDX-License-Identifier: MIT
# What boots the board today, and what of it the next boot would not do: refused, noted, or named as not looked at.

# lost WORD WHAT REMEDY: today's boot does something that the next one will not: refused, unless --accept WORD.
lost() {
    if [[ " ${accepted[*]} " == *" $1 "* ]]; then
        note "accepted: $2"
        unseen+=("what was accepted ($1)")
    else
        refuse "$2" "$3; or, where the board can do without: overlayroot-boot install --accept $1"
    fi
}

# understood: refuses a board that boots in a way that is not ours to change.
understood() {
    local model place
    [ -e "$share/boot.scr" ] ||
        refuse "the boot script is for 32-bit ARM boards with U-Boot" "have your boot loader load an initramfs: overlayroot-boot initramfs FILE, and /usr/share/doc/overlayroot-init/debian.md.gz"
    model=$(tr -d '\0' <"$R/proc/device-tree/model" 2>/dev/null) || model=unknown
    if grep -qsxF "Machine: $model" "$R/usr/share/flash-kernel/db/all.db" "$R/etc/flash-kernel/db"; then
        refuse "flash-kernel makes the boot script of this board ($model), and would replace ours with the next kernel" \
            "such boards are not supported; where flash-kernel is not what boots it: apt remove flash-kernel"
    fi
    for place in "${boot:-$R/boot}" "$R/boot" "$R/boot/firmware" "${boot:-$R/boot}/.."; do
        [ ! -e "$place/extlinux/extlinux.conf" ] ||
            refuse "this board boots by extlinux.conf, which U-Boot finds before a boot script" \
                "have it load an initramfs: overlayroot-boot initramfs FILE, and /usr/share/doc/overlayroot-init/debian.md.gz"
    done
    [ -n "$boot" ] || refuse "no boot partition was found: no boot.scr and no 6x_bootscript on the first partition of the root's disk, in /boot/firmware and /boot" \
        "mount it and name it in /etc/default/overlayroot-boot (BOOT=); a board that boots without such a script is not supported"
    for place in "$boot" "$boot/.." "$boot/boot"; do
        [ ! -e "$place/boot.scr.uimg" ] || refuse "there is a boot.scr.uimg beside the boot script, and U-Boot takes it first" \
            "where it is not what boots the board, move it away"
    done
    [ ! -e "$boot/config.txt" ] || refuse "there is a config.txt beside the boot script: the firmware of a Raspberry Pi changes the device tree by it, and the new boot script loads one from a file" \
        "such boards are not supported; where config.txt is not what boots the board, move it away"
    [ -f "$boot/zImage" ] || refuse "there is no zImage in ${boot#"$R"}, beside the boot script" "copy the kernel there: cp /boot/vmlinuz-RELEASE ${boot#"$R"}/zImage"
    compgen -G "$boot/*.dtb" >/dev/null || refuse "there is no device tree (NAME.dtb) in ${boot#"$R"}, beside the boot script" \
        "copy it there, as from /usr/lib/linux-image-RELEASE"
}

# today: all of it. After find_tree, as that says which device tree is compared.
today() {
    local name old=() overlays=''
    environment_files
    [ -z "$(variable bootargs)" ] || passed_bootargs "U-Boot's environment" "$(variable bootargs)" "fw_setenv bootargs WORDS"
    for name in "${scripts[@]}"; do
        [ ! -f "$boot/$name" ] || ours "$boot/$name" || old+=("$name")
    done
    for name in "${old[@]}"; do old_script "$name"; done
    # What runs now was started by our script, and by our init, where that is the one that is there.
    [ ${#old[@]} -gt 0 ] || return 0
    device_tree
    old_initramfs
}

# environment_files: sets `overlays` to what vendors' files have today's script apply.
environment_files() {
    local file line name value others=()
    for file in armbianEnv.txt orangepiEnv.txt uEnv.txt; do
        [ -f "$boot/$file" ] || continue
        while IFS= read -r line; do
            name=${line%%=*} value=${line#*=}
            case $name in
            overlays | user_overlays | fdt_overlays | dtbos | dtoverlay* | dtb_overlay* | uboot_overlay_addr* | *_overlay | cape_enable | capes)
                overlays+="${overlays:+, }$name=$value in $file"
                continue
                ;;
            esac
            [ "$file" = uEnv.txt ] || continue
            case $name in
            bootargs) passed_bootargs uEnv.txt "$value" "in ${boot#"$R"}/uEnv.txt" ;;
            overlayfs | ofs[-_]* | console | baudrate | cma | fdt_file | fdtfile) ;;
            cmd_board | cmd_custom | cmd_hdmi | cmd_lcd | cmd_lcd2 | cmd_lvds | cmd_lvds2 | cmd_mipi) ;;
            *) others+=("$name") ;;
            esac
        done < <(env_lines "$boot/$file")
    done
    installed || [ ${#others[@]} -eq 0 ] || {
        note "uEnv.txt sets ${others[*]}: the new boot script makes nothing of it"
        unseen+=("what ${others[*]} of uEnv.txt are for")
    }
}

# old_script NAME: what today's boot script does.
old_script() {
    local name=$1 kind what lines others=() kernels=() starts=() applies=''
    if ! lines=$("$share/boot/script-commands" "$boot/$name"); then
        lost boot-script "$name cannot be read: it is no script of mkimage" "look into it, and at what it does beside loading zImage and a device tree"
        return
    fi
    while read -r kind what; do
        case $kind,$what in
        command,fdt\ apply) applies=yes ;;
        command,fdt\ *) ;; # what it makes of the device tree is seen there
        command,env\ exists | command,env\ import | command,env\ export | command,env\ delete | command,env\ default | command,env\ print) ;;
        command,mmc\ dev | command,mmc\ rescan | command,mmc\ part) ;;
        command,echo | command,test | command,itest | command,itest.* | command,true | command,false | command,exit | command,sleep) ;;
        command,setexpr | command,setexpr.* | command,printenv | command,part | command,size | command,ls | command,fatls | command,ext4ls) ;;
        command,crc32 | command,md5sum | command,sha1sum | command,iminfo | command,version | command,bdinfo | command,fstype | command,\[) ;;
        command,*) others+=("${what% }") ;;
        run,cmd_board | run,cmd_custom | run,cmd_hdmi | run,cmd_lcd | run,cmd_lcd2 | run,cmd_lvds | run,cmd_lvds2 | run,cmd_mipi) ;;
        run,*) others+=("run $what") ;;
        unclear,*) others+=("$what") ;;
        boot,*) starts+=("$what") ;;
        load,*)
            what=${what##*/}
            [ -z "${what##*\}}" ] || what=${what##*\}}
            case $what in
            zImage) kernels+=(zImage) ;;
            vmlinuz* | uImage* | Image* | kernel* | *.itb) kernels+=("$what") ;;
            *.dtb | *.dtbo | uEnv.txt | armbianEnv.txt | orangepiEnv.txt) ;; # looked at elsewhere
            *initrd* | *ramdisk* | *.cpio* | *initramfs*) ;;
            *\$*) [[ $what == *fdt* || $what == *dtb* || $what == *rd* ]] || others+=("load $what") ;;
            *) others+=("load $what") ;;
            esac
            ;;
        esac
    done <<<"$lines"
    old_kernel
    [ -z "$applies" ] || overlays+="${overlays:+, }fdt apply in $name"
    [ ${#others[@]} -eq 0 ] || {
        note "$name also does this, and the new boot script does not: $(printf '%s; ' "${others[@]}" | sed 's/; $//')"
        unseen+=("what $name does beside loading a kernel and a device tree")
    }
}

# old_kernel: compares what the old script loads and starts (`kernels`, `starts`) with zImage and bootz.
old_kernel() {
    local kernel
    for kernel in "${kernels[@]}"; do
        [ "$kernel" = zImage ] || cmp -s "$boot/$kernel" "$boot/zImage" ||
            lost boot-script "$name loads the kernel $kernel, and the new boot script loads zImage, which is not the same file" \
                "put that kernel there: cp /boot/vmlinuz-RELEASE ${boot#"$R"}/zImage, and let $kernel be a copy of it"
    done
    for kernel in "${starts[@]}"; do
        [ "$kernel" = bootz ] || lost boot-script "$name starts something by $kernel, and the new boot script starts zImage by bootz" \
            "try zImage by hand at U-Boot's prompt"
    done
    [ ${#kernels[@]} -gt 0 ] && [ ${#starts[@]} -gt 0 ] || unseen+=("which kernel $name loads, and how it starts it")
}

# device_tree: compares the device tree that U-Boot has given to the running kernel with the one in the file.
device_tree() {
    local lines nodes properties live=$R/sys/firmware/fdt
    local merge="merge them into a file (fdtoverlay of the package device-tree-compiler), name it in /etc/default/overlayroot-boot (FDT=), have today's boot use it without overlays, restart, and try again"
    if [ ! -r "$live" ]; then
        [ -z "$overlays" ] || lost overlays "today's boot may apply overlays to the device tree ($overlays)" "$merge"
        unseen+=("the device tree in use (there is no /sys/firmware/fdt)")
        return
    fi
    lines=$("$share/boot/tree-differences" "$live" "$boot/$tree") ||
        refuse "$tree or /sys/firmware/fdt is no device tree" "copy the right file to ${boot#"$R"}, as from /usr/lib/linux-image-RELEASE"
    nodes=$(sed -n 's/^node //p' <<<"$lines") properties=$(sed -n 's/^property //p' <<<"$lines")
    if [ -n "$nodes" ] || { [ -n "$overlays" ] && [ -n "$properties" ]; }; then
        lost overlays "the device tree in use has what $tree has not, and the new boot script would not add it: $(some "$nodes" "$properties")${overlays:+ ($overlays)}" \
            "where $tree has been replaced since the board was started: restart first. Where they are overlays: $merge"
    elif [ -n "$properties" ]; then
        note "U-Boot or today's boot script has changed the device tree: $(some "$properties")"
        unseen+=("who has changed the device tree")
    fi
}

# some LINES...: the first few, in a line.
some() {
    local lines=()
    mapfile -t lines < <(printf '%s\n' "$@" | sed '/^$/d')
    local shown=("${lines[@]:0:4}") more=$((${#lines[@]} - 4))
    printf '%s' "${shown[*]}"
    [ $more -le 0 ] || printf ', and %s more' "$more"
}

# named FOLDER...: names of the files in these folders and one below, without notes.
named() {
    local file
    for file in "$@"; do
        [ ! -f "$file" ] || case ${file##*/} in README* | *.dpkg-*) ;; *) printf '%s\n' "${file#"$R"}" ;; esac
    done
}

# old_initramfs: what the initramfs of today does beside mounting the root. None: nothing.
old_initramfs() {
    local lines file
    if [ -d "$R/proc/device-tree/chosen" ] && [ ! -e "$R/proc/device-tree/chosen/linux,initrd-start" ]; then
        return
    fi
    # The package's configuration: what an administrator or another package has added.
    lines=$(named "$R"/etc/initramfs-tools/hooks/* "$R"/etc/initramfs-tools/scripts/*/* "$R"/etc/initramfs-tools/scripts/local \
        "$R"/etc/dracut.conf.d/* "$R"/etc/mkinitcpio.conf)
    [ -z "$lines" ] || {
        note "today's initramfs does what these say, and the new one does not: $(some "$lines")"
        unseen+=("what was added to today's initramfs")
    }
    lines=$(sed 's/[[:space:]]*#.*//; /^[[:space:]]*$/d' "$R/etc/initramfs-tools/modules" 2>/dev/null | sed 's/[[:space:]].*//') || true
    [ -z "$lines" ] || note "today's initramfs loads modules that /etc/initramfs-tools/modules names, the new one only what the root needs: $(some "$lines"). For them: MODULES= in /etc/default/overlayroot-boot"
    for file in "$R"/etc/initramfs-tools/initramfs.conf "$R"/etc/initramfs-tools/conf.d/*; do
        ! grep -qsE '^[[:space:]]*RESUME=.*[/=]' "$file" || note "RESUME= in ${file#"$R"}: a protected board cannot wake up from hibernation"
        ! grep -qsE '^[[:space:]]*BOOT="?nfs' "$file" || note "BOOT=nfs in ${file#"$R"} has no meaning for the new initramfs"
    done
    crypttab
}

# crypttab: what the old initramfs opens, systemd opens later; but not by a keyscript.
crypttab() {
    local name device key options
    while read -r name device key options; do
        case $name in '' | '#'*) continue ;; esac
        case ,$options, in
        *,initramfs,*keyscript=* | *,keyscript=*,initramfs,*)
            lost initramfs "$name in /etc/crypttab is opened by a keyscript in today's initramfs, which the new one has not, and systemd knows no keyscripts" \
                "give it a key file or a passphrase in /etc/crypttab, restart, and try again"
            ;;
        *,initramfs,*) note "$name in /etc/crypttab is opened by today's initramfs, and by the system itself from now on" ;;
        esac
    done <<<"$(cat "$R/etc/crypttab" 2>/dev/null)"
}

# kernel_config RELEASE: refuses a kernel that cannot do it, where its configuration is there.
kernel_config() {
    local release=$1 config='' line
    for line in "$R/boot/config-$release" "$R/lib/modules/$release/config" "$R/lib/modules/$release/build/.config"; do
        [ ! -f "$line" ] || { config=$(<"$line"); break; }
    done
    if [ -z "$config" ] && [ "$release" = "$(<"$R/proc/sys/kernel/osrelease")" ] && [ -e "$R/proc/config.gz" ]; then
        config=$(gzip -dc "$R/proc/config.gz")
    fi
    [ -n "$config" ] || { unseen+=("the configuration of kernel $release (there is no /boot/config-$release)"); return 0; }
    for line in BLK_DEV_INITRD RD_GZIP DEVTMPFS TMPFS TMPFS_XATTR; do
        grep -qx "CONFIG_$line=y" <<<"$config" ||
            refuse "kernel $release was built without CONFIG_$line, which a protected boot needs" "a kernel that has it, as Debian's is"
    done
    ! grep -qx CONFIG_CMDLINE_FORCE=y <<<"$config" ||
        refuse "kernel $release was built with CONFIG_CMDLINE_FORCE: it does not read what the boot script says" "a kernel without it, as Debian's is"
}
