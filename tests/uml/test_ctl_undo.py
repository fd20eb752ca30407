# SPDX-License-Identifier: MIT
"""What commits replace is kept, listed, brought back and given up."""

import json

import pytest
import uml
from conftest import Rig
from ctlboard import Board, changes, system

STATE = """
state() {
    echo "<<$1"; cd /mnt/root-RO
    for f in etc/text etc/new etc/keep etc/gone.d/deep/file opt/deep/file; do
        echo "$f $(cat $f 2>/dev/null)"
    done
    stat -c '%n %a' etc/mode etc/conf.d; cd /; echo '>>0'
}
"""
CHANGE = """
echo new > /etc/text; echo added > /etc/new; rm /etc/keep; rm -r /etc/gone.d; chmod 4711 /etc/mode
chmod 700 /etc/conf.d; mkdir -p /opt/deep; echo deep > /opt/deep/file
"""


def numbers(output: tuple[int, str]) -> list[int]:
    """The commits that a log in JSON has."""
    code, text = output
    assert code == 0, text
    return [commit["number"] for commit in json.loads(text)["commits"]]


def test_log_and_undo(board: Board) -> None:
    """In the same boot: the real root is as it was, and the running system has changes again."""
    found = board.run(
        f"""{STATE}
        state old
        {CHANGE}
        overlayrootctl diff --json > /tmp/diff
        SUDO_USER=alice overlayrootctl commit --all > /dev/null
        state new
        ctl log log
        ctl json log --json
        ctl status status
        ctl undo undo
        state undone
        echo '<<before'; cat /tmp/diff; echo '>>0'
        ctl diff diff --json
        ctl again undo 1
        ctl nothing undo
        ctl redo undo 2
        state redone
        ctl undo-redo undo 3
        state undone2
        ctl log2 log --json
        ctl check status --check
        dmesg | grep 'overlayrootctl: ' > /tmp/said; echo '<<said'; cat /tmp/said; echo '>>0'
        """
    )
    assert found["undo"][0] == 0, found["undo"]
    assert found["old"][1] == found["undone"][1] == found["undone2"][1]
    assert found["new"][1] == found["redone"][1] != found["old"][1]
    assert changes(found["diff"]).keys() == changes(found["before"]).keys()
    log = found["log"][1]
    assert log.startswith("commit 1  2") and "alice (/dev/ttyS0)" in log
    for line in ("changed /etc/text", "added   /etc/new", "deleted /etc/keep", "changed /etc/mode"):
        assert f"    {line}\n" in log
    assert "overlayrootctl commit --all" in log
    (commit,) = json.loads(found["json"][1])["commits"]
    assert (commit["header"]["format"], commit["header"]["by"]["user"], commit["done"]) == (1, "alice", True)
    assert " kept of 1 commit (overlayrootctl log, purge)" in found["status"][1]
    assert found["again"][0] == 3 and "was undone already" in found["again"][1]
    assert found["nothing"][0] == 3 and "nothing to undo" in found["nothing"][1]
    assert found["redo"][0] == 0 and found["undo-redo"][0] == 0, found
    log = json.loads(found["log2"][1])["commits"]
    flags = [(c["number"], c["header"]["undoes"], c["undone"]) for c in log]
    assert flags == [(4, 3, False), (3, 2, True), (2, 1, False), (1, None, True)]
    assert found["check"][0] == 0
    said = found["said"][1]
    assert "commit 1: /etc/conf.d, " in said and "by alice (/dev/ttyS0)" in said
    assert "undo of commit 1, as commit 2: " in said
    uml.run("e2fsck", "-fn", board.disk)


def test_undo_after_a_restart(board: Board) -> None:
    first = board.run(f"{STATE}\nstate old\n{CHANGE}\nctl commit commit --all")
    assert first["commit"][0] == 0, first["commit"]
    second = board.run(
        f"""{STATE}
        exec 4< /etc/text
        ctl log log --json
        ctl undo undo
        state undone
        ctl check status --check
        cat <&4
        """
    )
    assert numbers(second["log"]) == [1]
    assert second["undo"][0] == 0, second["undo"]
    assert second["undone"][1] == first["old"][1]
    assert second["check"][0] == 0
    third = board.run(f"{STATE}\nstate now\nctl diff diff --json\nctl purge --json purge\nctl log log --json")
    assert third["now"][1] == first["old"][1]
    assert changes(third["diff"]) == {}
    assert json.loads(third["purge"][1])["left"] == {"commits": 0, "entries": 0, "bytes": 0}
    assert numbers(third["log"]) == []
    assert uml.run("debugfs", "-R", "ls -p /", board.disk).count(".overlayroot") == 0
    uml.run("e2fsck", "-fn", board.disk)


def test_what_was_changed_again_is_left_out(board: Board) -> None:
    found = board.run(
        """
        echo one > /etc/text; mkdir /opt; echo one > /opt/file
        ctl first commit --all
        echo two > /etc/text; echo two > /opt/other
        ctl second commit --all
        ctl undo undo 1
        ctl unknown undo 7
        cat /mnt/root-RO/etc/text; ls /mnt/root-RO/opt
        """
    )
    code, text = found["undo"]
    assert code == 1, text
    assert "LEFT OUT /etc/text: was changed again since" in text
    assert "taken away /opt/file" in text and "LEFT OUT /opt: has other entries now" in text
    assert found["unknown"][0] == 3 and "commit 7 is not in the log" in found["unknown"][1]
    assert board.boot.script.splitlines()[-2:] == ["two", "other"]


def test_what_is_kept_does_not_fill_the_card(rig: Rig) -> None:
    """A file of 6 MiB, committed sixteen times in one boot on a card of 64 MiB; the first one is in use."""

    def change(folder) -> None:
        system(folder)
        (folder / "data/big").write_bytes(b"first" * (1 << 20))

    board = Board(rig, uml.disk(rig.folder / "small.img", change=change, size=64))
    found = board.run(
        """
        exec 4< /data/big
        for n in $(seq 16); do
            dd if=/dev/urandom of=/data/big bs=1M count=6 2>/dev/null
            overlayrootctl commit /data/big > /tmp/out 2>&1 || { echo "failed $n"; cat /tmp/out; }
        done
        cmp /data/big /mnt/root-RO/data/big && echo same
        ctl status --json status
        ctl check status --check
        df -k /mnt/root-RO | tail -n 1 > /tmp/df; echo '<<df'; cat /tmp/df; echo '>>0'
        ctl purge --json purge
        """,
        timeout=1200,
    )
    assert "failed" not in board.boot.script, board.boot.script
    assert board.boot.script.startswith("same")
    assert found["check"][0] == 0
    kept = json.loads(found["status"][1])["kept"]
    free = int(found["df"][1].split()[3]) << 10
    # The last one stays in any case.
    assert 2 <= kept["commits"] <= 16 and kept["bytes"] <= free + (6 << 20), (kept, free)
    # What was there when the system was booted stays: the overlay may be reading it.
    left = json.loads(found["purge"][1])["left"]
    assert (left["commits"], left["entries"]) == (1, 1) and left["bytes"] > 5 << 20
    uml.run("e2fsck", "-fn", board.disk)


def test_room_is_made_for_a_commit(rig: Rig) -> None:
    """What earlier boots have left goes, the oldest first, before a commit is refused for want of room."""
    board = Board(rig, uml.disk(rig.folder / "small.img", change=system, size=48))
    fill = """
        dd if=/dev/urandom of=/data/f{n} bs=1M count={size} 2>/dev/null
        ctl add commit /data/f{n}
        rm /data/f{n}
        ctl rm commit /data/f{n}
    """
    for n, size in ((1, 8), (2, 9)):
        found = board.run(fill.format(n=n, size=size))
        assert found["add"][0] == found["rm"][0] == 0, found
    found = board.run(
        """
        ctl before --json status
        dd if=/dev/urandom of=/data/f3 bs=1M count=20 2>/dev/null
        ctl dry commit --dry-run /data/f3
        ctl commit commit /data/f3
        ctl log log --json
        cmp /data/f3 /mnt/root-RO/data/f3 && echo same
        """
    )
    assert json.loads(found["before"][1])["kept"]["bytes"] > 8 << 20
    assert found["dry"][0] == 0, found["dry"]
    assert found["commit"][0] == 0, found["commit"]
    assert numbers(found["log"])[0] > 3
    assert board.boot.script.splitlines()[-1] == "same"


def test_the_folder_is_in_nobodys_way(board: Board) -> None:
    found = board.run(
        """
        echo new > /etc/text
        ctl first commit --all
        rm -rf /.overlayroot
        ctl diff diff --json
        echo newer > /etc/text
        ctl second commit --all
        ctl log log --json
        mkdir /.overlayroot; echo x > /.overlayroot/x
        ctl third commit --all
        """
    )
    assert found["first"][0] == found["second"][0] == found["third"][0] == 0, found
    assert changes(found["diff"]) == {}
    assert numbers(found["log"]) == [2, 1]


@pytest.mark.parametrize("cut", ["record", "all"])
def test_a_record_that_is_damaged(board: Board, cut: str) -> None:
    """It is listed, cannot be undone, keeps nobody from committing, and is given up."""
    board.run("echo new > /etc/text; ctl commit commit --all")
    uml.run("debugfs", "-w", "-R", "rm /.overlayroot/commits/1/record", board.disk)
    if cut == "all":
        uml.run("debugfs", "-w", "-R", "rm /.overlayroot/commits/1/done", board.disk)
        uml.run("debugfs", "-w", "-R", "rm /.overlayroot/commits/1/0", board.disk)
    found = board.run(
        """
        ctl log log
        ctl undo undo 1
        echo newer > /etc/text
        ctl commit commit --all
        ctl purge purge
        ctl after log --json
        """
    )
    assert "its record cannot be read" in found["log"][1]
    assert found["undo"][0] == 3 and "cannot be read" in found["undo"][1]
    assert found["commit"][0] == 0 and found["purge"][0] == 0, found
    assert 1 not in numbers(found["after"])
