# SPDX-License-Identifier: MIT
"""overlayrootctl changes what the next boot is, and the RAM layer of this one.

On the emulated board all tests up to the last one happen in one power-on, and each write to the card is
recorded: there is none until the last test asks for some.
"""

import contextlib
import json
import os
import pathlib
import re
import subprocess
import time
from collections.abc import Iterator

import pytest
from conftest import System, assert_protected, assert_writable, mtools
from labgrid_board import PATIENCE, BoardStrategy, Status
from writelog import writes

# Where the boot partition begins, and what its uEnv.txt says before: more than a cluster.
BOOT = 4 << 20
BEFORE = f"note={'x' * 5000}\n"


class Recording:
    """The boot partition before, the log of what is written to the card, and how recording is ended."""

    before: pathlib.Path
    log: pathlib.Path
    end: contextlib.ExitStack


@pytest.fixture(scope="module")
def recording(board: BoardStrategy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recording]:
    """From the first power-on of this module on."""
    recording = Recording()
    folder = tmp_path_factory.mktemp("card")
    recording.before, recording.log = folder / "boot.img", folder / "log"
    with contextlib.ExitStack() as recording.end:
        board.transition(Status.off)
        if board.emulated:
            card = board.emulated.card
            (folder / "uEnv.txt").write_text(BEFORE)
            mtools("mcopy", card, "-o", str(folder / "uEnv.txt"), "::uEnv.txt")
            with card.open("rb") as medium:
                medium.seek(BOOT)
                recording.before.write_bytes(medium.read(60 << 20))
            recording.end.enter_context(board.emulated.recorded("card", recording.log))
        yield recording


def ctl(system: System, command: str) -> dict:
    """What a command says with --json."""
    return json.loads(system.run(f"overlayrootctl --json {command}"))


def test_settings_in_the_environment(board: BoardStrategy, system: System, recording: Recording) -> None:
    board.transition(Status.shell)
    system.need_flash()
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
    grown = re.search(r"most grown: /srv/data/large (\d+) MiB", said)
    assert grown, said
    # It may look while the last of the 40 MiB are on their way.
    assert 30 <= int(grown[1]) <= 40, said
    assert "refused" in system.run("overlayrootctl size --now 16M 2>&1; test $? = 3")
    assert ctl(system, "size --now 96M")["after"]["size_bytes"] == 96 << 20
    assert "size=98304k" in system.mount("/mnt/root-RW")["options"]
    assert "enough is free again" in wait_for(system, "overlayroot: RAM layer ")


def wait_for(system: System, text: str) -> str:
    """The line of the kernel log with a text."""
    deadline = time.monotonic() + PATIENCE
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
    system.need_flash()
    system.run("fw_setenv ofs-size; sed 's/0xC0000/0xC1000/' /etc/fw_env.config > /tmp/fw_env.config")
    said = system.run("overlayrootctl enable --fw-config /tmp/fw_env.config 2>&1; test $? = 1")
    assert "the checksum (CRC) is wrong at 0xc1000 of /dev/mtd0" in said
    assert "type `saveenv` at U-Boot's prompt" in said


@pytest.mark.lg_feature("card")
def test_settings_in_a_file(board: BoardStrategy, system: System, recording: Recording) -> None:
    """The file is on the card as soon as the command says so: the plug is pulled right after it."""
    board.transition(Status.shell)
    done = ctl(system, "disable --store file")
    assert done["store"].startswith("uEnv.txt on the boot partition (/dev/mmcblk")
    assert "/run/overlayrootctl" not in system.run("cat /proc/mounts")
    board.cut_power()
    recording.end.close()
    card = board.emulated.card
    try:
        assert read(card, "uEnv.txt") == f"{BEFORE}overlayfs=no\n".encode()
        assert_whole_at_each_write(recording)
        board.set_bare(True)
        board.transition(Status.shell)
        assert_writable(system)
        ctl(system, "enable --store file")
        board.cut_power()
        assert read(card, "uEnv.txt") == f"{BEFORE}overlayfs=yes\n".encode()
    finally:
        board.cut_power()
        mtools("mdel", card, "::uEnv.txt")
        board.set_bare(False)


def assert_whole_at_each_write(recording: Recording) -> None:
    """A cut at any of them leaves the old or the new uEnv.txt as a whole, and every other file as it was.

    This is also what the card got in all of these tests: nothing but that, and nothing outside of the boot
    partition.
    """
    size = recording.before.stat().st_size
    requests = writes(recording.log)
    assert 5 <= len(requests) < 200
    others = ("boot.scr", "overlayroot.env", "overlayroot.uInitrd")
    image = recording.before
    expected = {name: read(image, name, 0) for name in others}
    seen: list[bytes] = []
    with image.open("r+b", buffering=0) as medium:
        for offset, data in requests:
            assert BOOT <= offset and offset + len(data) <= BOOT + size, "outside of the boot partition"
            # In the middle of a request, between two sectors, and after it.
            half = len(data) // 1024 * 512
            for part in (data[:half], data):
                os.pwrite(medium.fileno(), part, offset - BOOT)
                seen.append(read(image, "uEnv.txt", 0))
                assert {name: read(image, name, 0) for name in others} == expected
    old, new = BEFORE.encode(), f"{BEFORE}overlayfs=no\n".encode()
    turn = seen.index(new)
    assert seen == [old] * turn + [new] * (len(seen) - turn)


def read(card: pathlib.Path, name: str, partition: int = BOOT) -> bytes:
    """A file on the boot partition."""
    command = ["mtype", "-i", f"{card}@@{partition}", f"::{name}"]
    return subprocess.run(command, capture_output=True, check=True).stdout
