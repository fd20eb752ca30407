# SPDX-License-Identifier: MIT
"""What User-Mode Linux has not: disks with sectors of 4096 bytes, and xfs."""

import pathlib
import struct
import uuid
import zlib

import pytest
import uml
import virt

SECTOR = 4096
GUID = uuid.UUID("614e0000-0000-4b53-8000-1d28000054a9")


def boot(disk: pathlib.Path, line: str, script: str = "", *, options: tuple[str, ...] = ()) -> uml.Boot:
    """Boots once, with the modules of xfs."""
    names = virt.modules("virtio_pci", "virtio_blk", "xfs", "overlay")
    initrd = uml.initramfs(disk.with_name("i.cpio.gz"), modules=names)
    return virt.Machine(disk.parent, options).boot(initrd, [disk], line, script=script)


def gpt(disk: pathlib.Path, content: pathlib.Path) -> None:
    """A disk with sectors of 4096 bytes, a GPT, and one partition; sfdisk makes none for files."""
    first, data = 256, content.read_bytes()
    count = first + len(data) // SECTOR + 64
    entry = struct.pack(
        "<16s16sQQQ72s",
        uuid.UUID("0fc63daf-8483-4772-8e79-3d69d8477de4").bytes_le,
        GUID.bytes_le,
        first,
        first + len(data) // SECTOR - 1,
        0,
        "rootfs".encode("utf-16-le"),
    )
    entries = entry.ljust(128 * 128, b"\0")

    def header(here: int, there: int, table: int) -> bytes:
        fields = (b"EFI PART", 0x10000, 92, 0, 0, here, there, 32, count - 32, GUID.bytes_le, table, 128, 128)
        packed = struct.pack("<8sIIIIQQQQ16sQIII", *fields, zlib.crc32(entries))
        return packed[:16] + struct.pack("<I", zlib.crc32(packed)) + packed[20:]

    protective = struct.pack("<446xBBBBBBBBII48xH", 0, 0, 2, 0, 0xEE, 255, 255, 255, 1, count - 1, 0xAA55)
    with disk.open("wb") as file:
        file.truncate(count * SECTOR)
        pieces = {
            0: protective,
            1: header(1, count - 1, 2),
            2: entries,
            first: data,
            count - 5: entries,
            count - 1: header(count - 1, 1, count - 5),
        }
        for sector, piece in pieces.items():
            file.seek(sector * SECTOR)
            file.write(piece)


@pytest.mark.parametrize(
    ("root", "damaged"),
    [(f"PARTUUID={GUID}", False), ("PARTUUID=614e0000-0000", True), ("PARTLABEL=rootfs", False)],
    ids=["PARTUUID", "the backup", "PARTLABEL"],
)
def test_sectors_of_4096_bytes(tmp_path: pathlib.Path, root: str, damaged: bool) -> None:
    content = uml.disk(tmp_path / "root.img", change=virt.system, size=32, options=["-b", "4096"])
    disk = tmp_path / "disk.img"
    gpt(disk, content)
    if damaged:
        with disk.open("r+b") as file:
            file.seek(SECTOR)
            file.write(bytes(SECTOR))
    before = uml.sha256(disk)
    large = [f"virtio-blk-pci.{kind}_block_size={SECTOR}" for kind in ("logical", "physical")]
    options = tuple(word for value in large for word in ("-global", value))
    booted = boot(disk, f"gpt root={root}", "echo new >/etc/keep; busybox cat /etc/keep", options=options)
    assert booted.report["reached"] == "ram"
    assert booted.report["root"]["device"] == "/dev/vda1"
    assert booted.script == "new"
    assert uml.sha256(disk) == before


@pytest.fixture
def xfs(tmp_path: pathlib.Path) -> pathlib.Path:
    """An xfs root; mkfs.xfs makes none below 300 MiB."""
    return uml.disk(tmp_path / "xfs.img", "xfs", change=virt.system, size=320)


@pytest.mark.parametrize("root", ["LABEL=ROOT", f"UUID={uml.UUID}"])
def test_xfs(xfs: pathlib.Path, root: str) -> None:
    before = uml.sha256(xfs)
    booted = boot(xfs, f"root={root}", "echo new >/etc/keep; busybox cat /etc/keep")
    assert booted.verdict.startswith("protected: / is RAM over read-only /dev/vda, xfs;")
    assert booted.report["root"]["state"] == "unknown"
    assert booted.report["warnings"] == []
    assert booted.script == "new"
    assert uml.sha256(xfs) == before


def test_xfs_that_was_cut_off(xfs: pathlib.Path) -> None:
    """Each policy keeps its promise about a log that has to be replayed."""
    writable = boot(
        xfs, "root=LABEL=ROOT overlayfs=no", "echo data >/etc/new; busybox sync; busybox cat /etc/new"
    )
    assert writable.script == "data"
    before = uml.sha256(xfs)
    refused = boot(xfs, "root=LABEL=ROOT ofs-dirty=refuse ofs-reboot-delay=1")
    assert refused.sections == {}
    assert "no root could be mounted" in refused.verdict and "ofs-dirty=replay" in refused.verdict
    assert uml.sha256(xfs) == before
    frozen = boot(xfs, "root=LABEL=ROOT ofs-dirty=frozen", "busybox ls /etc")
    assert frozen.verdict.startswith("protected: / is RAM over read-only /dev/vda, xfs;")
    assert "norecovery" in frozen.mounts["/mnt/root-RO"][2]
    assert any("mounted without the journal" in warning for warning in frozen.report["warnings"])
    assert uml.sha256(xfs) == before
    replayed = boot(xfs, "root=LABEL=ROOT", "busybox cat /etc/new")
    assert replayed.verdict.startswith("protected: / is RAM over read-only /dev/vda, xfs;")
    assert any("the kernel repairs it now" in warning for warning in replayed.report["warnings"])
    assert replayed.script == "data"
    assert uml.sha256(xfs) != before
