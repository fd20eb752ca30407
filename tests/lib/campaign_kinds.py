# SPDX-License-Identifier: MIT
"""The kinds of moments at which boards are cut, and in which order."""

import dataclasses
import re
from collections.abc import Sequence
from random import Random

from campaign_result import Pace
from powercut import Moment

PROTECTED, WRITABLE = "protected", "NOT PROTECTED"
VERDICT = re.compile(r"overlayroot: (?:warning: |error: )?(protected|NOT PROTECTED|DEGRADED|no root could)")
SAID = {PROTECTED: b"overlayroot: protected:", WRITABLE: b"NOT PROTECTED: / is"}

# What U-Boot says while it saves its environment, without ending the line.
SAVING = (b"Saving Environment", b"Erasing SPI flash", b"Writing to SPI flash")


# The end of a round of changes of the environment (campaign_system).
LAST = b"@done size 30"


@dataclasses.dataclass(frozen=True)
class Kind:
    """Random cuts are between two texts, or for so many times as long; the others follow one of the lines.

    `early` cuts come before the verdict. With `texts`, the others follow one of these. `line` is for the
    kernel.
    """

    name: str
    begin: bytes
    end: bytes
    steps: int
    times: int = 1
    early: bool = False
    texts: tuple[bytes, ...] = ()
    line: str = "work=storm"

    def moment(self, dice: Random, number: int, pace: Pace) -> tuple[str, Moment]:
        """Every second one is random, the others come at each step in turn."""
        if number % 2 == 0:
            return "random", Moment(self.begin, delay=dice.uniform(0, self.times * pace.median(self.name)))
        if self.texts:
            text = self.texts[number // 2 % len(self.texts)]
            return "step", Moment(text, delay=dice.choice((0, dice.uniform(0, pace.median(self.name) / 4))))
        lines = 1 + number // 2 % self.steps
        # At once, or a little later: while what was announced is being done.
        return "step", Moment(self.begin, lines, dice.choice((0, dice.uniform(0, 0.004))))


@dataclasses.dataclass(frozen=True)
class Damage(Kind):
    """No cut: a boot with an initramfs that is damaged, to its end."""

    def moment(self, dice: Random, number: int, pace: Pace) -> tuple[str, Moment]:
        """Damage at random, and in each way of a list in turn."""
        return ("random", "step")[number % 2], Moment(self.end)


KINDS = {
    kind.name: kind
    for kind in (
        Kind("power-on", b"", SAID[PROTECTED], 110, early=True),
        Kind("initramfs", b"Run /init", SAID[PROTECTED], 36, early=True),
        Kind("init", SAID[PROTECTED], b"@work", 5),
        Kind("storm", b"@work", b"@moved", 18, times=2),
        Kind("writable", b"@work", b"@moved", 18, times=2),
        Kind("replay", b"Run /init", SAID[PROTECTED], 40, early=True),
        Kind("after-writable", b"@work", b"@moved", 18, times=2),
        Kind("commit", b"@commit", b"@kept", 12, times=2, line="work=commit"),
        Kind("settings", b"@settings", b"@done enable", 8, times=2, line="work=settings"),
        Kind("environment-one", b"@environment", LAST, 24, times=2, line="work=environment copies=one"),
        Kind("environment-two", b"@environment", LAST, 24, times=2, line="work=environment copies=two"),
        Kind("control", b"@work", b"@moved", 18, times=2),
        Kind("control-ext2", b"@work", b"@moved", 18, times=2),
        Damage("damaged-initramfs", b"", b"the end", 0, early=True),
        Damage("control-initramfs", b"", b"the end", 0, early=True),
        Kind("board-boot", b"", SAID[PROTECTED], 300, early=True),
        Kind("board-saveenv", SAVING[0], b"is used up", 0, early=True, texts=SAVING),
        Kind("control-board", SAID[WRITABLE], SAID[WRITABLE], 20),
    )
}
# Cuts by chain, and the share of all cuts that a chain has. On User-Mode Linux an early cut is followed by
# one that is not.
CHAINS: dict[str, tuple[Sequence[str], int]] = {
    "control": (("control", "control-ext2"), 5),
    "protected": (("power-on", "storm", "initramfs", "init", "initramfs", "storm"), 62),
    "dirty": (("writable", "replay", "after-writable", "after-writable"), 10),
    "commit": (("commit",) * 4, 9),
    "settings": (("settings",) * 4, 6),
    "environment": (("environment-one", "environment-two") * 3, 8),
    "initramfs": (("control-initramfs", *("damaged-initramfs",) * 19), 10),
}
BOARD_CHAINS: dict[str, tuple[Sequence[str], int]] = {
    "board-control": (("control-board",), 1),
    "board": (("board-saveenv", "board-saveenv", "board-boot"), 14),
}
