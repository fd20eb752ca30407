#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Seals the image of a root: appends a dm-verity hash tree, and prints the value of ofs-verity= for it.

The tree lies behind the file system, with veritysetup's superblock, and is checked once it is there. The same
image gets the same root hash each time: salt and UUID are made of its SHA-256.

Exit status: 0 done, 1 it could not be done, 2 wrong options.
"""

import argparse
import hashlib
import pathlib
import re
import shutil
import struct
import subprocess
import sys
import uuid

BLOCK = 4096


class VerityError(Exception):
    """The image cannot be sealed; the message says why."""


def veritysetup(*arguments) -> str:
    """Runs veritysetup; its output."""
    try:
        done = subprocess.run(["veritysetup", *arguments], capture_output=True, text=True)
    except FileNotFoundError:
        raise VerityError("veritysetup is missing: it is in cryptsetup (Debian: cryptsetup-bin)") from None
    if done.returncode:
        raise VerityError(f"veritysetup {arguments[0]}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def sha256(path: pathlib.Path) -> bytes:
    """Digest of a file, piece by piece."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            found.update(piece)
    return found.digest()


def data_block(start: bytes) -> int:
    """Bytes that are verified at a time: a file system cannot have smaller blocks than its device."""
    magic, size = struct.unpack_from("<H", start, 1024 + 56), struct.unpack_from("<I", start, 1024 + 24)
    if magic != (0xEF53,):
        return BLOCK
    # `s_log_block_size` of fs/ext4/ext4.h.
    return min(BLOCK, 1024 << min(size[0], 2))


def seal(image: pathlib.Path, output: pathlib.Path) -> str:
    """Writes `image` and its hash tree to `output`; returns ROOTHASH@OFFSET."""
    part = output.with_name(output.name + ".part")
    shutil.copyfile(image, part)
    digest = sha256(part)
    with part.open("r+b") as file:
        size = file.seek(0, 2)
        file.seek(0)
        start = file.read(2048)
        if len(start) < 2048:
            raise VerityError(f"{image} is no file system")
        block = data_block(start)
        # Whole blocks.
        offset = -(-size // BLOCK) * BLOCK
        file.truncate(offset)
    sizes = [f"--data-block-size={block}", f"--hash-block-size={BLOCK}", f"--hash-offset={offset}"]
    sizes += [f"--data-blocks={offset // block}", "--hash=sha256"]
    own = [f"--salt={digest.hex()}", f"--uuid={uuid.UUID(bytes=digest[:16])}"]
    said = veritysetup("format", *sizes, *own, part, part)
    found = re.search(r"^Root hash:\s*([0-9a-f]{64})$", said, re.MULTILINE)
    if found is None:
        raise VerityError(f"veritysetup format names no root hash: {said}")
    veritysetup("verify", f"--hash-offset={offset}", part, part, found[1])
    part.replace(output)
    return f"{found[1]}@{offset}"


def main(arguments=None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("image", type=pathlib.Path, help="image of a file system: ext4, squashfs, erofs")
    parser.add_argument("output", type=pathlib.Path, help="the same with its hash tree: for the partition")
    parser.add_argument("--env", type=pathlib.Path, metavar="FILE", help="write `ofs_verity=VALUE` to FILE")
    options = parser.parse_args(arguments)
    try:
        word = seal(options.image, options.output)
        if options.env:
            options.env.write_text(f"ofs_verity={word}\n")
    except (VerityError, OSError) as error:
        print(f"overlayroot: {error}", file=sys.stderr)
        return 1
    print(word)
    return 0


if __name__ == "__main__":
    sys.exit(main())
