# SPDX-License-Identifier: MIT
"""Kernel modules of an initramfs: which, and in which order they are loaded."""

import os


class ModuleError(Exception):
    """A module that was asked for is not there."""


def _name(path: str) -> str:
    """Name of the module in a file: `kernel/fs/ext4/ext4.ko.xz` is `ext4`; - and _ are the same."""
    return os.path.basename(path).partition(".ko")[0].replace("-", "_")


def dependencies(text: str) -> dict[str, tuple[str, list[str]]]:
    """Parses modules.dep: name -> path, paths that it needs (the last of them first in need)."""
    found = {}
    for line in text.splitlines():
        path, colon, needs = line.partition(":")
        if colon:
            found[_name(path)] = (path, needs.split())
    return found


def load_order(root: str, names: list[str]) -> list[str]:
    """Absolute paths in the initramfs `root`, what a module needs before itself, each once.

    Raises:
        ModuleError: no modules at all, or not this one.
    """
    for top in ("lib/modules", "usr/lib/modules"):
        folder = os.path.join(root, top)
        releases = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
        if releases:
            break
    else:
        raise ModuleError("no kernel modules in the initramfs; is the kernel built with modules?")
    if len(releases) > 1:
        raise ModuleError(f"modules of more than one kernel in the initramfs: {', '.join(releases)}")
    with open(os.path.join(folder, releases[0], "modules.dep"), encoding="utf-8") as file:
        known = dependencies(file.read())
    order: list[str] = []
    for name in names:
        if name.replace("-", "_") not in known:
            raise ModuleError(f"no kernel module {name}: built in, perhaps; take it out of OVERLAYROOT_INITRAMFS_MODULES")
        path, needs = known[name.replace("-", "_")]
        # modules.dep lists the nearest dependency first: the reverse is the order in which they load.
        for item in [*reversed(needs), path]:
            absolute = f"/{top}/{releases[0]}/{item}"
            if absolute not in order:
                order.append(absolute)
    return order
