# SPDX-License-Identifier: MIT
"""A short campaign of power cuts (docs/reliability.md), and that it notices what it has to notice."""

import collections
import json
import pathlib
import shutil
import tempfile
import threading
from collections.abc import Iterator

import campaign_system
import pytest
import uml
from campaign_kinds import CHAINS, KINDS
from campaign_record import Record, silent_control, table
from campaign_result import Pace, Result
from campaign_uml import Bench, Parts, last, measure
from powercut import Moment

ROUNDS = 2


@pytest.fixture
def folder() -> Iterator[pathlib.Path]:
    """In RAM, with a short name, as a campaign has it."""
    shared = pathlib.Path("/dev/shm")
    name = tempfile.mkdtemp(prefix="oc-", dir=shared if shared.is_dir() else None)
    yield pathlib.Path(name)
    shutil.rmtree(name)


def make(folder: pathlib.Path) -> Bench:
    """A bench that knows how long things take."""
    bench = Bench(folder / "0", Parts(folder), Pace(), threading.Event())
    measure(bench)
    return bench


def cut(bench: Bench, record: Record, chain: str) -> None:
    """All cuts of a chain."""

    def draw(kind: str) -> tuple[Result, Moment]:
        dice, number = record.draw(kind)
        way, moment = KINDS[kind].moment(dice, number, bench.pace)
        return Result(kind, number, way, str(moment)), moment

    bench.run(chain, draw, record.add)


def test_short_campaign(folder: pathlib.Path) -> None:
    bench, record = make(folder), Record(folder / "campaign.json", 1, {})
    for _ in range(ROUNDS):
        for chain in CHAINS:
            cut(bench, record, chain)
    last(bench, record.add)
    record.save()
    total = json.loads((folder / "campaign.json").read_text())["total"]
    print(total)
    assert record.failures == []
    assert silent_control(record.by_kind()) == ""
    assert total["cuts"] + total["control"] == ROUNDS * sum(len(names) for names, _ in CHAINS.values())
    assert total["upper_bound_95"] == 3 / total["cuts"]
    # Every boot that was not cut before came up as it should, and every chain ended with one.
    kinds = record.by_kind()
    for kind, numbers in kinds.items():
        if kind != "last" and not KINDS[kind].early:
            assert numbers["reached"] == numbers["random"] + numbers["step"]
    assert kinds["last"]["reached"] == len(CHAINS) - 1


def test_interrupted_campaign_goes_on(folder: pathlib.Path) -> None:
    path = folder / "campaign.json"
    first = Record(path, 7, {"commit": "one"})
    for number in range(3):
        dice, drawn = first.draw("storm")
        assert drawn == number
        first.add(Result("storm", drawn, "step"))
    expected = first.draw("storm")[0].random()  # is not finished before the interruption
    first.save()
    second = Record(path, None, {"commit": "two"})
    dice, drawn = second.draw("storm")
    assert (second.seed, drawn, dice.random()) == (7, 3, expected)
    second.add(Result("storm", drawn, "random", failures=["x"]))
    second.save()
    data = json.loads(path.read_text())
    assert [run["commit"] for run in data["runs"]] == ["one", "two"]
    assert (data["total"]["cuts"], data["total"]["failures"], data["total"]["upper_bound_95"]) == (4, 1, None)
    with pytest.raises(ValueError, match="seed 7"):
        Record(path, 8, {})


# Ways in which a system writes where it must not, says what is not so, and writes without care.
REAL = "/mnt/root-RO"
WRITES = f"mount -o remount,rw {REAL}; date >> {REAL}/etc/keep; mount -o remount,ro {REAL}"
SET = "overlayrootctl $words --store environment --fw-config /etc/fw_env.$copies"
TORN = "(mkdir -p /b; mount -t vfat /dev/ubda1 /b; echo torn > /b/uEnv.txt; umount /b)"


@pytest.mark.parametrize(
    ("chain", "old", "new", "failure"),
    [
        ("protected", "say work", f"{WRITES}; say work", "the card has changed"),
        ("dirty", "say work", f"{WRITES}; say work", "the card has changed"),
        ("commit", "overlayrootctl commit /keep", "true", "neither"),
        ("settings", "RUST_LOG=debug overlayrootctl $word --store file", TORN, "neither old nor new"),
        ("environment", SET, "fw_setenv -c /etc/fw_env.$copies overlayfs maybe", "neither old nor new"),
        ("environment", SET, f"{WRITES}; {SET}", "outside of the environment"),
    ],
    ids=["protected", "dirty", "commit", "settings", "environment", "environment-beside"],
)
def test_positive_control(
    folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch, chain: str, old: str, new: str, failure: str
) -> None:
    """Each check of a chain finds the system out."""
    assert old in campaign_system.INIT
    monkeypatch.setattr(campaign_system, "INIT", campaign_system.INIT.replace(old, new))
    bench, record = make(folder), Record(folder / "campaign.json", 1, {})
    # Cuts that come before the damage find nothing: how long it takes is not the same each time.
    for _ in range(20):
        cut(bench, record, chain)
        if record.failures:
            break
    assert record.failures
    assert failure in record.failures[0]["failures"][0]


def test_control_that_shows_nothing(folder: pathlib.Path) -> None:
    """A campaign proves nothing if cuts of unprotected boards leave no trace."""
    record = Record(folder / "campaign.json", 1, {})
    assert silent_control(record.by_kind()) == "there was no cut of an unprotected board"
    record.add(Result("control", 0, "random"))
    assert "changed the card" in silent_control(record.by_kind())
    record.add(Result("control", 1, "step", seen=collections.Counter(changed=1)))
    assert "journal to replay" in silent_control(record.by_kind())
    record.add(Result("control", 2, "random", seen=collections.Counter(replay=1)))
    assert silent_control(record.by_kind()) == ""


def test_docs_have_the_numbers_of_the_files() -> None:
    docs = uml.TOP / "docs"
    lines = (docs / "reliability.md").read_text().splitlines()
    files = [path for path in (docs / "reliability").glob("*.json") if path.stem not in ("first", "earlier")]
    assert files
    for path in files:
        for line in table(json.loads(path.read_text())["total"]["kinds"]):
            assert line in lines, f"scripts/campaign --table --file {path.relative_to(uml.TOP)}"
