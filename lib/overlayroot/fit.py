# SPDX-License-Identifier: MIT
"""What is in a FIT image: a flattened device tree (Devicetree Specification, 5; U-Boot: doc/usage/fit)."""

import struct

BEGIN, END, PROPERTY, NOP = 1, 2, 3, 4


def nodes(data: bytes) -> dict:
    """Properties by name, of each node by its path (`/images/kernel-1`).

    Raises:
        ValueError: it is no flattened device tree, or a damaged one.
    """
    try:
        return _nodes(data)
    except (struct.error, IndexError) as error:
        raise ValueError(f"a damaged FIT image: {error}") from error


def _nodes(data: bytes) -> dict:
    magic, _, structure, strings = struct.unpack_from(">4I", data)
    if magic != 0xD00DFEED:
        raise ValueError("no FIT image")
    found: dict = {}
    path: list = []
    at = structure
    while True:
        (token,) = struct.unpack_from(">I", data, at)
        at += 4
        if token == BEGIN:
            end = data.index(b"\0", at)
            path.append(data[at:end].decode(errors="replace"))
            found["/".join(path) or "/"] = {}
            at = (end + 4) & ~3
        elif token == PROPERTY:
            length, name = struct.unpack_from(">2I", data, at)
            end = data.index(b"\0", strings + name)
            word = data[strings + name : end].decode(errors="replace")
            found["/".join(path) or "/"][word] = data[at + 8 : at + 8 + length]
            at = (at + 8 + length + 3) & ~3
        elif token == END:
            path.pop()
        elif token != NOP:
            return found


def messages(data: bytes) -> list:
    """What is missing for a protected boot: an initramfs in each configuration, hashes that U-Boot checks."""
    try:
        every = nodes(data)
    except ValueError as error:
        return [str(error)]
    configurations = [path for path in every if path.count("/") == 2 and path.startswith("/configurations/")]
    wrong = [] if configurations else ["the FIT image has no configurations"]
    for path in configurations:
        name = every[path].get("ramdisk", b"").rstrip(b"\0").decode(errors="replace")
        if f"/images/{name}" not in every or not name:
            wrong.append(
                f"{path} of the FIT image has no ramdisk, so it would start without the initramfs: "
                "INITRAMFS_IMAGE in the configuration has to be there when it is made"
            )
        for kind in ("kernel", "ramdisk", "fdt"):
            for image in every[path].get(kind, b"").rstrip(b"\0").decode(errors="replace").split("\0"):
                hashes = [one for one in every if one.startswith(f"/images/{image}/hash")]
                if f"/images/{image}" in every and image and not any("value" in every[one] for one in hashes):
                    wrong.append(f"{image} of the FIT image has no hash: FIT_HASH_ALG in the configuration")
    return wrong
