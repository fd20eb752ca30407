# SPDX-License-Identifier: MIT
"""What the configuration of a machine says: of its kernel, its boot files, and who starts them.

`d` is BitBake's datastore everywhere.
"""

import fnmatch
from collections.abc import Callable

from . import bootpart

# Their U-Boot, as their layers build it, runs boot.scr of the first partition before anything else.
KNOWN = ("imx6qdlsabresd", "nitrogen6sx", "nitrogen6x", "nitrogen6x-lite", "nitrogen7", "wandboard")

# Names of kernel images in a deploy folder, where those of other settings may lie, too.
IMAGES = ("Image", "Image.gz", "bzImage", "fitImage", "uImage", "vmlinux", "vmlinux.gz", "vmlinuz", "zImage")


def words(value: str | None) -> list:
    """Words of a variable that may be unset."""
    return (value or "").split()


def makes_card(d) -> bool:
    """Whether wic lays out a card."""
    return any(name.split(".")[0] == "wic" for name in words(d.getVar("IMAGE_FSTYPES")))


def has_our_layout(d) -> bool:
    """Whether the card has a layout of this layer, whose boot partition is made of IMAGE_BOOT_FILES."""
    return makes_card(d) and (d.getVar("OVERLAYROOT_WKS_FILE") or "").startswith("overlayroot-")


def is_known(d, boards=None) -> bool:
    """Whether the machine, or one of its MACHINEOVERRIDES, is in OVERLAYROOT_BOARDS (or in `boards`)."""
    names = {d.getVar("MACHINE"), *(d.getVar("MACHINEOVERRIDES") or "").split(":")}
    return not names.isdisjoint(words(d.getVar("OVERLAYROOT_BOARDS")) if boards is None else boards)


def has_override(d, name: str) -> bool:
    """Whether a name is among MACHINEOVERRIDES."""
    return name in (d.getVar("MACHINEOVERRIDES") or "").split(":")


def kernel_types(d) -> list:
    """Types of kernel images that are built, the preferred one first."""
    values = d.getVar("KERNEL_IMAGETYPE"), d.getVar("KERNEL_ALT_IMAGETYPE"), d.getVar("KERNEL_IMAGETYPES")
    return list(dict.fromkeys(word for value in values for word in words(value)))


def entries(value: str | None) -> list:
    """Entries of IMAGE_BOOT_FILES: as they are, file (or pattern) in the deploy folder, name on the card."""
    found = []
    for entry in words(value):
        source, _, target = entry.partition(";")
        found.append((entry, source, target or source.rpartition("/")[2]))
    return found


def boot_entries(d) -> list:
    """Those of the image."""
    return entries(d.getVar("IMAGE_BOOT_FILES"))


def machine_entries(d) -> list:
    """Those of the machine, before the class takes some away and adds its own."""
    value = d.getVar("OVERLAYROOT_MACHINE_BOOT_FILES")
    return entries(d.getVar("IMAGE_BOOT_FILES") if value is None else value)


def brings(d, name: str) -> bool:
    """Whether the machine's own boot files bring a file of this name: then its boot loader takes it."""
    return any(target.lower() == name for _, _, target in machine_entries(d))


def kernel(d, known) -> str:
    """Of `known` kernel types that are built the one on the boot partition, else the first one; or empty."""
    types = [kind for kind in kernel_types(d) if kind in known]
    names = {name for _, _, name in machine_entries(d)}
    return next((kind for kind in types if kind in names), types[0] if types else "")


def is_kernel(d, source: str) -> bool:
    """Whether a name or pattern in the deploy folder is that of a kernel, with an initramfs or without."""
    kinds = [*IMAGES, *kernel_types(d)]
    return any(fnmatch.fnmatchcase(kind, source) or source.startswith(f"{kind}-") for kind in kinds)


def unproven(d) -> str:
    """A warning when it is only the owner who says that the board starts our files; otherwise empty."""
    if not is_known(d) or is_known(d, KNOWN):
        return ""
    return (
        f"{d.getVar('MACHINE')} is protected only if its boot loader starts what is on the boot "
        "partition, as OVERLAYROOT_BOARDS says: see that `overlayrootctl status --check` "
        "on the board says so, too"
    )


def bundle_remedy(d) -> str:
    """What to do on a board that does not start our files. A machine's override wins over the machine."""
    machine, initramfs = d.getVar("MACHINE"), d.getVar("OVERLAYROOT_INITRAMFS")
    return (
        f'let the kernel carry the initramfs, INITRAMFS_IMAGE:{machine} = "{initramfs}" and '
        f'INITRAMFS_IMAGE_BUNDLE:{machine} = "1" in the configuration (docs/integrate.md, section 5)'
    )


def unknown(d, what: str) -> list:
    """The message for a board of which nobody knows whether it does `what` ("runs boot.scr of its card")."""
    machine, doubts = d.getVar("MACHINE"), []
    if d.getVar("UBOOT_EXTLINUX") == "1":
        doubts.append('UBOOT_EXTLINUX = "1"')
    if "efi" in words(d.getVar("MACHINE_FEATURES")):
        doubts.append("MACHINE_FEATURES has efi")
    if "fitImage" in kernel_types(d):
        doubts.append("KERNEL_IMAGETYPES has fitImage")
    hint = f" ({'; '.join(doubts)})" if doubts else ""
    return [
        f"nobody knows whether {machine} {what} before anything else{hint}: {bundle_remedy(d)}; "
        f'or, when you have seen it do so, OVERLAYROOT_BOARDS:append = " {machine}"'
    ]


def other_files(d, kernel: str, allowed: Callable = lambda name: False) -> list:
    """Messages when the boot files bring no `kernel`, a second one, or another way to boot.

    `allowed` says whether a way to boot, by its name on the card, belongs to this one.
    """
    if not makes_card(d):
        return []
    ours = set(words(d.getVar("OVERLAYROOT_BOOT_FILES")))
    names = {entry.partition(";")[2].lower() for entry in ours}
    messages, found = [], False
    for entry, source, target in boot_entries(d):
        why = ""
        if entry in ours:
            found = found or target == kernel
        elif target == kernel:
            found = True
        elif is_kernel(d, source):
            why = "a second kernel"
        elif target.lower() in names:
            why = "which takes the place of ours"
        elif (who := bootpart.other_path(target)) and not allowed(target):
            why = f"another way to boot: {who}"
        if why:
            messages.append(f'IMAGE_BOOT_FILES has {entry}, {why}: IMAGE_BOOT_FILES:remove = "{entry}"')
    if not found and has_our_layout(d):
        messages.append(
            f'IMAGE_BOOT_FILES has no {kernel}, which is to be started: IMAGE_BOOT_FILES:append = " {kernel}"'
        )
    return messages
