# SPDX-License-Identifier: MIT
"""Kernels that carry the initramfs (OVERLAYROOT_BOOT = "bundle"), and kernels that do not.

Whoever starts a kernel that carries the initramfs, the root is protected. So there must be no other one.
"""

import pathlib

from . import boards, content, layout

# What a machine with a FIT image could have in its place.
_SINGLE = {"arm": "zImage", "i586": "bzImage", "i686": "bzImage", "x86_64": "bzImage"}


def file(d, kind: str) -> str:
    """Name in the deploy folder, as kernel_do_deploy of oe-core's kernel.bbclass gives it."""
    link = d.getVar("INITRAMFS_LINK_NAME") or f"initramfs-{d.getVar('MACHINE')}"
    return f"{kind}-{link}{d.getVar('KERNEL_IMAGE_BIN_EXT') or '.bin'}"


def _is_plain(d, source: str) -> bool:
    carriers = {file(d, kind) for kind in boards.kernel_types(d)}
    return boards.is_kernel(d, source) and source not in carriers


def not_built(d) -> list:
    """Messages when the kernel would not carry our initramfs."""
    if layout.by_script(d):
        return []
    machine, wanted, found = (
        d.getVar("MACHINE"),
        d.getVar("OVERLAYROOT_INITRAMFS"),
        d.getVar("INITRAMFS_IMAGE"),
    )
    messages = []
    if found != wanted:
        messages.append(
            f'OVERLAYROOT_BOOT = "bundle", and INITRAMFS_IMAGE = "{found or ""}" is not '
            f'OVERLAYROOT_INITRAMFS: INITRAMFS_IMAGE:{machine} = "{wanted}" in the configuration'
        )
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


def wrong_boot_files(d) -> list:
    """Messages when IMAGE_BOOT_FILES brings a kernel without the initramfs, or none with it."""
    types = boards.kernel_types(d)
    if layout.by_script(d) or not boards.makes_card(d) or not types or "fitImage" in types:
        return []
    entries, carrier = boards.boot_entries(d), file(d, types[0])
    plain = [(entry, target) for entry, source, target in entries if _is_plain(d, source)]
    messages = [
        f'OVERLAYROOT_BOOT = "bundle", and IMAGE_BOOT_FILES has {entry}, a kernel without the initramfs: '
        f'IMAGE_BOOT_FILES:remove = "{entry}" and IMAGE_BOOT_FILES:append = '
        f'" {carrier};{types[0] if target in boards.IMAGES else target}"'
        for entry, target in plain
    ]
    if not plain and boards.has_our_layout(d) and not any(boards.is_kernel(d, s) for _, s, _ in entries):
        messages.append(
            'OVERLAYROOT_BOOT = "bundle", and IMAGE_BOOT_FILES has no kernel: IMAGE_BOOT_FILES:append = '
            f'" {carrier};{types[0]}", or OVERLAYROOT_IMAGE_FSTYPES = "ext4" where nothing boots from a card'
        )
    return messages


def wic_options(d) -> str:
    """Options of wic.py: which kernels may be on the card, and with our script that nothing else boots."""
    folder = pathlib.Path(d.getVar("DEPLOY_DIR_IMAGE"))
    if layout.by_script(d):
        return f"--kernel 'zImage={folder}/zImage' --one-way"
    types = boards.kernel_types(d)
    options = [f"--kernel '*={folder / file(d, kind)}'" for kind in types]
    return " ".join([*options, *(f"--plain-kernel '{folder / kind}'" for kind in types)])


def not_deployed(d) -> list:
    """Messages when the kernel that is to be started is not in the deploy folder, or carries nothing."""
    folder, kind = pathlib.Path(d.getVar("DEPLOY_DIR_IMAGE")), "zImage"
    path, plain = folder / kind, None
    if not layout.by_script(d):
        kind = boards.kernel_types(d)[0]
        path, plain = folder / file(d, kind), folder / kind
    if not path.is_file() or content.kind(path.read_bytes()) != "kernel":
        return [f"{path} is missing, or no kernel: the recipe of virtual/kernel has to deploy it"]
    if plain and plain.is_file() and plain.read_bytes() == path.read_bytes():
        return [
            f"{path} is the same as {plain.name}, so it carries nothing: the recipe of virtual/kernel has to "
            "bundle INITRAMFS_IMAGE, as kernel.bbclass does"
        ]
    return []


def in_root(d) -> list:
    """Messages for a kernel without the initramfs in /boot of the root, where a boot loader may find it."""
    if layout.by_script(d) or boards.is_known(d):
        return []
    folder, deploy = pathlib.Path(d.getVar("IMAGE_ROOTFS")), pathlib.Path(d.getVar("DEPLOY_DIR_IMAGE"))
    carriers = [deploy / file(d, kind) for kind in boards.kernel_types(d)]
    allowed = {path.read_bytes() for path in carriers if path.is_file()}
    machine = d.getVar("MACHINE")
    for path in sorted((folder / "boot").rglob("*")):
        if path.is_symlink() or not path.is_file():
            continue
        data = path.read_bytes()
        if content.kind(data) == "kernel" and data not in allowed:
            return [
                f"/{path.relative_to(folder)} is a kernel without the initramfs, and nobody knows whether "
                f'{machine} starts it: RRECOMMENDS:${{KERNEL_PACKAGE_NAME}}-base = "" in the configuration '
                "and no kernel-image in MACHINE_ESSENTIAL_EXTRA_RDEPENDS keep it out; or, when you have seen "
                f'that it does not, OVERLAYROOT_BOARDS:append = " {machine}"'
            ]
    return []


def messages(d) -> list:
    """What is wrong with how the board would boot, by its configuration: first what comes first."""
    return boards.not_started(d) or boards.wrong_boot_files(d) or not_built(d) + wrong_boot_files(d)
