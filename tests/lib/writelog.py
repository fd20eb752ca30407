# SPDX-License-Identifier: MIT
"""Logs of write requests, in order: of QEMU's `blklogwrites` and of device-mapper's log-writes target.

Both have the same format: a block with the number of entries, then for each entry a block with its header
and the data (Documentation/admin-guide/device-mapper/log-writes.rst). QEMU's log holds each request when it
is done. Device-mapper's holds a write when the next flush is asked for, as until then nothing promises that
it is on the disk.
"""

import enum
import pathlib
import struct
from collections.abc import Iterator
from typing import NamedTuple

MAGIC = 0x6A736677736872


class Flag(enum.IntFlag):
    """What a request is besides a plain write."""

    FLUSH = 1  # everything before it is on the disk before its own data
    FUA = 2  # its data is on the disk when it is done
    DISCARD = 4
    MARK = 8  # no request: a note of the test
    METADATA = 16


class Entry(NamedTuple):
    """A request, or a note of the test."""

    flags: Flag
    offset: int  # bytes
    length: int  # bytes; of a discard, too
    data: bytes

    def __str__(self) -> str:
        """For people: `mark boot`, `flush`, `write+fua 4096 bytes at 65536`."""
        if self.flags & Flag.MARK:
            return f"mark {self.data.decode()}"
        words = ["discard" if self.flags & Flag.DISCARD else "write" if self.length else ""]
        words += [flag.name.lower() for flag in (Flag.FLUSH, Flag.FUA) if self.flags & flag]
        place = f" {self.length} bytes at {self.offset}" if self.length else ""
        return "+".join(word for word in words if word) + place


class Write(NamedTuple):
    """One write request: where it begins in bytes, and what was written."""

    offset: int
    data: bytes


class WriteLogError(Exception):
    """The log is not what it should be, or an entry is of a kind that is not expected."""


def entries(path: pathlib.Path) -> list[Entry]:
    """All of a log. Its counter of entries is not used: who is killed leaves an old one."""
    log = path.read_bytes()
    magic, version, _, block = struct.unpack_from("<QQQI", log)
    if (magic, version) != (MAGIC, 1):
        raise WriteLogError(f"{path} is no log of writes")
    found, at = [], block
    while at + block <= len(log):
        sector, count, flags, length = struct.unpack_from("<QQQQ", log, at)
        if not count and not flags:
            break  # never written
        flag = Flag(flags)
        if flag & Flag.MARK:
            text = log[at + 32 : at + 32 + length]
            found.append(Entry(flag, 0, 0, text.rstrip(b"\0")))
            at += block
            continue
        start = at + block
        end = start + (0 if flag & Flag.DISCARD else count * block)
        if end > len(log):
            break  # being written when the plug was pulled
        found.append(Entry(flag, sector * block, count * block, log[start:end]))
        at = end
    return found


def writes(path: pathlib.Path) -> list[Write]:
    """The write requests of a log; a discard is an error, as no flash has it."""
    found = []
    for entry in entries(path):
        if entry.flags & Flag.DISCARD:
            raise WriteLogError(f"{path}: {entry}")
        if entry.data and not entry.flags & Flag.MARK:
            found.append(Write(entry.offset, entry.data))
    return found


def prefixes(before: bytes, requests: list[Write]) -> Iterator[bytearray]:
    """What the medium held before each write, in the middle of it (the first half done), and in the end."""
    medium = bytearray(before)
    for offset, data in requests:
        yield medium
        half = len(data) // 2
        medium[offset : offset + half] = data[:half]
        yield medium
        medium[offset : offset + len(data)] = data
    yield medium
