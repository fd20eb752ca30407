# SPDX-License-Identifier: MIT
"""The quick build (docs/kas.md), and its card on the emulated board."""

import contextlib
import gzip
import json
import os
import pathlib
import re
import subprocess
from collections.abc import Iterator

import pytest
from labgrid import Environment
from labgrid_board import BoardStrategy, Status
from series import LAYER, WORK, Series

FOLDER = "quick"
IMAGES = "deploy/images/nitrogen6x"
DEPLOY = WORK / FOLDER / "build/tmp-glibc" / IMAGES
PACKAGES = WORK / FOLDER / "build/tmp-glibc/deploy/deb"
# That of wrynose: another folder, as each series has its own output.
ON_WRYNOSE = "quick-wrynose"
DEPLOY_WRYNOSE = WORK / ON_WRYNOSE / "build/tmp" / IMAGES
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
    series: Series, target: str, settings: str = "", options: tuple[str, ...] = (), folder: str = FOLDER
) -> subprocess.CompletedProcess:
    """Runs BitBake for a target; `settings` is configuration of this build, `options` those of kas."""
    extra = WORK / folder / "settings.conf"
    extra.parent.mkdir(exist_ok=True)
    extra.write_text(TESTIMAGE + settings)
    files = series.files("nitrogen6x", *options, "debian-toolchain")
    command = f"bitbake -R {extra} {target}"
    return series.kas("shell", files, "--command", command, folder=folder, timeout=3 * 3600)


def assert_init_and_little_else(initramfs: pathlib.Path) -> None:
    """The initramfs holds the init, its configuration, folders to mount on, and modules."""
    archive = gzip.decompress(initramfs.read_bytes())
    listing = subprocess.run(["cpio", "-t", "--quiet"], input=archive, stdout=subprocess.PIPE, check=True)
    names = set(listing.stdout.decode().split())
    ends = {name for name in names if not any(other.startswith(name + "/") for other in names)} - {"."}
    modules = {name for name in ends if name.endswith(".ko")}
    ours = {"init", "etc/overlayroot.conf", "etc/overlayroot.modules"}
    assert ends - modules == ours | {"dev", "mnt", "proc", "sys"}
    assert {pathlib.Path(name).stem for name in modules} >= {"ext4", "overlay", "sdhci-esdhc-imx"}


def assert_boots_to_the_overlay(board: BoardStrategy) -> None:
    """A protected boot; what it writes is gone at the next one, and the card is what it was."""
    before = board.root_hash()
    board.transition(Status.shell)
    assert re.match(r"protected: / is RAM over read-only /dev/mmcblk\dp2, ext4;", board.verdict)
    report = json.loads(run(board, "cat /mnt/root-RW/report.json"))
    assert report["reached"] == "ram" and report["protected"] is True
    assert report["root"]["spec"].startswith("PARTUUID=")
    assert report["warnings"] == []
    root = [line.split() for line in run(board, "cat /proc/mounts").splitlines() if line.split()[1] == "/"]
    assert [line[2] for line in root] == ["overlay"]
    run(board, "echo new >/kept && sync")
    board.transition(Status.off)
    assert board.root_hash() == before
    board.transition(Status.shell)
    assert board.shell.run("test -e /kept")[2] == 1


def assert_writable_on_request(board: BoardStrategy) -> None:
    """The positive control: the same rig, not protected, changes."""
    board.emulated.set_environment(overlayfs="no")
    before = board.root_hash()
    board.transition(Status.shell)
    assert board.verdict.startswith("NOT PROTECTED: / is writable")
    run(board, "echo new >/kept && sync")
    board.transition(Status.off)
    assert board.root_hash() != before


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
