# SPDX-License-Identifier: MIT
# U-Boot script: boots with a protected root. For Boundary's and mainline's U-Boot, 32-bit and 64-bit ARM.
#
# Files on the boot partition (the partition that this script is on):
#   zImage, *.dtb         kernel and device trees; overlayroot.env may name another kernel: Image, Image.gz, uImage; or
#                         a fitImage, which holds kernel, device tree and initramfs, with their hashes
#   overlayroot.uInitrd   initramfs: a cpio archive behind U-Boot's header, which has its size and its checksum
#   overlayroot.env       written with the image: ofs_root, ofs_default_overlayfs, ofs_default_size,
#                         ofs_console, ofs_fdt, ofs_ram: for what the environment does not say; ofs_verity;
#                         ofs_kernel: the kernel's file; ofs_fdt=given: the device tree is the one at fdt_addr, from
#                         the board's firmware; ofs_conf: configuration of the fitImage, if not its default; ofs_bootargs: more words for the command line
#   uEnv.txt              optional, the owner's: any variable
# Variables: overlayfs (yes), ofs-size (20), ofs-dirty, ofs-fail, ofs-lock, ofs-verity, ofs-verity-error, also
#   with _ (ofs_verity in the files only); overlayfs_once
#   (no: one writable boot); console, cma, bootargs, fdt_file or fdtfile, cmd_board, cmd_custom, cmd_hdmi, cmd_lcd,
#   cmd_lcd2, cmd_lvds, cmd_lvds2, cmd_mipi, as Boundary's own scripts have them.
#
# A name with a hyphen is never expanded here: newer shells read ${ofs-size} as "ofs, or else size". What may hold quotes
# is expanded between quotes: then it arrives as it is.

# What is the script's own comes from here and from the files, never from a saveenv at some prompt.
for name in args bootargs conf console dash dash2 default_overlayfs default_size fdt from initrd kept kernel mount name now ok place ram room root soc start text tree verity words; do
    setenv ofs_${name}
done

# A request for one writable boot is used up, and that is saved, before anything else happens: whatever
# becomes of this boot, the next one is as the other variables say. Nothing is set before it, as saveenv
# saves everything; a request that cannot be used up is not granted.
if test "${overlayfs_once}" = "no"; then
    setenv overlayfs_once
    if saveenv; then
        setenv ofs_now no
        echo "overlayroot: one writable boot, as overlayfs_once=no asked for. The request is used up"
    else
        echo "overlayroot: ERROR: the environment cannot be saved: no writable boot, overlayfs_once is ignored"
    fi
fi

# Boundary's older U-Boot says dtype and disk, everything newer devtype and devnum.
env exists devtype || setenv devtype ${dtype}
env exists devnum || setenv devnum ${disk}
env exists distro_bootpart || setenv distro_bootpart 1

# Where RAM begins, for a U-Boot that has no addresses for kernel, device tree and initramfs: 0x10000000 on the first i.MX6,
# 0x80000000 on later ones and i.MX7. Boundary's U-Boot names its processor, overlayroot.env may know better.
setenv ofs_ram 0x1
for name in 6SL 6SLL 6SX 6UL 6ULL 7D; do
    if test "${imx_cpu}" = "${name}"; then setenv ofs_ram 0x8; fi
done
# U-Boot's own addresses are in RAM in any case.
setenv ofs_text ${ofs_ram}8100000
if env exists loadaddr; then setenv ofs_text ${loadaddr}; fi
if env exists ramdisk_addr_r; then setenv ofs_text ${ramdisk_addr_r}; fi

if load ${devtype} ${devnum}:${distro_bootpart} ${ofs_text} ${prefix}overlayroot.env; then
    env import -t ${ofs_text} ${filesize}
fi

# Memory for the environment as it is now, and for names. U-Boot has 1 MiB for scripts at scriptaddr, and runs a copy of this one.
setenv ofs_place ${ofs_ram}7100000
setenv ofs_name ${ofs_ram}7000000
setenv ofs_dash ${ofs_ram}7000003
setenv ofs_dash2 ${ofs_ram}700000a
if env exists scriptaddr && env exists kernel_addr_r && env exists fdt_addr_r && env exists ramdisk_addr_r; then
    if setexpr ofs_from ${scriptaddr} + 80000; then
        setenv ofs_place ${ofs_from}
        setexpr ofs_name ${scriptaddr} + 60000
        setexpr ofs_dash ${scriptaddr} + 60003
        setexpr ofs_dash2 ${scriptaddr} + 6000a
    fi
fi

# As the environment is when nothing boots: what follows is for this boot only. With a checksum: files are loaded after it.
if env export -c ${ofs_place}; then setenv ofs_kept ${filesize}; fi
if load ${devtype} ${devnum}:${distro_bootpart} ${ofs_text} ${prefix}uEnv.txt; then
    env import -t ${ofs_text} ${filesize}
fi
env exists kernel_addr_r || setenv kernel_addr_r ${ofs_ram}2000000
env exists fdt_addr_r || setenv fdt_addr_r ${ofs_ram}8000000
env exists ramdisk_addr_r || setenv ramdisk_addr_r ${ofs_ram}8100000

# ofs-NAME becomes ofs_NAME: written to memory as text, the hyphen replaced, read back.
for name in size dirty fail lock verity verity-error; do
    if env exists ofs-${name}; then
        env export -t ${ofs_name} ofs-${name}
        mw.b ${ofs_dash} 0x5f 1
        if test "${name}" = "verity-error"; then mw.b ${ofs_dash2} 0x5f 1; fi
        env import -t ${ofs_name} ${filesize}
    fi
done

# What the environment does not say the image says, and what neither says is as here.
env exists overlayfs || setenv overlayfs ${ofs_default_overlayfs}
env exists overlayfs || setenv overlayfs yes
env exists ofs_now || setenv ofs_now ${overlayfs}
env exists ofs_size || setenv ofs_size ${ofs_default_size}
env exists ofs_size || setenv ofs_size 20
env exists ofs_root || setenv ofs_root /dev/mmcblk${devnum}p2
env exists console || setenv console ${ofs_console}
env exists console || setenv console ttymxc1
env exists baudrate || setenv baudrate 115200

# The kernel's file says how it is started.
env exists ofs_kernel || setenv ofs_kernel zImage
setenv ofs_start bootz
setenv ofs_from ${kernel_addr_r}
if test "${ofs_kernel}" = "uImage"; then setenv ofs_start bootm; fi
if test "${ofs_kernel}" = "Image"; then setenv ofs_start booti; fi
if test "${ofs_kernel}" = "Image.gz"; then
    setenv ofs_start booti
    # Where the initramfs goes later: booti would need an address of its own to unpack.
    setenv ofs_from ${ramdisk_addr_r}
fi
if test "${ofs_kernel}" = "fitImage"; then
    setenv ofs_start bootm
    setenv ofs_from ${ramdisk_addr_r}
    if env exists fit_addr_r; then setenv ofs_from ${fit_addr_r}; fi
fi

# Device tree: fdt_file, or fdtfile of newer U-Boots, or what Boundary's U-Boot knows of its board; or that of the firmware,
# whose command line comes with it.
if test "${ofs_fdt}" = "given"; then
    if env exists fdt_file; then true; else
        setenv ofs_tree ${fdt_addr}
        if env exists bootargs; then true; else
            fdt addr ${fdt_addr}
            fdt get value bootargs /chosen bootargs
        fi
    fi
fi
env exists fdt_file || setenv fdt_file ${fdtfile}
if test "${imx_cpu}" = "6Q" || test "${imx_cpu}" = "6D"; then setenv ofs_soc imx6q; fi
if test "${imx_cpu}" = "6QP" || test "${imx_cpu}" = "6DP"; then setenv ofs_soc imx6qp; fi
if test "${imx_cpu}" = "6DL" || test "${imx_cpu}" = "6SOLO"; then setenv ofs_soc imx6dl; fi
if test "${imx_cpu}" = "6SX"; then setenv ofs_soc imx6sx; fi
if test "${imx_cpu}" = "7D"; then setenv ofs_soc imx7d; fi
if env exists ofs_soc; then
    env exists fdt_file || setenv fdt_file ${ofs_soc}-${board}.dtb
fi
env exists fdt_file || setenv fdt_file ${ofs_fdt}
env exists fdt_file || setenv fdt_file imx6q-nitrogen6x.dtb

setenv ofs_ok yes
if load ${devtype} ${devnum}:${distro_bootpart} ${ofs_from} ${prefix}${ofs_kernel}; then
    if test "${ofs_kernel}" = "fitImage"; then
        if iminfo ${ofs_from}; then true; else
            echo "overlayroot: ERROR: fitImage on ${devtype} ${devnum}:${distro_bootpart} is damaged: write it anew"
            setenv ofs_ok no
        fi
    fi
    if test "${ofs_kernel}" = "Image.gz"; then
        # At most 60 MiB: what is damaged may have no end. No checksum is looked at.
        if unzip ${ofs_from} ${kernel_addr_r} 3c00000; then true; else
            echo "overlayroot: ERROR: Image.gz on ${devtype} ${devnum}:${distro_bootpart} is damaged: write it anew"
            setenv ofs_ok no
        fi
    fi
else
    echo "overlayroot: ERROR: no ${ofs_kernel} on ${devtype} ${devnum}:${distro_bootpart}: put the file back"
    setenv ofs_ok no
fi
if env exists ofs_tree || test "${ofs_kernel}" = "fitImage"; then true; else
    setenv ofs_tree ${fdt_addr_r}
    if load ${devtype} ${devnum}:${distro_bootpart} ${fdt_addr_r} ${prefix}${fdt_file}; then true; else
        echo "overlayroot: ERROR: no ${fdt_file} on ${devtype} ${devnum}:${distro_bootpart} - set fdt_file to a file that is there"
        setenv ofs_ok no
    fi
fi

# The root goes to the init alone: a kernel that cannot unpack the initramfs must not mount it by itself. An address
# without a size makes U-Boot insist on its header; nothing of an earlier boot may stand there.
setenv ofs_initrd ${ramdisk_addr_r}
setenv ofs_mount "ofs-root=${ofs_root}"
if test "${ofs_kernel}" = "fitImage"; then
    # It is in there; bootm of an address alone takes all of it.
    setenv ofs_initrd ${ofs_from}
else mw.l ${ramdisk_addr_r} 0 10; fi
if test "${ofs_kernel}" = "fitImage"; then true
elif load ${devtype} ${devnum}:${distro_bootpart} ${ramdisk_addr_r} ${prefix}overlayroot.uInitrd; then
    if iminfo ${ramdisk_addr_r}; then true; else
        echo "overlayroot: ERROR: overlayroot.uInitrd on ${devtype} ${devnum}:${distro_bootpart} is damaged: write it anew"
        setenv ofs_ok no
    fi
elif env exists ofs_verity; then
    echo "overlayroot: ERROR: no overlayroot.uInitrd on ${devtype} ${devnum}:${distro_bootpart}: the root cannot be verified"
    setenv ofs_ok no
elif test "${ofs_now}" = "no"; then
    echo "overlayroot: WARNING: no overlayroot.uInitrd on ${devtype} ${devnum}:${distro_bootpart}: the kernel mounts the root itself"
    setenv ofs_initrd -
    # rootwait would have no end.
    setenv ofs_mount "root=${ofs_root} rootdelay=5"
else
    echo "overlayroot: ERROR: no overlayroot.uInitrd on ${devtype} ${devnum}:${distro_bootpart}: the root cannot be protected"
    echo "overlayroot: put the file back, or type at the prompt: setenv overlayfs no, then: boot"
    setenv ofs_ok no
fi

# Twice: before the owner's words, where no quote and no -- of theirs can swallow them, and behind, as the last of
# repeated words counts. The first ofs-verity counts anyway. An empty root= takes back one that is among the owner's.
setenv ofs_words "panic=10 overlayfs=${ofs_now} ofs-size=${ofs_size}"
if env exists ofs_dirty; then setenv ofs_words "${ofs_words} ofs-dirty=${ofs_dirty}"; fi
if env exists ofs_fail; then setenv ofs_words "${ofs_words} ofs-fail=${ofs_fail}"; fi
if env exists ofs_lock; then setenv ofs_words "${ofs_words} ofs-lock=${ofs_lock}"; fi
if env exists ofs_verity_error; then setenv ofs_words "${ofs_words} ofs-verity-error=${ofs_verity_error}"; fi
setenv ofs_args "${ofs_mount} ${ofs_words}"
if env exists ofs_verity; then setenv ofs_args "${ofs_args} ofs-verity=${ofs_verity}"; fi
if env exists bootargs; then setenv ofs_args "${ofs_args} ${bootargs}"; fi
if env exists ofs_bootargs; then setenv ofs_args "${ofs_args} ${ofs_bootargs}"; fi
setenv ofs_args "${ofs_args} console=${console},${baudrate} ${ofs_words}"
if env exists cma; then setenv ofs_args "${ofs_args} cma=${cma}"; fi
if test "${ofs_initrd}" = "-"; then setenv ofs_args "${ofs_args} ${ofs_mount}"; else setenv ofs_args "${ofs_args} root="; fi

if test "${ofs_ok}" = "yes"; then
    setenv bootargs "${ofs_args}"
    # Boundary keeps in such variables what its U-Boot has found or was told of displays; they change the device tree, which
    # needs room for that, or bootargs. The order is that of its own scripts.
    for name in board custom hdmi lcd lcd2 lvds lvds2 mipi; do
        if env exists cmd_${name}; then
            if env exists ofs_room; then true; else
                if env exists ofs_tree; then fdt addr ${ofs_tree}; fdt resize 2000; fi
                setenv ofs_room yes
            fi
            run cmd_${name}
        fi
    done
    echo "overlayroot: overlayfs=${ofs_now} ofs-size=${ofs_size}"
    if test "${ofs_kernel}" = "fitImage"; then
        if env exists ofs_conf; then setenv ofs_from ${ofs_from}#${ofs_conf}; fi
        bootm ${ofs_from}
    else
        ${ofs_start} ${kernel_addr_r} ${ofs_initrd} ${ofs_tree}
    fi
    echo "overlayroot: ERROR: U-Boot cannot start ${ofs_kernel}: write the files of the boot partition anew"
fi

# The environment is as it was, whatever is typed now. A board that nobody watches tries again.
if env exists ofs_kept; then env import -d -c ${ofs_place} ${ofs_kept}; fi
for name in args bootargs conf console dash dash2 default_overlayfs default_size fdt from initrd kept kernel mount name now ok place ram room root soc start text tree verity words; do
    setenv ofs_${name}
done
echo "overlayroot: nothing boots: restart in 10 s. Ctrl-C stops that"
if sleep 10; then reset; fi
