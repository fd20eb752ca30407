# SPDX-License-Identifier: MIT
# The boot script of a board before overlayroot: kernel, device tree, an initrd, and a root that can be written.
setenv bootargs ${bootargs} console=ttymxc1,115200 root=LABEL=rootfs rootwait rw vendor.option=1
load ${devtype} ${devnum}:${distro_bootpart} ${kernel_addr_r} zImage
load ${devtype} ${devnum}:${distro_bootpart} ${fdt_addr_r} ${fdt_file}
load ${devtype} ${devnum}:${distro_bootpart} ${ramdisk_addr_r} initrd.img
bootz ${kernel_addr_r} ${ramdisk_addr_r}:${filesize} ${fdt_addr_r}
