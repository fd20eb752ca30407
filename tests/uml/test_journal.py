# SPDX-License-Identifier: MIT
"""A root whose journal needs recovery: the plug was pulled during a writable boot."""

import pathlib
import shutil
import subprocess

import failing
import pytest
import uml
from conftest import Rig, assert_degraded, assert_protected
from failure_modes import failure

WRITE = "echo new > /etc/new; sync; echo newer > /etc/new; sync"
ORPHAN = "exec 4>/orphan; echo x >&4; rm -f /orphan; echo new > /etc/new; sync"


def dirty(rig: Rig, script: str = WRITE, **options) -> pathlib.Path:
    """A root that was written to when the power went; the journal says so."""
    disk = rig.root(**options)
    rig.boot("root=/dev/ubda overlayfs=no", [disk], script=script)
    features = uml.run("dumpe2fs", "-h", disk)
    assert "needs_recovery" in features
    return disk


@pytest.mark.parametrize("script", [WRITE, ORPHAN], ids=["journal", "orphan"])
@failure(
    "filesystem",
    "the journal needs recovery: the plug was pulled during a writable boot",
    "warning: …: …: the kernel repairs it now, which writes to the device once",
    "ram",
    "none",
)
def test_replay_once_then_no_write(rig: Rig, script: str) -> None:
    disk = dirty(rig, script)
    before = uml.sha256(disk)
    boot = rig.boot("root=/dev/ubda", [disk], script="cat /etc/new")
    assert_protected(boot)
    assert boot.report["root"]["state"] == "dirty"
    assert "the kernel repairs it now, which writes to the device once" in boot.report["warnings"][0]
    assert boot.script.startswith("new")
    assert uml.sha256(disk) != before
    # From now on nothing is written.
    boot = rig.boot_unchanged("root=/dev/ubda", disk)
    assert_protected(boot)
    assert boot.report["root"]["state"] == "clean"
    done = subprocess.run(["e2fsck", "-fn", disk], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@failure(
    "settings",
    "`rw` in `rootflags=`, in a protected boot",
    "warning: rootflags= asks for rw, which a protected root is not: left out",
    "ram",
    "take it out",
)
def test_flags_do_not_make_it_writable(rig: Rig) -> None:
    """The kernel would mount the file system writable, and only the mount of it read-only."""
    disk = dirty(rig)
    script = "grep ' - ext4 ' /proc/self/mountinfo; echo x > /etc/more; sync"
    boot = rig.boot("root=/dev/ubda rootflags=noatime,rw", [disk], script=script)
    assert_protected(boot)
    assert boot.script.endswith(" - ext4 /dev/ubda ro")
    # It was left clean: nothing but the replay has been written.
    boot = rig.boot_unchanged("root=/dev/ubda", disk)
    assert boot.report["root"]["state"] == "clean"


@pytest.mark.parametrize("script", [WRITE, ORPHAN], ids=["journal", "orphan"])
@failure(
    "filesystem",
    "the same with `ofs-dirty=frozen`",
    "warning: …: …; frozen: nothing is written, changes that only the journal holds are not seen",
    "ram",
    "one boot with `ofs-dirty=replay`",
)
def test_frozen_never_writes(rig: Rig, script: str) -> None:
    disk = dirty(rig, script)
    boot = rig.boot_unchanged(
        "root=/dev/ubda ofs-dirty=frozen",
        disk,
        script="mount -o remount,rw /mnt/root-RO || echo locked; echo x > /etc/new; cat /etc/new",
    )
    assert_protected(boot)
    assert "noload" in ",".join(boot.mounts["/mnt/root-RO"][2]) or "norecovery" in ",".join(
        boot.mounts["/mnt/root-RO"][2]
    )
    # An unreplayed journal and new writes do not go together: the device stays locked.
    assert "locked" in boot.script
    assert boot.script.splitlines()[-1] == "x"


@failure(
    "filesystem",
    "the same with `ofs-dirty=refuse`",
    "no root could be mounted: … and ofs-dirty=refuse; repair it, or boot with ofs-dirty=replay",
    "restart",
    "one boot with `ofs-dirty=replay`",
)
def test_refused(rig: Rig) -> None:
    disk = dirty(rig)
    before = uml.sha256(disk)
    boot = rig.boot("root=/dev/ubda ofs-dirty=refuse ofs-reboot-delay=1", [disk])
    assert "ofs-dirty=refuse; repair it, or boot with ofs-dirty=replay" in boot.verdict
    assert boot.sections == {}
    assert uml.sha256(disk) == before


@failure(
    "filesystem",
    "the same on a write-protected card",
    "warning: …: …, but the device is read-only: mounted without the journal",
    "ram",
    "take the protection off for one boot",
)
def test_dirty_on_write_protected_media(rig: Rig) -> None:
    disk = dirty(rig)
    before = uml.sha256(disk)
    boot = rig.boot("root=/dev/ubda", [f"r:{disk}"], script="echo x > /etc/new; cat /etc/new")
    assert_protected(boot)
    assert "but the device is read-only: mounted without the journal" in boot.report["warnings"][0]
    assert uml.sha256(disk) == before


def test_ext3(rig: Rig) -> None:
    disk = dirty(rig, fstype="ext3")
    boot = rig.boot_unchanged("root=/dev/ubda ofs-dirty=frozen", disk)
    assert_protected(boot, fstype="ext3")


def test_dirty_and_no_overlay(rig: Rig) -> None:
    """Two troubles at once: the plain root, frozen, and still no write."""
    disk = dirty(rig)
    initrd = rig.initramfs(modules=[])
    boot = rig.boot_unchanged("root=/dev/ubda ofs-dirty=frozen", disk, initrd=initrd)
    assert_degraded(boot)


@failure(
    "filesystem",
    "the kernel has recorded errors in the file system",
    "warning: …: the file system has recorded errors; check it with fsck from another system",
    "ram",
    "`e2fsck -f` from another system",
)
def test_recorded_errors_are_reported(rig: Rig) -> None:
    disk = rig.root()
    uml.run("debugfs", "-w", "-R", "set_super_value state 2", disk)
    boot = rig.boot_unchanged("root=/dev/ubda", disk)
    assert_protected(boot)
    assert any("the file system has recorded errors" in warning for warning in boot.report["warnings"])


def test_btrfs_with_a_log_tree(rig: Rig) -> None:
    """btrfs replays fsync'ed files when it is mounted: the same policies hold."""
    disk = rig.root(fstype="btrfs", size=128)
    script = "sync; echo new > /etc/new; dd if=/dev/zero of=/etc/synced bs=4k count=1 conv=fsync"
    rig.boot("root=/dev/ubda overlayfs=no", [disk], script=script)
    copy = rig.folder / "copy.img"
    shutil.copy(disk, copy)
    boot = rig.boot("root=/dev/ubda", [copy], script="ls /etc/synced")
    assert_protected(boot, fstype="btrfs")
    boot = rig.boot_unchanged("root=/dev/ubda ofs-dirty=frozen", disk)
    assert boot.report["root"]["state"] == "dirty"
    assert_protected(boot, fstype="btrfs")


def journal_block(disk: pathlib.Path, number: int) -> int:
    """Where a block of the journal is, in bytes; the first one is its superblock."""
    blocks = uml.run("debugfs", "-R", "blocks <8>", disk).split()
    return int(blocks[number]) << 10


def zero_journal(disk: pathlib.Path) -> None:
    """Writes zeros over the superblock of the journal."""
    at = journal_block(disk, 0)
    with disk.open("r+b") as file:
        file.seek(at)
        file.write(bytes(1024))


LOST = (
    "warning: …: mounted without the journal, which is damaged or may not be replayed: nothing is written, "
    "changes that only the journal holds are not seen; check it with fsck from another system"
)


@pytest.mark.parametrize("is_dirty", [False, True], ids=["clean", "dirty"])
@failure("filesystem", "the journal is damaged", LOST, "ram", "`e2fsck -f` from another system")
def test_journal_without_a_superblock(rig: Rig, is_dirty: bool) -> None:
    disk = dirty(rig) if is_dirty else rig.root()
    zero_journal(disk)
    for line in ("root=/dev/ubda", "root=/dev/ubda ofs-dirty=frozen"):
        script = "mount -o remount,rw /mnt/root-RO || echo locked; echo x > /etc/new; cat /etc/new"
        boot = rig.boot_unchanged(line, disk, script=script)
        assert_protected(boot)
        assert boot.script.splitlines()[-1] == "x"
        assert "locked" in boot.script
        if not (is_dirty and "frozen" in line):
            assert "mounted without the journal, which is damaged" in boot.report["warnings"][-1]
    boot = rig.boot("root=/dev/ubda ofs-dirty=refuse ofs-reboot-delay=1", [disk])
    assert boot.sections == {}
    # A writable boot is not to be had; a plain read-only one is.
    boot = rig.boot_unchanged("root=/dev/ubda overlayfs=no", disk)
    assert boot.report["reached"] == "read-only"


@failure("filesystem", "the journal needs recovery and cannot be read", LOST, "ram", "another card")
def test_journal_that_cannot_be_read(rig: Rig) -> None:
    """The kernel is allowed to replay it, and fails: it is not told to again."""
    disk = dirty(rig)
    first = journal_block(disk, 1) // 512
    initrd = failing.mapped(rig, failing.table(disk, (first, 32)))
    boot = rig.boot(
        "root=/dev/dm-0 ofs-reboot-delay=1", [disk], initrd, script="echo x > /etc/new; cat /etc/new"
    )
    assert_protected(boot, "/dev/dm-0")
    assert boot.script == "x"
    tries = [s["step"] for s in boot.report["steps"] if s["step"].startswith("mount ext4")]
    assert len(tries) == len(set(tries)) == 2
