#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Kernel configuration: which fragments a build needs, and whether a final .config has what they ask for.

Nothing in OpenEmbedded says that a symbol did not take: Kconfig drops silently what it does not know and
what lacks a dependency. A kernel without overlayfs then fails on the board only.

A fragment has CONFIG_NAME=value lines. A comment `# since 5.9: ...` holds for the lines up to the next
comment or blank line: older kernels do not know these symbols, and are not asked for them.

As a program it prints what a .config lacks. Exit status: 0 nothing, 1 something, 2 wrong options or files.
"""

import argparse
import json
import pathlib
import re
import sys
from typing import NamedTuple

# Type "overlay" of mainline, and "overlayfs" of the patch for 3.10-era kernels: one of them is enough.
OVERLAY = ("OVERLAY_FS", "OVERLAYFS_FS")
# The kernel that brought OVERLAY_FS.
MAINLINE = (3, 18)

_LINE = re.compile(r"CONFIG_(\w+)=(.+)")
_NOT_SET = re.compile(r"# CONFIG_(\w+) is not set")
_SINCE = re.compile(r"# since (\d+)\.(\d+):")
_HEADER = re.compile(r"^# Linux/\S+ (\d+)\.(\d+)", re.MULTILINE)


class KconfigError(Exception):
    """A fragment or a .config cannot be understood."""


class Request(NamedTuple):
    """One line of a fragment; `since` is the first kernel (major, minor) that knows the symbol."""

    symbol: str
    value: str
    since: tuple
    file: str


class Problem(NamedTuple):
    """A symbol that is not as it was asked for; `found` is None when the .config does not name it."""

    symbol: str
    wanted: str
    found: str
    file: str


def fragments(rootfs, verity, old):
    """Names of the fragments for these settings: types of the root, and two truth values.

    `rootfs` may be any of OpenEmbedded's image types (squashfs-zst, erofs-lz4, ext4.gz); `old` stands for
    a kernel with the overlayfs patch of 3.10's days.
    """
    names = ["overlayroot.cfg"]
    if old:
        names.append("overlayroot-3.10.cfg")
    for kind in ("squashfs", "erofs"):
        if any(word.startswith(kind) for word in rootfs.split()):
            names.append(f"overlayroot-{kind}.cfg")
    if verity:
        names.append("overlayroot-verity.cfg")
    return names


def is_old(version):
    """Whether a kernel of this version (text as "3.10.53") is from before OVERLAY_FS; no version: no."""
    match = re.match(r"(\d+)\.(\d+)", version or "")
    return bool(match) and (int(match[1]), int(match[2])) < MAINLINE


def read_fragment(path):
    """The requests of a fragment, in order."""
    path = pathlib.Path(path)
    requests, since = [], (0, 0)
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if match := _LINE.fullmatch(line):
            requests.append(Request(match[1], match[2], since, path.name))
        elif match := _NOT_SET.fullmatch(line):
            requests.append(Request(match[1], "n", since, path.name))
        elif not line or line.startswith("#"):
            match = _SINCE.match(line)
            since = (int(match[1]), int(match[2])) if match else (0, 0)
        else:
            raise KconfigError(f"{path}:{number}: neither CONFIG_NAME=value nor a comment: {line}")
    return requests


def read_config(path):
    """Version (major, minor) and symbols of a final .config; symbols that are not set are absent."""
    text = pathlib.Path(path).read_text()
    header = _HEADER.search(text)
    if header is None:
        raise KconfigError(f"{path}: not a kernel's .config (it names no version)")
    symbols = dict(match.groups() for match in map(_LINE.fullmatch, text.splitlines()) if match)
    return (int(header[1]), int(header[2])), symbols


def compare(requests, version, symbols, modules=False):
    """The requests that a .config does not meet; with `modules`, m will do where y was asked for."""
    accepted = ("y", "m") if modules else ("y",)
    problems = []
    for request in requests:
        if request.since > version:
            continue
        found = symbols.get(request.symbol)
        if found == request.value or (request.value == "n" and found is None):
            continue
        if request.value == "y" and found in accepted:
            continue
        problems.append(Problem(request.symbol, request.value, found, request.file))
    wanted = [request for request in requests if request.symbol in OVERLAY]
    if wanted and not any(symbols.get(symbol) in accepted for symbol in OVERLAY):
        if not any(problem.symbol in OVERLAY for problem in problems):
            # Each request was for another kernel than this one.
            symbol = OVERLAY[version < MAINLINE]
            problems.append(Problem(symbol, "y", symbols.get(symbol), wanted[0].file))
    return problems


def definition(source, symbol):
    """Where a kernel's source defines a symbol, as "file:line"; None when it does not."""
    pattern = re.compile(rf"\s*(menu)?config {re.escape(symbol)}\s*")
    for path in sorted(pathlib.Path(source).rglob("Kconfig*")):
        if path.is_file():
            for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
                if pattern.fullmatch(line):
                    return f"{path.relative_to(source)}:{number}"
    return None


def describe(problem, source=None):
    """One line about a problem; with the folder of the kernel's source, also the reason where it shows."""
    found = {None: "is not set", "m": "is a module"}.get(problem.found, f"is {problem.found}")
    text = f"CONFIG_{problem.symbol}={problem.wanted} ({problem.file}): {found}"
    if source is None or problem.found == "m" or not pathlib.Path(source).is_dir():
        return text
    place = definition(source, problem.symbol)
    if place is None:
        return f"{text}; this kernel has no such symbol"
    return f"{text}; see its dependencies in {place}"


def check(config, files, modules=False, source=None):
    """What a final .config lacks of these fragments, as lines of text; an empty list when nothing."""
    version, symbols = read_config(config)
    requests = [request for path in files for request in read_fragment(path)]
    return [describe(problem, source) for problem in compare(requests, version, symbols, modules)]


def fragments_folder():
    """The folder of the layer's fragments."""
    return pathlib.Path(__file__).resolve().parents[2] / "recipes-kernel/linux/overlayroot-kernel"


def main(arguments=None):
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", help="final .config of a kernel")
    parser.add_argument("fragment", nargs="*", help="fragments; default: overlayroot.cfg of this layer")
    parser.add_argument("--modules", action="store_true", help="accept modules")
    parser.add_argument("--source", help="folder of the kernel's source: reasons are looked for there")
    parser.add_argument("--json", action="store_true", help="print a JSON list")
    options = parser.parse_args(arguments)
    files = options.fragment or [fragments_folder() / "overlayroot.cfg"]
    try:
        lacks = check(options.config, files, options.modules, options.source)
    except (KconfigError, OSError, UnicodeDecodeError) as error:
        print(f"kconfig: {error}", file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps(lacks, indent=2))
    else:
        print("".join(f"{line}\n" for line in lacks), end="")
    return int(bool(lacks))


if __name__ == "__main__":
    sys.exit(main())
