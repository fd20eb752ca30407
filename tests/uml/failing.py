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


def table(disk: pathlib.Path, bad: tuple[int, int] | None = None) -> list[str]:
    """A table for the whole disk, in which sectors from `bad[0]`, `bad[1]` of them, cannot be read."""
    size = disk.stat().st_size // 512
    start, count = bad or (0, 0)
    lines = [(0, start, "linear /dev/ubda 0"), (start, count, "error")]
    lines.append((start + count, size - start - count, f"linear /dev/ubda {start + count}"))
    return [f'"{at} {length} {target}"' for at, length, target in lines if length]


def mapped(rig: "Rig", lines: list[str]) -> pathlib.Path:
    """An initramfs that makes /dev/dm-0 of this table before the init starts."""
    command = f"/bin/dmtable {' '.join(lines)}"
    program = uml.compiled(rig.cache, "dmtable")
    return uml.mapped_initramfs(rig.folder / "mapped.cpio.gz", command, program=program)
