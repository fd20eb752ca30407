# SPDX-License-Identifier: MIT
"""Finishes an image that wic made: gives it its disk signature, and looks into its boot partition.

wic draws the signature of a DOS partition table by itself; ours has to be the one that the boot script
passes as root=. What the boot partitions hold is read back with mtools: the files that protection hangs on
have to be there, and no kernel and no way to boot beside them (bootpart.py), so that an image that could not
protect itself fails the build.

Exit status: 0 done, 1 the image is not as it should be, 2 wrong options.
"""

import argparse
import pathlib
import struct
import subprocess
import sys
import tempfile
import uuid

from overlayroot import bootpart, route_bundle, routes

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


def _entries(image: pathlib.Path) -> list:
    """Used entries of a DOS partition table or a GPT, by number: (`dos` or `gpt`, its bytes)."""
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
            return [
                ("gpt", entry)
                for entry in table
                if len(entry) == 128
                and uuid.UUID(bytes_le=entry[:16]).int
                and struct.unpack_from("<Q", entry, 32)[0]
            ]
    table = [record[start : start + 16] for start in range(TABLE, TABLE + 64, 16)]
    return [("dos", entry) for entry in table if struct.unpack_from("<I", entry, 8)[0]]


def partitions(image: pathlib.Path) -> list:
    """Byte offsets of the partitions that a DOS partition table or a GPT names, by their numbers."""
    starts = [
        struct.unpack_from("<Q", entry, 32)[0] if kind == "gpt" else struct.unpack_from("<I", entry, 8)[0]
        for kind, entry in _entries(image)
    ]
    return [start * SECTOR for start in starts]


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


def active(image: pathlib.Path) -> list:
    """Whether each partition is marked as one to boot from (DOS: active, GPT: legacy bootable)."""
    marks = []
    for kind, entry in _entries(image):
        marks.append(entry[0] == 0x80 if kind == "dos" else bool(struct.unpack_from("<Q", entry, 48)[0] & 4))
    return marks


def is_fat(image: pathlib.Path, offset: int) -> bool:
    """Whether a partition has a FAT file system (FAT12 and FAT16, FAT32: names of their own offsets)."""
    with image.open("rb") as file:
        file.seek(offset)
        start = file.read(SECTOR)
    return start[54:57] == b"FAT" or start[82:87] == b"FAT32"


def boot_partition(image: pathlib.Path, offset: int) -> dict:
    """All files of a FAT file system, read by mtools: contents by name."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["mcopy", "-s", "-n", "-i", f"{image}@@{offset}", "::*", folder]
        try:
            result = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError as error:
            raise ImageError("mcopy is missing; install mtools") from error
        found = bootpart.files(pathlib.Path(folder))
    # An empty one matches nothing.
    if result.returncode != 0 and (found or 'File "::*" not found' not in result.stderr):
        raise ImageError(f"{image}: a boot partition cannot be read: {result.stderr.strip()}")
    return found


def missing(found: dict, wanted: dict) -> list:
    """Messages for files of the boot partition that are not there, or not those that the build deployed."""
    names = {name.lower(): data for name, data in found.items()}
    messages = []
    for name, path in wanted.items():
        if name.lower() not in names:
            messages.append(
                f"{name} is not on the boot partition: the root could not be protected; IMAGE_BOOT_FILES and "
                "the partition layout have to bring it"
            )
        elif names[name.lower()] != path.read_bytes():
            messages.append(
                f"{name} on the boot partition is not {path}: another recipe or a setting of "
                "IMAGE_BOOT_FILES put its own there"
            )
    return messages


def check(image: pathlib.Path, wanted: dict, kernels: list, plain=(), route=route_bundle, boot=1) -> list:
    """Looks at what would boot; messages.

    Args:
        image: raw image with a partition table.
        wanted: files that the boot partition must hold: what each must be, by its name there.
        kernels: pairs of the name that it must have there (or `*`) and the only kernels that may be there.
        plain: kernels that carry no initramfs.
        route: the module of the way to boot (routes.py).
        boot: number of the boot partition.
    """
    offsets, marks = partitions(image), active(image)
    if len(offsets) < boot:
        raise ImageError(f"{image} has no {'first partition' if boot == 1 else f'partition {boot}'}")
    messages = []
    if route.TAKES_INITRAMFS and any(marks) and not marks[boot - 1]:
        messages.append(
            "another partition than the boot partition is marked as the one to boot from, and U-Boot looks "
            "there: --active in the layout belongs to the boot partition"
        )
    allowed = [(name, path.read_bytes()) for name, path in kernels if path.is_file()]
    others = [path.read_bytes() for path in plain if path.is_file()]
    started = False
    for number, offset in enumerate(offsets, 1):
        if number != boot and not is_fat(image, offset):
            continue
        found = boot_partition(image, offset)
        ours = wanted if number == boot else {}
        # A unified kernel image lies where EFI looks for one.
        known = {*ours, *(name for name, _ in kernels if number == boot)}
        messages += missing(found, ours)
        seen, wrong = bootpart.kernels(found, allowed, others)
        # A boot loader takes it from the partition on which our files are.
        started = started or (seen and (number == boot or not route.TAKES_INITRAMFS))
        messages += (wrong if kernels else []) + bootpart.other_paths(found, known, route.FIRMWARE)
        messages += route.card(found) if number == boot else []
        messages += [] if route.TAKES_INITRAMFS else bootpart.initramfs(found)
    if kernels and not started:
        what = ", ".join(path.name for _, path in kernels)
        messages.append(f"no kernel on the boot partition is {what}: IMAGE_BOOT_FILES has to bring it")
    return messages


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
        help="file that the boot partition must hold, and what it must be",
    )  # fmt: skip
    parser.add_argument(
        "--kernel", action="append", default=[], type=pair, metavar="NAME=FILE",
        help="kernel that may be there, under this name or under any (*); no other one may",
    )  # fmt: skip
    parser.add_argument(
        "--plain-kernel", action="append", default=[], type=pathlib.Path, metavar="FILE",
        help="kernel that carries no initramfs",
    )  # fmt: skip
    parser.add_argument("--route", choices=routes.ROUTES, help="OVERLAYROOT_BOOT: nothing else may boot")
    parser.add_argument(
        "--boot-number", type=int, default=1, metavar="N", help="number of the boot partition"
    )
    parser.add_argument(
        "--verified", type=pathlib.Path, metavar="FILE", help="sealed root that a partition must hold"
    )
    options = parser.parse_args(arguments)
    try:
        if options.signature:
            sign(options.image, options.signature)
        if options.route:
            wanted, route = dict(options.boot_file), routes.ROUTES[options.route]
            if messages := check(
                options.image, wanted, options.kernel, options.plain_kernel, route, options.boot_number
            ):
                raise ImageError("\n".join(messages))
        if options.verified:
            check_sealed(options.image, options.verified)
    except (ImageError, OSError, ValueError) as error:
        print(f"overlayroot: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
