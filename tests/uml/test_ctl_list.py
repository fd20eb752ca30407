# SPDX-License-Identifier: MIT
"""What `commit --all` leaves out; waiting for the flash; where the tool is not on the board itself."""

import json

import uml
from ctlboard import Board, changes


def test_commit_d(board: Board) -> None:
    """Built-in and own lines; what is named is kept all the same; a wrong line changes nothing."""
    found = board.run("""
        mkdir -p /var/log/app /etc/overlayroot/commit.d /srv/cache
        echo id >/etc/machine-id; echo log >/var/log/app/log; echo x >/etc/x; echo s >/srv/cache/s
        echo keep >/srv/cache/keep; rm /etc/conf.d/b
        conf=/etc/overlayroot/commit.d/50-ours.conf
        echo 'exclude /etc/conf.d' >$conf; echo 'nothing /x' >>$conf
        ctl wrong commit --all
        ctl named commit /etc/mode
        printf 'exclude /etc/conf.d\\nexclude /srv/cache/**\\ninclude /srv/cache/keep\\n' >$conf
        ctl diff diff --json
        ctl text diff /etc
        ctl all --json commit --all
        ctl byname commit /etc/machine-id
        ctl after diff --json
    """)
    code, text = found["wrong"]
    assert code == 1 and "/etc/overlayroot/commit.d/50-ours.conf, line 2: " in text
    assert found["named"][0] == 0, "a list is for what is not named"
    left_out = {path for path, change in changes(found["diff"]).items() if change["excluded"]}
    assert left_out == {"/etc/machine-id", "/var/log/app/log", "/etc/conf.d/b", "/srv/cache/s"}
    assert "added   /etc/machine-id [left out by commit --all]\n" in found["text"][1]
    assert found["all"][0] == 0, found["all"]
    assert found["byname"][0] == 0, found["byname"]
    assert set(changes(found["after"])) == left_out - {"/etc/machine-id"}
    for path in ("/etc/machine-id", "/etc/x", "/srv/cache/keep", "/etc/conf.d/b"):
        assert "Type: regular" in uml.run("debugfs", "-R", f"stat {path}", board.disk), path
    assert "Type: directory" in uml.run("debugfs", "-R", "stat /var/log/app", board.disk)
    for path in ("/var/log/app/log", "/srv/cache/s"):
        assert "Type:" not in uml.run("debugfs", "-R", f"stat {path}", board.disk), path


def test_a_flash_that_is_not_there_yet(board: Board) -> None:
    """Its driver may take a minute: the message says so, and --wait waits."""
    found = board.run("""
        for name in fw_printenv fw_setenv; do
            printf '#!/bin/busybox sh\\n[ -e /dev/mtd0 ] || { echo Cannot open >&2; exit 1; }\\n' >/bin/$name
            busybox chmod 755 /bin/$name
        done
        echo '/dev/mtd0 0x0 0x2000 0x1000' >/etc/fw_env.config
        ctl now enable
        ctl json --json enable --wait=1
        (busybox sleep 2; echo >/dev/mtd0) &
        ctl wait enable --wait
    """)
    code, text = found["now"]
    assert code == 1 and "remedy: the board has just been started" in text, text
    code, text = found["json"]
    assert code == 1 and "waiting for the flash that fw_env.config names\n" in text
    # It is there then, and empty: another message.
    text = found["wait"][1]
    assert "waiting for the flash" in text and "just been started" not in text, text


def test_not_on_the_board_itself(board: Board) -> None:
    """In a chroot or a container `/` is somebody else's."""
    found = board.run("""
        mkdir -p /jail/bin /jail/proc /jail/run; cp /bin/overlayrootctl /jail/bin
        busybox mount -o bind /jail /jail
        busybox mount -t proc proc /jail/proc
        busybox mount -t tmpfs jail /jail/run
        jailed() { echo "<<$1"; shift; busybox chroot /jail /bin/overlayrootctl "$@"; echo ">>$?"; }
        jailed check --json status --check
        jailed commit commit /x
        mkdir /run/systemd; echo docker >/run/systemd/container
        busybox mkdir -p /jail/run/systemd; echo docker >/jail/run/systemd/container
        jailed container commit /x
    """)
    code, text = found["check"]
    assert (code, json.loads(text)["level"]) == (3, "unknown"), text
    assert "this is a chroot" in json.loads(text)["reason"]
    assert found["commit"][0] == 3 and "this is a chroot" in found["commit"][1]
    assert "this is a container" in found["container"][1]
