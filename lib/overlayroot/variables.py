# SPDX-License-Identifier: MIT
"""The layer's own variables: which there are, and what is wrong with their values."""

import difflib
import hashlib
import re
from collections.abc import Iterable

from . import boards, layout, routes, wks

PREFIX = "OVERLAYROOT_"

# Variables with a fixed set of values, beside those of settings.py.
CHOICES = {
    "OVERLAYROOT_ROOTFS": ("ext4", "squashfs", "erofs"),
    "OVERLAYROOT_UBOOT": ("machine", "spi-nor", "files", "card", "card-spl", "efi"),
    "OVERLAYROOT_BOOT": tuple(routes.ROUTES),
    "OVERLAYROOT_UBOOT_ENV": ("0", "1"),
    "OVERLAYROOT_VERITY": ("0", "1"),
    "OVERLAYROOT_KERNEL_MODULES": ("0", "1"),
    "OVERLAYROOT_KERNEL_OLD": ("0", "1"),
}

# Regular expression and its meaning, for the rest.
FORMS = {
    "OVERLAYROOT_BOOT_SIZE": (r"[1-9][0-9]*", "a number of MiB"),
    "OVERLAYROOT_DATA_SIZE": (r"([1-9][0-9]*)?", "a number of MiB, or nothing"),
    "OVERLAYROOT_DATA_MOUNT": (r"/[A-Za-z0-9_./-]+", "an absolute path"),
    "OVERLAYROOT_DISK_SIGNATURE": (r"(?!0{8})[0-9a-f]{8}", "8 hexadecimal digits, not all 0"),
}


def unknown(names: Iterable, known: Iterable) -> list:
    """A message for each name with our prefix that is none of `known`; overrides do not count."""
    known = sorted(known)
    messages = []
    for name in sorted({name.split(":")[0] for name in names if name.startswith(PREFIX)}):
        if name in known:
            continue
        # Without the prefix, which would make everything alike.
        ends = [other[len(PREFIX) :] for other in known]
        close = difflib.get_close_matches(name[len(PREFIX) :], ends, n=1)
        hint = f"did you mean {PREFIX}{close[0]}?" if close else "docs/variables.md has those that there are"
        messages.append(f"{name} is no variable of meta-overlayroot: {hint}")
    return messages


def bad_values(values: dict) -> list:
    """A message for each value that the layer cannot use."""
    messages = []
    for name, words in CHOICES.items():
        if values[name] not in words:
            messages.append(f'{name} = "{values[name]}" cannot be used; accepted: {", ".join(words)}')
    for name, (form, meaning) in FORMS.items():
        if not re.fullmatch(form, values[name]):
            messages.append(f'{name} = "{values[name]}" cannot be used: it is {meaning}')
    return messages


def signature(*words: str) -> str:
    """Eight hexadecimal digits for a partition table, the same for the same words; never all 0."""
    digest = hashlib.sha256("\n".join(words).encode()).hexdigest()
    return digest[:8] if digest[:8] != "0" * 8 else "00000001"


def disk_signature(d) -> str:
    """Default of OVERLAYROOT_DISK_SIGNATURE."""
    return signature(*(d.getVar(name) or "" for name in ("DISTRO", "MACHINE", "PN")))


def not_sealed(d) -> list:
    """Messages when an image is to be sealed and cannot be, or would not be."""
    if d.getVar("OVERLAYROOT_VERITY") != "1":
        return []
    messages = []
    if "openembedded-layer" not in (d.getVar("BBFILE_COLLECTIONS") or "").split():
        messages.append(
            'OVERLAYROOT_VERITY = "1" needs veritysetup, which is in cryptsetup of meta-oe: '
            "bitbake-layers add-layer ../meta-openembedded/meta-oe"
        )
    types = (d.getVar("IMAGE_FSTYPES") or "").split()
    if not boards.makes_card(d) and not any("ofsverity" in name.split(".") for name in types):
        kind = d.getVar("OVERLAYROOT_ROOTFS")
        messages.append(
            f'OVERLAYROOT_VERITY = "1" would seal nothing, with IMAGE_FSTYPES = "{" ".join(types)}": '
            f"a card (wic) is sealed, or a root alone, {kind}.ofsverity"
        )
    return messages


def no_loader(d) -> list:
    """Messages when the machine's own layout brings a boot loader, and ours is not known to."""
    # Who says where U-Boot is, or has a layout of one's own, knows.
    ours = d.getVar("OVERLAYROOT_WKS_FILE") in ("overlayroot-spi-nor.wks.in", "overlayroot-efi.wks.in")
    if not ours or "uboot_place" not in d.getVar("OVERLAYROOT_UBOOT", False):
        return []
    path = layout.machine_layout(d)
    if not path or not boards.makes_card(d):
        return []
    found = wks.read(path)
    copies, boot = [part.raw for part in found.parts if part.raw], found.only(boot=True)
    what = f"{path.name}, the layout of {d.getVar('MACHINE')},"
    if copies:
        return [
            f"{what} puts {', '.join(copies)} on the card, and it is not known whether ours has to: "
            'set OVERLAYROOT_UBOOT to "card", "card-spl" or "spi-nor" (not on the card), or '
            "OVERLAYROOT_WKS_FILE to a layout of your own"
        ]
    if boot and boot.source.endswith("efi") and found.table != "gpt":
        return [
            f"{what} has EFI on a DOS partition table, and it is not known whether the board starts from "
            'the GPT of ours: set OVERLAYROOT_UBOOT to "efi" when it does, or OVERLAYROOT_WKS_FILE to a '
            "layout of your own"
        ]
    return []


def check(d) -> None:
    """Ends the parsing of a recipe whose variables of ours are unknown or have values of no use.

    An image that could not protect itself with these settings is left out, which BitBake says with the reason
    when it is asked for it: our example must not stand in the way of a build that does not want it.
    """
    import bb
    import bb.data
    import bb.parse

    known = [name for name in d.keys() if name.startswith(PREFIX) and d.getVarFlag(name, "doc")]
    messages = unknown(d.keys(), known)
    messages += bad_values({name: d.getVar(name) or "" for name in [*CHOICES, *FORMS]})
    if messages:
        bb.fatal("\n".join(messages))
    if not bb.data.inherits_class("overlayroot-image", d):
        return
    if path := layout.machine_layout(d):
        bb.parse.mark_dependency(d, str(path))
    if messages := not_sealed(d) + routes.problems(d) + no_loader(d) + layout.not_kept(d):
        raise bb.parse.SkipRecipe("; ".join(messages))
