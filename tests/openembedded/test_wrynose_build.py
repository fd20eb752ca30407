# SPDX-License-Identifier: MIT
"""The quick build on wrynose: programs, initramfs, boot script; and a card, where the host has a wic."""

import pathlib
import shutil

import pytest
from quick import (
    DEPLOY_WRYNOSE,
    INITRAMFS,
    NAME,
    ON_WRYNOSE,
    assert_boots_to_the_overlay,
    assert_init_and_little_else,
    assert_writable_on_request,
    build,
    emulated_board,
)
from series import Series, checked_out

OURS = "overlayroot-initramfs packagegroup-overlayroot overlayroot-boot-script"
# kas leaves BitBake no other folders.
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


@pytest.fixture(scope="module")
def wrynose() -> Series:
    """With Debian's Rust."""
    return checked_out(Series("wrynose", None))


def test_ours(wrynose: Series) -> None:
    result = build(wrynose, OURS, folder=ON_WRYNOSE)
    assert result.returncode == 0, result.stdout[-6000:]
    assert "WARNING" not in result.stdout, result.stdout[-6000:]
    assert_init_and_little_else(DEPLOY_WRYNOSE / INITRAMFS)


def test_card_boots(wrynose: Series, tmp_path: pathlib.Path) -> None:
    if not shutil.which("wic", path=PATH):
        pytest.skip("no wic in /usr/bin: wrynose's has a repository of its own (docs/kas.md)")
    result = build(wrynose, "overlayroot-image-minimal", folder=ON_WRYNOSE)
    assert result.returncode == 0, result.stdout[-6000:]
    for check in (assert_boots_to_the_overlay, assert_writable_on_request):
        (folder := tmp_path / check.__name__).mkdir()
        with emulated_board(DEPLOY_WRYNOSE / f"{NAME}.wic.gz", folder) as board:
            check(board)
