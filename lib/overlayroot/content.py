# SPDX-License-Identifier: MIT
"""What a file of a boot partition is, by its first bytes: a name says nothing about who starts it."""

import lzma
import struct
import zlib

# Headers, their offsets, and where they are described.
LEGACY = 0x27051956  # U-Boot's image.h; big-endian, type in byte 30
LEGACY_KINDS = {2: "kernel", 3: "initramfs", 4: "kernel", 6: "script", 14: "kernel"}
ZIMAGE = (0x24, 0x016F2818)  # Linux: arch/arm/boot/compressed/head.S; either byte order
ARM64 = (0x38, b"ARM\x64")  # Linux: Documentation/arch/arm64/booting.rst
RISCV = (0x38, b"RSC\x05")  # Linux: Documentation/arch/riscv/boot-image-header.rst
X86 = (0x202, b"HdrS")  # Linux: Documentation/arch/x86/boot.rst
TREE = b"\xd0\x0d\xfe\xed"  # a flattened device tree, and so a FIT image
CPIO = (b"070701", b"070702")
# Compressed by what Python cannot unpack: zstd, lz4 (legacy frame), lzop.
PACKED = (b"\x28\xb5\x2f\xfd", b"\x02\x21\x4c\x18", b"\x89LZO")
MOST = 128 << 20  # bytes that are unpacked


def _unpacked(data: bytes) -> bytes:
    """What gzip or xz has packed, up to a limit; other data as it is, damaged data as far as it goes."""
    try:
        if data.startswith(b"\x1f\x8b"):
            return zlib.decompressobj(31).decompress(data, MOST)
        if data.startswith(b"\xfd7zXZ\0"):
            return lzma.LZMADecompressor().decompress(data, MOST)
    except (zlib.error, lzma.LZMAError):
        return b""
    return data


def _has_kernel_header(data: bytes) -> bool:
    for offset, magic in (ARM64, RISCV, X86):
        if data[offset : offset + 4] == magic:
            # U-Boot has the same header on boards whose firmware expects a kernel.
            return b"U-Boot 20" not in data or b"Linux version " in data
    offset, number = ZIMAGE
    field = data[offset : offset + 4]
    return field in (struct.pack("<I", number), struct.pack(">I", number))


def kind(data: bytes) -> str:
    """`kernel`, `script` (of U-Boot), `initramfs`, or nothing for anything else."""
    if data[:4] == struct.pack(">I", LEGACY):
        return LEGACY_KINDS.get(data[30] if len(data) > 30 else 0, "")
    if data.startswith(TREE):
        # The node of images; a device tree has none.
        if b"\0\0\0\x01images\0" not in data:
            return ""
        if b"kernel\0" in data:
            return "kernel"
        return "script" if b"script\0" in data else ""
    if data.startswith(PACKED):
        return "initramfs"
    data = _unpacked(data)
    if _has_kernel_header(data):
        return "kernel"
    if data.startswith(CPIO):
        return "initramfs"
    # A kernel as a program: for EFI with an initramfs beside it, or as it was linked.
    if (data.startswith(b"MZ") and b".linux\0" in data[:4096]) or (
        data.startswith(b"\x7fELF") and b"Linux version " in data
    ):
        return "kernel"
    return ""
