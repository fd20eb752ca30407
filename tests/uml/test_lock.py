# SPDX-License-Identifier: MIT
"""ofs-lock=yes: the root's device refuses writes for the whole uptime, but while overlayrootctl writes."""

import pytest
import uml
from conftest import Rig, assert_protected
from ctlboard import Board

# What is written to a device, and whether the kernel took it.
WRITE = """write() {
    dd if=/bin/busybox of=$1 bs=4096 count=1 seek=$2 conv=fsync 2>/dev/null &&
        echo "$3 written" || echo "$3 refused"
}
"""
LOCKED = "root=/dev/ubda ofs-size=64M ofs-lock=yes"


@pytest.mark.parametrize(("lock", "answer"), [("ofs-lock=yes", "refused"), ("", "written")])
def test_device_node(rig: Rig, lock: str, answer: str) -> None:
    """Root writes to the device itself, late in the uptime; without the lock the rig sees it written."""
    disk = rig.root()
    before = uml.sha256(disk)
    script = f"""{WRITE} sync; mount -a
    cat /sys/block/ubda/ro; write /dev/ubda 3000 node
    busybox mknod /tmp/other b 98 0; write /tmp/other 3001 other"""
    found = rig.boot(f"root=/dev/ubda {lock}".strip(), [disk], script=script)
    assert_protected(found)
    said = found.script.splitlines()
    assert said[0] == ("1" if lock else "0")
    assert said[1:] == [f"node {answer}", f"other {answer}"]
    assert (uml.sha256(disk) == before) is bool(lock)


def test_whole_card_is_another_device(rig: Rig) -> None:
    """Through the card the blocks of a locked partition can be written.

    Locking the card closes that, and takes every other partition with it.
    """
    card = uml.partitioned(
        rig.folder / "card.img", "label: dos\nsize=8MiB\nsize=32MiB\n", 2, rig.root("part.img")
    )
    script = f"""{WRITE}
    write /dev/ubda2 7000 partition
    write /dev/ubda 9500 card
    busybox blockdev --setro /dev/ubda
    write /dev/ubda 9501 "locked card"
    write /dev/ubda1 100 "boot partition"
    busybox blockdev --setrw /dev/ubda
    write /dev/ubda2 7000 "after that"
    """
    found = rig.boot("root=/dev/ubda2 ofs-lock=yes", [card], script=script)
    assert_protected(found, "/dev/ubda2")
    assert found.script.splitlines() == [
        "partition refused",
        "card written",
        "locked card refused",
        "boot partition refused",
        "after that refused",
    ]


def is_closed(found: dict[str, tuple[int, str]]) -> bool:
    """Read-only and locked, as status and the kernel have it."""
    return found["ro"][1].strip() == "1" and '"device_locked": true' in found["status"][1]


LOOK = """
ctl() { echo "<<$1"; shift; "$@"; echo ">>$?"; }
ctl ro cat /sys/block/ubda/ro
ctl mounts grep root-RO /proc/mounts
ctl status overlayrootctl --json status
"""


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("commit /etc/x", 0),
        ("commit /etc/nothing", 3),
        ("edit -- /bin/busybox sh -c 'cat /sys/block/ubda/ro; echo y >/etc/y'", 0),
        ("edit -- /bin/busybox false", 1),
        ("edit -- /nowhere", None),
    ],
)
def test_opened_for_the_work_and_closed(board: Board, command: str, code: int | None) -> None:
    found = board.run(f"echo x >/etc/x\nctl work {command}\n{LOOK}", LOCKED)
    assert code is None or found["work"][0] == code, found["work"]
    assert is_closed(found), found
    assert " ro," in found["mounts"][1]
    if command == "commit /etc/x":
        assert uml.run("debugfs", "-R", "cat /etc/x", board.disk) == "x\n"
    if "cat /sys" in command:
        assert found["work"][1].split()[0] == "0"


@pytest.mark.parametrize("victim", ["parent", "child", "group"])
def test_killed(board: Board, victim: str) -> None:
    """SIGKILL in the middle of an edit: of the tool, of what it started, of all of its group."""
    script = f"""
    echo x >/etc/x
    busybox setsid overlayrootctl edit -- /bin/busybox sh -c '
        echo y >/etc/y; echo $$ >/run/child; exec busybox sleep 1000' &
    parent=$!
    until [ -s /run/child ]; do busybox usleep 10000; done
    child=$(cat /run/child)
    echo "open $(cat /sys/block/ubda/ro)"
    case {victim} in
        parent) kill -9 $parent ;;
        child) kill -9 $child ;;
        group) kill -9 -$parent ;;
    esac
    running() {{ pidof overlayrootctl || kill -0 $child || [ $(cat /sys/block/ubda/ro) = 0 ]; }}
    for n in $(seq 1200); do running >/dev/null 2>&1 || break; busybox usleep 100000; done
    {LOOK}
    ctl left kill -0 $child
    ctl later overlayrootctl commit /etc/x
    """
    found = board.run(script, LOCKED)
    assert "open 0" in board.boot.script
    assert is_closed(found), found
    assert " ro," in found["mounts"][1]
    assert found["left"][0] == 1, "the command still runs"
    assert found["later"][0] == 0, found["later"]
