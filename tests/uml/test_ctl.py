# SPDX-License-Identifier: MIT
"""The command-line tool on a protected system: what it sees."""

import json

import pytest
from ctlboard import Board, changes


def test_status(board: Board) -> None:
    found = board.run(
        """
        dd if=/dev/zero of=/data/big bs=1M count=3 2>/dev/null
        ctl json --json status
        ctl text status
        ctl check status --check
        ctl motd status --motd
        """
    )
    code, text = found["json"]
    status = json.loads(text)
    assert code == 0
    assert (status["state"], status["level"]) == ("protected", "ok")
    assert status["disagreements"] == []
    assert (status["root"]["device"], status["root"]["fstype"]) == ("/dev/ubda", "ext4")
    assert status["root"]["writes"] == {"requests": 0, "bytes": 0}
    assert status["root"]["state_at_boot"] == "clean"
    assert status["ram"]["size_bytes"] == 64 << 20
    assert status["ram"]["used_bytes"] >= 3 << 20
    assert status["biggest"][0] == {"path": "/data", "bytes": 3 << 20, "files": 1}
    assert {"name": "ofs-size", "value": "64M", "origin": "command line"} in status["settings"]
    assert found["text"][1].startswith("protected: / is RAM over read-only /dev/ubda (ext4); ")
    assert "0 writes since power-on" in found["text"][1]
    code, line = found["check"]
    assert code == 0 and line.startswith("OVERLAYROOT OK - / is RAM over") and line.count("\n") == 1
    assert found["motd"][1].count("\n") == 1


@pytest.mark.parametrize(
    ("script", "line", "code", "text"),
    [
        (
            "mount -o remount,rw /mnt/root-RO",
            "",
            1,
            "WARNING - / is RAM over /dev/ubda (ext4), which is open",
        ),
        (
            "",
            "overlayfs=no",
            1,
            "WARNING - / is the plain root, WRITABLE, /dev/ubda (ext4); overlayfs=no from",
        ),
        ("rm -r /run/overlayroot", "overlayfs=no", 3, "UNKNOWN - / is the plain root, WRITABLE"),
        ("dd if=/dev/zero of=/x bs=1M count=54 2>/dev/null", "", 1, "WARNING - / is RAM over read-only"),
        ("dd if=/dev/zero of=/x bs=1M count=62 2>/dev/null", "", 2, "CRITICAL - / is RAM over read-only"),
        ("for i in $(seq 11); do > /i$i; done", "ofs-size=64M,22", 2, "the RAM layer is 95 % full"),
    ],
    ids=["open", "maintenance", "no-report", "filling", "full", "inodes"],
)
def test_status_check(board: Board, script: str, line: str, code: int, text: str) -> None:
    found = board.run(f"{script}\nctl check status --check", f"root=/dev/ubda ofs-size=64M {line}")
    assert found["check"][0] == code, found["check"]
    assert text in found["check"][1]


SCRIPT = "echo '<<script'; sh /etc/check start; echo \">>$?\""


def test_init_script(board: Board) -> None:
    found = board.run(SCRIPT)
    assert found["script"][0] == 0 and "OVERLAYROOT OK" in found["script"][1]
    found = board.run(SCRIPT, "root=/dev/ubda overlayfs=no")
    assert found["script"][0] == 0 and "WARNING" in found["script"][1]


def test_status_check_of_a_degraded_board(board: Board) -> None:
    script = f"ctl check status --check\n{SCRIPT}\necho '<<log'; dmesg | grep overlayroot-check; echo '>>0'"
    found = board.run(script, initrd=board.rig.initramfs(modules=[]))
    assert found["script"][0] == 1 and "overlayroot-check: FAILED: OVERLAYROOT CRITICAL" in found["script"][1]
    assert "overlayroot-check: OVERLAYROOT CRITICAL" in found["log"][1]
    assert found["check"][0] == 2
    assert "CRITICAL - / is the plain root, read-only" in found["check"][1]
    assert "degraded: " in found["check"][1]


def test_diff(board: Board) -> None:
    found = board.run(
        """
        ctl before diff --json
        echo new > /etc/new
        sed -i s/two/zwei/ /etc/text
        rm /etc/keep
        rm -r /etc/gone.d
        chmod 600 /etc/mode
        ln -sf /elsewhere /etc/link
        rm -r /etc/conf.d; mkdir /etc/conf.d; echo A > /etc/conf.d/a
        mkfifo /data/fifo; mknod /data/null c 1 3
        touch -d 2001-01-01 /data/a
        cat /data/b > /dev/null
        ctl all diff --json
        ctl part diff --json /way/conf.d
        ctl text diff --content /etc/text
        ctl none diff --json /etc/busy
        ctl away diff /proc
        """
    )
    assert changes(found["before"]) == {}
    found_changes = changes(found["all"])
    words = {path: change["change"] for path, change in found_changes.items()}
    assert words == {
        "/data/a": "changed",
        "/data/fifo": "added",
        "/data/null": "added",
        "/etc/conf.d/a": "changed",
        "/etc/conf.d/b": "deleted",
        "/etc/gone.d": "deleted",
        "/etc/keep": "deleted",
        "/etc/link": "changed",
        "/etc/mode": "changed",
        "/etc/new": "added",
        "/etc/text": "changed",
    }
    assert found_changes["/etc/mode"]["what"] == ["mode"]
    assert found_changes["/data/a"]["what"] == ["time"]
    assert found_changes["/data/null"]["kind"] == "char-device"
    assert sorted(changes(found["part"])) == [p for p in sorted(words) if p.startswith("/etc/conf.d")]
    assert "-two\n+zwei\n" in found["text"][1]
    assert found["none"][0] == 3 and found["away"][0] == 3
