# SPDX-License-Identifier: MIT
"""The plug is pulled during `commit`, `undo` and `purge`, on a disk whose cache writes in any order.

As test_ctl_cut.py, but what was written since the last flush may be there in any part (reorder.py). By
default a sample is looked at; OVERLAYROOT_STATES=all looks at all (make test-writes).
"""

import os
import random
from collections.abc import Sequence

import pytest
import reorder
import uml
import writelog
from conftest import Rig
from ctlboard import outputs
from test_ctl_cut import CHANGE, COMMIT, FILES, committed, files_after_cut, record, torn

SHORT = 60
OLD = {name: old for name, (old, _) in FILES.items()}
NEW = {name: new for name, (_, new) in FILES.items()}


def chosen(states: Sequence[reorder.State]) -> Sequence[reorder.State]:
    """All of them, or a sample, the same each time, with the first and the last."""
    if os.environ.get("OVERLAYROOT_STATES") == "all" or len(states) <= SHORT:
        return states
    dice = random.Random(1)  # repeatable
    picked = sorted({0, len(states) - 1, *dice.sample(range(len(states)), SHORT)})
    return [states[i] for i in picked]


def look(rig: Rig, before: bytes, log, seed: int = 1) -> tuple[list[str], list[dict[str, str | None]]]:
    """What is wrong with any of the media that a cut may leave, and all files of each."""
    found = list(reorder.states(writelog.entries(log), seed=seed))
    picked = chosen(found)
    wrong, files = [], []
    for state in picked:
        try:
            files.append(files_after_cut(state.medium(before), rig.folder))
        except (AssertionError, ValueError, uml.UmlError) as error:
            wrong.append(f"{state}: {error}")
            continue
        wrong += [f"{state}: {line}" for line in torn(files[-1:])]
    print(f"{len(found)} states, {len(picked)} looked at, {len(wrong)} wrong")
    return wrong, files


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("options", ["", ",sync"], ids=["usual", "each-step-by-itself"])
def test_commit(rig: Rig, options: str) -> None:
    before, log, printed = record(rig, f"{CHANGE}\n{COMMIT}", options)
    assert outputs(printed)["commit"][0] == 0
    wrong, files = look(rig, before, log)
    assert wrong == []
    assert (files[0], files[-1]) == (OLD, NEW)


@pytest.mark.timeout(7200)
def test_positive_control(rig: Rig) -> None:
    """The same commit to a file system that asks for no flush: now the order matters, and damage is seen."""
    before, log, printed = record(rig, f"{CHANGE}\n{COMMIT}", ",barrier=0")
    assert outputs(printed)["commit"][0] == 0
    wrong, _ = look(rig, before, log)
    assert wrong != []


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("options", ["", ",sync"], ids=["usual", "each-step-by-itself"])
def test_undo(rig: Rig, options: str) -> None:
    """Of what an earlier boot has committed."""
    before, log, printed = record(rig, "ctl undo undo", options, committed(rig))
    assert outputs(printed)["undo"][0] == 0, printed
    wrong, files = look(rig, before, log)
    assert wrong == []
    assert (files[0], files[-1]) == (NEW, OLD)


@pytest.mark.timeout(7200)
def test_positive_control_of_undo(rig: Rig) -> None:
    """The same to a file system that asks for no flush."""
    before, log, printed = record(rig, "ctl undo undo", ",barrier=0", committed(rig))
    assert outputs(printed)["undo"][0] == 0, printed
    wrong, _ = look(rig, before, log)
    assert wrong != []


@pytest.mark.timeout(7200)
def test_purge(rig: Rig) -> None:
    """No file of the system changes, whatever is there of the rest."""
    before, log, printed = record(rig, "ctl purge purge", ",sync", committed(rig))
    assert outputs(printed)["purge"][0] == 0, printed
    wrong, files = look(rig, before, log)
    assert wrong == []
    assert all(state == NEW for state in files)
