# SPDX-License-Identifier: MIT
"""A real kernel whose system calls fail for the init (tests/lib/failcall.c), and a root that cannot be read
in places (device-mapper's error target).
"""

import pathlib
import typing

import uml

if typing.TYPE_CHECKING:
    from conftest import Rig


def rule(text: str, errno: int, first: int = 0, last: int = 99999) -> str:
    """A word for the command line: calls `first` to `last` that begin with `text` fail."""
    return f"failcall={first}:{last}:{errno}:{text.replace(' ', '+')}"


def tracing(rig: "Rig", **options) -> pathlib.Path:
    """An initramfs that reads the rule; without options, one that is packed once."""
    path = (rig.folder if options else rig.cache) / "failcall.cpio.gz"
    if options or not path.exists():
        uml.initramfs(path, first=uml.compiled(rig.cache, "failcall"), **options)
    return path


def table(disk: pathlib.Path, *bad: tuple[int, int]) -> list[str]:
    """A table for the whole disk; sectors of `bad` (first, how many; in order) cannot be read."""
    at, lines = 0, []
    for start, count in bad:
        lines += [(at, start - at, f"linear /dev/ubda {at}"), (start, count, "error")]
        at = start + count
    lines.append((at, disk.stat().st_size // 512 - at, f"linear /dev/ubda {at}"))
    return [f'"{at} {length} {target}"' for at, length, target in lines if length]


def mapped(rig: "Rig", lines: list[str]) -> pathlib.Path:
    """An initramfs that makes /dev/dm-0 of this table before the init starts."""
    command = f"/bin/dmtable {' '.join(lines)}"
    program = uml.compiled(rig.cache, "dmtable")
    return uml.mapped_initramfs(rig.folder / "mapped.cpio.gz", command, program=program)
