# SPDX-License-Identifier: MIT
"""A root device that records every write request, from before our init starts until the plug is pulled.

In the initramfs a script runs before the shipped init: it puts device-mapper's log-writes target under the
root, so that `root=/dev/dm-0`, and the log is on a second disk. The block layer's own counters are the
second witness.
"""

import contextlib
import dataclasses
import pathlib
import typing
from collections.abc import Sequence

import uml
from writelog import Entry, Flag, entries

if typing.TYPE_CHECKING:
    from conftest import Rig

COMMAND = "/bin/dmlog $($b cat /sys/block/ubda/size) /dev/ubda /dev/ubdb && /bin/dmlog power-on"

# Counters, and the end of the log.
END = """
sync
for d in ubda dm-0; do echo "stat $d $(cat /sys/block/$d/stat)"; done
dmlog end flush
"""
# What an empty log looks like: the recorder was there from the beginning, and until the end. The flush is
# the test's own, after the counters were read.
EMPTY = ["mark power-on", "flush", "mark end"]


class PlugPulled(Exception):
    """Ends a machine in the middle of its work."""


@dataclasses.dataclass
class Counters:
    """Requests that a device has completed (Documentation/block/stat.rst), and what was written."""

    writes: int
    sectors: int
    discards: int
    flushes: int


def counters(boot: uml.Boot) -> dict[str, Counters]:
    """What lines `stat DEVICE NUMBER...` of the script say, by device."""
    found = {}
    for line in boot.script.splitlines():
        if line.startswith("stat "):
            _, device, *numbers = line.split()
            n = [int(number) for number in numbers]
            found[device] = Counters(n[4], n[6], n[11], n[15])
    return found


@dataclasses.dataclass
class Record:
    """What a boot did to its root device."""

    boot: uml.Boot
    entries: list[Entry]
    changed: bool  # the disk itself, by its SHA-256

    @property
    def log(self) -> list[str]:
        """The log for people."""
        return [str(entry) for entry in self.entries]

    @property
    def written(self) -> list[Entry]:
        """Writes and discards."""
        return [entry for entry in self.entries if entry.length]

    @property
    def counters(self) -> dict[str, Counters]:
        """By device."""
        return counters(self.boot)

    @property
    def figures(self) -> str:
        """What the docs say of it; pytest -rP shows it."""
        discards = [entry for entry in self.written if entry.flags & Flag.DISCARD]
        writes = len(self.written) - len(discards)
        data = sum(entry.length for entry in self.written if not entry.flags & Flag.DISCARD)
        flushes = flags(self.entries, Flag.FLUSH)
        return f"{writes} writes, {data} bytes, {len(discards)} discards, {flushes} flushes; {self.counters}"


def assert_no_write_request(record: Record) -> None:
    """Not one write, discard or flush, as two recorders saw it; and the disk is the same, bit by bit."""
    assert record.log == EMPTY
    none = Counters(0, 0, 0, 0)
    assert record.counters == {"ubda": none, "dm-0": none}
    assert not record.changed


def dmlog(folder: pathlib.Path) -> pathlib.Path:
    """The program that makes the recording device."""
    return uml.compiled(folder, "dmlog")


def initramfs(rig: "Rig", modules: Sequence[str]) -> pathlib.Path:
    """The shipped init with the recorder before it."""
    return uml.mapped_initramfs(
        rig.folder / "recorder.cpio.gz",
        COMMAND,
        program=dmlog(rig.cache),
        targets=["dm-log-writes"],
        modules=[*modules, "overlay"],
    )


def record(
    rig: "Rig",
    disk: pathlib.Path,
    line: str = "",
    *,
    script: str = "",
    modules: Sequence[str] = (),
    pull_at: str | None = None,
    **options,
) -> Record:
    """Boots from a disk that is recorded.

    `pull_at`: the emulator is killed when this text is on the console.
    """
    before = uml.sha256(disk)
    log = rig.folder / "log.img"
    log.unlink(missing_ok=True)
    with log.open("wb") as file:
        file.truncate(64 << 20)

    def during(_machine: uml.Machine, console: str) -> None:
        if pull_at and pull_at in console:
            raise PlugPulled

    with contextlib.suppress(PlugPulled):
        rig.boot(
            f"root=/dev/dm-0 {line}".strip(),
            [disk, log],
            initramfs(rig, modules),
            script=script,
            during=during,
            **options,
        )
    assert rig.machine.last is not None
    return Record(rig.machine.last, entries(log), uml.sha256(disk) != before)


def flags(found: Sequence[Entry], flag: Flag) -> int:
    """How many entries have a flag."""
    return sum(1 for entry in found if entry.flags & flag)
