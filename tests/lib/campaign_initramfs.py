# SPDX-License-Identifier: MIT
"""Damage to an initramfs, and what a kernel makes of it that has no boot loader to look at it before.

What the boot script gives the kernel keeps the root safe: the kernel does not know ofs-root=. As control it
gets root= instead, and mounts the root itself.
"""

import pathlib
import random
import shutil
from collections.abc import Callable

import campaign_system as system
import uml
from campaign_result import Result

# The empty root= keeps User-Mode Linux from adding one of its own, and is what the boot script passes.
LINE = "ofs-root=/dev/ubda panic=1 overlayfs=yes ofs-wait=5 ofs-reboot-delay=1 root="
BARE = "root=/dev/ubda rw panic=1"
WRITES = "echo new >/etc/new; echo new >>/etc/keep; busybox sync"
# A boot takes two seconds, on a busy machine minutes.
DEADLINE = 300

Way = Callable[[bytearray, random.Random], bytes]


def _block(filler: Callable[[random.Random, int], bytes]) -> Way:
    def damage(data: bytearray, dice: random.Random) -> bytes:
        at, length = dice.randrange(len(data)), dice.choice((1, 16, 512, 4096, 65536))
        length = min(length, len(data) - at)
        data[at : at + length] = filler(dice, length)
        return bytes(data)

    return damage


def _flip(data: bytearray, dice: random.Random) -> bytes:
    for _ in range(dice.choice((1, 1, 2, 16))):
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    return bytes(data)


def _header(data: bytearray, dice: random.Random) -> bytes:
    data[dice.randrange(10)] ^= dice.randrange(1, 256)
    return bytes(data)


def _order(data: bytearray, dice: random.Random) -> bytes:
    blocks = [bytes(data[at : at + 512]) for at in range(0, len(data), 512)]
    one, other = dice.sample(range(len(blocks)), 2)
    blocks[one], blocks[other] = blocks[other], blocks[one]
    return b"".join(blocks)


WAYS: tuple[Way, ...] = (
    _flip,
    lambda data, dice: bytes(data[: dice.randrange(len(data))]),
    _block(lambda _, length: bytes(length)),
    _block(lambda _, length: b"\xff" * length),
    _block(lambda dice, length: dice.randbytes(length)),
    _header,
    _order,
    lambda _data, _dice: b"",
    lambda data, _dice: bytes(len(data)),
    lambda data, _dice: b"\xff" * len(data),
    lambda data, dice: dice.randbytes(len(data)),
)


def damaged(whole: bytes, way: str, number: int, dice: random.Random) -> bytes:
    """An initramfs that is not what it was."""
    while True:
        kind = dice.choice(WAYS) if way == "random" else WAYS[number // 2 % len(WAYS)]
        if (found := kind(bytearray(whole), dice)) != whole:
            return found


class Parts:
    """A root, and an initramfs that is whole."""

    def __init__(self, folder: pathlib.Path) -> None:
        """Makes them in `folder`."""
        self.whole = uml.initramfs(folder / "whole.cpio.gz").read_bytes()
        self.root = uml.disk(folder / "root.img")
        self.digest = uml.sha256(self.root)


def boot(machine: uml.Machine, parts: Parts, result: Result, dice: random.Random) -> None:
    """Boots with a damaged initramfs until the machine ends by itself."""
    control = result.kind.startswith("control")
    initrd, root = machine.folder / "damaged.gz", machine.folder / "root.img"
    # For the control one that no kernel can unpack.
    data = b"\xff" * len(parts.whole) if control else damaged(parts.whole, result.way, result.number, dice)
    initrd.write_bytes(data)
    shutil.copy(parts.root, root)
    try:
        booted = machine.boot(initrd, [root], BARE if control else LINE, script=WRITES, timeout=DEADLINE)
    except uml.UmlError as error:
        result.fail(str(error))
        return
    changed = uml.sha256(root) != parts.digest
    if control:
        result.seen.update(changed=changed, replay=changed and system.needs_replay(root, 0))
    elif changed:
        result.fail("the root has changed")
    elif "NOT PROTECTED" in booted.console:
        result.fail("a writable boot")
    else:
        result.count("protected" if "overlayroot: protected" in booted.console else "no boot")
