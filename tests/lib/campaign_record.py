# SPDX-License-Identifier: MIT
"""The file with the results of a campaign, in which it also goes on after an interruption.

A run is what one start of the program has done, on one state of the sources. Numbers of runs add up.
"""

import collections
import datetime
import json
import pathlib
import random
import threading
from collections.abc import Callable, Mapping

from campaign_result import Result

CUTS = ("random", "step")


class Record:
    """Results so far; safe for several threads."""

    def __init__(self, path: pathlib.Path, seed: int | None, about: dict[str, str]) -> None:
        """Goes on with the file, if there is one. `about` says what this run is made with."""
        self.path, self.lock = path, threading.RLock()
        data = read(path) if path.exists() else {}
        self.runs: list[dict] = data.get("runs", [])
        self.seed: int = data.get("seed") if data else random.randrange(1 << 32) if seed is None else seed
        if seed not in (None, self.seed):
            raise ValueError(f"{path} was begun with seed {self.seed}")
        self.began = datetime.datetime.now(datetime.UTC)
        self.kinds: dict[str, collections.Counter[str]] = {}
        self.failures: list[dict] = []
        self.run = {"began": self.began.isoformat(timespec="seconds"), **about}
        self.drawn: collections.Counter[str] = collections.Counter()
        for kind, numbers in self.by_kind().items():
            self.drawn[kind] = sum(numbers[way] for way in CUTS)

    def draw(self, kind: str) -> tuple[random.Random, int]:
        """The next number of a kind of cut, and the dice for it: the same for the same seed."""
        with self.lock:
            number = self.drawn[kind]
            self.drawn[kind] += 1
        return random.Random(f"{self.seed} {kind} {number}"), number

    def add(self, result: Result) -> None:
        """A cut was made and looked at."""
        with self.lock:
            numbers = self.kinds.setdefault(result.kind, collections.Counter())
            numbers[result.way] += 1
            numbers["failures"] += bool(result.failures)
            numbers.update(result.seen)
            if result.failures:
                what = {"kind": result.kind, "number": result.number, "moment": result.moment}
                self.failures.append(what | {"failures": result.failures})

    def by_kind(self) -> dict[str, collections.Counter[str]]:
        """Numbers by kind, of all runs."""
        total: dict[str, collections.Counter[str]] = {}
        with self.lock:
            for kinds in (*(run["kinds"] for run in self.runs), self.kinds):
                for kind, numbers in kinds.items():
                    total.setdefault(kind, collections.Counter()).update(numbers)
        return total

    def cuts(self, counts: Callable[[str], bool] = lambda _: True) -> int:
        """How many cuts there were, of the kinds that count."""
        return sum(numbers[way] for kind, numbers in self.by_kind().items() if counts(kind) for way in CUTS)

    def failed(self) -> int:
        """How many of them failed, in all runs."""
        return sum(numbers["failures"] for numbers in self.by_kind().values())

    def summary(self) -> dict:
        """All of it, for the file and for programs."""
        with self.lock:
            kinds = {kind: dict(sorted(numbers.items())) for kind, numbers in sorted(self.kinds.items())}
            seconds = (datetime.datetime.now(datetime.UTC) - self.began).total_seconds()
            run = self.run | {"seconds": round(seconds), "kinds": kinds, "failures": self.failures}
            runs = [*self.runs, run] if kinds else self.runs
            ours, control = self.cuts(is_ours), self.cuts(is_control)
            total = {
                "cuts": ours,
                "failures": self.failed(),
                "upper_bound_95": 3 / ours if ours and not self.failed() else None,
                "control": control,
                "kinds": {
                    kind: dict(sorted(numbers.items())) for kind, numbers in sorted(self.by_kind().items())
                },
            }
            return {"format": 1, "seed": self.seed, "total": total, "runs": runs}

    def save(self) -> None:
        """Writes the file, as a whole."""
        part = self.path.with_name(self.path.name + ".part")
        part.write_text(json.dumps(self.summary(), indent=1) + "\n")
        part.replace(self.path)


def read(path: pathlib.Path) -> dict:
    """What a file of results holds; ValueError when it cannot be read or is something else."""
    try:
        data = json.loads(path.read_text())
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from None
    total = data.get("total") if isinstance(data, dict) else None
    if not (isinstance(total, dict) and "kinds" in total and isinstance(data.get("runs"), list)):
        raise ValueError(f"{path} holds no results of a campaign")
    return data


def table(kinds: Mapping[str, Mapping[str, int]]) -> list[str]:
    """The numbers by kind as lines of Markdown."""
    lines = [
        "| cut | random | after a line | failures | came up before the cut | also seen |",
        "|---|---|---|---|---|---|",
    ]
    for kind, found in sorted(kinds.items(), key=lambda item: (is_control(item[0]), item[0])):
        n = collections.Counter(found)
        known = {*CUTS, "failures", "reached", "checked"}
        seen = ", ".join(f"{what} {n[what]}" for what in sorted(n) if what not in known)
        failures = "" if is_control(kind) else n["failures"]
        if kind != "last":
            lines.append(f"| `{kind}` | {n['random']} | {n['step']} | {failures} | {n['reached']} | {seen} |")
    return lines


def is_control(kind: str) -> bool:
    """Cuts of boards that are not protected, to see that the rig notices."""
    return kind.startswith("control")


def is_ours(kind: str) -> bool:
    """Cuts that count."""
    return not is_control(kind)


def silent_control(kinds: dict[str, collections.Counter[str]]) -> str:
    """Why the control shows nothing, so that the rest proves nothing; empty when it does."""
    control = collections.Counter()
    for kind, numbers in kinds.items():
        if is_control(kind):
            control.update(numbers)
    if not control["random"] + control["step"]:
        return "there was no cut of an unprotected board"
    if not control["changed"]:
        return "no cut has changed the card of an unprotected board"
    if not control["replay"] + control["inconsistent"] + control["unrepaired"] + control["empty"]:
        return "no cut has left a journal to replay, or damage, on an unprotected board"
    return ""
