# SPDX-License-Identifier: MIT
"""OVERLAYROOT_BOOT = "script": U-Boot runs our boot.scr, which starts a kernel of 32-bit or 64-bit ARM."""

from . import boards, bootpart, layout

VARIABLE, TEXT_DEPENDS, FIRMWARE, TAKES_INITRAMFS = "IMAGE_BOOT_FILES", (), "", True

INITRAMFS = "overlayroot.uInitrd"
ENVIRONMENT = "overlayroot.env"
SCRIPT = "boot.scr-overlayroot"

# Kernels that boot.cmd starts, by TARGET_ARCH.
KERNELS = {"arm": ("zImage", "uImage"), "aarch64": ("Image", "Image.gz")}


def claims(d) -> bool:
    """A machine that brings a boot.scr is started by it."""
    return boards.brings(d, "boot.scr")


def kernel(d) -> str:
    """The kernel that the script starts."""
    return boards.kernel(d, KERNELS.get(d.getVar("TARGET_ARCH"), ()))


def files(d) -> dict:
    """The script, under each of its names, and the initramfs."""
    found = {name: SCRIPT for name in boards.words(d.getVar("OVERLAYROOT_BOOT_SCRIPTS"))}
    return found | {INITRAMFS: layout.initramfs_file(d) + ".u-boot"}


def texts(d, verity: str) -> dict:
    """overlayroot.env: what the script has to know of this image."""
    return {ENVIRONMENT: environment(d) + (f"ofs_verity={verity}\n" if verity else "")}


def depends(d) -> list:
    """The script and the initramfs."""
    return ["overlayroot-boot-script:do_deploy", f"{d.getVar('OVERLAYROOT_INITRAMFS')}:do_image_complete"]


def replaced(d) -> list:
    """The machine's own boot.scr; others are errors."""
    stock = {f"boot.scr-{d.getVar('MACHINE')};boot.scr", "boot.scr"}
    return ["boot.scr"] if stock.intersection(entry for entry, _, _ in boards.machine_entries(d)) else []


def kernels(d) -> list:
    """One."""
    return [(kernel(d), kernel(d))]


def plain(_d) -> list:
    """None: the script brings the initramfs."""
    return []


def card(_found) -> list:
    """Nothing beyond what every way looks at."""
    return []


def _cannot_start(d) -> list:
    machine, arch, types = d.getVar("MACHINE"), d.getVar("TARGET_ARCH"), boards.kernel_types(d)
    remedy = boards.bundle_remedy(d)
    if arch not in KERNELS:
        return [f"our boot script starts kernels of ARM, and {machine} is {arch}: {remedy}"]
    if boards.has_override(d, "rpi") and not boards.brings(d, "boot.scr"):
        return [
            f"{machine} does not run our boot script: its firmware starts what config.txt names; "
            f'OVERLAYROOT_BOOT = "rpi", or {remedy}'
        ]
    if not kernel(d):
        kind = " ".join(types) or "of no type"
        first = KERNELS[arch][0]
        return [
            f"our boot script starts {', '.join(KERNELS[arch])}, and the kernel of {machine} is {kind}: "
            f'KERNEL_IMAGETYPE:{machine} = "{first}" in the configuration; or {remedy}'
        ]
    if not boards.is_known(d) and not claims(d):
        return boards.unknown(d, "runs boot.scr of its card")
    return []


def problems(d) -> list:
    """What is wrong, by the configuration: first what comes first."""
    # The firmware of a Raspberry Pi starts U-Boot by its own files.
    firmware = bootpart.is_rpi if boards.has_override(d, "rpi") else lambda name: False
    return _cannot_start(d) or boards.other_files(d, kernel(d), firmware)


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
    if kernel(d) not in ("", "zImage"):
        lines.append(f"ofs_kernel={kernel(d)}")
    trees = boards.words(d.getVar("KERNEL_DEVICETREE"))
    if boards.has_override(d, "rpi"):
        # With the overlays of config.txt in it.
        lines.append("ofs_fdt=given")
    elif trees:
        lines.append(f"ofs_fdt={trees[0].rpartition('/')[2]}")
    if words := d.getVar("OVERLAYROOT_BOOTARGS"):
        lines.append(f"ofs_bootargs={' '.join(words.split())}")
    lines += (d.getVar("OVERLAYROOT_BOOT_ENV") or "").replace("\\n", "\n").splitlines()
    return "\n".join(lines) + "\n"
