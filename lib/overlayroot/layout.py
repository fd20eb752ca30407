# SPDX-License-Identifier: MIT
"""What goes where on the card: boot files, layouts, what the boot script is told.

`d` is BitBake's datastore everywhere.
"""

INITRAMFS = "overlayroot.cpio.gz"
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


def initramfs_file(d) -> str:
    """The initramfs in the deploy folder."""
    return f"{d.getVar('OVERLAYROOT_INITRAMFS')}-{d.getVar('MACHINE')}.cpio.gz"


def deployed(d) -> dict:
    """Files of the boot partition that protection hangs on: name there, name in the deploy folder."""
    if not by_script(d):
        return {}
    files = {name: SCRIPT for name in (d.getVar("OVERLAYROOT_BOOT_SCRIPTS") or "").split()}
    files[INITRAMFS] = initramfs_file(d)
    files[ENVIRONMENT] = d.getVar("OVERLAYROOT_ENV_FILE")
    return files


def boot_files(d) -> str:
    """For IMAGE_BOOT_FILES."""
    return " ".join(f"{source};{name}" for name, source in deployed(d).items())


def wic_options(d) -> str:
    """Options of wic.py for this image."""
    options = []
    if d.getVar("OVERLAYROOT_ROOT").startswith(f"PARTUUID={d.getVar('OVERLAYROOT_DISK_SIGNATURE')}-"):
        options.append(f"--signature {d.getVar('OVERLAYROOT_DISK_SIGNATURE')}")
    folder = d.getVar("DEPLOY_DIR_IMAGE")
    options += [f"--boot-file '{name}={folder}/{source}'" for name, source in deployed(d).items()]
    return " ".join(options)


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
    if by_script(d):
        tasks += [
            "overlayroot-boot-script:do_deploy",
            f"{d.getVar('OVERLAYROOT_INITRAMFS')}:do_image_complete",
        ]
    if d.getVar("OVERLAYROOT_UBOOT") != "spi-nor":
        tasks.append("virtual/bootloader:do_deploy")
    return " ".join(tasks)


def root_options(d) -> str:
    """Options of the root partition for wic."""
    if d.getVar("OVERLAYROOT_ROOTFS") != "ext4":
        return ""
    # Newer features that the kernels of vendor BSPs do not know.
    return '--label rootfs --mkfs-extraopts "-F -i 8192 -O ^metadata_csum_seed,^orphan_file"'


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
