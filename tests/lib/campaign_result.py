# SPDX-License-Identifier: MIT
"""What the cuts of a campaign came to."""

import collections
import dataclasses
import statistics
import threading


@dataclasses.dataclass
class Result:
    """One cut: how its moment was chosen, what was wrong afterwards, and what else was seen."""

    kind: str
    number: int
    way: str  # random, or step
    moment: str = ""
    failures: list[str] = dataclasses.field(default_factory=list)
    seen: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)

    def fail(self, what: str) -> None:
        """Something is wrong."""
        self.failures.append(what)

    def count(self, what: str) -> None:
        """Something is worth a number."""
        self.seen[what] += 1


class Pace:
    """How long the part of a boot takes that a kind of cut is in: the median of the last ones."""

    def __init__(self) -> None:
        """Nothing is known yet."""
        self.lock = threading.Lock()
        self.times: dict[str, collections.deque[float]] = {}

    def learn(self, kind: str, seconds: float) -> None:
        """One boot took so long."""
        with self.lock:
            self.times.setdefault(kind, collections.deque(maxlen=25)).append(seconds)

    def median(self, kind: str) -> float:
        """In seconds."""
        with self.lock:
            return statistics.median(self.times[kind])
