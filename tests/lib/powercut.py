# SPDX-License-Identifier: MIT
"""The plug is pulled at a moment that is named beforehand: by time, or by what the machine says.

What it says is read from pipes, so that a cut follows a line within a fraction of a millisecond; SIGKILL
goes to all processes of the emulator at once.
"""

import contextlib
import dataclasses
import os
import select
import subprocess
import time
from collections.abc import Callable


@dataclasses.dataclass(frozen=True)
class Moment:
    """`delay` seconds after: power-on, or a text, or so many lines after that."""

    after: bytes = b""
    lines: int = 0
    delay: float = 0.0

    def seen(self, said: bytes) -> bool:
        """Whether what the moment waits for has been said."""
        at = said.find(self.after)
        return at >= 0 and (not self.lines or said.count(b"\n", at + len(self.after)) >= self.lines)

    def __str__(self) -> str:
        """For people."""
        lines = f", {self.lines} lines" if self.lines else ""
        return f"{self.after.decode() or 'power-on'}{lines}, {self.delay * 1000:.1f} ms"


@dataclasses.dataclass(frozen=True)
class Cut:
    """A machine after the cut: what it said, one after the other, and for how long it ran."""

    said: bytes
    seconds: float
    pulled: bool  # False: it ended by itself, or its moment never came
    seen: dict[bytes, float]  # when some texts came

    @property
    def text(self) -> str:
        """What it said, for people."""
        return self.said.decode(errors="replace").replace("\r", "")


def pull(
    start: Callable[[int], subprocess.Popen],
    moment: Moment,
    *,
    timeout: float,
    watched: tuple[bytes, ...] = (),
) -> Cut:
    """Starts a machine that writes to a descriptor, and kills its session at the moment."""
    reader, writer = os.pipe()
    began = time.monotonic()
    try:
        process = start(writer)
    finally:
        os.close(writer)
    said, seen = bytearray(), {}
    cut_at = began + moment.delay if moment.seen(b"") else None
    pulled = False
    try:
        while True:
            limit = cut_at if cut_at is not None else began + timeout
            left = limit - time.monotonic()
            if left <= 0:
                pulled = cut_at is not None
                break
            if not select.select([reader], [], [], left)[0]:
                continue
            data = os.read(reader, 1 << 16)
            if not data:
                break  # ended by itself
            said += data
            if cut_at is None and moment.seen(said):
                cut_at = time.monotonic() + moment.delay
            for text in watched:
                if text not in seen and text in said:
                    seen[text] = time.monotonic() - began
    finally:
        seconds = time.monotonic() - began
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        process.wait()
        while data := os.read(reader, 1 << 16):
            said += data
        os.close(reader)
    return Cut(bytes(said), seconds, pulled, seen)
