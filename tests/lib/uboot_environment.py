# SPDX-License-Identifier: MIT
"""U-Boot's environment as it is on a medium (include/env_internal.h, env/common.c of U-Boot).

A copy is the CRC-32 of the rest, with two copies a byte that says which is the newer one, and the strings
`name=value`, each ended by a zero byte, an empty one after the last.
"""

import dataclasses
import struct
import zlib
from collections.abc import Mapping


class BadEnvironmentError(Exception):
    """It is not there as a whole, or does not fit."""


def pack(environment: Mapping[str, str], size: int, serial: int | None = None) -> bytes:
    """One copy of `size` bytes; variables without a value are left out. `serial` where there are two."""
    words = (f"{name}={value}\0".encode() for name, value in sorted(environment.items()) if value)
    flag = b"" if serial is None else bytes([serial])
    data = b"".join(words).ljust(size - 4 - len(flag), b"\0")
    if 4 + len(flag) + len(data) > size:
        raise BadEnvironmentError(f"the environment has more than {size} bytes")
    return struct.pack("<I", zlib.crc32(data)) + flag + data


def unpack(block: bytes, *, flagged: bool = False) -> dict[str, str]:
    """Reads one copy, which is the whole of `block`; a wrong checksum is an error."""
    data = block[4 + flagged :]
    if struct.unpack_from("<I", block)[0] != zlib.crc32(data):
        raise BadEnvironmentError("the checksum of U-Boot's environment is wrong")
    words = data.split(b"\0\0")[0].decode().split("\0")
    return dict(word.split("=", 1) for word in words if word)


def newer(serial: int, other: int) -> bool:
    """Whether U-Boot takes the copy with the first number: the greater one, but 0 comes after 255."""
    return (serial, other) == (0, 255) or (serial > other and (serial, other) != (255, 0))


@dataclasses.dataclass(frozen=True)
class Place:
    """Where the environment is: one copy, or two, on a medium that needs no erasing."""

    offsets: tuple[int, ...]  # bytes
    size: int  # bytes

    def config(self, device: str) -> str:
        """For fw_printenv and fw_setenv: /etc/fw_env.config."""
        return "".join(f"{device} {offset:#x} {self.size:#x}\n" for offset in self.offsets)

    def blocks(self, medium: bytes) -> list[bytes]:
        """The copies as they are."""
        return [medium[offset : offset + self.size] for offset in self.offsets]

    def read(self, medium: bytes) -> dict[str, str]:
        """What U-Boot takes: of two copies that are whole the newer one (env_check_redund)."""
        flagged, newest, found = len(self.offsets) > 1, None, None
        for block in self.blocks(medium):
            try:
                variables = unpack(block, flagged=flagged)
            except BadEnvironmentError:
                continue
            serial = block[4] if flagged else 0
            if newest is None or newer(serial, newest):
                newest, found = serial, variables
        if found is None:
            raise BadEnvironmentError("no copy of U-Boot's environment is whole")
        return found

    def write(self, medium: bytearray, environment: Mapping[str, str]) -> None:
        """Writes all copies, the first as the newest."""
        serials = range(len(self.offsets), 0, -1) if len(self.offsets) > 1 else (None,)
        for offset, serial in zip(self.offsets, serials, strict=True):
            medium[offset : offset + self.size] = pack(environment, self.size, serial)

    def blank(self, medium: bytearray) -> None:
        """Takes the copies out, so that the rest can be compared."""
        for offset in self.offsets:
            medium[offset : offset + self.size] = bytes(self.size)


# On the media of the tests, in front of the first partition: one copy, and two.
ONE, TWO = Place((0x60000,), 0x2000), Place((0x80000, 0xA0000), 0x2000)
