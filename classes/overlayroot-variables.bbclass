# SPDX-License-Identifier: MIT
# Every variable of this layer, its weak default and what it means. Set them in local.conf, in a distro or
# machine configuration, or in an image recipe; docs/variables.md is made from the [doc] flags.

# --- What the initramfs does when U-Boot and the command line say nothing.
OVERLAYROOT_OVERLAYFS ??= "yes"
OVERLAYROOT_OVERLAYFS[doc] = "`yes` protects the root, `no` boots it writable. The command line wins (`overlayfs=`). In an image recipe only the boot script sees it."

OVERLAYROOT_SIZE ??= "20%"
OVERLAYROOT_SIZE[doc] = "Size of the RAM layer: percent of RAM (`20`, `20%`) or bytes (`64M`), with an optional cap on files (`64M,20000`). The command line wins (`ofs-size=`). In an image recipe only the boot script sees it."

OVERLAYROOT_DIRTY ??= "replay"
OVERLAYROOT_DIRTY[doc] = "A root whose journal needs recovery: `replay` it once, boot it `frozen`, or `refuse`. The command line wins (`ofs-dirty=`). Not in an image recipe."

OVERLAYROOT_FAIL ??= "ladder"
OVERLAYROOT_FAIL[doc] = "A mode that cannot be reached: `ladder` tries the next lower one, `reboot` restarts. The command line wins (`ofs-fail=`). Not in an image recipe."

OVERLAYROOT_LOCK ??= "no"
OVERLAYROOT_LOCK[doc] = "`yes` keeps the block device of the root read-only for the whole uptime. The command line wins (`ofs-lock=`). Not in an image recipe."

OVERLAYROOT_VERITY_ERROR ??= "eio"
OVERLAYROOT_VERITY_ERROR[doc] = "A block of a verified root that is not as it was: reading it fails (`eio`), or the board does a `restart`, or a kernel `panic`. The command line wins (`ofs-verity-error=`). Not in an image recipe."

OVERLAYROOT_WAIT ??= "30"
OVERLAYROOT_WAIT[doc] = "Longest wait for the root device, seconds. The command line wins (`ofs-wait=`). Not in an image recipe."

OVERLAYROOT_REBOOT_DELAY ??= "10"
OVERLAYROOT_REBOOT_DELAY[doc] = "How long the last message stays on the console before a restart, seconds. The command line wins (`ofs-reboot-delay=`). Not in an image recipe."

# --- The image.
OVERLAYROOT_ROOTFS ??= "ext4"
OVERLAYROOT_ROOTFS[doc] = "File system of the root partition: `ext4`, `squashfs` or `erofs`. The last two can never be written, not even with `overlayfs=no`. Set it where the kernel recipe sees it too: not in an image recipe."

OVERLAYROOT_UBOOT ??= "${@overlayroot.layout.uboot_place(d)}"
OVERLAYROOT_UBOOT[doc] = "Where the boot loader is, and so which layout the card has: `machine` (the machine's own layout is kept), or one of ours: `spi-nor` (not on the card), `files` (on the boot partition), `card` (`UBOOT_BINARY` at 1 KiB), `card-spl` (`SPL_BINARY` at 1 KiB, U-Boot at 69 KiB), `efi` (a GPT for EFI). Default: `machine` where that can be; for i.MX 6 and 7 as the name of the machine's layout says. Where a layout that cannot be kept brings a boot loader, you have to say it."

OVERLAYROOT_UBOOT_FILE ??= "${UBOOT_BINARY}"
OVERLAYROOT_UBOOT_FILE[doc] = "U-Boot's file in the deploy folder, for the layouts that carry it."

OVERLAYROOT_BOOT_SIZE ??= "64"
OVERLAYROOT_BOOT_SIZE[doc] = "Size of the boot partition, MiB."

OVERLAYROOT_DATA_SIZE ??= ""
OVERLAYROOT_DATA_SIZE[doc] = "Size of a third partition for what is to be kept, MiB: ext4, mounted writable. Empty: none. What is on it is not protected. The board boots without it, too (`nofail`): [who needs it](integrate.md#the-data-partition) has to say so."

OVERLAYROOT_DATA_MOUNT ??= "/data"
OVERLAYROOT_DATA_MOUNT[doc] = "Where the data partition is mounted."

OVERLAYROOT_WKS_FILE ??= "${@overlayroot.layout.wks_file(d)}"
OVERLAYROOT_WKS_FILE[doc] = "Partition layout for wic. One of your own needs the boot partition first and, unless `OVERLAYROOT_ROOT` says otherwise, the root second."

OVERLAYROOT_IMAGE_FSTYPES ??= "wic.gz wic.bmap"
OVERLAYROOT_IMAGE_FSTYPES[doc] = "Image types that the class adds to `IMAGE_FSTYPES`. Another compression: `wic.zst wic.bmap`."

OVERLAYROOT_DISK_SIGNATURE ??= "${@overlayroot.variables.disk_signature(d)}"
OVERLAYROOT_DISK_SIGNATURE[doc] = "Signature in the partition table, 8 hexadecimal digits; by default a hash of distribution, machine and image name, so that it is the same in each build."

OVERLAYROOT_ROOT ??= "${@overlayroot.layout.root_name(d)}"
OVERLAYROOT_ROOT[doc] = "What is passed as `ofs-root=`. The number of a card differs between kernels: name a partition by what is on the card. Default: the root of the layout, by the disk's signature or, with a GPT, by `PARTUUID=`, `PARTLABEL=` or `LABEL=`; a layout of your own with a GPT needs one of these here."

# --- Booting.
OVERLAYROOT_BOOT ??= "${@overlayroot.routes.default(d)}"
OVERLAYROOT_BOOT[doc] = "The way to boot ([boards.md](boards.md)): `script` (our boot script in U-Boot), `extlinux` (extlinux.conf in U-Boot), `fit` (our boot script and a FIT image that holds the initramfs), `efi` (systemd-boot, GRUB or a UKI), `rpi` (the firmware of a Raspberry Pi), or `bundle` (a kernel that carries the initramfs, whoever starts it: `INITRAMFS_IMAGE_BUNDLE`). Default: what the machine's configuration says."

OVERLAYROOT_BOARDS ??= "${@' '.join(overlayroot.boards.KNOWN)}"
OVERLAYROOT_BOARDS[doc] = "Machines (or names of `MACHINEOVERRIDES`) whose boot loader is known to start what is on the boot partition before anything else: default `imx6qdlsabresd nitrogen6sx nitrogen6x nitrogen6x-lite nitrogen7 wandboard`. Append a machine that you have seen do so; its builds warn. Others are refused."

OVERLAYROOT_BOOTARGS ??= ""
OVERLAYROOT_BOOTARGS[doc] = "More words for the kernel's command line; of a word that is there twice the last one counts. None of `root=`, `rootwait`."

OVERLAYROOT_BOOT_SCRIPTS ??= "boot.scr"
OVERLAYROOT_BOOT_SCRIPTS[doc] = "Names under which the boot script is put on the boot partition. Older U-Boots of Boundary look for `6x_bootscript`."

OVERLAYROOT_BOOT_ENV ??= ""
OVERLAYROOT_BOOT_ENV[doc] = "More lines for `overlayroot.env` on the boot partition, separated by `\n`: U-Boot variables that the boot script imports."

OVERLAYROOT_INITRAMFS ??= "overlayroot-initramfs"
OVERLAYROOT_INITRAMFS[doc] = "Recipe of the initramfs; with `OVERLAYROOT_BOOT` = `bundle` it has to be `INITRAMFS_IMAGE`, too."

OVERLAYROOT_INITRAMFS_MODULES ??= ""
OVERLAYROOT_INITRAMFS_MODULES[doc] = "Kernel modules that the initramfs carries and loads, in order; what they depend on comes along. Empty: all that is needed is built in. Not in an image recipe."

OVERLAYROOT_FW_ENV_CONFIG ??= ""
OVERLAYROOT_FW_ENV_CONFIG[doc] = "Contents of `/etc/fw_env.config`, lines separated by `\n`. Empty: what the U-Boot recipe ships."

OVERLAYROOT_UBOOT_ENV ??= "0"
OVERLAYROOT_UBOOT_ENV[doc] = "`1` also puts `overlayfs=yes` and `ofs-size` into the environment that is compiled into U-Boot; one that does not take them ends the build. Never needed: the boot script has the same defaults."

# --- The kernel.
OVERLAYROOT_KERNEL_CONFIG ??= "${DEPLOY_DIR_IMAGE}/overlayroot-kernel-${MACHINE}.config"
OVERLAYROOT_KERNEL_CONFIG[doc] = "The final `.config` of the kernel, which the image is checked against; kernel recipes that have our configuration deploy it there."

OVERLAYROOT_KERNEL_FRAGMENTS ??= "${@' '.join(overlayroot.kconfig.fragments(d.getVar('OVERLAYROOT_ROOTFS'), d.getVar('OVERLAYROOT_VERITY') == '1', d.getVar('OVERLAYROOT_KERNEL_OLD') == '1'))}"
OVERLAYROOT_KERNEL_FRAGMENTS[doc] = "Kernel configuration fragments that the kernel recipe merges, and whose symbols are checked."

OVERLAYROOT_KERNEL_MODULES ??= "0"
OVERLAYROOT_KERNEL_MODULES[doc] = "`1`: what the kernel needs before it has its root may be a module, as the initramfs carries it (`OVERLAYROOT_INITRAMFS_MODULES`). `0`: it must be built in. Not in an image recipe."

OVERLAYROOT_KERNEL_OLD ??= "${@'01'[overlayroot.kconfig.is_old(d.getVar('LINUX_VERSION') or d.getVar('PV'))]}"
OVERLAYROOT_KERNEL_OLD[doc] = "`1`: the kernel has the overlayfs patch of 3.10's days (`CONFIG_OVERLAYFS_FS`). Default: what its version says. For a vendor's 3.x kernel with mainline's OVERLAY_FS: `0`."

OVERLAYROOT_VERITY ??= "0"
OVERLAYROOT_VERITY[doc] = "`1` seals the root: images get a hash tree behind their root and its root hash into `overlayroot.env`, the kernel dm-verity ([verity.md](verity.md)). Needs meta-oe. Set it where the kernel recipe sees it too: not in an image recipe."

# --- The build.
OVERLAYROOT_CARGO_CLASS ??= "${@bb.utils.contains('BBFILE_COLLECTIONS', 'rust-bin-layer', 'cargo_bin', 'cargo', d)}"
OVERLAYROOT_CARGO_CLASS[doc] = "Class that builds the Rust recipes: `cargo_bin` where meta-rust-bin is there, oe-core's `cargo` otherwise."

OVERLAYROOT_LAYERDIR[doc] = "Folder of this layer; set by it."
OVERLAYROOT_UNPACKDIR[doc] = "Where sources are unpacked, in any series; set by the layer."

# nooelint: oelint.task.noanonpython: an unknown variable or a value of no use has to end the parsing
python () {
    overlayroot.variables.check(d)
}
