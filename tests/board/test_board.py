# SPDX-License-Identifier: MIT
"""From U-Boot's environment to the overlay, and the plug that is pulled.

Each test leaves a board behind that boots protected. They run in order: a boot that one test has made is
used by the next where it can be. Debian's init is left out where that can be.
"""

import re

import pytest
from conftest import System, assert_protected, assert_writable, await_flash, boot_without_environment, mtools
from labgrid_board import BoardStrategy, Status

pytestmark = pytest.mark.usefixtures("bare")


def test_plug_pulled_while_writing(board: BoardStrategy, system: System) -> None:
    board.transition(Status.off)
    before = board.root_hash()
    board.transition(Status.shell)
    system.run("echo lost > /etc/lost; rm /etc/hostname; mkdir /srv/data")
    board.console.sendline(
        "while :; do head -c 4000000 /dev/urandom > /srv/data/x; sync; rm /srv/data/x; echo rou''nd; done"
    )
    for _ in range(5):
        board.console.expect("round", timeout=600)
    board.cut_power()
    assert board.root_hash() == before
    board.transition(Status.shell)
    assert system.run("cat /etc/hostname") == "overlayroot"
    assert system.run("ls /etc/lost /srv/data 2>&1; true").count("No such file") == 2


def test_one_writable_boot(board: BoardStrategy, system: System) -> None:
    board.transition(Status.off)
    before = board.root_hash()
    board.boot(overlayfs="no")
    assert_writable(system)
    system.run("echo maintenance > /etc/maintenance; sync")
    board.cut_power()
    # The positive control of the test above: an unprotected root does change, and is left dirty.
    assert board.root_hash() != before
    board.transition(Status.shell)
    assert_protected(system, "20")
    assert system.run("cat /etc/maintenance") == "maintenance"
    report = system.report()
    assert report["root"]["state"] == "dirty"
    assert any("the kernel repairs it now" in warning for warning in report["warnings"])


def test_environment_is_changed_for_good(board: BoardStrategy, system: System) -> None:
    board.transition(Status.uboot)
    board.uboot.run_check("setenv overlayfs no")
    board.uboot.run_check("saveenv")
    await_flash(board, {"overlayfs": "no"})
    board.transition(Status.shell)
    assert_writable(system)
    system.need_flash()
    assert system.run("fw_printenv overlayfs") == "overlayfs=no"
    system.run("fw_setenv overlayfs yes; fw_setenv ofs_size 10%")
    board.reboot()
    assert_protected(system, "10%")
    total = int(re.search(r"MemTotal: *(\d+) kB", system.run("cat /proc/meminfo")).group(1))
    size = next(o for o in system.mount("/mnt/root-RW")["options"] if o.startswith("size="))
    assert int(size[5:-1]) == pytest.approx(total / 10, abs=4)


@pytest.mark.lg_feature("card")
def test_missing_initrd_is_said(board: BoardStrategy, card) -> None:
    mtools("mren", card, "::overlayroot.uInitrd", "::away.gz")
    try:
        board.transition(Status.uboot)
        board.uboot.boot()
        board.console.expect(
            r"ERROR: no overlayroot.uInitrd on mmc \d:1: the root cannot be protected", timeout=300
        )
        board.console.expect(
            "put the file back, or type at the prompt: setenv overlayfs no, then: boot", timeout=300
        )
        # Nothing was booted, and somebody is there.
        board.console.expect("restart in 10 s. Ctrl-C stops that", timeout=300)
        board.console.sendcontrol("c")
        board.console.expect("=> ", timeout=300)
    finally:
        board.cut_power()
        mtools("mren", card, "::away.gz", "::overlayroot.uInitrd")


@pytest.mark.lg_feature("card")
def test_root_that_is_to_be_verified_needs_the_initramfs(board: BoardStrategy, card) -> None:
    """Not even `overlayfs=no` lets the kernel mount it by itself; the name has a hyphen."""
    mtools("mren", card, "::overlayroot.uInitrd", "::away.gz")
    try:
        board.transition(Status.uboot)
        board.uboot.run_check("setenv overlayfs no")
        board.uboot.run_check("setenv ofs-verity x")
        board.uboot.boot()
        board.console.expect(r"overlayroot.uInitrd on mmc \d:1: the root cannot be verified", timeout=300)
        board.console.expect("restart in 10 s. Ctrl-C stops that", timeout=300)
        board.console.sendcontrol("c")
        board.console.expect("=> ", timeout=300)
    finally:
        board.cut_power()
        mtools("mren", card, "::away.gz", "::overlayroot.uInitrd")


@pytest.mark.lg_feature("card")
def test_board_without_a_root_restarts(board: BoardStrategy, card, tmp_path) -> None:
    (tmp_path / "uEnv.txt").write_text(
        "ofs_root=/dev/mmcblk7p2\nofs_bootargs=ofs-wait=1 ofs-reboot-delay=1\n"
    )
    mtools("mcopy", card, str(tmp_path / "uEnv.txt"), "::")
    try:
        board.transition(Status.uboot)
        board.uboot.boot()
        board.console.expect("device /dev/mmcblk7p2 absent after 1 s", timeout=300)
        # U-Boot again.
        board.console.expect("Hit any key to stop autoboot", timeout=300)
    finally:
        board.cut_power()
        mtools("mdel", card, "::uEnv.txt")


def test_boundarys_u_boot_names_the_device_tree(board: BoardStrategy) -> None:
    """Its variables say which processor and board it runs on; here they name a file that is not there."""
    board.transition(Status.uboot)
    for name, value in (("fdt_file", ""), ("fdtfile", ""), ("imx_cpu", "7D"), ("board", "nitrogen7")):
        board.uboot.run_check(f"setenv {name} {value}")
    board.uboot.boot()
    board.console.expect("ERROR: no imx7d-nitrogen7.dtb on mmc", timeout=300)
    board.console.expect("=> ", timeout=300)
    board.cut_power()


def test_corrupt_environment_protects(board: BoardStrategy, system: System) -> None:
    board.transition(Status.uboot)
    # What a cut during saveenv may leave: half of the environment's flash erased.
    for command in ("sf probe", "sf erase 0xC0000 0x1000"):
        board.uboot.run_check(command)
    await_flash(board, None)
    board.cut_power()
    boot_without_environment(board)
    assert_protected(system, "20")
    board.transition(Status.uboot)
    board.default_environment()
    board.uboot.run_check("saveenv")
    await_flash(board, {})
