# SPDX-License-Identifier: MIT
"""Whether a board starts what this layer puts on its card, as far as the machine's configuration tells.

What is allowed is what is known to work. `d` is BitBake's datastore everywhere; checks return messages.
Boards whose kernel carries the initramfs are in bundle.py.
"""

import fnmatch

from . import bootpart, layout

# Their U-Boot, as their layers build it, runs boot.scr of the first partition before anything else.
KNOWN = ("imx6qdlsabresd", "nitrogen6sx", "nitrogen6x", "nitrogen6x-lite", "nitrogen7", "wandboard")


# Names of kernel images in a deploy folder, where those of other settings may lie, too.
IMAGES = ("Image", "Image.gz", "bzImage", "fitImage", "uImage", "vmlinux", "vmlinux.gz", "vmlinuz", "zImage")


def _words(value: str | None) -> list:
    return (value or "").split()


def makes_card(d) -> bool:
    """Whether wic lays out a card."""
    return any(name.split(".")[0] == "wic" for name in _words(d.getVar("IMAGE_FSTYPES")))


def has_our_layout(d) -> bool:
    """Whether the card has a layout of this layer, whose boot partition is made of IMAGE_BOOT_FILES."""
    return makes_card(d) and (d.getVar("OVERLAYROOT_WKS_FILE") or "").startswith("overlayroot-")


def is_known(d, boards=None) -> bool:
    """Whether the machine, or one of its MACHINEOVERRIDES, is in OVERLAYROOT_BOARDS (or in `boards`)."""
    names = {d.getVar("MACHINE"), *(d.getVar("MACHINEOVERRIDES") or "").split(":")}
    return not names.isdisjoint(_words(d.getVar("OVERLAYROOT_BOARDS")) if boards is None else boards)


def unproven(d) -> str:
    """A warning when it is only the owner who says that the board starts our script; otherwise empty."""
    if not is_known(d) or is_known(d, KNOWN):
        return ""
    return (
        f"{d.getVar('MACHINE')} is protected only if its boot loader starts what is on the boot "
        "partition, as OVERLAYROOT_BOARDS says: see that `overlayrootctl status --check` "
        "on the board says so, too"
    )


def kernel_types(d) -> list:
    """Types of kernel images that are built, the preferred one first."""
    values = d.getVar("KERNEL_IMAGETYPE"), d.getVar("KERNEL_ALT_IMAGETYPE"), d.getVar("KERNEL_IMAGETYPES")
    return list(dict.fromkeys(word for value in values for word in _words(value)))


def boot_entries(d) -> list:
    """IMAGE_BOOT_FILES: each entry, its file (or pattern) in the deploy folder, its name on the card."""
    entries = []
    for entry in _words(d.getVar("IMAGE_BOOT_FILES")):
        source, _, target = entry.partition(";")
        entries.append((entry, source, target or source.rpartition("/")[2]))
    return entries


def is_kernel(d, source: str) -> bool:
    """Whether a name or pattern in the deploy folder is that of a kernel, with an initramfs or without."""
    kinds = [*IMAGES, *kernel_types(d)]
    return any(fnmatch.fnmatchcase(kind, source) or source.startswith(f"{kind}-") for kind in kinds)


def bundle_remedy(d) -> str:
    """What to do on a board that does not start our script. A machine's override wins over the machine."""
    machine, initramfs = d.getVar("MACHINE"), d.getVar("OVERLAYROOT_INITRAMFS")
    return (
        f'let the kernel carry the initramfs, INITRAMFS_IMAGE:{machine} = "{initramfs}" and '
        f'INITRAMFS_IMAGE_BUNDLE:{machine} = "1" in the configuration (docs/integrate.md, section 5)'
    )


def _doubts(d) -> list:
    """What the configuration has that starts before boot.scr on such boards."""
    doubts = []
    if d.getVar("UBOOT_EXTLINUX") == "1":
        doubts.append('UBOOT_EXTLINUX = "1": U-Boot reads extlinux.conf before it')
    if "efi" in _words(d.getVar("MACHINE_FEATURES")):
        doubts.append("MACHINE_FEATURES has efi")
    if "fitImage" in kernel_types(d):
        doubts.append("KERNEL_IMAGETYPES has fitImage")
    return doubts


def not_started(d) -> list:
    """Messages when the board does not run our boot script, or the script cannot start the kernel."""
    if not layout.by_script(d):
        return []
    machine, arch, types = d.getVar("MACHINE"), d.getVar("TARGET_ARCH"), kernel_types(d)
    remedy = bundle_remedy(d)
    if arch != "arm":
        return [f"our boot script starts kernels of 32-bit ARM, and {machine} is {arch}: {remedy}"]
    if "rpi" in (d.getVar("MACHINEOVERRIDES") or "").split(":"):
        return [
            f"{machine} does not run our boot script: its firmware starts what config.txt names, or a U-Boot "
            f"with a boot.scr of its own (RPI_USE_U_BOOT): {remedy}"
        ]
    if "zImage" not in types:
        kind = " ".join(types) or "of no type"
        return [
            f"our boot script starts zImage, and the kernel of {machine} is {kind}: "
            f'KERNEL_IMAGETYPE:{machine} = "zImage" in the configuration; or {remedy}'
        ]
    if not is_known(d):
        doubts = f" ({'; '.join(_doubts(d))})" if _doubts(d) else ""
        return [
            f"nobody knows whether {machine} runs boot.scr of its card before anything else{doubts}: "
            f'{remedy}; or, when you have seen it do so, OVERLAYROOT_BOARDS:append = " {machine}"'
        ]
    return []


def wrong_boot_files(d) -> list:
    """Messages when IMAGE_BOOT_FILES brings no zImage, a second kernel, or another way to boot."""
    if not (layout.by_script(d) and makes_card(d)):
        return []
    ours = set(_words(d.getVar("OVERLAYROOT_BOOT_FILES")))
    names = {entry.partition(";")[2].lower() for entry in ours}
    messages, found = [], False
    for entry, source, target in boot_entries(d):
        why = ""
        if entry in ours:
            continue
        if target == "zImage":
            found = True
        elif is_kernel(d, source):
            why = "a second kernel"
        elif target.lower() in names:
            why = "which takes the place of ours"
        elif who := bootpart.other_path(target):
            why = f"another way to boot: {who}"
        if why:
            messages.append(f'IMAGE_BOOT_FILES has {entry}, {why}: IMAGE_BOOT_FILES:remove = "{entry}"')
    if not found and has_our_layout(d):
        messages.append(
            'IMAGE_BOOT_FILES has no zImage for our boot script: IMAGE_BOOT_FILES:append = " zImage"'
        )
    return messages
