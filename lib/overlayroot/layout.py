# SPDX-License-Identifier: MIT
"""What goes where on the card: boot files, layouts, what the boot script is told.

`d` is BitBake's datastore everywhere.
"""

import pathlib
import re

INITRAMFS = "overlayroot.uInitrd"
ENVIRONMENT = "overlayroot.env"
SCRIPT = "boot.scr-overlayroot"


def by_script(d) -> bool:
    """Whether our boot script loads a separate initramfs (OVERLAYROOT_BOOT)."""
    return d.getVar("OVERLAYROOT_BOOT") == "script"


def uboot_place(d) -> str:
    """Default of OVERLAYROOT_UBOOT: what meta-freescale's layouts, by their names, put on the card."""
    layout = d.getVar("OVERLAYROOT_MACHINE_WKS") or ""
    if "uboot" not in layout:
        return "spi-nor"
    return "card-spl" if "spl" in layout else "card"


def machine_layout(d) -> pathlib.Path | None:
    """File of the machine's own layout, where wic would find it."""
    for name in (d.getVar("OVERLAYROOT_MACHINE_WKS") or "").split():
        for folder in (d.getVar("WKS_SEARCH_PATH") or "").split(":"):
            path = pathlib.Path(folder, name)
            if path.is_file():
                return path
    return None


def raw_copies(text: str) -> list:
    """Files that a layout copies to the card as they are, as boot loaders are."""
    lines = [line for line in text.splitlines() if re.match(r"\s*part\b.*--source[ =]rawcopy\b", line)]
    return [match[1] for line in lines if (match := re.search(r"\bfile=([^\s\",]+)", line))]


def is_verified(d) -> bool:
    """Whether the root is verified (OVERLAYROOT_VERITY)."""
    return d.getVar("OVERLAYROOT_VERITY") == "1"


def initramfs_file(d) -> str:
    """The initramfs in the deploy folder, behind U-Boot's header (image_types.bbclass of oe-core)."""
    return f"{d.getVar('OVERLAYROOT_INITRAMFS')}{d.getVar('IMAGE_MACHINE_SUFFIX') or ''}.cpio.gz.u-boot"


def deployed(d) -> dict:
    """Files of the boot partition that protection hangs on: name there, name in the deploy folder.

    What holds the root hash is made beside the image that it is of, and never taken from an older build.
    """
    if not by_script(d):
        return {}
    files = {name: SCRIPT for name in (d.getVar("OVERLAYROOT_BOOT_SCRIPTS") or "").split()}
    files[INITRAMFS] = initramfs_file(d)
    files[ENVIRONMENT] = d.getVar("OVERLAYROOT_ENV_FILE")
    if is_verified(d):
        files[ENVIRONMENT] = f"{d.getVar('OVERLAYROOT_VERITY_DIR')}/{ENVIRONMENT}"
    return files


def boot_files(d) -> str:
    """For IMAGE_BOOT_FILES."""
    return " ".join(f"{source};{name}" for name, source in deployed(d).items())


def wic_options(d) -> str:
    """Options of wic.py for this image."""
    options = []
    if d.getVar("OVERLAYROOT_ROOT").startswith(f"PARTUUID={d.getVar('OVERLAYROOT_DISK_SIGNATURE')}-"):
        options.append(f"--signature {d.getVar('OVERLAYROOT_DISK_SIGNATURE')}")
    folder = pathlib.Path(d.getVar("DEPLOY_DIR_IMAGE"))
    options += [f"--boot-file '{name}={folder / source}'" for name, source in deployed(d).items()]
    if is_verified(d):
        options.append(f"--verified '{d.getVar('OVERLAYROOT_VERITY_DIR')}/root.img'")
    return " ".join(options)


def boot_depends(d) -> str:
    """Tasks that have to be done for the files of the boot partition, whoever puts them there."""
    if not by_script(d):
        return ""
    return f"overlayroot-boot-script:do_deploy {d.getVar('OVERLAYROOT_INITRAMFS')}:do_image_complete"


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
    if d.getVar("OVERLAYROOT_UBOOT") != "spi-nor":
        tasks.append("virtual/bootloader:do_deploy")
    return " ".join([*tasks, boot_depends(d)])


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


def write_verified_environment(d) -> None:
    """Writes overlayroot.env with the root hash of the image that was sealed in this build."""
    folder = pathlib.Path(d.getVar("OVERLAYROOT_VERITY_DIR"))
    (folder / ENVIRONMENT).write_text(environment(d) + (folder / "verity.env").read_text())


def data_partition(d) -> str:
    """Line of the data partition for wic; empty without one."""
    size = d.getVar("OVERLAYROOT_DATA_SIZE")
    if not size:
        return ""
    options = f"--ondisk mmcblk0 --fstype=ext4 --label ofs-data --align 4096 --fixed-size {size}"
    return f"part {d.getVar('OVERLAYROOT_DATA_MOUNT')} {options}"


def environment(d) -> str:
    """Text of overlayroot.env: U-Boot variables, a line each."""
    lines = [
        "# Written with the image; changes go to uEnv.txt.",
        f"ofs_root={d.getVar('OVERLAYROOT_ROOT')}",
        f"ofs_default_overlayfs={d.getVar('OVERLAYROOT_OVERLAYFS')}",
        f"ofs_default_size={d.getVar('OVERLAYROOT_SIZE')}",
    ]
    # "115200;ttymxc1 ...": the first one.
    terminal = (d.getVar("SERIAL_CONSOLES") or "").partition(" ")[0].rpartition(";")[2]
    if terminal:
        lines.append(f"ofs_console={terminal}")
    # Where RAM begins: the first digit of the address that the kernel is linked for.
    entry = d.getVar("UBOOT_ENTRYPOINT") or ""
    if entry.lower().startswith("0x") and len(entry) == 10:
        lines.append(f"ofs_ram={entry[:3]}")
    trees = (d.getVar("KERNEL_DEVICETREE") or "").split()
    if trees:
        lines.append(f"ofs_fdt={trees[0].rpartition('/')[2]}")
    lines += (d.getVar("OVERLAYROOT_BOOT_ENV") or "").replace("\\n", "\n").splitlines()
    return "\n".join(lines) + "\n"
