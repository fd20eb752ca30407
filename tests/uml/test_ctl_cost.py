# SPDX-License-Identifier: MIT
"""What `commit` costs: requests to the disk, beside those of `cp -a` and a sync in the same boot."""

import json
import pathlib

import pytest
import recorder
import uml
from conftest import Rig
from ctlboard import Board, changes, outputs, system

FILES = 1000
# Counters of a disk and the clock, before and after; the first field of a line is its name.
COUNT = """
count() {
    busybox sync
    echo "stat $1 $(cat /sys/block/$2/stat)"; echo "time $1 $(cut -d' ' -f1 /proc/uptime)"
}
"""


def big(folder: pathlib.Path) -> None:
    """The system of the tool's tests, and a file that is long enough to be seen among other writes."""
    system(folder)
    (folder / "data/big").write_bytes(bytes(range(256)) * (20 << 12))
    (folder / "data/many").mkdir()


@pytest.fixture
def roomy(rig: Rig) -> Board:
    """A board with room."""
    return Board(rig, uml.disk(rig.folder / "big.img", change=big, size=96))


def cost(boot: uml.Boot, name: str) -> recorder.Counters:
    """What was asked of the disk between `count NAME-before` and `count NAME-after`."""
    found = recorder.counters(boot)
    before, after = found[f"{name}-before"], found[f"{name}-after"]
    return recorder.Counters(
        after.writes - before.writes,
        after.sectors - before.sectors,
        after.discards - before.discards,
        after.flushes - before.flushes,
    )


def seconds(boot: uml.Boot, name: str) -> float:
    """How long it took."""
    times = dict(line.split()[1:] for line in boot.script.splitlines() if line.startswith("time "))
    return float(times[f"{name}-after"]) - float(times[f"{name}-before"])


def test_a_thousand_files_take_no_flush_each(roomy: Board) -> None:
    """As many flushes as one file takes, and not many more writes than copying them."""
    target = uml.disk(roomy.rig.folder / "target.img", size=32)
    found = roomy.run(
        f"""{COUNT}
        for n in $(seq {FILES}); do head -c 3600 /dev/urandom > /data/many/$n; done
        mkdir /tmp/target; mount -t ext4 /dev/ubdb /tmp/target
        count commit-before ubda; ctl commit --json commit /data/many; count commit-after ubda
        count copy-before ubdb; cp -a /data/many /tmp/target/; count copy-after ubdb
        ctl diff diff --json
        """,
        more=[target],
        timeout=1800,
    )
    code, text = found["commit"]
    assert code == 0, text
    assert len(json.loads(text)["committed"]) == FILES
    commit, copy = cost(roomy.boot, "commit"), cost(roomy.boot, "copy")
    times = seconds(roomy.boot, "commit"), seconds(roomy.boot, "copy")
    print(f"commit {commit}, {times[0]:.1f} s; cp -a {copy}, {times[1]:.1f} s")
    assert commit.flushes <= 24, commit
    assert commit.sectors <= 4 * copy.sectors, (commit, copy)
    uml.run("e2fsck", "-fn", roomy.disk)


@pytest.mark.parametrize(
    "change",
    [
        "chmod 4755 /data/big",
        "chown 7:8 /data/big",
        "touch -d '2002-02-02 02:02:02' /data/big",
    ],
    ids=["mode", "owner", "time"],
)
def test_an_attribute_is_written_without_the_contents(roomy: Board, change: str) -> None:
    found = roomy.run(
        f"""{COUNT}
        {change}
        count commit-before ubda; ctl commit --json commit --all; count commit-after ubda
        ctl diff diff --json
        echo '<<look'; for at in '' /mnt/root-RO; do stat -c '%a %u %g %Y' $at/data/big; done; echo '>>0'
        ctl undo undo
        echo '<<undone'; stat -c '%a %u %g %Y' /mnt/root-RO/data/big; echo '>>0'
        """
    )
    code, text = found["commit"]
    assert code == 0, text
    assert json.loads(text)["committed"] == [{"path": "/data/big", "action": "attributes"}]
    assert cost(roomy.boot, "commit").sectors * 512 < 2 << 20
    assert changes(found["diff"]) == {}
    one, two = found["look"][1].splitlines()
    assert one == two
    assert found["undo"][0] == 0, found["undo"]
    assert found["undone"][1].strip() not in ("", one)
    uml.run("e2fsck", "-fn", roomy.disk)


def test_several_attributes_take_a_copy(roomy: Board) -> None:
    """So that a cut leaves all of the old or all of the new ones; and so does a file with a second name."""
    found = roomy.run(
        """
        ln /data/a /data/c
        chmod 600 /data/b; chown 7 /data/b
        ctl commit --json commit --all
        chmod 640 /data/a
        ctl link --json commit /data/a
        echo '<<look'; stat -c '%n %a %u' /mnt/root-RO/data/*; echo '>>0'
        """
    )
    done = {c["path"]: c["action"] for c in json.loads(found["commit"][1])["committed"]}
    assert done == {"/data/b": "write", "/data/c": "write"}
    assert json.loads(found["link"][1])["committed"] == [{"path": "/data/a", "action": "write"}]
    look = found["look"][1]
    assert "/data/b 600 7\n" in look and "/data/a 640 0\n" in look
    # /data/c has the inode that both had.
    assert "/data/c 640 0\n" not in look


def test_a_hole_costs_nothing(roomy: Board) -> None:
    """41 GB long, as a lastlog with one high user number; read as a whole it would take minutes."""
    found = roomy.run(
        f"""{COUNT}
        busybox truncate -s 41G /data/lastlog; echo end >> /data/lastlog
        count commit-before ubda; ctl commit commit --all; count commit-after ubda
        ctl diff diff --json
        touch /data/lastlog; ctl again commit --all
        echo '<<look'; stat -c '%s' /mnt/root-RO/data/lastlog; tail -c 4 /mnt/root-RO/data/lastlog; echo '>>0'
        """,
        timeout=300,
    )
    assert found["commit"][0] == 0 and found["again"][0] == 0, found
    assert changes(found["diff"]) == {}
    assert found["look"][1] == f"{(41 << 30) + 4}\nend\n"
    assert cost(roomy.boot, "commit").sectors * 512 < 2 << 20


def test_a_hard_link_to_what_was_not_changed(roomy: Board) -> None:
    """It stays one, where everything is kept; otherwise it is said."""
    found = roomy.run(
        """
        ln /data/a /data/second; ln /data/b /data/third
        ctl all commit --all
        echo more >> /etc/text; ln /etc/text /etc/text2
        ctl part commit /etc/text2
        cd /mnt/root-RO; [ data/a -ef data/second ] && [ data/b -ef data/third ] && echo linked
        cd /
        """
    )
    assert found["all"] == (0, found["all"][1]) and "note" not in found["all"][1]
    assert found["part"][0] == 0 and "note /etc/text2: has 2 names" in found["part"][1]
    assert roomy.boot.script.splitlines()[-1] == "linked"
    assert outputs(roomy.boot.script)
    uml.run("e2fsck", "-fn", roomy.disk)
