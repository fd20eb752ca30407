# SPDX-License-Identifier: MIT
"""The command-line tool on a whole system: what it says is so, and what it keeps is there after a cut."""

import json

from conftest import System
from labgrid_board import BoardStrategy, Status


def status(system: System) -> dict:
    """What `overlayrootctl status` says."""
    return json.loads(system.run("overlayrootctl --json status"))


def test_status(board: BoardStrategy, system: System) -> None:
    board.transition(Status.shell)
    system.settle()
    said = status(system)
    assert (said["state"], said["level"], said["disagreements"]) == ("protected", "ok", [])
    assert said["root"]["device"] == system.mount("/mnt/root-RO")["source"]
    assert said["next_boot"]["protected"] is True
    size = next(s["value"] for s in said["settings"] if s["name"] == "ofs-size")
    assert f"ofs-size={size}" in system.command_line()
    assert system.run("overlayrootctl status --check").startswith("OVERLAYROOT OK - / is RAM over read-only")
    assert system.run("systemctl is-active overlayroot-check.service") == "active"


def test_what_is_kept_survives_the_plug(board: BoardStrategy, system: System) -> None:
    board.transition(Status.shell)
    system.run("echo kept > /etc/kept; echo lost > /etc/lost; echo changed > /etc/issue")
    listed = {
        c["path"]: c["change"] for c in json.loads(system.run("overlayrootctl --json diff /etc"))["changes"]
    }
    assert listed["/etc/kept"] == listed["/etc/lost"] == "added"
    assert "/etc/fstab" not in listed
    done = json.loads(system.run("overlayrootctl --json commit /etc/kept /etc/issue"))
    assert [c["path"] for c in done["committed"]] == ["/etc/kept", "/etc/issue"]
    assert "ro" in system.mount("/mnt/root-RO")["options"]
    system.run(
        "overlayrootctl edit -- sh -c 'echo edited > /etc/edited; test -e /proc/1 && test -e /dev/mtd0'"
    )
    assert status(system)["state"] == "protected"
    board.cut_power()

    board.transition(Status.shell)
    assert system.report()["root"]["state"] == "clean"
    assert system.run("cat /etc/kept /etc/issue /etc/edited") == "kept\nchanged\nedited"
    assert system.run("test -e /etc/lost || echo gone") == "gone"
    said = status(system)
    assert (said["state"], said["root"]["writes"]["requests"]) == ("protected", 0)
    system.run("overlayrootctl edit -- rm /etc/kept /etc/edited")
    assert "ro" in system.mount("/mnt/root-RO")["options"]
