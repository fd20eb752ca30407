# SPDX-License-Identifier: MIT
"""The quick build (docs/kas.md), and its card on the emulated board."""

import contextlib
import gzip
import os
import pathlib
import subprocess
from collections.abc import Iterator

import pytest
from labgrid import Environment
from labgrid_board import BoardStrategy, Status
from series import LAYER, WORK, Series

FOLDER = "quick"
DEPLOY = WORK / FOLDER / "build/tmp-glibc/deploy/images/nitrogen6x"
PACKAGES = WORK / FOLDER / "build/tmp-glibc/deploy/deb"
NAME = "overlayroot-image-minimal-nitrogen6x.rootfs"
INITRAMFS = "overlayroot-initramfs-nitrogen6x.cpio.gz"
ENVIRONMENT = "overlayroot-image-minimal-nitrogen6x.overlayroot.env"
# Of OpenEmbedded's tests only ours, on a board that a test here has booted.
CONSOLE = WORK / FOLDER / "console"
TESTIMAGE = f"""\
IMAGE_CLASSES += "testimage"
TEST_SUITES = "overlayroot_boot"
addpylib {LAYER}/tests/openembedded/testimage oeqa
TEST_TARGET = "ConsoleTarget"
TEST_SERIALCONTROL_CMD = "{CONSOLE}"
"""


def build(
    series: Series, target: str, settings: str = "", options: tuple[str, ...] = ()
) -> subprocess.CompletedProcess:
    """Runs BitBake for a target; `settings` is configuration of this build, `options` those of kas."""
    extra = WORK / FOLDER / "settings.conf"
    extra.parent.mkdir(exist_ok=True)
    extra.write_text(TESTIMAGE + settings)
    files = series.files("nitrogen6x", *options, "debian-toolchain")
    command = f"bitbake -R {extra} {target}"
    return series.kas("shell", files, "--command", command, folder=FOLDER, timeout=3 * 3600)


@contextlib.contextmanager
def emulated_board(card: pathlib.Path, folder: pathlib.Path) -> Iterator[BoardStrategy]:
    """The emulated board with a card (.wic.gz) in it, switched off; its files are in `folder`."""
    if not os.environ.get("OVERLAYROOT_QEMU"):
        pytest.skip("no emulator; scripts/test-layer provides it")
    image = folder / "card.wic"
    image.write_bytes(gzip.decompress(card.read_bytes()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LG_IMAGE", str(image))
        patch.setenv("LG_BOARD", str(folder / "board"))
        target = Environment(str(LAYER / "tests/env/qemu-sabrelite-openembedded.yaml")).get_target("main")
        board = target.get_driver("BoardStrategy")
    board.transition(Status.off)
    try:
        yield board
    finally:
        board.cut_power()


def run(board: BoardStrategy, command: str) -> str:
    """Output of a command on the board, which has to succeed."""
    return "\n".join(board.shell.run_check(command))
