# SPDX-License-Identifier: MIT
"""The root device, by every spelling that the kernel and the init know."""

import pytest
import uml
from conftest import Rig, assert_gave_up, assert_protected
from failure_modes import failure

GPT = """label: gpt
label-id: 11111111-2222-3333-4444-555555555555
size=1MiB, name=first, uuid=aaaaaaaa-0000-0000-0000-000000000001
size=30MiB, name="root fs", uuid=aaaaaaaa-0000-0000-0000-00000000000f
"""
MBR = """label: dos
label-id: 0xdeadbeef
size=1MiB, type=c
size=30MiB, type=83
"""
LOGICAL = """label: dos
label-id: 0x0badcafe
size=1MiB, type=c
type=5
size=1MiB, type=83
size=30MiB, type=83
"""


@pytest.mark.parametrize(
    "root",
    [
        "/dev/ubda",
        "98:0",
        "LABEL=ROOT",
        f"UUID={uml.UUID}",
        f"UUID={uml.UUID.upper()}",
        f'"UUID={uml.UUID}"',
    ],
)
def test_whole_disk(rig: Rig, root: str) -> None:
    assert_protected(rig.boot_unchanged(f"root={root}"))


@pytest.mark.parametrize(
    "line", ["ofs-root=LABEL=ROOT", "root=/dev/ubdb ofs-root=98:0", "ofs_root=98:0 root=/dev/ubdb"]
)
def test_own_word(rig: Rig, line: str) -> None:
    """ofs-root= names the root as root= does, and counts more, wherever it stands."""
    boot = rig.boot_unchanged(line)
    assert_protected(boot)
    assert boot.report["root"]["spec"] == line.split("ofs")[1].split()[0][len("-root=") :]
    named = [setting for setting in boot.report["settings"] if setting["name"].endswith("root")]
    assert [setting["name"] for setting in named] == ["ofs-root"]


def test_label_with_a_space(rig: Rig) -> None:
    disk = rig.root(label="MY ROOT")
    boot = rig.boot_unchanged('root="LABEL=MY ROOT" quiet', disk)
    assert_protected(boot)
    assert boot.report["root"]["spec"] == "LABEL=MY ROOT"


@pytest.mark.parametrize(
    ("table", "root", "part"),
    [
        (GPT, "PARTUUID=aaaaaaaa-0000-0000-0000-00000000000f", 2),
        (GPT, "PARTUUID=AAAAAAAA-0000-0000-0000-00000000000F", 2),
        (GPT, "PARTUUID=aaaaaaaa-0000-0000-0000-000000000001/PARTNROFF=1", 2),
        (GPT, 'PARTLABEL="root fs"', 2),
        (GPT, "/dev/ubda2", 2),
        (MBR, "PARTUUID=deadbeef-02", 2),
        (MBR, "PARTUUID=DEADBEEF-02", 2),
        (MBR, "PARTUUID=deadbeef-01/PARTNROFF=1", 2),
        (MBR, "98:2", 2),
        (MBR, "LABEL=ROOT", 2),
        (LOGICAL, "PARTUUID=0badcafe-06", 6),
    ],
)
def test_partition(rig: Rig, table: str, root: str, part: int) -> None:
    disk = uml.partitioned(rig.folder / "disk.img", table, part, rig.root())
    boot = rig.boot_unchanged(f"root={root}", disk)
    assert_protected(boot, f"/dev/ubda{part}")


@pytest.mark.parametrize(
    ("at", "damage"), [(512, bytes(512)), (1024 + 128 + 16, b"\xff")], ids=["header", "GUID of an entry"]
)
def test_gpt_by_its_backup(rig: Rig, at: int, damage: bytes) -> None:
    """The kernel uses the backup at the end of a disk whose first table is damaged, when told to."""
    disk = uml.partitioned(rig.folder / "disk.img", GPT, 2, rig.root())
    with disk.open("r+b") as file:
        file.seek(at)
        file.write(damage)
    boot = rig.boot_unchanged("gpt root=PARTUUID=aaaaaaaa-0000-0000-0000-00000000000f", disk)
    assert_protected(boot, "/dev/ubda2")


def test_second_disk(rig: Rig) -> None:
    other = rig.root("other.img", label="OTHER", uuid="6f76b1a7-0000-4c6f-8b5a-726f6f740002")
    boot = rig.boot_unchanged("root=LABEL=OTHER", rig.root(), more=[other])
    assert_protected(boot, "/dev/ubdb")


@failure(
    "device",
    "two devices have the label, or the UUID",
    "warning: LABEL=ROOT is on … and on …: using the first; make it unique",
    "ram",
    "`PARTUUID=`, or another label",
)
def test_ambiguous_label(rig: Rig) -> None:
    boot = rig.boot_unchanged("root=LABEL=ROOT", more=[rig.root("twin.img")])
    assert_protected(boot)
    warning = "LABEL=ROOT is on /dev/ubda and on /dev/ubdb: using the first; make it unique"
    assert warning in boot.report["warnings"]


def test_root_from_configuration(rig: Rig) -> None:
    initrd = rig.initramfs(conf="root=LABEL=ROOT\n")
    # UML adds a root= of its own to a command line without any; a useless one keeps what was set.
    boot = rig.boot_unchanged("root=", initrd=initrd)
    assert_protected(boot)
    assert {"name": "ofs-root", "value": "LABEL=ROOT", "origin": "overlayroot.conf"} in boot.report[
        "settings"
    ]


@failure(
    "device",
    "the root device comes late",
    "waiting for …, at most … s",
    "ram",
    "none; `ofs-wait=` for slower ones",
)
def test_device_that_comes_late(rig: Rig) -> None:
    """A uevent ends the wait, not the deadline: that is an hour, and the machine would be given up before."""
    late = rig.root()
    plugged = []

    def plug_in(machine: uml.Machine, console: str) -> None:
        if "waiting for LABEL=ROOT" in console and not plugged:
            plugged.append(machine.plug_in(f"config ubdb={late}"))

    before = uml.sha256(late)
    boot = rig.boot("root=LABEL=ROOT rootwait ofs-wait=3600", [], during=plug_in)
    assert plugged
    assert_protected(boot, "/dev/ubdb")
    assert uml.sha256(late) == before


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        pytest.param(
            "root=LABEL=NOWHERE ofs-wait=1",
            "device LABEL=NOWHERE absent after 1 s (there are: ubda)",
            marks=failure(
                "device",
                "the root device does not come",
                "no root could be mounted: device … absent after … s (there are: …); check ofs-root=, or "
                "raise ofs-wait=",
                "restart",
                "correct `ofs-root=`; put the driver into the kernel or the initramfs",
            ),
        ),
        ("root=/dev/mmcblk0p2 rootwait=1", "device /dev/mmcblk0p2 absent after 1 s (there are: ubda)"),
        pytest.param(
            "root= ofs-wait=1",
            "no root device is named: add ofs-root=",
            marks=failure(
                "device",
                "no root device is named, or by a word that cannot be used",
                "no root could be mounted: no root device is named: add ofs-root= to the command line or to "
                "overlayroot.conf",
                "restart",
                "add `ofs-root=`",
            ),
        ),
        ("root=what ofs-wait=1", "no root device is named: add ofs-root="),
    ],
)
def test_missing_root(rig: Rig, line: str, reason: str) -> None:
    assert_gave_up(rig.boot(f"{line} ofs-reboot-delay=1"), reason)


@failure(
    "device",
    "no block device at all",
    "no root could be mounted: device … absent after … s (there is no block device at all: is the driver "
    "loaded?); check ofs-root=, or raise ofs-wait=",
    "restart",
    "put the driver into the kernel, or its modules into the initramfs, in order",
)
def test_no_block_device_at_all(rig: Rig) -> None:
    boot = rig.boot("root=LABEL=ROOT ofs-wait=1 ofs-reboot-delay=1", [])
    assert_gave_up(boot, "there is no block device at all: is the driver loaded?")


@failure(
    "filesystem",
    "the root has no file system that the kernel knows",
    "no root could be mounted: cannot mount root on /newroot: …",
    "restart",
    "check `ofs-root=`; write the image again",
)
def test_root_without_file_system(rig: Rig) -> None:
    disk = rig.folder / "zero.img"
    disk.write_bytes(bytes(8 << 20))
    boot = rig.boot("root=/dev/ubda ofs-reboot-delay=1", [disk])
    assert_gave_up(boot, "cannot mount")
    assert disk.read_bytes() == bytes(8 << 20)


@failure(
    "filesystem",
    "the superblock is damaged, and all of its copies",
    "no root could be mounted: cannot mount root on …; check rootflags=, or repair the file system",
    "restart",
    "`e2fsck` from another system; write the image again",
)
def test_damaged_superblock(rig: Rig) -> None:
    disk = rig.root()
    for at in (1024, 8193 << 10):
        with disk.open("r+b") as file:
            file.seek(at + 32)
            file.write(b"\xff" * 24)  # blocks per group and its neighbours
    before = uml.sha256(disk)
    boot = rig.boot("root=/dev/ubda rootflags=noatime ofs-reboot-delay=1", [disk])
    assert_gave_up(boot, "check rootflags=, or repair the file system")
    # Nobody said what could be wrong.
    boot = rig.boot("root=/dev/ubda ofs-reboot-delay=1", [disk])
    assert_gave_up(boot, "; repair the file system")
    assert uml.sha256(disk) == before
