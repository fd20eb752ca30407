# SPDX-License-Identifier: MIT
"""ofs-lock=yes: the root's device refuses writes for the whole uptime, but while overlayrootctl writes."""

import json

import pytest
import uml
from conftest import Rig, assert_protected
from ctlboard import Board
from failure_modes import failure

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


CTL = 'ctl() { echo "<<$1"; shift; "$@"; echo ">>$?"; }\n'
LOOK = f"""{CTL}
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


CGROUPS = """
busybox mount -t sysfs sys /sys
busybox mount -t cgroup2 cgroups /sys/fs/cgroup
"""
# Runs edit as systemd runs a service: in a control group of its own.
SERVICE = """
service=/sys/fs/cgroup/app.service
mkdir $service
busybox sh -c "echo 0 >$service/cgroup.procs; exec overlayrootctl edit -- /bin/busybox sh -c '
    echo y >/etc/y; echo \\$\\$ >/run/child; exec busybox sleep 1000'" &
until [ -s /run/child ]; do busybox usleep 10000; done
child=$(cat /run/child)
"""
CLOSED = """
for n in $(seq 300); do
    [ -n "$(pidof overlayrootctl)" ] || [ $(cat /sys/block/ubda/ro) = 0 ] || break
    busybox usleep 100000
done
"""


@failure(
    "running",
    "a service that has the real root open is killed with all of its processes, as systemd does",
    "",
    "ram",
    "none: the root is read-only again after some seconds",
)
@pytest.mark.parametrize("read_only", [False, True])
def test_killed_with_its_control_group(board: Board, read_only: bool) -> None:
    """All processes at once, as systemd kills a service; also where it sees the groups read-only."""
    hide = "busybox mount -o remount,ro,bind /sys/fs/cgroup;" if read_only else ""
    service = SERVICE.replace("exec overlayrootctl", f"{hide} exec overlayrootctl", 1)
    script = f"""
    echo x >/etc/x
    {CGROUPS} {service}
    echo "open $(cat /sys/block/ubda/ro)"
    busybox mount -o remount,rw,bind /sys/fs/cgroup
    echo 1 >$service/cgroup.kill
    {CLOSED}
    {LOOK}
    ctl left kill -0 $child
    ctl groups ls -d /sys/fs/cgroup/*/
    ctl check overlayrootctl status --check
    ctl later overlayrootctl commit /etc/x
    """
    found = board.run(script, LOCKED)
    assert "open 0" in board.boot.script
    assert is_closed(found), found
    assert " ro," in found["mounts"][1]
    assert found["left"][0] == 1, "the command still runs"
    assert found["groups"][1].split() == ["/sys/fs/cgroup/app.service/"]
    assert found["check"][0] == 0, found["check"]
    assert found["later"][0] == 0, found["later"]


def test_everything_killed_is_seen_and_healed(board: Board) -> None:
    """Each of the three is killed by its number, which nothing survives; the next one puts it right."""
    script = f"""
    echo x >/etc/x
    {CGROUPS}
    echo 'somebody:x:1000:1000::/:/bin/sh' >/etc/passwd
    busybox ln -s busybox /bin/sh
    somebody() {{ busybox su somebody -c 'exec overlayrootctl status --check'; }}
    ctl none overlayrootctl status --check
    busybox setsid overlayrootctl edit -- /bin/busybox sh -c '
        echo $$ >/run/child; exec busybox sleep 1000' &
    until [ -s /run/child ]; do busybox usleep 10000; done
    ctl during overlayrootctl --json status --check
    ctl other somebody
    ctl busy overlayrootctl commit /etc/x
    kill -9 $(pidof overlayrootctl) $(cat /run/child)
    busybox usleep 500000
    ctl after overlayrootctl status --check
    ctl stranger somebody
    ctl heal overlayrootctl edit -- /bin/busybox true
    ctl healed overlayrootctl status --check
    {LOOK}
    """
    found = board.run(CTL + script, LOCKED)
    assert found["none"][0] == 0
    code, text = found["during"]
    during = json.loads(text)
    assert (code, during["state"], during["level"]) == (0, "open", "ok"), text
    assert ", which overlayrootctl edit (process " in during["reason"]
    assert during["disagreements"] == []
    assert found["other"][0] == 0 and "which overlayrootctl (process " in found["other"][1]
    assert found["busy"][0] == 3 and "in use by overlayrootctl edit (process " in found["busy"][1]
    for name in ("after", "stranger"):
        code, text = found[name]
        assert code == 1 and "left open" in text and "overlayrootctl edit -- /bin/true" in text, text
    assert found["heal"][0] == 0
    assert found["healed"][0] == 0, found["healed"]
    assert is_closed(found), found


def test_the_watch_service_closes_what_was_left_open(board: Board) -> None:
    """And whoever wants to commit is told who has it, or waits."""
    script = f"""
    echo x >/etc/x
    overlayrootctl watch --interval 1 &
    watch=$!
    overlayrootctl edit -- /bin/busybox sh -c 'echo >/run/open; exec busybox sleep 4' &
    until [ -e /run/open ]; do busybox usleep 10000; done
    ctl no overlayrootctl commit --wait=0 /etc/x
    ctl wait overlayrootctl commit --wait /etc/x
    busybox setsid overlayrootctl edit -- /bin/busybox sh -c '
        echo $$ >/run/child; exec busybox sleep 1000' &
    until [ -s /run/child ]; do busybox usleep 10000; done
    for one in $(pidof overlayrootctl) $(cat /run/child); do [ $one = $watch ] || kill -9 $one; done
    for n in $(seq 100); do [ $(cat /sys/block/ubda/ro) = 1 ] && break; busybox usleep 100000; done
    {LOOK}
    """
    found = board.run(CTL + script, LOCKED)
    assert found["no"][0] == 3 and "in use by overlayrootctl edit" in found["no"][1]
    code, text = found["wait"]
    assert code == 0 and "waiting for overlayrootctl edit (process " in text and "kept /etc/x" in text
    assert is_closed(found), found
    assert "was killed: the real root is read-only again" in board.boot.script


def test_the_lock_is_kept_by_file_systems(rig: Rig) -> None:
    """What is mounted writable already goes on writing to a locked device: the block layer only warns."""
    data = rig.root("data.img", label="DATA")
    before = uml.sha256(data)
    script = """mkdir /tmp/m; mount -t ext4 /dev/ubdb /tmp/m && blockdev --setro /dev/ubdb
    blockdev --getro /dev/ubdb; echo x >/tmp/m/new; sync; dmesg | grep -c 'write to read-only block'"""
    boot = rig.boot_unchanged("root=/dev/ubda", more=[data], script=script)
    locked, warnings = boot.script.splitlines()
    assert locked == "1"
    assert int(warnings) > 0
    assert uml.sha256(data) != before
