# SPDX-License-Identifier: MIT
"""The quick build with a verified root, on the emulated board: one changed byte is noticed."""

import json
import pathlib
import re
import shutil
import subprocess

import pytest
from labgrid_board import BoardStrategy, Status
from quick import DEPLOY, FOLDER, NAME, build, run
from series import LAYER, WORK, Series, checked_out

OPTIONS = ("verity",)
# Nothing reads it while the board boots.
FILE = "/etc/issue.net"
VALUE = f"{NAME}.ext4.ofsverity.env"
TOOL = "/usr/sbin/overlayrootctl"
BLOCK = 4096


@pytest.fixture(scope="module")
def card(scarthgap: Series, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The card with the verified root."""
    checked_out(scarthgap, *OPTIONS)
    result = build(scarthgap, "overlayroot-image-minimal", options=OPTIONS)
    assert result.returncode == 0, result.stdout[-6000:]
    assert "WARNING" not in result.stdout, result.stdout[-6000:]
    # A build that fails takes them out of the real folder.
    folder = tmp_path_factory.mktemp("card")
    for name in (f"{NAME}.wic.gz", VALUE):
        shutil.copy(DEPLOY / name, folder)
    return folder / f"{NAME}.wic.gz"


def assert_verified(board: BoardStrategy, *, corrupted: bool) -> None:
    """Init, kernel and tool agree that the root is verified; whether a changed block was read."""
    found = re.match(r"protected: / is RAM over read-only (/dev/mmcblk\dp2), ext4, verified;", board.verdict)
    assert found, board.verdict
    # What the kernel says is in its log; on the console it would be in the middle of ours.
    run(board, "dmesg -n 1")
    report = json.loads(run(board, "cat /mnt/root-RW/report.json"))
    assert report["root"]["verity"]["device"] == "/dev/mapper/overlayroot"
    assert report["warnings"] == []
    (lower,) = [line for line in run(board, "cat /proc/mounts").splitlines() if " /mnt/root-RO " in line]
    assert re.match("/dev/mapper/overlayroot /mnt/root-RO ext4 ro[, ]", lower)
    status = json.loads(run(board, f"{TOOL} --json status"))
    assert status["root"]["verity"] == {"device": found[1], "corrupted": corrupted}
    assert board.shell.run(f"{TOOL} status --check")[2] == (2 if corrupted else 0)


def change_one_byte(board: BoardStrategy) -> None:
    """In the first block of FILE, behind everybody's back."""
    start, _ = board.emulated.root_partition()
    shown = subprocess.run(
        ["debugfs", "-R", f"blocks {FILE}", f"{board.emulated.card}?offset={start}"],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    with board.emulated.card.open("r+b") as card:
        card.seek(start + int(shown.split()[0]) * BLOCK)
        assert card.read(4) == b"Open"
        card.seek(-4, 1)
        card.write(b"o")


def test_root_is_verified(board: BoardStrategy) -> None:
    """All of it, block by block: nothing is noticed where nothing has changed."""
    before = board.root_hash()
    board.transition(Status.shell)
    run(board, "cat /dev/mapper/overlayroot >/dev/null")
    assert run(board, f"cat {FILE}").startswith("Open")
    assert_verified(board, corrupted=False)
    run(board, "echo new >/kept && sync")
    board.transition(Status.off)
    assert board.root_hash() == before


def test_changed_byte_is_noticed(board: BoardStrategy) -> None:
    change_one_byte(board)
    board.transition(Status.shell)
    # Until it is read nobody knows.
    assert_verified(board, corrupted=False)
    output, _, status = board.shell.run(f"cat {FILE}")
    assert status == 1 and "Input/output error" in output[-1]
    assert re.search(r"device-mapper: verity: .*: data block \d+ is corrupted", run(board, "dmesg"))
    assert_verified(board, corrupted=True)


def test_changed_byte_is_believed_without_the_root_hash(
    card: pathlib.Path, board: BoardStrategy, tmp_path: pathlib.Path
) -> None:
    """The positive control: the same card and the same byte, without the line of overlayroot.env."""
    change_one_byte(board)
    boot = ["-i", f"{board.emulated.card}@@{4 << 20}"]
    environment = tmp_path / "overlayroot.env"
    subprocess.run(["mcopy", *boot, "::overlayroot.env", environment], check=True)
    lines = environment.read_text().splitlines(keepends=True)
    assert re.fullmatch(r"ofs_verity=[0-9a-f]{64}@\d+\n", lines[-1])
    assert lines[-1] == (card.parent / VALUE).read_text()
    environment.write_text("".join(lines[:-1]))
    subprocess.run(["mcopy", "-o", *boot, environment, "::overlayroot.env"], check=True)
    board.transition(Status.shell)
    assert re.match(r"protected: / is RAM over read-only /dev/mmcblk\dp2, ext4;", board.verdict)
    assert run(board, f"cat {FILE}").startswith("open")


@pytest.mark.usefixtures("card")
def test_layout_with_another_root_ends_the_build(scarthgap: Series) -> None:
    ours = (LAYER / "files/wic/overlayroot-spi-nor.wks.in").read_text()
    assert "${OVERLAYROOT_WKS_ROOT}" in ours
    other = WORK / FOLDER / "other.wks.in"
    other.write_text(ours.replace("${OVERLAYROOT_WKS_ROOT}", "--source rootfs --fstype=ext4"))
    setting = f'OVERLAYROOT_WKS_FILE = "{other}"\n'
    result = build(scarthgap, "overlayroot-image-minimal", setting, OPTIONS)
    assert result.returncode != 0
    assert "nothing would fit the root hash" in result.stdout, result.stdout[-6000:]
