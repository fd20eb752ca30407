# SPDX-License-Identifier: MIT
"""Each system call of the init fails once, on a real kernel: a child of PID 1 traces it (failing.py).

A part of the calls in `make test`; all of them:
    OVERLAYROOT_CALLS=all scripts/pytest tests/uml -k every_call -n auto -rP
"""

import errno
import json
import os
import pathlib

import failing
import pytest
import uml
from conftest import Rig, assert_degraded, assert_gave_up, assert_protected
from ctlboard import Board
from failure_modes import failure

ALL = os.environ.get("OVERLAYROOT_CALLS") == "all"
# Each is a test, so that workers can share them.
SHARES = 16
# The others each have a test of their own, or only count, or read the clock.
KINDS = ("mkdir", "mount", "umount", "finit_module", "ioctl", "chown", "chmod", "chdir", "chroot", "fcntl")
KINDS += ("socket", "bind", "sysinfo", "uname", "dup", "pread")

GAVE_UP = ("error: no root could be mounted: ", "error: no init could be started: ")


@pytest.fixture(scope="session")
def calls(cache, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Every call of a protected boot, in order."""
    rig = Rig(tmp_path_factory.mktemp("c"), cache)
    boot = rig.boot("root=/dev/ubda failcall=list", initrd=failing.tracing(rig))
    assert_protected(boot)
    listed = boot.sections["calls"].splitlines()
    # It was 315 once, and 176 when each step was a line in the log. Some
    # thirty are about the module, its list and the tracer's own files.
    assert 100 < len(listed) <= 150
    assert "mount overlay /newroot" in listed and listed[-1].startswith("execve /sbin/init")
    return listed


GPT = "label: gpt\nsize=1MiB, name=boot\nsize=96MiB, name=root\n"


def test_a_table_of_partitions_is_read_at_once(rig: Rig) -> None:
    """Its entries were read one by one, with a close after each, and the kernel forgot."""
    disk = uml.partitioned(rig.folder / "gpt.img", GPT, 2, rig.root())
    script = "cat /sys/block/ubda/stat"
    reads, listed = {}, {}
    for root in ("/dev/ubda2", "PARTLABEL=root"):
        boot = rig.boot(f"gpt root={root} failcall=list", [disk], failing.tracing(rig), script=script)
        assert_protected(boot, "/dev/ubda2")
        reads[root] = int(boot.script.split()[0])
        listed[root] = boot.sections["calls"].splitlines()
    by_path, by_label = listed.values()
    # Where the table may be, its header, its entries; and the disk with the script, which has none.
    assert by_label.count("pread") == by_path.count("pread") + 4
    assert [call for call in by_path if call.startswith("open /dev/ubda")] == ["open /dev/ubda2"]
    assert [call for call in by_label if call.startswith("open /dev/ubda")] == [
        "open /dev/ubda",
        "open /dev/ubda2",
    ]
    assert reads["PARTLABEL=root"] <= reads["/dev/ubda2"] + 8, reads
    print(reads, {root: len(calls) for root, calls in listed.items()})


def chosen(calls: list[str]) -> list[int]:
    """Numbers of the calls that are to fail: every one, or each kind that changes something, by its text."""
    if ALL:
        # The process number is had without fail.
        return [number for number, call in enumerate(calls) if call != "getpid"]
    first = {call: number for number, call in reversed(list(enumerate(calls)))}
    return sorted(number for call, number in first.items() if call.startswith(KINDS))


def check_promises(rig: Rig, boot: uml.Boot, call: str) -> None:
    """Started, protected, and it says so; or a restart with a reason."""
    assert "Kernel panic" not in boot.console, call
    if "end" not in boot.sections:
        assert "reboot: Restarting system" in boot.console, call
        reasons = [line for line in boot.lines if line.startswith(GAVE_UP)]
        # No memory to say anything, or the kernel's log has moved to a root that could not be entered.
        assert reasons or call.startswith(("mmap", "chdir", "mount /", "chroot", "open /", "execve")), call
        return
    assert boot.script.splitlines()[-1] == "alive", call
    # Without /proc the system mounts its own; without devtmpfs the node has another name.
    kind, access = boot.mounts["/"][1], boot.mounts["/"][2][0]
    assert kind == "overlay" or access == "ro", call
    # An empty one could not be written.
    if boot.sections.get("report", "").strip():
        assert boot.report["protected"] is True, call
        assert boot.report["reached"] == ("ram" if kind == "overlay" else "read-only"), call
        assert boot.report["reached"] == "ram" or boot.report["failures"], call
    else:
        assert call in ("open /newroot/mnt/root-RW/report.json", "write"), call


@pytest.mark.parametrize("share", range(SHARES))
def test_every_call_fails(rig: Rig, calls: list[str], share: int) -> None:
    disk = rig.root()
    before = uml.sha256(disk)
    numbers = chosen(calls)[share::SHARES]
    for number in numbers:
        error = (errno.EIO, errno.ENOMEM, errno.EPERM)[number % 3]
        words = failing.rule("", error, number, number)
        line = f"root=/dev/ubda ofs-wait=2 ofs-reboot-delay=1 {words}"
        boot = rig.boot(line, [disk], failing.tracing(rig), script="echo x > /new; echo alive")
        check_promises(rig, boot, calls[number])
        assert uml.sha256(disk) == before, calls[number]
    print(f"{len(numbers)} boots of {len(calls)} calls")


def test_promises_can_be_broken(rig: Rig) -> None:
    """A writable boot does not pass."""
    boot = rig.boot("root=/dev/ubda overlayfs=no", initrd=failing.tracing(rig), script="echo alive")
    with pytest.raises(AssertionError):
        check_promises(rig, boot, "control")


@failure(
    "kernel",
    "no memory for the RAM layer",
    "DEGRADED: / is the plain read-only root (…): cannot mount tmpfs on /mnt/root-RW: …: ENOMEM",
    "read-only",
    "more RAM, or a smaller kernel and initramfs",
)
def test_no_memory_for_the_layer(rig: Rig) -> None:
    words = failing.rule("mount tmpfs /mnt/root-RW", errno.ENOMEM)
    boot = rig.boot_unchanged(f"root=/dev/ubda {words}", initrd=failing.tracing(rig), script="echo fine")
    assert_degraded(boot)


@failure(
    "kernel",
    "no memory for any tmpfs, or the kernel has none",
    "warning: no place for the report, continuing",
    "read-only",
    "enable CONFIG_TMPFS; more RAM",
)
def test_no_tmpfs_at_all(rig: Rig) -> None:
    """No place for a report: the console and the log have it; the board comes up all the same."""
    words = failing.rule("mount tmpfs", errno.ENODEV)
    boot = rig.boot_unchanged(f"root=/dev/ubda {words}", initrd=failing.tracing(rig), script="echo fine")
    assert any("cannot mount tmpfs on /mnt/root-RW" in line and "CONFIG_TMPFS" in line for line in boot.lines)
    assert boot.mounts["/"][0] == "/dev/ubda" and boot.mounts["/"][2][0] == "ro"


@failure(
    "device",
    "the root device is gone when it is to be mounted",
    "no root could be mounted: cannot mount root on /newroot: …: ENXIO",
    "restart",
    "the card, its contacts, its power",
)
def test_device_that_vanishes_before_it_is_mounted(rig: Rig) -> None:
    disk = rig.root()
    words = failing.rule("mount ext4", errno.ENXIO)
    boot = rig.boot(f"root=/dev/ubda ofs-reboot-delay=1 {words}", [disk], failing.tracing(rig))
    assert boot.sections == {}
    (ram, plain) = [line for line in boot.lines if "mode cannot be reached" in line]
    assert ram.startswith("error: ram mode") and plain.startswith("error: read-only mode")


@failure(
    "system",
    "`/etc/fstab` cannot be read",
    "warning: cannot write /newroot/etc/fstab, continuing: EIO",
    "ram",
    "write the image again, on another card",
)
def test_fstab_that_cannot_be_read(rig: Rig) -> None:
    words = failing.rule("open /newroot/etc/fstab", errno.EIO)
    boot = rig.boot_unchanged(f"root=/dev/ubda {words}", initrd=failing.tracing(rig))
    assert_protected(boot)


@failure(
    "kernel",
    "no devtmpfs",
    "warning: no devtmpfs (ENODEV): making device nodes by hand",
    "ram",
    "enable CONFIG_DEVTMPFS: the system will want it too",
)
def test_no_devtmpfs(rig: Rig) -> None:
    words = failing.rule("mount devtmpfs", errno.ENODEV)
    boot = rig.boot_unchanged(f"root=98:0 {words}", initrd=failing.tracing(rig))
    assert boot.report["reached"] == "ram"


@failure(
    "kernel",
    "no `/proc`: the command line cannot be read",
    "warning: /proc cannot be mounted, continuing: ENODEV",
    "ram",
    "enable CONFIG_PROC_FS; only `overlayroot.conf` counts, with `root=` in it, and the root is protected",
)
def test_no_proc(rig: Rig) -> None:
    """What the command line would say of protection is not known: there is protection."""
    words = failing.rule("mount proc", errno.ENODEV)
    initrd = failing.tracing(rig, conf="root=/dev/ubda\noverlayfs=no\n")
    boot = rig.boot_unchanged(f"root=/dev/ubda {words}", initrd=initrd)
    assert boot.report["reached"] == "ram"
    assert any("cannot read the command line" in warning for warning in boot.report["warnings"])


@failure(
    "kernel",
    "no `/sys`",
    "warning: /sys cannot be mounted, continuing: ENODEV",
    "ram",
    "enable CONFIG_SYSFS",
)
def test_no_sys(rig: Rig) -> None:
    words = failing.rule("mount sysfs", errno.ENODEV)
    boot = rig.boot_unchanged(f"root=/dev/ubda {words}", initrd=failing.tracing(rig))
    assert boot.report["reached"] == "ram"


@failure(
    "settings",
    "the device cannot be locked, with `ofs-lock=yes`",
    "no root could be mounted: cannot set … read-only: EIO",
    "restart",
    "the driver refuses: do without `ofs-lock`",
)
def test_lock_that_fails(rig: Rig) -> None:
    """A lock that was asked for and cannot be had is no protection that was promised."""
    words = failing.rule("ioctl", errno.EIO)
    boot = rig.boot(f"root=/dev/ubda ofs-lock=yes ofs-reboot-delay=1 {words}", initrd=failing.tracing(rig))
    assert boot.sections == {}


@failure(
    "kernel",
    "tmpfs holds no attributes: `CONFIG_TMPFS_XATTR` is not set",
    "warning: the RAM layer cannot hold that a file was deleted (EOPNOTSUPP): enable CONFIG_TMPFS_XATTR in "
    "the kernel",
    "ram",
    "as it says; until then files of the root cannot be deleted, or come back, and `overlayrootctl "
    "status --check` warns",
)
def test_no_attributes(rig: Rig, ctl_disk: pathlib.Path) -> None:
    words = failing.rule("setxattr", errno.EOPNOTSUPP)
    board = Board(rig, ctl_disk)
    found = board.run(
        "ctl json status --json\nctl check status --check",
        f"root=/dev/ubda {words}",
        initrd=failing.tracing(rig),
    )
    assert_protected(board.boot)
    assert board.boot.report["upper"]["xattr"] is False
    (warning,) = board.boot.report["warnings"]
    assert "CONFIG_TMPFS_XATTR" in warning
    status = json.loads(found["json"][1])
    assert (status["level"], status["ram"]["attributes"], status["warnings"]) == ("warning", False, [warning])
    code, text = found["check"]
    assert (
        code == 1 and "; the RAM layer cannot hold that a file was deleted: enable CONFIG_TMPFS_XATTR" in text
    )


def test_no_clock(rig: Rig) -> None:
    """As on a 32-bit kernel without CONFIG_COMPAT_32BIT_TIME: each wait ends."""
    words = failing.rule("clock", errno.ENOSYS)
    boot = rig.boot_unchanged(f"root=/dev/ubda {words}", initrd=failing.tracing(rig))
    assert_protected(boot)
    line = f"root=LABEL=NOWHERE ofs-wait=2 ofs-reboot-delay=1 {words}"
    boot = rig.boot_unchanged(line, initrd=failing.tracing(rig))
    assert_gave_up(boot, "device LABEL=NOWHERE absent after 2 s")
