# SPDX-License-Identifier: MIT
"""Debian's userspace on a protected root: all in order, the tool tells the truth, and what was to stay does.

All of it happens in the boot that the first test makes; only the last one pulls the plug.
"""

import json

from conftest import System, assert_protected
from labgrid_board import BoardStrategy, Status


def status(system: System) -> dict:
    """What `overlayrootctl status` says."""
    return json.loads(system.run("overlayrootctl --json status"))


def test_environment_reaches_the_overlay(board: BoardStrategy, system: System) -> None:
    board.boot(ofs__size="64M")
    assert_protected(system, "64M")
    assert "size=65536k" in system.mount("/mnt/root-RW")["options"]


def test_system_is_in_order(board: BoardStrategy, system: System) -> None:
    board.transition(Status.shell)
    assert system.run("systemctl is-system-running --wait", timeout=900) == "running"
    fstab = system.run("cat /etc/fstab")
    assert fstab.startswith("# overlayroot: this copy of /etc/fstab lives in RAM.")
    active = [line.split()[1] for line in fstab.splitlines() if line and not line.startswith("#")]
    assert active == ["/mnt/root-RO", "/boot/firmware"]
    assert system.run("systemctl is-active overlayroot-check overlayroot-watch").split() == ["active"] * 2
    assert "/mnt/root-RO" not in system.run("cat /mnt/root-RO/etc/fstab")
    log = system.run("dmesg")
    assert board.verdict in log


def test_status(board: BoardStrategy, system: System) -> None:
    board.transition(Status.shell)
    system.need_flash()
    said = status(system)
    assert (said["state"], said["level"], said["disagreements"]) == ("protected", "ok", [])
    assert said["root"]["device"] == system.mount("/mnt/root-RO")["source"]
    assert said["next_boot"]["protected"] is True
    size = next(s["value"] for s in said["settings"] if s["name"] == "ofs-size")
    assert f"ofs-size={size}" in system.command_line()
    assert system.run("overlayrootctl status --check").startswith("OVERLAYROOT OK - / is RAM over read-only")
    assert system.run("systemctl is-active overlayroot-check.service") == "active"


def test_name_servers_come_from_dhcp(board: BoardStrategy, system: System) -> None:
    board.transition(Status.shell)
    # Linux does not find the emulated network card: a wired network within the board, a server at its end.
    server = ["[Match]", "Name=served", "[Network]", "Address=192.0.2.1/24", "DHCPServer=yes", "[DHCPServer]"]
    lines = " ".join(f"'{line}'" for line in [*server, "DNS=192.0.2.53"])
    folder = "/run/systemd/network"
    system.run(f"mkdir -p {folder}; printf '%s\\n' {lines} >{folder}/10-served.network; networkctl reload")
    system.run("ip link add wired type veth peer name served")
    found = "/run/systemd/resolve/resolv.conf"
    system.run(f"timeout 600 sh -c 'until grep -qs 192.0.2.53 {found}; do sleep 1; done'", timeout=660)
    assert "nameserver 127.0.0.53" in system.run("cat /etc/resolv.conf")


def test_what_is_kept_survives_the_plug(board: BoardStrategy, system: System) -> None:
    """By hand, as in the article; by `commit`; by `edit`."""
    board.transition(Status.shell)
    system.run("mount -o remount,rw /mnt/root-RO")
    system.run("echo kept > /mnt/root-RO/etc/article && sync")
    system.run("mount -o remount,ro /mnt/root-RO")
    assert "ro" in system.mount("/mnt/root-RO")["options"]

    system.run("echo kept > /etc/kept; echo lost > /etc/lost; echo changed > /etc/issue")
    listed = {
        c["path"]: c["change"] for c in json.loads(system.run("overlayrootctl --json diff /etc"))["changes"]
    }
    assert listed["/etc/kept"] == listed["/etc/lost"] == "added"
    assert "/etc/fstab" not in listed
    done = json.loads(system.run("overlayrootctl --json commit /etc/kept /etc/issue"))
    assert [c["path"] for c in done["committed"]] == ["/etc/kept", "/etc/issue"]
    assert "ro" in system.mount("/mnt/root-RO")["options"]
    system.need_flash()
    system.run(
        "overlayrootctl edit -- sh -c 'echo edited > /etc/edited; test -e /proc/1 && test -e /dev/mtd0'"
    )
    assert status(system)["state"] == "protected"
    board.cut_power()
    before = board.root_hash()

    # What is on the card is seen by a shell as well.
    board.set_bare(True)
    try:
        board.transition(Status.shell)
        assert system.report()["root"]["state"] == "clean"
        files = "/etc/article /etc/kept /etc/issue /etc/edited"
        assert system.run(f"cat {files}") == "kept\nkept\nchanged\nedited"
        assert system.run("test -e /etc/lost || echo gone") == "gone"
        said = status(system)
        assert (said["state"], said["root"]["writes"]["requests"]) == ("protected", 0)
        board.transition(Status.off)
        assert board.root_hash() == before
    finally:
        board.set_bare(False)
