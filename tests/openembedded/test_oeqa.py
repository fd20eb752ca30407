# SPDX-License-Identifier: MIT
"""`bitbake -c testimage` with lib/oeqa/runtime/cases/overlayroot_boot.py, on the emulated board.

Before the tests that replace or spoil what the quick build has deployed: testimage reads it.
"""

import re

from console import served
from labgrid_board import BoardStrategy, Status
from quick import CONSOLE, build
from series import Series

TESTS = {
    "test_root_is_an_overlay",
    "test_report",
    "test_fstab_is_a_copy_in_ram",
    "test_lower_cannot_be_written",
    "test_overlayrootctl_agrees",
    "test_nothing_was_written",
}


def run_testimage(series: Series, board: BoardStrategy) -> tuple[int, dict[str, str]]:
    """`bitbake -c testimage` with a booted board: its exit status, and the result of each test."""
    with served(board.shell, CONSOLE):
        result = build(series, "overlayroot-image-minimal -c testimage")
    results = re.findall(r"RESULTS - overlayroot_boot\.OverlayrootBootTest\.(\w+): (\w+)", result.stdout)
    assert results, result.stdout[-6000:]
    return result.returncode, dict(results)


def test_testimage_on_a_protected_board(scarthgap: Series, board: BoardStrategy) -> None:
    board.transition(Status.shell)
    status, results = run_testimage(scarthgap, board)
    assert set(results) == TESTS
    assert set(results.values()) == {"PASSED"}, results
    assert status == 0


def test_testimage_fails_on_a_writable_boot(scarthgap: Series, board: BoardStrategy) -> None:
    board.emulated.set_environment(overlayfs="no")
    board.transition(Status.shell)
    status, results = run_testimage(scarthgap, board)
    assert set(results) == TESTS
    assert results.pop("test_root_is_an_overlay") == "FAILED"
    # The others build on it.
    assert set(results.values()) == {"SKIPPED"}, results
    assert status != 0
