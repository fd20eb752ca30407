# SPDX-License-Identifier: MIT
"""Mounts and links that would lead the tool, or the init's copy of fstab, out of the real root."""

import pathlib

import pytest
import uml
from conftest import Rig, assert_protected
from ctlboard import Board

# Something outside: nothing of it may change, and nothing of it may come in.
OUTSIDE = "mkdir -p /tmp/out/etc; echo theirs > /tmp/out/keep; echo theirs > /tmp/out/etc/keep"
LIST = "echo '<<out'; cd /tmp/out; find . | sort; cat keep etc/keep; cd /; echo '>>0'"
UNTOUCHED = ".\n./etc\n./etc/keep\n./keep\ntheirs\ntheirs\n"


def test_what_is_mounted_in_the_lower_is_passed_over(board: Board) -> None:
    """A bind mount below /mnt/root-RO is neither written nor read in place of what it hides."""
    found = board.run(
        f"""
        {OUTSIDE}
        mkdir /tmp/out2; chmod 700 /tmp/out2; echo mine > /tmp/out2/file
        mount -o bind /tmp/out/etc /mnt/root-RO/etc
        mount -t tmpfs none /mnt/root-RW/upper/data 2>/dev/null
        echo new > /etc/new; echo changed > /etc/keep
        ctl diff diff --json
        ctl commit commit /etc/new /etc/keep
        ctl revert revert /etc/text
        ctl edit edit -- /bin/busybox touch /etc/edited
        {LIST}
        umount /mnt/root-RO/etc
        echo '<<real'; cd /mnt/root-RO/etc; cat new keep; ls edited; cd /; echo '>>0'
        """
    )
    assert found["commit"][0] == 0, found["commit"]
    assert found["edit"][0] == 0, found["edit"]
    assert "/etc/text" not in found["diff"][1]
    assert found["out"][1] == UNTOUCHED
    assert found["real"][1] == "new\nchanged\nedited\n"
    uml.run("e2fsck", "-fn", board.disk)


@pytest.mark.parametrize(
    "mount",
    ["mount -o bind /tmp/fake /mnt", "mount -o bind /tmp/fake/root-RO /mnt/root-RO"],
    ids=["above", "over"],
)
def test_layers_that_are_hidden_are_refused(board: Board, mount: str) -> None:
    """A stick that is mounted at /mnt, with folders of these names on it, passes for no layer."""
    before = uml.sha256(board.disk)
    found = board.run(
        f"""
        {OUTSIDE}
        mkdir -p /tmp/fake/root-RO/etc /tmp/fake/root-RW/upper/etc
        echo theirs > /tmp/fake/root-RO/etc/keep
        echo changed > /etc/keep
        {mount}
        ctl commit commit /etc/keep
        ctl all commit --all
        ctl revert revert /etc/keep
        ctl diff diff
        ctl edit edit -- /bin/busybox touch /etc/edited
        echo '<<now'; cat /etc/keep /tmp/fake/root-RO/etc/keep; ls /tmp/fake/root-RO/etc; echo '>>0'
        """
    )
    for command in ("commit", "all", "revert", "diff", "edit"):
        code, text = found[command]
        assert code == 3 and "not seen" in text, (command, code, text)
    assert found["now"][1] == "changed\ntheirs\nkeep\n"
    assert uml.sha256(board.disk) == before


def test_names_and_links_in_the_running_system(board: Board) -> None:
    """Links out of the tree are kept as links; a pipe and odd names are entries like others."""
    found = board.run(
        f"""
        {OUTSIDE}
        rm -r /etc/conf.d; ln -s /tmp/out /etc/conf.d
        mkdir /opt; cd /opt
        ln -s ../../../tmp/out up; mkfifo pipe; touch "$(printf 'a\\nb')" "$(printf 'x%.0s' $(seq 255))"
        ln /etc/keep second; cd /
        ctl commit commit /etc/conf.d /opt
        ctl inside commit /etc/conf.d/keep
        ctl revert revert /opt
        {LIST}
        echo '<<real'; cd /mnt/root-RO
        readlink etc/conf.d; readlink opt/up; stat -c %F opt/pipe; ls opt | wc -l
        cd /; echo '>>0'
        """
    )
    assert found["commit"][0] == 0, found["commit"]
    assert found["out"][1] == UNTOUCHED
    # Links on the way are followed, by who types them: it is a path in the real root.
    assert "kept /tmp/out/keep" in found["inside"][1]
    assert found["real"][1] == "/tmp/out\n../../../tmp/out\nfifo\n5\n"
    uml.run("e2fsck", "-fn", board.disk)


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("fstab", "/mnt/root-RO/etc/keep"),
        ("fstab", "../../../../../etc/keep"),
        ("fstab", "/proc/sys/kernel/hostname"),
        ("fstab", "/dev/ubda"),
        ("fstab", "."),
        ("fstab", "fstab"),
    ],
)
def test_the_copy_of_fstab_stays_inside(rig: Rig, name: str, target: str) -> None:
    """Wherever /etc/fstab leads, the board boots protected, and its disk stays as it was."""

    def change(folder: pathlib.Path) -> None:
        (folder / "etc" / name).unlink()
        (folder / "etc" / name).symlink_to(target)

    disk = rig.root("linked.img", change=change)
    boot = rig.boot_unchanged("root=/dev/ubda", disk, script="cat /proc/sys/kernel/hostname")
    assert_protected(boot)
    assert "overlayroot" not in boot.script
