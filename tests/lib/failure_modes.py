# SPDX-License-Identifier: MIT
"""Rows of docs/failure-modes.md: a test carries its row as a mark, and must see what the row says.

scripts/failure-modes-doc writes the page from the marks.
"""

import dataclasses
import re
from collections.abc import Sequence

import pytest
import uml

# In the order of the page.
SECTIONS = {
    "kernel": "Kernel and memory",
    "device": "The root device",
    "filesystem": "The file system on it",
    "system": "The system on it",
    "settings": "Settings",
    "running": "While the system runs",
}
RUNGS = {
    "ram": "RAM layer",
    "read-only": "plain read-only root",
    "writable": "writable, as it was asked for",
    "restart": "restart",
}


@dataclasses.dataclass(frozen=True)
class Row:
    """What goes wrong and what becomes of it.

    `says` is on the console, where "…" is any text; an empty one means that the init has no warning.
    `rung` is one of RUNGS.
    """

    section: str
    cause: str
    says: str
    rung: str
    remedy: str

    def __post_init__(self) -> None:
        """Refuses what the page has no place for."""
        if self.section not in SECTIONS or self.rung not in RUNGS:
            raise ValueError(f"no section {self.section} or no rung {self.rung}")


def failure(section: str, cause: str, says: str, rung: str, remedy: str) -> pytest.MarkDecorator:
    """Marks a test, or a set of parameters, with its row."""
    return pytest.mark.failure(Row(section, cause, says, rung, remedy))


def rows(item: pytest.Item) -> list[Row]:
    """The rows of a test."""
    return [mark.args[0] for mark in item.iter_markers("failure")]


def rung(boot: uml.Boot) -> str:
    """How far a boot got."""
    if "report" in boot.sections:
        return boot.report["reached"]
    # A plain read-only root that has no place for the report says so at the end.
    if "end" in boot.sections:
        return "read-only" if "DEGRADED" in boot.console else "unknown"
    return "restart" if "reboot: Restarting system" in boot.console else "unknown"


def seen(row: Row, boot: uml.Boot) -> bool:
    """Whether this boot is what the row says."""
    if rung(boot) != row.rung:
        return False
    if not row.says:
        return "report" in boot.sections and boot.report["warnings"] == []
    pattern = ".*".join(re.escape(part) for part in row.says.split("…"))
    said = [boot.console, boot.sections.get("log", ""), boot.sections.get("script", "")]
    return any(re.search(pattern, text) for text in said)


def check(row: Row, boots: Sequence[uml.Boot]) -> None:
    """A test that carries a row has seen it."""
    assert any(seen(row, boot) for boot in boots), (
        f"no boot of this test is as its row says: {row}; rungs: {[rung(boot) for boot in boots]}"
    )
