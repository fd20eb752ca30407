# SPDX-License-Identifier: MIT
"""What fstab mounts beside the root, and is not as one may think: status says so."""

import json
import pathlib

import pytest
import uml
from conftest import Rig, assert_protected
from ctlboard import Board, system
from failure_modes import failure


def disk(rig: Rig, entry: str, fstype: str = "ext4", **options) -> pathlib.Path:
    """A root with the tool and one more line in its fstab."""

    def change(tree: pathlib.Path) -> None:
        system(tree)
        uml.host_program(tree, "btrfs")
        (tree / "usr").mkdir(exist_ok=True)
        with (tree / "etc/fstab").open("a") as file:
            file.write(f"{entry}\n")

    return uml.disk(rig.folder / "made.img", fstype, change=change, **options)


@pytest.mark.parametrize(
    "dirty",
    [
        pytest.param(
            False,
            marks=failure(
                "system",
                "`/etc/fstab` mounts a subvolume of the root's own btrfs, at `/home` say",
                "",
                "ram",
                "it is read-only, as the root is, and `overlayrootctl status` says so: give it a partition, "
                "or take the line out: then it is in RAM",
            ),
        ),
        True,
    ],
)
def test_subvolume_of_the_root(rig: Rig, dirty: bool) -> None:
    """Also after a log tree was replayed, which takes an unlocked device: nothing is written any more."""
    board = Board(rig, disk(rig, "/dev/ubda /home btrfs subvol=/vol 0 0", "btrfs", size=128))
    script = "btrfs subvolume create /vol; sync"
    if dirty:
        script += "; dd if=/dev/zero of=/etc/synced bs=4k count=1 conv=fsync"
    board.run(script, "root=/dev/ubda overlayfs=no")
    found = board.run(
        """
        mount -a; echo x >/home/x; echo made $?
        btrfs filesystem sync /mnt/root-RO
        ctl status status
        ctl json status --json
        ctl check status --check
        """
    )
    assert board.boot.report["root"]["state"] == ("dirty" if dirty else "clean")
    assert_protected(board.boot, fstype="btrfs")
    assert "made 1" in board.boot.script, board.boot.script
    assert found["check"][0] == 0, found["check"]
    status = json.loads(found["json"][1])
    (warning,) = [text for text in status["warnings"] if "subvolume" in text]
    assert warning.startswith("/home (/dev/ubda btrfs) is a subvolume of the root's own btrfs")
    assert f"warning: {warning}\n" in found["status"][1]


@failure(
    "system",
    "`/usr` is a partition of its own in `/etc/fstab`",
    "",
    "ram",
    "put it on the root: nothing protects that partition, and `overlayrootctl status` says so. A system "
    "whose init is in `/usr` does not start",
)
def test_usr_of_its_own(rig: Rig) -> None:
    board = Board(rig, disk(rig, "/dev/ubdb /usr ext4 defaults 0 2"))
    usr = rig.root("usr.img", label="USR")
    found = board.run("mount -a\nctl json status --json\nctl check status --check", more=[usr])
    (warning,) = json.loads(found["json"][1])["warnings"]
    assert warning == (
        "/usr (/dev/ubdb ext4) is a file system of its own, and nothing protects it: put /usr on the root"
    )
    assert found["check"][0] == 0
