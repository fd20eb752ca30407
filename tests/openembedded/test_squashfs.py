# SPDX-License-Identifier: MIT
"""The quick build with a squashfs root and a data partition, on the emulated board."""

import pathlib
import re

import pytest
from labgrid_board import Status
from quick import DEPLOY, NAME, build, emulated_board, run
from series import Series

SETTINGS = """\
OVERLAYROOT_ROOTFS = "squashfs"
OVERLAYROOT_DATA_SIZE = "64"
OVERLAYROOT_INITRAMFS_MODULES:append = " squashfs"
IMAGE_FEATURES:append:pn-overlayroot-image-minimal = " read-only-rootfs"
"""


# The others' card first: this build takes its place.
@pytest.mark.usefixtures("deployed")
def test_squashfs_root_and_data_partition(scarthgap: Series, tmp_path: pathlib.Path) -> None:
    result = build(scarthgap, "overlayroot-image-minimal", SETTINGS)
    assert result.returncode == 0, result.stdout[-6000:]
    with emulated_board(DEPLOY / f"{NAME}.wic.gz", tmp_path) as board:
        before = board.root_hash()
        board.transition(Status.shell)
        assert re.match(r"protected: / is RAM over read-only /dev/mmcblk\dp2, squashfs;", board.verdict)
        run(board, "grep ' /data ext4 rw' /proc/mounts && echo kept >/data/kept && echo gone >/gone && sync")
        board.transition(Status.off)
        assert board.root_hash() == before
        board.transition(Status.shell)
        assert run(board, "cat /data/kept") == "kept"
        assert board.shell.run("test -e /gone")[2] == 1
