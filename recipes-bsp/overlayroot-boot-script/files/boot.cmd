# SPDX-License-Identifier: MIT
# U-Boot script: boots with a protected root. For Boundary's and mainline's U-Boot on i.MX6.
#
# Files on the boot partition (the partition that this script is on):
#   zImage, *.dtb         kernel and device trees
#   overlayroot.cpio.gz   initramfs, a plain cpio archive without a U-Boot header
#   overlayroot.env       written with the image: ofs_root, ofs_default_overlayfs, ofs_default_size,
#                         ofs_console, ofs_fdt, ofs_ram: for what the environment does not say; ofs_verity;
#                         ofs_bootargs: more words for the command line
#   uEnv.txt              optional, the owner's: any variable
# Variables: overlayfs (yes), ofs-size (20), ofs-dirty, ofs-fail, ofs-lock, ofs-verity, ofs-verity-error, also
#   with _; overlayfs_once
#   (no: one writable boot); console, cma, bootargs, fdt_file or fdtfile, cmd_board, cmd_custom, cmd_hdmi, cmd_lcd,
#   cmd_lcd2, cmd_lvds, cmd_lvds2, cmd_mipi, as Boundary's own scripts have them.
#
# A name with a hyphen is never expanded here: newer shells read ${ofs-size} as "ofs, or else size".

# A request for one writable boot is used up, and that is saved, before anything else happens: whatever
# becomes of this boot, the next one is as the other variables say. Nothing is set before it, as saveenv
# saves everything; a request that cannot be used up is not granted.
setenv ofs_now
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

# Where RAM begins: 0x10000000 on i.MX6, 0x80000000 on i.MX6SX and i.MX7; Boundary's U-Boot names its processor.
setenv ofs_ram 0x1
if test "${imx_cpu}" = "6SX" || test "${imx_cpu}" = "7D"; then setenv ofs_ram 0x8; fi
env exists kernel_addr_r || setenv kernel_addr_r ${ofs_ram}2000000
env exists fdt_addr_r || setenv fdt_addr_r ${ofs_ram}8000000
env exists ramdisk_addr_r || setenv ramdisk_addr_r ${ofs_ram}8100000

if load ${devtype} ${devnum}:${distro_bootpart} ${ramdisk_addr_r} ${prefix}overlayroot.env; then
    env import -t ${ramdisk_addr_r} ${filesize}
fi
if load ${devtype} ${devnum}:${distro_bootpart} ${ramdisk_addr_r} ${prefix}uEnv.txt; then
    env import -t ${ramdisk_addr_r} ${filesize}
fi

# ofs-NAME becomes ofs_NAME: written to memory as text, the hyphen replaced, read back.
for name in size dirty fail lock verity verity-error; do
    if env exists ofs-${name}; then
        env export -t ${ofs_ram}7000000 ofs-${name}
        mw.b ${ofs_ram}7000003 0x5f 1
        if test "${name}" = "verity-error"; then mw.b ${ofs_ram}700000a 0x5f 1; fi
        env import -t ${ofs_ram}7000000 ${filesize}
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

# Device tree: fdt_file, or fdtfile of newer U-Boots, or what Boundary's U-Boot knows of its board.
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

setenv ofs_args ${bootargs} ${ofs_bootargs} console=${console},${baudrate} root=${ofs_root} rootwait panic=10
setenv ofs_args ${ofs_args} overlayfs=${ofs_now} ofs-size=${ofs_size}
if env exists ofs_dirty; then setenv ofs_args ${ofs_args} ofs-dirty=${ofs_dirty}; fi
if env exists ofs_fail; then setenv ofs_args ${ofs_args} ofs-fail=${ofs_fail}; fi
if env exists ofs_lock; then setenv ofs_args ${ofs_args} ofs-lock=${ofs_lock}; fi
if env exists ofs_verity; then setenv ofs_args ${ofs_args} ofs-verity=${ofs_verity}; fi
if env exists ofs_verity_error; then setenv ofs_args ${ofs_args} ofs-verity-error=${ofs_verity_error}; fi
if env exists cma; then setenv ofs_args ${ofs_args} cma=${cma}; fi

setenv ofs_ok yes
if load ${devtype} ${devnum}:${distro_bootpart} ${kernel_addr_r} ${prefix}zImage; then true; else
    echo "overlayroot: ERROR: no zImage on ${devtype} ${devnum}:${distro_bootpart}"
    setenv ofs_ok no
fi
if load ${devtype} ${devnum}:${distro_bootpart} ${fdt_addr_r} ${prefix}${fdt_file}; then true; else
    echo "overlayroot: ERROR: no ${fdt_file} on ${devtype} ${devnum}:${distro_bootpart} - set fdt_file to a file that is there"
    setenv ofs_ok no
fi
if load ${devtype} ${devnum}:${distro_bootpart} ${ramdisk_addr_r} ${prefix}overlayroot.cpio.gz; then
    setenv ofs_initrd ${ramdisk_addr_r}:${filesize}
else
    setenv ofs_initrd -
    if env exists ofs_verity; then
        echo "overlayroot: ERROR: no overlayroot.cpio.gz on ${devtype} ${devnum}:${distro_bootpart}: the root cannot be verified"
        setenv ofs_ok no
    elif test "${ofs_now}" = "no"; then
        echo "overlayroot: WARNING: no overlayroot.cpio.gz on ${devtype} ${devnum}:${distro_bootpart}: the kernel mounts the root itself"
    else
        echo "overlayroot: ERROR: no overlayroot.cpio.gz on ${devtype} ${devnum}:${distro_bootpart}: the root cannot be protected"
        echo "overlayroot: not booting. Put the file back, or type: setenv overlayfs no, then: boot"
        setenv ofs_ok no
    fi
fi

if test "${ofs_ok}" = "yes"; then
    setenv bootargs ${ofs_args}
    # Boundary keeps in such variables what its U-Boot has found or was told of displays; they change the device tree, which
    # needs room for that, or bootargs. The order is that of its own scripts.
    setenv ofs_room
    for name in board custom hdmi lcd lcd2 lvds lvds2 mipi; do
        if env exists cmd_${name}; then
            if env exists ofs_room; then true; else
                fdt addr ${fdt_addr_r}
                fdt resize 2000
                setenv ofs_room yes
            fi
            run cmd_${name}
        fi
    done
    echo "overlayroot: overlayfs=${ofs_now} ofs-size=${ofs_size}"
    bootz ${kernel_addr_r} ${ofs_initrd} ${fdt_addr_r}
fi
