#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Finishes an image that wic made: gives it its disk signature, and looks into its boot partition.

wic draws the signature of a DOS partition table by itself; ours has to be the one that the boot script
passes as root=. What the boot partition holds is read back with mtools and compared, so that an image that
could not protect itself fails the build.

Exit status: 0 done, 1 the image is not as it should be, 2 wrong options.
"""

import argparse
import pathlib
import struct
import subprocess
import sys
import tempfile
import uuid

SECTOR = 512
SIGNATURE = 440  # offset in the master boot record (UEFI specification, 5.2.1)
TABLE = 446
GPT_PROTECTIVE = 0xEE


class ImageError(Exception):
    """The image lacks something; the message says what, and what to do."""


def sign(image: pathlib.Path, signature: str) -> None:
    """Writes the signature (8 hexadecimal digits) where it belongs, little-endian.

    Nothing finds a partition by it on a disk with a GPT, whose partitions have identities of their own.
    """
    with image.open("r+b") as file:
        if file.read(SECTOR)[TABLE + 4 : TABLE + 5] == bytes([GPT_PROTECTIVE]):
            raise ImageError(
                f"{image} has a GPT, so there is no root=PARTUUID={signature}-02 on it: "
                "set OVERLAYROOT_ROOT, to PARTLABEL= or LABEL= of the root's partition, say, "
                "or use --ptable msdos in the layout"
            )
        file.seek(SIGNATURE)
        file.write(struct.pack("<I", int(signature, 16)))


def partitions(image: pathlib.Path) -> list:
    """Byte offsets of the partitions that a DOS partition table or a GPT names, by their numbers."""
    with image.open("rb") as file:
        record = file.read(SECTOR)
        if record[510:512] != b"\x55\xaa":
            raise ImageError(f"{image} has no partition table")
        if record[TABLE + 4] == GPT_PROTECTIVE:
            file.seek(SECTOR)
            header = file.read(SECTOR)
            (entries,) = struct.unpack_from("<Q", header, 72)
            file.seek(entries * SECTOR)
            table = [file.read(128) for _ in range(128)]
            used = [entry for entry in table if len(entry) == 128 and uuid.UUID(bytes_le=entry[:16]).int]
            starts = [struct.unpack_from("<Q", entry, 32)[0] for entry in used]
        else:
            starts = [struct.unpack_from("<I", record, TABLE + 8 + 16 * slot)[0] for slot in range(4)]
    return [start * SECTOR for start in starts if start]


def first_partition(image: pathlib.Path) -> int:
    """Byte offset of the first partition."""
    found = partitions(image)
    if not found:
        raise ImageError(f"{image} has no first partition")
    return found[0]


def check_sealed(image: pathlib.Path, sealed: pathlib.Path) -> None:
    """Whether a partition of the image holds the sealed root, bit by bit."""
    for offset in partitions(image):
        with image.open("rb") as found, sealed.open("rb") as wanted:
            found.seek(offset)
            while piece := wanted.read(1 << 20):
                if found.read(len(piece)) != piece:
                    break
            else:
                return
    raise ImageError(
        f"{sealed} is in no partition of {image}, so that nothing would fit the root hash: the layout has to "
        "take its root partition from OVERLAYROOT_WKS_ROOT"
    )


def boot_file(image: pathlib.Path, offset: int, name: str) -> bytes:
    """A file of the boot partition, read by mtools."""
    with tempfile.TemporaryDirectory() as folder:
        copy = pathlib.Path(folder) / "copy"
        command = ["mcopy", "-i", f"{image}@@{offset}", f"::{name}", copy]
        try:
            result = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError as error:
            raise ImageError("mcopy is missing; install mtools") from error
        if result.returncode != 0 or not copy.exists():
            raise ImageError(
                f"{name} is not on the boot partition ({result.stderr.strip()}): the root could not be "
                "protected; IMAGE_BOOT_FILES and the partition layout have to bring it"
            )
        return copy.read_bytes()


def check(image: pathlib.Path, files: dict) -> None:
    """Compares files of the boot partition with those that the build deployed."""
    offset = first_partition(image)
    for name, wanted in files.items():
        if boot_file(image, offset, name) != wanted.read_bytes():
            raise ImageError(
                f"{name} on the boot partition is not {wanted}: another recipe or a setting of "
                "IMAGE_BOOT_FILES put its own there"
            )


def pair(text: str) -> tuple:
    """NAME=FILE."""
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise argparse.ArgumentTypeError(f"{text}: not NAME=FILE")
    return name, pathlib.Path(path)


def main(arguments=None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("image", type=pathlib.Path, help="raw image: IMAGE.wic")
    parser.add_argument("--signature", metavar="HEX", help="8 hexadecimal digits, for a DOS partition table")
    parser.add_argument(
        "--boot-file", action="append", default=[], type=pair, metavar="NAME=FILE",
        help="file that the first partition must hold, and what it must be",
    )  # fmt: skip
    parser.add_argument(
        "--verified", type=pathlib.Path, metavar="FILE", help="sealed root that a partition must hold"
    )
    options = parser.parse_args(arguments)
    try:
        if options.signature:
            sign(options.image, options.signature)
        if options.boot_file:
            check(options.image, dict(options.boot_file))
        if options.verified:
            check_sealed(options.image, options.verified)
    except (ImageError, OSError, ValueError) as error:
        print(f"overlayroot: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
