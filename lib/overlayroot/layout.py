# SPDX-License-Identifier: MIT
"""What goes where on the card: layouts, partitions and their names.

`d` is BitBake's datastore everywhere.
"""

import pathlib
import re

from . import wks

# oe-core's, which any machine may name: FAT at 4 KiB, where some boards have U-Boot's environment.
PLAIN = ("sdimage-bootpart.wks",)


def machine_layout(d) -> pathlib.Path | None:
    """File of the machine's own layout, where wic would find it."""
    for name in (d.getVar("OVERLAYROOT_MACHINE_WKS") or "").split():
        for folder in (d.getVar("WKS_SEARCH_PATH") or "").split(":"):
            path = pathlib.Path(folder, name)
            if path.is_file():
                return path
    return None


def _kept(d) -> wks.Layout | None:
    """The machine's own layout where it can stay: a boot partition of boot files, and a root as ours is."""
    path = machine_layout(d)
    if path is None or is_verified(d) or d.getVar("OVERLAYROOT_DATA_SIZE"):
        return None
    found = wks.read(path)
    boot, root = found.only(boot=True), found.only(boot=False)
    if not boot or not root or root.source != "rootfs" or boot.fstype not in ("", "vfat", "msdos"):
        return None
    efi = boot.source.endswith("efi")
    if efi != (d.getVar("OVERLAYROOT_BOOT") == "efi"):
        return None
    if (root.fstype or "ext4") != d.getVar("OVERLAYROOT_ROOTFS"):
        return None
    return found if wks.root_name(found, "0") else None


def uboot_place(d) -> str:
    """Default of OVERLAYROOT_UBOOT.

    The machine's own layout stays where it can. Those of meta-freescale for i.MX 6 and 7 are replaced, as
    U-Boot's environment may be where their boot partition is; their names tell where U-Boot is.
    """
    layout = d.getVar("OVERLAYROOT_MACHINE_WKS") or ""
    if "uboot" in layout and d.getVar("TARGET_ARCH") == "arm":
        return "card-spl" if "spl" in layout else "card"
    if not set(layout.split()).intersection(PLAIN) and _kept(d):
        return "machine"
    return "efi" if d.getVar("OVERLAYROOT_BOOT") == "efi" else "spi-nor"


def wks_file(d) -> str:
    """Default of OVERLAYROOT_WKS_FILE."""
    place = d.getVar("OVERLAYROOT_UBOOT")
    if place == "machine":
        return d.getVar("OVERLAYROOT_MACHINE_WKS") or ""
    return f"overlayroot-{'spi-nor' if place == 'files' else place}.wks.in"


def root_uuid(d) -> str:
    """Identity of the root partition on a disk with a GPT, of our layout."""
    return f"{d.getVar('OVERLAYROOT_DISK_SIGNATURE')}-6f76-4c6f-8b5a-726f6f740002"


def root_name(d) -> str:
    """Default of OVERLAYROOT_ROOT."""
    signature, place = d.getVar("OVERLAYROOT_DISK_SIGNATURE"), d.getVar("OVERLAYROOT_UBOOT")
    path = machine_layout(d) if place == "machine" else None
    if path and (found := wks.root_name(wks.read(path), signature)):
        return found
    return f"PARTUUID={root_uuid(d)}" if place == "efi" else f"PARTUUID={signature}-02"


def boot_number(d) -> int:
    """Number of the boot partition in the partition table."""
    path = machine_layout(d) if d.getVar("OVERLAYROOT_UBOOT") == "machine" else None
    boot = wks.read(path).only(boot=True) if path else None
    return boot.number if boot else 1


def not_kept(d) -> list:
    """Messages when the machine's own layout is to be kept, and cannot be."""
    if d.getVar("OVERLAYROOT_UBOOT") != "machine" or _kept(d):
        return []
    name = d.getVar("OVERLAYROOT_MACHINE_WKS") or "none"
    return [
        f'OVERLAYROOT_UBOOT = "machine", and the layout of {d.getVar("MACHINE")} ({name}) cannot be kept: it '
        "has to have one boot partition of bootimg-partition (with efi: bootimg-efi) with vfat, and one root "
        "of --source rootfs with the file system of OVERLAYROOT_ROOTFS and, with a GPT, --uuid, --part-name "
        "or a label; OVERLAYROOT_VERITY and OVERLAYROOT_DATA_SIZE need a layout of ours, or "
        "OVERLAYROOT_WKS_FILE one of your own"
    ]


def is_verified(d) -> bool:
    """Whether the root is verified (OVERLAYROOT_VERITY)."""
    return d.getVar("OVERLAYROOT_VERITY") == "1"


def initramfs_file(d) -> str:
    """The initramfs in the deploy folder (image_types.bbclass of oe-core)."""
    return f"{d.getVar('OVERLAYROOT_INITRAMFS')}{d.getVar('IMAGE_MACHINE_SUFFIX') or ''}.cpio.gz"


def wic_options(d) -> list:
    """Options of wic.py that are about the layout."""
    options = []
    signature = d.getVar("OVERLAYROOT_DISK_SIGNATURE")
    # Not the identity of a partition in a GPT.
    if re.fullmatch(f"PARTUUID={signature}-[0-9]+", d.getVar("OVERLAYROOT_ROOT")):
        options.append(f"--signature {signature}")
    if is_verified(d):
        options.append(f"--verified '{d.getVar('OVERLAYROOT_VERITY_DIR')}/root.img'")
    if boot_number(d) != 1:
        options.append(f"--boot-number {boot_number(d)}")
    return options


def wic_depends(d) -> str:
    """Tasks that have to be done before wic."""
    tasks = [
        "virtual/kernel:do_deploy",
        "mtools-native:do_populate_sysroot",
        "dosfstools-native:do_populate_sysroot",
    ]
    tools = {"ext4": "e2fsprogs-native", "squashfs": "squashfs-tools-native", "erofs": "erofs-utils-native"}
    kinds = {d.getVar("OVERLAYROOT_ROOTFS")} | ({"ext4"} if d.getVar("OVERLAYROOT_DATA_SIZE") else set())
    tasks += [f"{tools[kind]}:do_populate_sysroot" for kind in sorted(kinds) if kind in tools]
    if d.getVar("OVERLAYROOT_UBOOT") in ("card", "card-spl"):
        tasks.append("virtual/bootloader:do_deploy")
    return " ".join(tasks)


# Newer features that the kernels of vendor BSPs do not know.
_EXT4 = "-O ^metadata_csum_seed,^orphan_file"


def root_partition(d) -> str:
    """Where wic gets the root partition, and its options."""
    if is_verified(d):
        # As it was sealed: wic would make another file system.
        return f'--source rawcopy --sourceparams="file={d.getVar("OVERLAYROOT_VERITY_DIR")}/root.img"'
    kind = d.getVar("OVERLAYROOT_ROOTFS")
    options = f'--label rootfs --mkfs-extraopts "-F -i 8192 {_EXT4}"' if kind == "ext4" else ""
    return f"--source rootfs --fstype={kind} {options}".rstrip()


def ext4_options(d) -> str:
    """Options of mkfs.ext4 for a root that is sealed.

    There is a hash for each block, so large blocks. The journal would never be written, and with large blocks
    a small root finds no room beside it.
    """
    return f" -b 4096 {_EXT4},^has_journal" if is_verified(d) else ""


def sealed_type(d) -> str:
    """Image type that wic needs for a root that is sealed; empty otherwise."""
    return f" {d.getVar('OVERLAYROOT_ROOTFS')}.ofsverity" if is_verified(d) else ""


def root_hash(d) -> str:
    """ROOTHASH@OFFSET of the root that was sealed in this build."""
    text = pathlib.Path(d.getVar("OVERLAYROOT_VERITY_DIR"), "verity.env").read_text()
    return text.strip().removeprefix("ofs_verity=")


def data_partition(d) -> str:
    """Line of the data partition for wic; empty without one."""
    size = d.getVar("OVERLAYROOT_DATA_SIZE")
    if not size:
        return ""
    disk = "sda" if d.getVar("OVERLAYROOT_UBOOT") == "efi" else "mmcblk0"
    options = f"--ondisk {disk} --fstype=ext4 --label ofs-data --align 4096 --fixed-size {size}"
    return f"part {d.getVar('OVERLAYROOT_DATA_MOUNT')} {options}"
