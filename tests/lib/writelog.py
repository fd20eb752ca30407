# SPDX-License-Identifier: MIT
"""Logs of QEMU's `blklogwrites`: every write request that a disk or flash got, in order.

The format is that of device-mapper's log-writes target: a block with the number of entries, then for each
entry a block with its header and the data (Documentation/admin-guide/device-mapper/log-writes.rst).
"""

import pathlib
import struct
from collections.abc import Iterator
from typing import NamedTuple

MAGIC = 0x6A736677736872
DISCARD = 4


class Write(NamedTuple):
    """One write request: where it begins in bytes, and what was written."""

    offset: int
    data: bytes


class WriteLogError(Exception):
    """The log is not what QEMU writes, or an entry is of a kind that is not expected."""


def writes(path: pathlib.Path) -> list[Write]:
    """All write requests of a log. Its counter of entries is not used: a killed QEMU leaves an old one."""
    log = path.read_bytes()
    magic, version, _, block = struct.unpack_from("<QQQI", log)
    if (magic, version) != (MAGIC, 1):
        raise WriteLogError(f"{path} is no log of writes")
    found, at = [], block
    while at + block <= len(log):
        sector, count, flags, _ = struct.unpack_from("<QQQQ", log, at)
        if flags & DISCARD:
            raise WriteLogError(f"{path}: a discard, which no flash has")
        start, end = at + block, at + block + count * block
        if end > len(log):
            break  # being written when the plug was pulled
        if count:
            found.append(Write(sector * block, log[start:end]))
        at = end
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
