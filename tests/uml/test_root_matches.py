# SPDX-License-Identifier: MIT
"""Which device is taken when several match, and names that udev makes."""

import pathlib

import uml
from conftest import Rig, assert_gave_up, assert_protected
from failure_modes import failure

MBR = """label: dos
label-id: 0xdeadbeef
size=1MiB, type=c
size=30MiB, type=83
"""
GPT = """label: gpt
label-id: 11111111-2222-3333-4444-555555555555
size=30MiB, name=rootfs, uuid=614e0000-0000-4b53-8000-1d28000054a9
"""


def damage(disk: pathlib.Path, superblock: int = 1024) -> None:
    """A file system that is found, and cannot be mounted: blocks per group and its neighbours."""
    with disk.open("r+b") as file:
        file.seek(superblock + 32)
        file.write(b"\xff" * 24)


def test_partition_before_the_disk_that_holds_it(rig: Rig) -> None:
    """An ext4 that was on the whole card before it got partitions."""
    root = rig.root()
    disk = uml.partitioned(rig.folder / "disk.img", MBR, 2, root)
    with disk.open("r+b") as file:
        file.seek(1024)
        file.write(root.read_bytes()[1024:2048])
    boot = rig.boot_unchanged("root=LABEL=ROOT", disk)
    assert_protected(boot, "/dev/ubda2")
    warning = "LABEL=ROOT is on /dev/ubda2 and on /dev/ubda: using the first; make it unique"
    assert boot.report["warnings"] == [warning]
    assert boot.report["failures"] == []


@failure(
    "device",
    "two devices have the label, or the UUID, and the first one is damaged",
    "warning: LABEL=ROOT could not be used there: trying /dev/…",
    "ram",
    "repair the first one, or give it another label",
)
def test_damaged_twin(rig: Rig) -> None:
    twin = rig.root("twin.img")
    damage(twin)
    disk = rig.root()
    before = uml.sha256(twin), uml.sha256(disk)
    boot = rig.boot("root=LABEL=ROOT", [twin, disk], script="echo x >/etc/new")
    assert_protected(boot, "/dev/ubdb")
    assert "LABEL=ROOT could not be used there: trying /dev/ubdb" in boot.report["warnings"]
    assert [failure["mode"] for failure in boot.report["failures"]] == ["ram", "read-only"]
    assert (uml.sha256(twin), uml.sha256(disk)) == before


def test_twin_without_an_init(rig: Rig) -> None:
    """A data partition with the root's label."""
    twin = rig.root("twin.img", change=lambda tree: (tree / "sbin/init").unlink())
    boot = rig.boot("root=LABEL=ROOT ofs-fail=reboot", [twin, rig.root()])
    assert_protected(boot, "/dev/ubdb")


def test_each_twin_is_tried_once(rig: Rig) -> None:
    twins = [rig.root(f"{number}.img") for number in range(3)]
    for twin in twins:
        damage(twin)
        damage(twin, 8193 << 10)
    boot = rig.boot("root=LABEL=ROOT ofs-reboot-delay=1", twins)
    assert_gave_up(boot, "cannot mount root on")
    tried = [line for line in boot.lines if "could not be used there" in line]
    assert [line.split()[-1] for line in tried] == ["/dev/ubdb", "/dev/ubdc"]


def test_backup_of_a_gpt_at_an_odd_end(rig: Rig) -> None:
    """/proc/partitions counts KiB: half of one is cut off."""
    disk = rig.folder / "disk.img"
    with disk.open("wb") as file:
        file.truncate((64 << 20) + 512)
    uml.run("sfdisk", "--quiet", disk, stdin=GPT)
    with disk.open("r+b") as file:
        file.seek(2048 * 512)
        file.write(rig.root().read_bytes())
        file.seek(512)
        file.write(bytes(512))
    boot = rig.boot_unchanged("gpt root=PARTLABEL=rootfs", disk)
    assert_protected(boot, "/dev/ubda1")


def linked(rig: Rig, *commands: str) -> pathlib.Path:
    """An initramfs in which somebody made links below /dev before our init, as a distribution's udev does."""
    program = uml.compiled(rig.cache, "dmtable")
    return uml.mapped_initramfs(rig.folder / "linked.cpio.gz", "; ".join(commands), program=program)


def test_device_mapper_name_that_is_a_link(rig: Rig) -> None:
    disk = rig.root()
    table = f"0 {disk.stat().st_size // 512} linear /dev/ubda 0"
    initrd = linked(rig, f'dmtable "{table}"', "$b ln -s ../dm-0 /dev/mapper/system-root")
    boot = rig.boot_unchanged("root=/dev/mapper/system-root", disk, initrd=initrd)
    assert_protected(boot, "/dev/dm-0")


def test_link_by_id_that_is_there(rig: Rig) -> None:
    initrd = linked(
        rig, "$b mkdir -p /dev/disk/by-id", "$b ln -s ../../ubda /dev/disk/by-id/mmc-SD16G_0x1234"
    )
    boot = rig.boot_unchanged("root=/dev/disk/by-id/mmc-SD16G_0x1234", initrd=initrd)
    assert_protected(boot, "/dev/ubda")


@failure(
    "device",
    "`root=/dev/disk/by-id/…` or `by-path`",
    "no root could be mounted: /dev/disk/by-path/… is a name that udev makes, which is not here: use UUID=, "
    "LABEL=, PARTUUID=, PARTLABEL= or /dev/NAME",
    "restart",
    "as it says; in a distribution's initramfs whose udev has made the link, it works",
)
def test_names_that_only_udev_makes(rig: Rig) -> None:
    boot = rig.boot("root=/dev/disk/by-path/platform-mmc.0-part2 ofs-reboot-delay=1")
    assert_gave_up(boot, "is a name that udev makes, which is not here: use UUID=,")
    assert boot.seconds < 20  # ofs-wait= is 30
    assert "waiting for" not in boot.console


def test_escapes_of_udev(rig: Rig) -> None:
    disk = rig.root(label="MY ROOT")
    boot = rig.boot_unchanged(r"root=/dev/disk/by-label/MY\x20ROOT", disk)
    assert_protected(boot)
    assert boot.report["root"]["spec"] == "LABEL=MY ROOT"


@failure(
    "filesystem",
    "a btrfs on several devices",
    "warning: …: this btrfs is on several devices, and nothing here looks for them: name each of the others "
    "by rootflags=device=/dev/...; only this one is locked",
    "ram",
    "as it says",
)
def test_btrfs_on_two_devices(rig: Rig) -> None:
    first, second = rig.folder / "first.img", rig.folder / "second.img"
    for disk in (first, second):
        with disk.open("wb") as file:
            file.truncate(128 << 20)
    tree = uml.tree(rig.folder / "tree")
    uml.run("mkfs.btrfs", "-q", "-L", "ROOT", "--rootdir", tree, "-d", "single", "-m", "single", first)
    grown = rig.boot(
        "root=LABEL=OTHER",
        [rig.root("other.img", label="OTHER", change=with_btrfs), first, second],
        script="mkdir /run/b; busybox mount -t btrfs /dev/ubdb /run/b; btrfs device add -f /dev/ubdc /run/b; "
        "btrfs balance start -f -mconvert=raid1 -dconvert=raid1 /run/b; busybox umount /run/b; echo made",
    )
    assert grown.script.endswith("made")
    before = uml.sha256(first), uml.sha256(second)
    for root in ("LABEL=ROOT", "/dev/ubda"):
        boot = rig.boot(
            f"root={root} rootflags=device=/dev/ubdb",
            [first, second],
            script="echo x >/etc/new; cat /etc/new",
        )
        assert_protected(boot, fstype="btrfs")
        (warning,) = boot.report["warnings"]
        assert warning.startswith("/dev/ubda: this btrfs is on several devices")
        assert boot.script == "x"
        assert (uml.sha256(first), uml.sha256(second)) == before


def with_btrfs(tree: pathlib.Path) -> None:
    """A change for `uml.disk`: btrfs-progs."""
    uml.host_program(tree, "btrfs")
