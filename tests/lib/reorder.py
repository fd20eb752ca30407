# SPDX-License-Identifier: MIT
"""Media after a cut, for disks with a cache that writes in any order.

Only a flush promises something: what was written before it is on the medium when it is done. Of what came
after the last flush, any part may be there, whatever its order was. A write with FUA is there when it is
done. States are what is left of a log by these rules; each is given once.

A request is one unit, or two where it is longer than an atom: then either half may be missing.
"""

import dataclasses
import itertools
import random
from collections.abc import Iterator, Sequence

from writelog import Entry, Flag

SECTOR = 512


@dataclasses.dataclass(frozen=True)
class Unit:
    """What is on the medium as a whole or not at all; `sure`: it was done with FUA."""

    offset: int
    data: bytes
    sure: bool


@dataclasses.dataclass(frozen=True)
class State:
    """A medium after a cut: content of the sectors that differ from before, and how it came about."""

    sectors: dict[int, bytes]
    epoch: int
    lost: tuple[int, ...]  # units of the epoch that are missing

    def medium(self, before: bytes) -> bytes:
        """The whole medium."""
        image = bytearray(before)
        for sector, data in self.sectors.items():
            image[sector * SECTOR : sector * SECTOR + len(data)] = data
        return bytes(image)

    def __str__(self) -> str:
        """For people."""
        return f"epoch {self.epoch} without {list(self.lost)}"


def units(entry: Entry, atom: int) -> list[Unit]:
    """A request in pieces."""
    half = len(entry.data) // atom // 2 * atom
    sure = bool(entry.flags & Flag.FUA)
    pieces = ((entry.offset, entry.data[:half]), (entry.offset + half, entry.data[half:]))
    return [Unit(offset, data, sure) for offset, data in pieces if data]


def epochs(log: Sequence[Entry], atom: int) -> Iterator[tuple[int, list[Unit]]]:
    """The moments that matter, with all that may still be in the cache: before a flush, before a FUA write
    is done, and in the end. The number counts flushes; when it grows, what was there is on the medium."""
    number, pending = 0, []
    for entry in log:
        if entry.flags & (Flag.MARK | Flag.DISCARD):
            continue  # a discarded sector may keep what it holds
        if entry.flags & (Flag.FLUSH | Flag.FUA):
            yield number, list(pending)
        if entry.flags & Flag.FLUSH:
            number, pending = number + 1, []
        pending += units(entry, atom)
    yield number, pending


def choices(count: int, limit: int, samples: int, dice: random.Random) -> Iterator[tuple[bool, ...]]:
    """Which of `count` units are there: every choice of few; of many those with one missing, with one
    alone, those in order, and some at random."""
    if count <= limit:
        yield from itertools.product((False, True), repeat=count)
        return
    for n in range(count):
        yield tuple(i == n for i in range(count))
        yield tuple(i != n for i in range(count))
        yield tuple(i < n for i in range(count))
    yield (True,) * count
    for _ in range(samples):
        share = dice.random()
        yield tuple(dice.random() < share for _ in range(count))


def states(
    log: Sequence[Entry], *, atom: int = 4096, limit: int = 10, samples: int = 100, seed: int = 1
) -> Iterator[State]:
    """Each medium that a cut may leave, once."""
    dice = random.Random(seed)  # repeatable
    known: set[int] = set()
    durable: dict[int, bytes] = {}
    number, before = 0, []
    for epoch, pending in epochs(log, atom):
        if epoch != number:
            for unit in before:
                durable |= sectors(unit)  # the whole of it was there
            number = epoch
        before, pieces = pending, [sectors(unit) for unit in pending]
        free = [i for i, unit in enumerate(pending) if not unit.sure]
        for choice in choices(len(free), limit, samples, dice):
            lost = {i for i, there in zip(free, choice, strict=True) if not there}
            content = dict(durable)
            for i, piece in enumerate(pieces):
                if i not in lost:
                    content |= piece
            key = hash(frozenset(content.items()))
            if key not in known:
                known.add(key)
                yield State(content, epoch, tuple(sorted(lost)))


def sectors(unit: Unit) -> dict[int, bytes]:
    """A unit by sector number."""
    first = unit.offset // SECTOR
    pieces = range(0, len(unit.data), SECTOR)
    return {first + i // SECTOR: unit.data[i : i + SECTOR] for i in pieces}
