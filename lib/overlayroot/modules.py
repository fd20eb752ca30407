# SPDX-License-Identifier: MIT
"""Kernel modules of an initramfs: which, and in which order they are loaded."""

import pathlib


class ModuleError(Exception):
    """A module that was asked for is not there."""


def _name(path: str) -> str:
    """Name of the module in a file: `kernel/fs/ext4/ext4.ko.xz` is `ext4`; - and _ are the same."""
    return pathlib.PurePath(path).name.partition(".ko")[0].replace("-", "_")


def dependencies(text: str) -> dict:
    """Parses modules.dep: name -> path, paths that it needs (the last of them first in need)."""
    found = {}
    for line in text.splitlines():
        path, colon, needs = line.partition(":")
        if colon:
            found[_name(path)] = (path, needs.split())
    return found


def load_order(root: str, names: list) -> list:
    """Absolute paths in the initramfs `root`, what a module needs before itself, each once.

    Raises:
        ModuleError: no modules at all, or not this one.
    """
    for top in ("lib/modules", "usr/lib/modules"):
        folder = pathlib.Path(root) / top
        releases = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
        if releases:
            break
    else:
        raise ModuleError("no kernel modules in the initramfs; is the kernel built with modules?")
    if len(releases) > 1:
        raise ModuleError(f"modules of more than one kernel in the initramfs: {', '.join(releases)}")
    known = dependencies((folder / releases[0] / "modules.dep").read_text())
    order = []
    for name in names:
        if name.replace("-", "_") not in known:
            raise ModuleError(
                f"no kernel module {name}: built in, perhaps; take it out of OVERLAYROOT_INITRAMFS_MODULES"
            )
        path, needs = known[name.replace("-", "_")]
        # modules.dep lists the nearest dependency first: the reverse is the order in which they load.
        for item in [*reversed(needs), path]:
            absolute = f"/{top}/{releases[0]}/{item}"
            if absolute not in order:
                order.append(absolute)
    return order
