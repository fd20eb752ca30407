# SPDX-License-Identifier: MIT
"""A root device that cannot be read in places, that dies, or that holds something else than it should."""

import pathlib
import random
import struct

import failing
import pytest
import uml
from conftest import Rig, assert_gave_up, assert_protected
from failure_modes import failure

LINE = "root=/dev/dm-0 ofs-reboot-delay=1"


def sectors(disk: pathlib.Path, path: str) -> tuple[int, int]:
    """Where the contents of a file or a directory are on an ext4 disk with blocks of 1 KiB."""
    blocks = uml.run("debugfs", "-R", f"blocks {path}", disk).split()
    return int(blocks[0]) * 2, len(blocks) * 2


COPY = (
    "warning: …: mounted by a copy of the superblock, as the first one is damaged; "
    "check it with fsck from another system"
)


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(
            (0, 8),
            marks=failure("filesystem", "the superblock of ext4 cannot be read", COPY, "ram", "another card"),
        ),
        pytest.param(
            (4, 2),
            marks=failure(
                "filesystem", "the group descriptors of ext4 cannot be read", COPY, "ram", "another card"
            ),
        ),
    ],
    ids=["superblock", "descriptors"],
)
def test_unreadable_when_it_is_mounted(rig: Rig, bad: tuple[int, int]) -> None:
    disk = rig.root()
    initrd = failing.mapped(rig, failing.table(disk, bad))
    boot = rig.boot_unchanged(LINE, disk, initrd=initrd)
    assert_protected(boot, "/dev/dm-0")
    assert "mounted by a copy of the superblock" in boot.report["warnings"][-1]


@failure(
    "filesystem",
    "no copy of what mounting needs can be read",
    "no root could be mounted: cannot mount root on /newroot: …",
    "restart",
    "another card",
)
def test_nothing_can_be_read(rig: Rig) -> None:
    disk = rig.root()
    before = uml.sha256(disk)
    boot = rig.boot(LINE, [disk], failing.mapped(rig, failing.table(disk, (0, 8), (8193 * 2, 2))))
    assert_gave_up(boot, "cannot mount root on /newroot")
    assert uml.sha256(disk) == before


@failure(
    "running",
    "blocks of a file cannot be read",
    "cat: read error: Input/output error",
    "ram",
    "another card; everything else goes on",
)
def test_unreadable_file(rig: Rig) -> None:
    disk = rig.root()
    initrd = failing.mapped(rig, failing.table(disk, sectors(disk, "/etc/keep")))
    script = "cat /etc/keep; echo new > /etc/keep; cat /etc/keep; echo x > /etc/new; cat /etc/new"
    boot = rig.boot_unchanged(LINE, disk, initrd=initrd, script=script)
    assert_protected(boot, "/dev/dm-0")
    assert boot.script.splitlines()[-2:] == ["new", "x"]


@failure(
    "running",
    "the card dies, or is pulled out",
    "Input/output error",
    "ram",
    "what is in RAM goes on, what has to be read fails; when the card is back, a restart",
)
def test_device_that_dies(rig: Rig) -> None:
    """What is in RAM works on; the init does not die; the device comes back, and so does the rest."""
    disk = rig.root(change=with_dmtable(rig))
    dead = f'"0 {disk.stat().st_size // 512} error"'
    script = f"""cp /bin/busybox /bin/dmtable /tmp; PATH=/tmp; b=/tmp/busybox
    $b sync; echo 3 > /proc/sys/vm/drop_caches
    dmtable {dead}
    $b cat /etc/keep
    echo x > /tmp/new; $b cat /tmp/new
    $b ps -o pid,comm | $b grep -c " 1 init"
    dmtable {" ".join(failing.table(disk))}
    $b cat /etc/keep"""
    boot = rig.boot_unchanged(LINE, disk, initrd=failing.mapped(rig, failing.table(disk)), script=script)
    assert_protected(boot, "/dev/dm-0")
    lines = boot.script.splitlines()
    assert lines[-3:] == ["x", "1", "original"]
    assert_protected(rig.boot_unchanged("root=/dev/ubda", disk))


def with_dmtable(rig: Rig):
    """A root that can change its own device."""

    def change(folder: pathlib.Path) -> None:
        (folder / "bin/dmtable").write_bytes(uml.compiled(rig.cache, "dmtable").read_bytes())
        (folder / "bin/dmtable").chmod(0o755)

    return change


@pytest.mark.parametrize(
    "lock",
    [
        pytest.param(
            "ofs-lock=no",
            marks=failure(
                "running",
                "a directory of an ext4 root is damaged",
                "EXT4-fs error (device …)",
                "ram",
                "write the image again. The kernel notes the error in the superblock, although the root "
                "is mounted read-only; with `ofs-lock=yes` it cannot",
            ),
        ),
        "ofs-lock=yes",
    ],
)
def test_damaged_directory(rig: Rig, lock: str) -> None:
    def change(folder: pathlib.Path) -> None:
        (folder / "etc/conf.d").mkdir()
        (folder / "etc/conf.d/a").write_text("a\n")

    disk = rig.root(change=change)
    start, count = sectors(disk, "/etc/conf.d")
    with disk.open("r+b") as file:
        file.seek(start * 512)
        file.write(b"\xff" * (count * 512))
    before = disk.read_bytes()
    # A worker of the kernel notes the error; a locked device it must not reach at all.
    written = "set -- $(cat /sys/block/ubda/stat); [ $5 -gt 0 ]"
    wait = "sleep 1" if lock == "ofs-lock=yes" else f"until {written}; do usleep 100000; done"
    script = f"ls /etc/conf.d; sync; {wait}; echo x > /etc/new; cat /etc/new"
    boot = rig.boot(f"root=/dev/ubda {lock}", [disk], script=script)
    assert_protected(boot)
    assert "EXT4-fs error" in boot.console and boot.script.endswith("x")
    after = disk.read_bytes()
    # All but the superblock, which has 1 KiB from 1 KiB on.
    assert after[:1024] + after[2048:] == before[:1024] + before[2048:]
    assert (after == before) == (lock == "ofs-lock=yes")


# Fields of superblocks: offset on the disk, and a value that cannot be right. From struct ext4_super_block,
# squashfs_super_block, erofs_super_block and f2fs_super_block (which there is twice, 4 KiB apart).
FIELDS = {
    "ext4": {
        "blocks": (1028, 0xFFFFFFFF),
        "first_data_block": (1044, 0xFFFFFFF0),
        "log_block_size": (1048, 99),
        "blocks_per_group": (1056, 0),
        "inodes_per_group": (1064, 0xFFFFFFFF),
        "rev_level": (1100, 0xFFFF),
        "inode_size": (1112, 0xFFF3),
        "incompatible": (1120, 0xFFFFFFFB),
        "read_only_compatible": (1124, 0xFFFFFFFF),
    },
    "squashfs": {
        "inodes": (4, 0),
        "block_size": (12, 0x7FFFFFFF),
        "fragments": (16, 0xFFFFFFFF),
        "compression": (20, 0x00110063),
        "s_major": (28, 9),
        "root_inode": (32, 0xFFFFFFFF),
        "bytes_used": (40, 0x7FFFFFFF),
        "id_table_start": (48, 0x7FFFFFFF),
        "inode_table_start": (64, 0x7FFFFFFF),
        "directory_table_start": (72, 0x7FFFFFFF),
    },
    "erofs": {
        "blkszbits": (1036, 0x00640063),
        "root_nid": (1038, 0xFFFFFFFF),
        "blocks": (1060, 0xFFFFFFFF),
        "meta_blkaddr": (1064, 0x7FFFFFFF),
        "feature_incompat": (1104, 0xFFFFFFFF),
    },
    "f2fs": {
        "log_sectorsize": (1032, 99),
        "log_blocksize": (1040, 99),
        "segs_per_sec": (1048, 0xFFFFFFFF),
        "block_count": (1060, 0xFFFFFFFF),
        "segment_count": (1072, 0xFFFFFFFF),
    },
}
# Not caught by a checksum: the kernel, or our own reader, has to see it.
UNCHECKED = {"ext4": ["-O", "^metadata_csum"], "erofs": ["-E", "nosbcrc"]}
MODULES = {"squashfs": ["squashfs"], "erofs": ["erofs"], "f2fs": ["crc32_generic", "f2fs"]}


@pytest.mark.parametrize(("fstype", "field"), [(name, field) for name in FIELDS for field in FIELDS[name]])
def test_wrong_field_in_the_superblock(rig: Rig, fstype: str, field: str) -> None:
    disk = rig.root(fstype=fstype, options=UNCHECKED.get(fstype, []), size=64 if fstype == "f2fs" else 24)
    offset, value = FIELDS[fstype][field]
    with disk.open("r+b") as file:
        for copy in (0, 4096) if fstype == "f2fs" else (0,):
            file.seek(copy + offset)
            file.write(struct.pack("<I", value))
    before = uml.sha256(disk)
    initrd = rig.initramfs(modules=[*MODULES.get(fstype, []), "overlay"])
    boot = rig.boot("root=/dev/ubda ofs-reboot-delay=1", [disk], initrd=initrd)
    assert "Kernel panic" not in boot.console
    assert uml.sha256(disk) == before
    if boot.sections:
        assert boot.report["protected"] is True
    else:
        assert_gave_up(boot, "no root could be mounted")


@pytest.mark.parametrize("block", [1, 2, 4])
@failure(
    "filesystem",
    "the superblock of ext4 is garbage, and a copy of it is not",
    COPY,
    "ram",
    "`e2fsck -b 8193` (or 32768) from another system; write the image again",
)
def test_garbage_with_a_good_backup(rig: Rig, block: int) -> None:
    """Blocks of 1, 2 and 4 KiB, whose copies are in different places."""
    size = {1: 24, 2: 80, 4: 160}[block]
    disk = rig.root(size=size, options=["-b", str(block << 10)])
    with disk.open("r+b") as file:
        file.seek(1024)
        file.write(random.Random(1).randbytes(1024))
    script = "mount -o remount,rw /mnt/root-RO || echo locked"
    boot = rig.boot_unchanged("root=/dev/ubda", disk, script=script)
    assert_protected(boot)
    assert "mounted by a copy of the superblock" in boot.report["warnings"][-1]
    assert "locked" in boot.script
    # It cannot be found by its names, and is not written to.
    boot = rig.boot_unchanged("root=/dev/ubda overlayfs=no", disk)
    assert boot.report["reached"] == "read-only"
    # The remedy.
    copy = {1: 8193, 2: 16384, 4: 32768}[block]
    uml.run("sh", "-c", f"e2fsck -y -b {copy} -B {block << 10} {disk} >/dev/null; test $? -lt 4")
    assert_protected(rig.boot("root=/dev/ubda", [disk]))


def over(disk: pathlib.Path, *command: str | pathlib.Path) -> None:
    """Makes a file system over an older one, whose blocks stay where nothing is written."""
    uml.run(*command, disk)
    with disk.open("rb") as file:
        file.seek((8193 << 10) + 56)
        assert file.read(2) == b"\x53\xef", "no copy of the old superblock is left"


@pytest.mark.parametrize("flags", ["", "rootfstype=ext4"])
def test_an_old_ext4_is_not_taken_for_another_file_system(rig: Rig, flags: str) -> None:
    """Its copies of the superblock are there, but the first one is of something else, which is damaged.

    All but the place of its first superblock is left of it: more than mkfs leaves.
    """
    disk = rig.root(options=["-b", "1024"])
    with disk.open("r+b") as file:
        file.write(b"XFSB" + bytes(2044))
    before = uml.sha256(disk)
    boot = rig.boot(f"root=/dev/ubda ofs-reboot-delay=1 {flags}".strip(), [disk])
    assert_gave_up(boot, "cannot mount root on /newroot")
    assert uml.sha256(disk) == before


@failure(
    "filesystem",
    "an ext4 root was made something else that the init does not know: swap, say",
    COPY,
    "ram",
    "it is the old root, read-only: check `root=`, or write the image again",
)
def test_an_old_ext4_under_what_is_not_known(rig: Rig) -> None:
    disk = rig.root(options=["-b", "1024"])
    over(disk, "mkswap", "-q")
    boot = rig.boot_unchanged("root=/dev/ubda", disk)
    assert_protected(boot)
    assert "mounted by a copy of the superblock" in boot.report["warnings"][-1]


@failure(
    "filesystem",
    "the partition is something else: swap, say",
    "no root could be mounted: cannot mount root on /newroot: …",
    "restart",
    "check `root=`",
)
def test_swap(rig: Rig) -> None:
    disk = rig.folder / "swap.img"
    disk.write_bytes(bytes(8 << 20))
    uml.run("/sbin/mkswap", disk)
    before = uml.sha256(disk)
    boot = rig.boot("root=/dev/ubda ofs-reboot-delay=1", [disk])
    assert_gave_up(boot, "cannot mount root")
    assert uml.sha256(disk) == before


@failure("filesystem", "the root has no free block", "", "ram", "none")
def test_full_disk(rig: Rig) -> None:
    disk, filler = rig.root(), rig.folder / "filler"
    filler.write_bytes(b"x" * disk.stat().st_size)
    uml.run("debugfs", "-w", "-R", f"write {filler} filler", disk)
    assert "Free blocks:              0\n" in uml.run("dumpe2fs", "-h", disk)
    assert_protected(rig.boot_unchanged("root=/dev/ubda", disk))
    # Protection off: the report is in RAM, and the boot goes on.
    boot = rig.boot("root=/dev/ubda overlayfs=no", [disk], script="echo fine")
    assert (boot.report["reached"], boot.script) == ("writable", "fine")
