# SPDX-License-Identifier: MIT
"""Every file system that a root may have."""

import pathlib

import pytest
import uml
from conftest import Rig, assert_degraded, assert_gave_up, assert_protected, assert_writable
from failure_modes import failure


def assert_named_as_by_blkid(boot: uml.Boot, disk: pathlib.Path) -> None:
    """UUID and label are those that blkid(8) of the host finds."""
    lines = uml.run("blkid", "--probe", "--output", "export", disk).splitlines()
    known = dict(line.split("=", 1) for line in lines)
    assert known["TYPE"] == boot.report["root"]["fstype"]
    assert boot.report["root"]["uuid"] == known.get("UUID")
    assert boot.report["root"]["label"] == known.get("LABEL")


@pytest.mark.parametrize(
    ("fstype", "modules", "size"),
    [
        ("ext2", [], 24),
        ("ext3", [], 24),
        ("ext4", [], 24),
        ("squashfs", ["squashfs"], 0),
        ("erofs", ["erofs"], 0),
        ("f2fs", ["crc32_generic", "f2fs"], 64),
        ("btrfs", [], 128),
    ],
)
def test_protected(rig: Rig, fstype: str, modules: list[str], size: int) -> None:
    disk = rig.root(fstype=fstype, size=size)
    initrd = rig.initramfs(modules=[*modules, "overlay"])
    boot = rig.boot_unchanged("root=/dev/ubda", disk, initrd=initrd)
    assert_protected(boot, fstype=fstype)
    expected = "read-only-format" if fstype in ("squashfs", "erofs") else "clean"
    assert boot.report["root"]["state"] == expected
    assert boot.script == "x"
    assert boot.report["warnings"] == []
    assert_named_as_by_blkid(boot, disk)


@pytest.mark.parametrize(
    ("fstype", "modules", "size", "root"),
    [
        ("squashfs", ["squashfs"], 0, "/dev/ubda"),
        ("erofs", ["erofs"], 0, f"UUID={uml.UUID}"),
        ("f2fs", ["crc32_generic", "f2fs"], 64, "LABEL=ROOT"),
        ("btrfs", [], 128, "LABEL=ROOT"),
        ("btrfs", [], 128, f"UUID={uml.UUID}"),
        ("ext2", [], 24, f"UUID={uml.UUID}"),
    ],
)
def test_found_by_superblock(rig: Rig, fstype: str, modules: list[str], size: int, root: str) -> None:
    disk = rig.root(fstype=fstype, size=size)
    boot = rig.boot_unchanged(
        f"root={root}", disk, initrd=rig.initramfs(modules=[*modules, "overlay"]), script="echo ok"
    )
    assert_protected(boot, fstype=fstype)


@failure(
    "filesystem",
    "overlayfs does not take it as a lower: vfat, say",
    "DEGRADED: / is the plain read-only root (…, vfat): cannot mount overlay on /newroot: …: EINVAL",
    "read-only",
    "check `root=`; a root has ext4, squashfs, erofs, f2fs or btrfs",
)
def test_vfat_cannot_be_a_lower(rig: Rig) -> None:
    """Overlayfs refuses case-insensitive file systems: the board comes up read-only and says why."""
    disk = rig.root(fstype="vfat")
    initrd = rig.initramfs(modules=["fat", "vfat", "nls_cp437", "nls_iso8859-1", "overlay"])
    boot = rig.boot_unchanged("root=LABEL=ROOT", disk, initrd=initrd)
    assert_degraded(boot)
    assert boot.report["root"]["fstype"] == "vfat"
    assert_named_as_by_blkid(boot, disk)


@pytest.mark.parametrize("compression", ["gzip", "xz", "zstd"])
def test_squashfs_compressions(rig: Rig, compression: str) -> None:
    disk = rig.root(fstype="squashfs", options=["-comp", compression])
    boot = rig.boot_unchanged("root=/dev/ubda", disk, initrd=rig.initramfs(modules=["squashfs", "overlay"]))
    assert_protected(boot, fstype="squashfs")


@pytest.mark.parametrize(
    ("fstype", "features"),
    [("ext4", "^has_journal"), ("ext4", "metadata_csum,64bit"), ("ext4", "^metadata_csum,^64bit,^extent")],
)
def test_ext4_features(rig: Rig, fstype: str, features: str) -> None:
    disk = rig.root(fstype=fstype, options=["-O", features])
    assert_protected(rig.boot_unchanged("root=LABEL=ROOT", disk))


def test_positive_control(rig: Rig) -> None:
    """The same system, not protected: its disk changes. A rig that saw no difference would prove nothing."""
    disk = rig.root()
    before = uml.sha256(disk)
    boot = rig.boot("root=/dev/ubda overlayfs=no", [disk], script="echo x > /etc/new; sync")
    assert_writable(boot)
    assert uml.sha256(disk) != before


@failure(
    "settings",
    "`overlayfs=no` on squashfs or erofs",
    "DEGRADED: / is the plain read-only root (…): a squashfs root cannot be written; write a new image "
    "instead",
    "read-only",
    "`overlayfs=yes`",
)
def test_format_that_is_never_writable(rig: Rig) -> None:
    disk = rig.root(fstype="squashfs")
    boot = rig.boot("root=/dev/ubda overlayfs=no", [disk], rig.initramfs(modules=["squashfs", "overlay"]))
    assert "a squashfs root cannot be written; write a new image instead" in boot.console
    assert boot.verdict.startswith("error: DEGRADED: / is the plain read-only root (/dev/ubda, squashfs)")


@pytest.mark.parametrize("line", ["rootfstype=ext3", "rootfstype=nonsense"])
@failure(
    "settings",
    "`rootfstype=` is wrong",
    "warning: root could not be mounted as …; mounted as …",
    "ram",
    "correct it",
)
def test_wrong_type_does_not_stop_the_board(rig: Rig, line: str) -> None:
    boot = rig.boot_unchanged(f"root=/dev/ubda {line}")
    assert_protected(boot)
    assert any(step["errno"] for step in boot.report["steps"])


@pytest.mark.parametrize(
    "overlayfs",
    [
        pytest.param(
            "yes",
            marks=failure(
                "settings",
                "an option in `rootflags=` is wrong",
                "warning: … does not take the option …: left out; correct rootflags=",
                "ram",
                "correct it; all others are used",
            ),
        ),
        "no",
    ],
)
def test_wrong_options_are_left_out_by_name(rig: Rig, overlayfs: str) -> None:
    disk = rig.root()
    line = "rootflags=defaults,noatime,rubbish,commit=77,x-systemd.growfs,relatime,wrong=1"
    boot = rig.boot(f"root=/dev/ubda overlayfs={overlayfs} {line}", [disk])
    options = boot.mounts["/mnt/root-RO" if overlayfs == "yes" else "/"][2]
    assert {"commit=77", "noatime"} <= set(options)
    left_out = "ext4 does not take the option {}: left out; correct rootflags="
    assert boot.report["warnings"] == [left_out.format("rubbish"), left_out.format("wrong=1")]


@failure(
    "settings",
    "the subvolume that `rootflags=subvol=` names is not there",
    "no root could be mounted: cannot mount root on /newroot: …: ENOENT; check rootflags=, or repair "
    "the file system",
    "restart",
    "correct `rootflags=`",
)
def test_subvolume(rig: Rig) -> None:
    """Flags of mount(8) beside it are none of the file system's business."""
    disk = rig.root(fstype="btrfs", size=128, change=lambda folder: uml.host_program(folder, "btrfs"))
    script = (
        "btrfs subvolume create /old; cp -a /bin /etc /mnt /sbin /old; cd /old; mkdir dev proc sys run; sync"
    )
    rig.boot("root=/dev/ubda overlayfs=no", [disk], script=script)
    for overlayfs in ("yes", "no"):
        line = f"root=/dev/ubda overlayfs={overlayfs} rootflags=subvol=/old,noatime,user_xattr"
        boot = rig.boot(line, [disk])
        options = boot.mounts["/mnt/root-RO" if overlayfs == "yes" else "/"][2]
        assert {"subvol=/old", "noatime"} <= set(options)
        assert boot.report["warnings"] == [
            "btrfs does not take the option user_xattr: left out; correct rootflags="
        ]
    boot = rig.boot("root=/dev/ubda rootflags=subvol=@,noatime ofs-reboot-delay=1", [disk])
    assert_gave_up(boot, "ENOENT; check rootflags=")


def test_rootfstype_and_flags_are_used(rig: Rig) -> None:
    boot = rig.boot_unchanged("root=/dev/ubda rootfstype=ext4 rootflags=commit=77")
    assert "commit=77" in boot.mounts["/mnt/root-RO"][2]


@failure(
    "device",
    "the card is write-protected",
    "",
    "ram",
    "none",
)
def test_write_protected_media(rig: Rig) -> None:
    disk = rig.root()
    boot = rig.boot("root=LABEL=ROOT", [f"r:{disk}"], script="echo x > /etc/new; cat /etc/new")
    assert_protected(boot)
    assert boot.script == "x"


@failure(
    "device",
    "the card is write-protected, and `overlayfs=no`",
    "DEGRADED: / is the plain read-only root (…): cannot mount root on /newroot: …",
    "read-only",
    "take the protection off",
)
def test_writable_boot_from_write_protected_media(rig: Rig) -> None:
    boot = rig.boot("root=LABEL=ROOT overlayfs=no", [f"r:{rig.root()}"])
    assert boot.verdict.startswith("error: DEGRADED: / is the plain read-only root (/dev/ubda, ext4)")
