# SPDX-License-Identifier: MIT
"""f2fs keeps what was fsynced after its last checkpoint in a chain of nodes: that has to be seen."""

import pathlib

import pytest
import uml
from conftest import Rig, assert_gave_up, assert_protected
from failure_modes import failure

DETAIL = "fsynced data waits for roll-forward recovery"


@pytest.fixture
def initrd(rig: Rig) -> pathlib.Path:
    """An initramfs with the modules of f2fs."""
    return rig.initramfs(modules=["crc32_generic", "f2fs", "overlay"])


@pytest.fixture
def fsynced(rig: Rig, initrd: pathlib.Path) -> pathlib.Path:
    """A root on which a file was fsynced in a writable boot before the plug was pulled."""
    disk = rig.root(fstype="f2fs", size=64)
    boot = rig.boot(
        "root=/dev/ubda overlayfs=no",
        [disk],
        initrd,
        script="echo data | busybox dd of=/etc/fsynced conv=fsync 2>/dev/null; busybox cat /etc/fsynced",
    )
    assert boot.script == "data"
    return disk


def test_replayed(rig: Rig, initrd: pathlib.Path, fsynced: pathlib.Path) -> None:
    before = uml.sha256(fsynced)
    boot = rig.boot("root=LABEL=ROOT", [fsynced], initrd, script="busybox cat /etc/fsynced")
    assert_protected(boot, fstype="f2fs")
    assert (boot.report["root"]["state"], boot.report["root"]["state_detail"]) == ("dirty", DETAIL)
    assert any(f"{DETAIL}: the kernel repairs it now" in warning for warning in boot.report["warnings"])
    assert boot.script == "data"
    assert uml.sha256(fsynced) != before
    # Once: then it is clean, and nothing is written any more.
    boot = rig.boot_unchanged("root=LABEL=ROOT", fsynced, initrd=initrd, script="busybox cat /etc/fsynced")
    assert (boot.report["root"]["state"], boot.script) == ("clean", "data")
    assert boot.report["warnings"] == []


@failure(
    "filesystem",
    "f2fs with data that was fsynced after its last checkpoint, and `ofs-dirty=frozen`",
    f"warning: …: {DETAIL}; frozen: nothing is written, changes that only the journal holds are not seen",
    "ram",
    "`ofs-dirty=replay` for one boot",
)
def test_frozen(rig: Rig, initrd: pathlib.Path, fsynced: pathlib.Path) -> None:
    boot = rig.boot_unchanged(
        "root=LABEL=ROOT ofs-dirty=frozen", fsynced, initrd=initrd, script="busybox ls /etc"
    )
    assert_protected(boot, fstype="f2fs")
    assert boot.report["root"]["state"] == "dirty"
    assert "fsynced" not in boot.script
    assert any(f"{DETAIL}; frozen: nothing is written" in warning for warning in boot.report["warnings"])


def test_refused(rig: Rig, initrd: pathlib.Path, fsynced: pathlib.Path) -> None:
    before = uml.sha256(fsynced)
    boot = rig.boot("root=LABEL=ROOT ofs-dirty=refuse ofs-reboot-delay=1", [fsynced], initrd)
    assert_gave_up(boot, DETAIL)
    assert uml.sha256(fsynced) == before


def test_unmounted(rig: Rig, initrd: pathlib.Path) -> None:
    """After an orderly end there is nothing to recover, though nodes of before are on the disk."""
    disk = rig.root(fstype="f2fs", size=64)
    boot = rig.boot(
        "root=/dev/ubda overlayfs=no",
        [disk],
        initrd,
        script="echo data | busybox dd of=/etc/fsynced conv=fsync 2>/dev/null; "
        "busybox mount -o remount,ro /; echo $?",
    )
    assert boot.script == "0"
    boot = rig.boot_unchanged("root=LABEL=ROOT", disk, initrd=initrd, script="busybox cat /etc/fsynced")
    assert (boot.script, boot.report["root"]["fstype"]) == ("data", "f2fs")
