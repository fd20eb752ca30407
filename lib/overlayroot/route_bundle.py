# SPDX-License-Identifier: MIT
"""OVERLAYROOT_BOOT = "bundle": the kernel carries the initramfs. Whoever starts it, the root is protected.

So there must be no other kernel.
"""

from . import boards

VARIABLE, TEXT_DEPENDS, FIRMWARE, TAKES_INITRAMFS = "IMAGE_BOOT_FILES", (), ".*", False

# What a machine with a FIT image could have in its place.
_SINGLE = {"arm": "zImage", "i586": "bzImage", "i686": "bzImage", "x86_64": "bzImage"}


def claims(d) -> bool:
    """The kernel is built with an initramfs."""
    return d.getVar("INITRAMFS_IMAGE_BUNDLE") == "1"


def file(d, kind: str) -> str:
    """Name in the deploy folder, as kernel_do_deploy of oe-core's kernel.bbclass gives it."""
    link = d.getVar("INITRAMFS_LINK_NAME") or f"initramfs-{d.getVar('MACHINE')}"
    return f"{kind}-{link}{d.getVar('KERNEL_IMAGE_BIN_EXT') or '.bin'}"


def files(_d) -> dict:
    """None: all is in the kernel."""
    return {}


def texts(_d, _verity: str) -> dict:
    """None: the machine's own files pass the command line."""
    return {}


def depends(_d) -> list:
    """None beside the kernel."""
    return []


def replaced(_d) -> list:
    """None: the machine's own files stay."""
    return []


def kernels(d) -> list:
    """Each type, under any name."""
    return [("*", file(d, kind)) for kind in boards.kernel_types(d)]


def plain(d) -> list:
    """The same without an initramfs."""
    return boards.kernel_types(d)


def card(_found) -> list:
    """Nothing beyond what every way looks at."""
    return []


def _is_plain(d, source: str) -> bool:
    carriers = {file(d, kind) for kind in boards.kernel_types(d)}
    return boards.is_kernel(d, source) and source not in carriers


def no_initramfs(d, kind: str) -> list:
    """Message when INITRAMFS_IMAGE, which the kernel's recipe takes, is not ours."""
    wanted, found = d.getVar("OVERLAYROOT_INITRAMFS"), d.getVar("INITRAMFS_IMAGE")
    if found == wanted:
        return []
    return [
        f'OVERLAYROOT_BOOT = "{kind}", and INITRAMFS_IMAGE = "{found or ""}" is not '
        f'OVERLAYROOT_INITRAMFS: INITRAMFS_IMAGE:{d.getVar("MACHINE")} = "{wanted}" in the configuration'
    ]


def _not_built(d) -> list:
    machine, messages = d.getVar("MACHINE"), no_initramfs(d, "bundle")
    if d.getVar("INITRAMFS_IMAGE_BUNDLE") != "1":
        messages.append(
            'OVERLAYROOT_BOOT = "bundle", and the kernel is built without an initramfs: '
            f'INITRAMFS_IMAGE_BUNDLE:{machine} = "1" in the configuration'
        )
    if "fitImage" in boards.kernel_types(d):
        kind = _SINGLE.get(d.getVar("TARGET_ARCH"), "Image")
        messages.append(
            'OVERLAYROOT_BOOT = "bundle", and nothing shows whether a FIT image carries the initramfs: '
            f'KERNEL_IMAGETYPE:{machine} = "{kind}" and KERNEL_IMAGETYPES:{machine} = "" in the configuration'
        )
    return messages


def _wrong_boot_files(d) -> list:
    types = boards.kernel_types(d)
    if not boards.makes_card(d) or not types or "fitImage" in types:
        return []
    entries, carrier = boards.boot_entries(d), file(d, types[0])
    plain_ones = [(entry, target) for entry, source, target in entries if _is_plain(d, source)]
    messages = [
        f'OVERLAYROOT_BOOT = "bundle", and IMAGE_BOOT_FILES has {entry}, a kernel without the initramfs: '
        f'IMAGE_BOOT_FILES:remove = "{entry}" and IMAGE_BOOT_FILES:append = '
        f'" {carrier};{types[0] if target in boards.IMAGES else target}"'
        for entry, target in plain_ones
    ]
    if not plain_ones and boards.has_our_layout(d) and not any(boards.is_kernel(d, s) for _, s, _ in entries):
        messages.append(
            'OVERLAYROOT_BOOT = "bundle", and IMAGE_BOOT_FILES has no kernel: IMAGE_BOOT_FILES:append = '
            f'" {carrier};{types[0]}", or OVERLAYROOT_IMAGE_FSTYPES = "ext4" where nothing boots from a card'
        )
    return messages


def problems(d) -> list:
    """What is wrong, by the configuration."""
    return _not_built(d) + _wrong_boot_files(d)
