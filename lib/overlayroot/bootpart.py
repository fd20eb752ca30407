# SPDX-License-Identifier: MIT
"""Whether the files of a boot partition lead to protection, and nothing beside them leads past it.

What is allowed is what is known to work: one kernel, which is the one that the build checked, and no second
way to boot. Plain Python, for the parsing of recipes and for finished images.
"""

import hashlib
import pathlib
import re

from . import content

RPI = "the firmware of a Raspberry Pi reads it"
# Ways to boot that are taken by themselves: names as in a pattern, without upper case, and who takes them.
OTHER_PATHS = (
    (r"(.*/)?(ext|sys|iso)linux(/.*|\.conf)", "U-Boot reads it before boot.scr"),
    (r"(.*/)?boot\.scr.*|(.*/)?(6x_|6q_|7x_)?bootscript|(.*/)?boot\.(cmd|ini)", "U-Boot may run it"),
    (r"(config|cmdline|autoboot|tryboot)\.txt", RPI),
    (r"bootcode\.bin|start[0-9a-z_]*\.elf", RPI),
    (r"efi/.*|loader/.*|(.*/)?[^/]*\.efi|(.*/)?grub.*", "EFI starts it"),
)
# U-Boot runs these by hand only (Boundary: run upgradeu).
BY_HAND = {"upgrade.scr", "6x_upgrade"}
# Variables of an environment file that replace what U-Boot does by itself.
COMMANDS = re.compile(rb"(?:^|[\n\0])(bootcmd\w*|uenvcmd|distro_bootcmd|boot_targets)=")


def other_path(name: str) -> str:
    """Who takes a file of this name for a way to boot of its own; empty for nobody."""
    name = name.lower().lstrip("./")
    return next((who for pattern, who in OTHER_PATHS if re.fullmatch(pattern, name)), "")


def is_rpi(name: str) -> bool:
    """Whether it is the firmware of a Raspberry Pi that takes a file of this name."""
    return other_path(name) == RPI


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def files(folder: pathlib.Path) -> dict:
    """Contents of all files below a folder, by their names there."""
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def other_paths(found: dict, ours, firmware: str = "") -> list:
    """Messages for ways to boot beside the image's own.

    Args:
        found: contents by name.
        ours: names of the files that we bring.
        firmware: a pattern of names that belong to this way, without upper case.
    """
    known = {name.lower() for name in ours} | BY_HAND
    messages = []
    for name, data in found.items():
        if name.lower() in known or re.fullmatch(firmware, name.lower()):
            continue
        who = other_path(name)
        if not who and "env" in name.lower() and COMMANDS.search(data):
            who = "it sets commands of U-Boot's"
        if not who and content.kind(data) == "script":
            who = "it is a script of U-Boot's"
        if who:
            messages.append(
                f"{name} is on the boot partition, another way to boot than the image's own ({who}): "
                "neither IMAGE_BOOT_FILES nor the partition layout may bring it"
            )
    return messages


def kernels(found: dict, allowed, others=()) -> tuple:
    """Whether one of the kernels that the build checked is there; messages for all others.

    Args:
        found: contents by name.
        allowed: pairs of a name, or `*` for any, and the contents of a kernel that may be there under it.
        others: contents of kernels that the build knows to be without protection.
    """
    names = {_digest(data): name.lower() for name, data in allowed}
    plain = {_digest(data) for data in others}
    messages, seen = [], False
    for name, data in found.items():
        digest = _digest(data)
        if digest in names and names[digest] in ("*", name.lower()):
            seen = True
            continue
        if digest in names:
            what = "a second copy of the kernel, and nobody knows who starts it"
        elif digest in plain:
            what = "the kernel without the initramfs"
        elif content.kind(data) == "kernel":
            what = "another kernel than that of this build"
        else:
            continue
        messages.append(f"{name} on the boot partition is {what}: IMAGE_BOOT_FILES must not bring it")
    return seen, messages


def initramfs(found: dict) -> list:
    """Messages for an initramfs beside a kernel that carries ours."""
    return [
        f"{name} on the boot partition is an initramfs, which replaces the one in the kernel where it is "
        "loaded: IMAGE_BOOT_FILES must not bring it"
        for name, data in found.items()
        if content.kind(data) == "initramfs"
    ]
