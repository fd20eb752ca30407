# SPDX-License-Identifier: MIT
"""Each spelling of `root=`: the kernel mounts a disk by itself, then our init: both take the same device."""

import pathlib

import pytest
import uml
from conftest import Rig

GPT = """label: gpt
label-id: 11111111-2222-3333-4444-555555555555
size=1MiB, name=first, uuid=aaaaaaaa-0000-0000-0000-000000000001
size=30MiB, name=rootfs, uuid=614e0000-0000-4b53-8000-1d28000054a9
"""
MBR = """label: dos
label-id: 0xdeadbeef
size=1MiB, type=c
size=30MiB, type=83
"""
# The device that a file of the root is on, in decimal: 98:2 is ubda2.
SCRIPT = "[ -e /mnt/root-RO/etc ] && busybox stat -c %d /mnt/root-RO || busybox stat -c %d /"
FOUND = str(98 << 8 | 2)


@pytest.mark.parametrize(
    ("table", "root"),
    [
        (GPT, "PARTUUID=614e0000-0000-4b53-8000-1d28000054a9"),
        (GPT, "PARTUUID=614e0000-0000"),
        (GPT, "PARTUUID=614E0000-0000"),
        (GPT, "PARTUUID=6"),
        (GPT, "PARTUUID=614e0000-0000/PARTNROFF=0"),
        (GPT, "PARTUUID=aaaa/PARTNROFF=1"),
        (MBR, "PARTUUID=deadbeef-02"),
        (MBR, "PARTUUID=DEADBEEF-02"),
        (MBR, "PARTUUID=deadbeef/PARTNROFF=1"),
        (GPT, "PARTLABEL=rootfs"),
        (MBR, "/dev/ubda2"),
        (MBR, "98:2"),
        (MBR, "98:2:0"),
        (MBR, "6202"),
        (MBR, "0x6202"),
        (MBR, "0X6202"),
    ],
)
def test_taken_by_both(rig: Rig, table: str, root: str) -> None:
    disk = uml.partitioned(rig.folder / "disk.img", table, 2, rig.root())
    assert by_the_kernel(rig, disk, root).script == FOUND
    ours = rig.boot_unchanged(f"root={root}", disk, script=SCRIPT)
    assert ours.report["reached"] == "ram"
    assert ours.script == FOUND


@pytest.mark.parametrize(
    ("table", "root"),
    [
        (GPT, "PARTUUID=614e0000-0000-4b53-8000-1d28000054a90"),
        (GPT, "PARTUUID=/PARTNROFF=1"),
        (GPT, "PARTUUID=aaaa/PARTNROFF=x"),
        (GPT, "PARTLABEL=root"),
        (MBR, "98:2:"),
        (MBR, "98:3"),
        (MBR, "6202x"),
        (MBR, "/dev/ubda3"),
    ],
)
def test_taken_by_neither(rig: Rig, table: str, root: str) -> None:
    disk = uml.partitioned(rig.folder / "disk.img", table, 2, rig.root())
    assert by_the_kernel(rig, disk, root).sections == {}
    ours = rig.boot(f"root={root} ofs-wait=1 ofs-reboot-delay=1", [disk])
    assert ours.sections == {}
    assert ours.verdict.startswith("error: no root could be mounted: ")


@pytest.mark.parametrize("root", ["/dev/nfs", "mtd:rootfs", "mtd2", "ubi0:rootfs", "/dev/ram", "/dev/cifs"])
def test_roots_that_are_no_block_device(rig: Rig, root: str) -> None:
    """The kernel has words for these; here there is one, at once, and what the image says stays in force."""
    initrd = rig.initramfs(conf="root=LABEL=ROOT\n")
    boot = rig.boot_unchanged(f"root={root}", initrd=initrd)
    assert boot.report["reached"] == "ram"
    (warning,) = boot.report["warnings"]
    assert warning.startswith(
        f"root={root} (command line) cannot be used; accepted: a block device, by /dev/NAME"
    )
    assert warning.endswith("(no NFS, MTD or UBI); using LABEL=ROOT (overlayroot.conf)")


def by_the_kernel(rig: Rig, disk: pathlib.Path, root: str) -> uml.Boot:
    """A boot without an initramfs."""
    return rig.machine.boot(None, [disk], f"root={root} ro", script=SCRIPT)
