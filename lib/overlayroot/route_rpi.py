# SPDX-License-Identifier: MIT
"""OVERLAYROOT_BOOT = "rpi": the firmware of a Raspberry Pi loads kernel and initramfs, as config.txt says.

config.txt is the machine's own (rpi-config of meta-raspberrypi) with our line behind it: the firmware puts
the initramfs behind whichever kernel it takes. It looks at no checksum.
"""

import pathlib
import re

from . import boards, bootpart, cmdline, content, layout

VARIABLE, TAKES_INITRAMFS = "IMAGE_BOOT_FILES", True
TEXT_DEPENDS = ("rpi-bootfiles:do_deploy", "rpi-config:do_deploy", "rpi-cmdline:do_deploy")
FIRMWARE = r"bootcode\.bin|start[0-9a-z_]*\.elf"

INITRAMFS = "overlayroot.cpio.gz"
CONFIG, COMMAND_LINE = "config.txt", "cmdline.txt"
# `reboot "0 tryboot"` starts the board by the first one, once (Raspberry Pi: the tryboot flag).
TRYBOOT, TRYBOOT_LINE = "tryboot.txt", "writable.txt"

# Names that the firmware takes by itself, on one model or another.
KERNELS = ("kernel.img", "kernel7.img", "kernel7l.img", "kernel8.img", "kernel_2712.img")
# Settings that ours have to be the only ones of, or that bring other files.
OTHERS = r"initramfs|ramfsfile|ramfsaddr|auto_initramfs|cmdline|os_prefix|include|boot_partition|tryboot_a_b"


def claims(d) -> bool:
    """A Raspberry Pi whose firmware starts the kernel."""
    return boards.has_override(d, "rpi") and d.getVar("RPI_USE_U_BOOT") != "1"


def _machines(d, name: str) -> str:
    """A file of the firmware as the machine's recipes deploy it; empty while nothing is built."""
    folder = pathlib.Path(d.getVar("DEPLOY_DIR_IMAGE"), d.getVar("BOOTFILES_DIR_NAME") or "bootfiles")
    path = folder / name
    return path.read_text() if path.is_file() else ""


def config(text: str, line: str = "") -> str:
    """config.txt: the machine's `text` and ours behind it; `line` is the file of the command line."""
    ours = ["", "[all]", f"initramfs {INITRAMFS} followkernel", *([f"cmdline={line}"] if line else []), ""]
    return text.rstrip("\n") + "\n".join(ours)


def files(d) -> dict:
    """The initramfs."""
    return {INITRAMFS: layout.initramfs_file(d)}


def texts(d, verity: str) -> dict:
    """Settings of the firmware and the command line, and both once more for one writable boot."""
    own, more = _machines(d, CONFIG), cmdline.without_root(_machines(d, COMMAND_LINE))
    return {
        CONFIG: config(own),
        COMMAND_LINE: cmdline.line(d, verity, more) + "\n",
        TRYBOOT: config(own, TRYBOOT_LINE),
        TRYBOOT_LINE: cmdline.line(d, verity, more, overlayfs="no") + "\n",
    }


def depends(d) -> list:
    """The initramfs, and what the firmware needs."""
    return [f"{d.getVar('OVERLAYROOT_INITRAMFS')}:do_image_complete", *TEXT_DEPENDS]


def replaced(_d) -> list:
    """None by name: they come with all of the firmware's files, and ours are put over them."""
    return []


def kernels(d) -> list:
    """One, under any name."""
    return [("*", kind) for kind in boards.kernel_types(d)[:1]]


def plain(_d) -> list:
    """None: the firmware brings the initramfs."""
    return []


def card(found: dict) -> list:
    """Whether config.txt leaves no way but ours, and names a kernel that is there."""
    names = {name.lower(): data for name, data in found.items()}
    own = names.get(CONFIG, b"").decode(errors="replace").partition(f"\n[all]\ninitramfs {INITRAMFS}")[0]
    messages = [
        f'config.txt has "{line.strip()}", and ours has to be the only one: take it out of rpi-config '
        "(RPI_EXTRA_CONFIG)"
        for line in own.splitlines()
        if re.match(rf"\s*({OTHERS})\b", line)
    ]
    named = [name.lower() for name in re.findall(r"^\s*kernel=(\S+)", own, re.MULTILINE)]
    kernel = [name for name, data in names.items() if content.kind(data) == "kernel"]
    if kernel and not set(kernel).intersection(named or KERNELS):
        messages.append(
            f"{kernel[0]} on the boot partition is no name that the firmware takes: IMAGE_BOOT_FILES has to "
            f"bring it as {' or '.join(named or KERNELS)}"
        )
    return messages


def problems(d) -> list:
    """What is wrong, by the configuration."""
    if not boards.has_override(d, "rpi"):
        return [f"{d.getVar('MACHINE')} is no Raspberry Pi: OVERLAYROOT_BOOT has to be another way"]
    if d.getVar("RPI_USE_U_BOOT") == "1":
        return ['RPI_USE_U_BOOT = "1": the firmware starts U-Boot, so OVERLAYROOT_BOOT has to be "script"']
    if not boards.makes_card(d):
        return []
    messages = []
    for entry, source, target in boards.boot_entries(d):
        why, who = "", bootpart.other_path(target)
        if who and not bootpart.is_rpi(target):
            why = f"another way to boot: {who}"
        elif boards.is_kernel(d, source) and source.partition("-")[0] not in boards.kernel_types(d)[:1]:
            why = "a second kernel"
        if why:
            messages.append(f'IMAGE_BOOT_FILES has {entry}, {why}: IMAGE_BOOT_FILES:remove = "{entry}"')
    return messages
