# SPDX-License-Identifier: MIT
"""overlayrootctl changes what the next boot is, and the RAM layer of this one."""

import json
import pathlib
import subprocess
import time

import pytest
from conftest import System, mtools
from labgrid_board import BoardStrategy, Status
from test_board import assert_protected, assert_writable


def ctl(system: System, command: str) -> dict:
    """What a command says with --json."""
    return json.loads(system.run(f"overlayrootctl --json {command}"))


def test_settings_in_the_environment(board: BoardStrategy, system: System) -> None:
    board.transition(Status.shell)
    system.settle()
    done = ctl(system, "size 48M")
    assert done["store"] == "U-Boot's environment"
    assert [(c["name"], c["to"]) for c in done["changes"]] == [("ofs-size", "48M")]
    assert ctl(system, "disable")["next_boot"]["protected"] is False
    assert system.run("fw_printenv overlayfs ofs-size").split() == ["overlayfs=no", "ofs-size=48M"]
    done = ctl(system, "enable")
    assert done["changes"] == [{"name": "overlayfs", "from": "no", "to": "yes"}]
    assert done["next_boot"]["protected"] is True
    board.reboot()
    assert_protected(system, "48M")
    assert "size=49152k" in system.mount("/mnt/root-RW")["options"]


def test_layer_that_fills_is_watched_and_resized(board: BoardStrategy, system: System) -> None:
    """In the 48 MiB of the test before."""
    board.transition(Status.shell)
    assert system.run("systemctl is-active overlayroot-watch") == "active"
    system.run("mkdir -p /srv/data; head -c 42000000 /dev/zero > /srv/data/large")
    said = wait_for(system, "overlayroot: warning: RAM layer ")
    assert "most grown: /srv/data/large 40 MiB" in said
    assert "refused" in system.run("overlayrootctl size --now 16M 2>&1; test $? = 3")
    assert ctl(system, "size --now 96M")["after"]["size_bytes"] == 96 << 20
    assert "size=98304k" in system.mount("/mnt/root-RW")["options"]
    assert "enough is free again" in wait_for(system, "overlayroot: RAM layer ")


def wait_for(system: System, text: str) -> str:
    """The line of the kernel log with a text."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        found = system.run(f"dmesg | grep -F '{text}' || true")
        if found:
            return found
        time.sleep(2)
    pytest.fail(f"nothing in the kernel log with: {text}")


@pytest.mark.lg_feature("card")
def test_an_environment_that_is_torn(board: BoardStrategy, system: System) -> None:
    """Seen at a wrong place, half of it is missing. The environment itself is left as it was found."""
    board.transition(Status.shell)
    system.settle()
    system.run("fw_setenv ofs-size; sed 's/0xC0000/0xC1000/' /etc/fw_env.config > /tmp/fw_env.config")
    said = system.run("overlayrootctl enable --fw-config /tmp/fw_env.config 2>&1; test $? = 1")
    assert "the checksum (CRC) is wrong at 0xc1000 of /dev/mtd0" in said
    assert "type `saveenv` at U-Boot's prompt" in said


@pytest.mark.lg_feature("card")
def test_settings_in_a_file(board: BoardStrategy, system: System) -> None:
    """The file is on the card as soon as the command says so: the plug is pulled right after it."""
    board.transition(Status.shell)
    done = ctl(system, "disable --store file")
    assert done["store"].startswith("uEnv.txt on the boot partition (/dev/mmcblk")
    board.cut_power()
    card = board.emulated.card
    try:
        assert uenv(card) == "overlayfs=no\n"
        board.transition(Status.shell)
        assert_writable(system)
        ctl(system, "enable --store file")
        assert "/run/overlayrootctl" not in system.run("cat /proc/mounts")
        board.cut_power()
        assert uenv(card) == "overlayfs=yes\n"
    finally:
        board.cut_power()
        mtools("mdel", card, "::uEnv.txt")


def uenv(card: pathlib.Path) -> str:
    """The file on the boot partition."""
    shown = subprocess.run(["mtype", "-i", f"{card}@@4M", "::uEnv.txt"], capture_output=True, check=True)
    return shown.stdout.decode()
