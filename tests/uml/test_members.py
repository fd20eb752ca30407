# SPDX-License-Identifier: MIT
"""A root that is a member of an array whose metadata is at its end, made by mdadm: it is never written."""

import pathlib

import pytest
import uml
from conftest import Rig, assert_degraded, assert_protected
from ctlboard import Board, system
from failure_modes import failure

# Metadata that mdadm makes, and what the report says. (Intel's takes a disk with a SCSI serial number.)
KINDS = {"0.90": "a Linux RAID array", "1.0": "a Linux RAID array", "ddf": "a DDF RAID array"}


def member(rig: Rig, kind: str, **options) -> pathlib.Path:
    """One half of a mirror whose contents is a root: see `uml.disk` for `options`."""
    disks = [rig.root(name, **options) for name in ("member.img", "other.img")]
    for disk in disks:
        with disk.open("r+b") as file:
            file.truncate(64 << 20)
    system = rig.root(
        "system.img", label="SYSTEM", size=48, change=lambda tree: uml.host_program(tree, "mdadm")
    )
    if kind == "ddf":
        create = "mdadm --create /dev/md0 --metadata=ddf --raid-devices=2"
    else:
        create = f"mdadm --create /dev/md0 --metadata={kind} --assume-clean --level=1 --raid-devices=2"
    boot = rig.boot(
        "root=LABEL=SYSTEM",
        [system, *disks],
        rig.initramfs(modules=["md-mod", "raid1", "overlay"]),
        script=f"mkdir -p /run/mdadm; {create} --run /dev/ubdb /dev/ubdc 2>&1; mdadm --stop --scan; "
        "mdadm --examine /dev/ubdb",
    )
    assert "/dev/ubdb:" in boot.script, boot.script
    return disks[0]


@failure(
    "device",
    "the root is a member of a RAID array, or of a DRBD device, whose metadata is at its end",
    "warning: … is a member of …: it is not written, and stays locked; …",
    "ram",
    "assemble the array in the initramfs and name that; `mdadm --zero-superblock` when it is none any more",
)
@pytest.mark.parametrize("kind", KINDS)
def test_protected_and_locked(rig: Rig, kind: str) -> None:
    disk = member(rig, kind)
    boot = rig.boot_unchanged(
        "root=LABEL=ROOT",
        disk,
        script="busybox mount -o remount,rw /mnt/root-RO || echo locked; echo x >/dev/ubda || echo refused",
    )
    assert_protected(boot)
    assert boot.report["root"]["container"] == KINDS[kind]
    (warning,) = boot.report["warnings"]
    assert warning.startswith(f"/dev/ubda is a member of {KINDS[kind]}: it is not written")
    assert boot.script.splitlines()[-1] == "refused" and "locked" in boot.script


@failure(
    "settings",
    "`overlayfs=no` on a member of an array",
    "DEGRADED: / is the plain read-only root (…): … is a member of …: writing to it alone damages that; …",
    "read-only",
    "assemble the array in the initramfs and name that; `mdadm --zero-superblock` when it is none any more",
)
@pytest.mark.parametrize("kind", ["0.90", "1.0"])
def test_never_writable(rig: Rig, kind: str) -> None:
    disk = member(rig, kind)
    before = uml.sha256(disk)
    boot = rig.boot("root=/dev/ubda overlayfs=no", [disk], script="echo x >/etc/new || echo refused")
    assert boot.verdict.startswith(
        "error: DEGRADED: / is the plain read-only root (/dev/ubda, ext4): /dev/ubda"
    )
    assert "writing to it alone damages that" in boot.verdict
    assert boot.script.endswith("refused")
    assert uml.sha256(disk) == before


def test_dirty_member_is_not_repaired(rig: Rig) -> None:
    disk = member(rig, "1.0")
    with disk.open("r+b") as file:
        file.seek(1024 + 96)
        features = file.read(1)[0]
        file.seek(1024 + 96)
        file.write(bytes([features | 4]))
    boot = rig.boot_unchanged("root=LABEL=ROOT", disk)
    assert_protected(boot)
    assert boot.report["root"]["state"] == "dirty"
    assert "noload" in boot.mounts["/mnt/root-RO"][2] or "norecovery" in boot.mounts["/mnt/root-RO"][2]


def test_without_an_overlay(rig: Rig) -> None:
    disk = member(rig, "0.90")
    before = uml.sha256(disk)
    boot = rig.boot(
        "root=LABEL=ROOT", [disk], rig.initramfs(modules=[]), script="echo x >/dev/ubda || echo refused"
    )
    assert_degraded(boot)
    assert boot.script.endswith("refused")
    assert uml.sha256(disk) == before


def test_the_tool_does_not_write_to_it(rig: Rig) -> None:
    """Whatever would open the real root says no, before it has changed anything."""
    board = Board(rig, member(rig, "1.0", change=system))
    before = uml.sha256(board.disk)
    commands = {
        "commit": "commit /etc/x",
        "edit": "edit -- /bin/busybox touch /etc/y",
        "purge": "purge",
        "undo": "undo",
    }
    script = "\n".join(f"ctl {name} {command}" for name, command in commands.items())
    found = board.run(f"echo x >/etc/x\n{script}\nctl check status --check")
    for name in commands:
        code, text = found[name]
        assert code == (125 if name == "edit" else 3), text
        assert "/dev/ubda is a member of a Linux RAID array: writing to it alone damages that" in text
        assert "remedy: assemble it in the initramfs, and boot from that" in text
    assert found["check"][0] == 0, found["check"]
    assert uml.sha256(board.disk) == before
