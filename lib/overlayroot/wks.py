# SPDX-License-Identifier: MIT
"""Partition layouts of wic (.wks): what a machine's own one has, and where the root is."""

import dataclasses
import pathlib
import re
import shlex


@dataclasses.dataclass
class Part:
    """A line `part`. `number` is the one in the partition table, 0 for what is outside of it."""

    mount: str
    number: int
    options: dict

    def __getattr__(self, name: str) -> str:
        """An option, `--part-name` as `part_name`; empty when it is not there."""
        return self.options.get(name.replace("_", "-"), "")

    @property
    def raw(self) -> str:
        """The file that is copied to the card as it is, as boot loaders are; empty for anything else."""
        found = re.search(r"\bfile=([^\s\",]+)", self.sourceparams)
        return found[1] if found and self.source == "rawcopy" else ""

    @property
    def is_boot(self) -> bool:
        """Whether the boot files are here."""
        return self.source.replace("_", "-") in ("bootimg-partition", "bootimg-efi")


@dataclasses.dataclass
class Layout:
    """A layout: its lines, and `msdos` or `gpt`."""

    parts: list
    table: str

    def only(self, *, boot: bool) -> Part | None:
        """The boot partition, or the root; nothing when there is not exactly one."""
        found = [part for part in self.parts if (part.is_boot if boot else part.mount == "/")]
        return found[0] if len(found) == 1 and found[0].number else None


def _lines(path: pathlib.Path) -> list:
    """Lines of a file, with those that it includes from its own folder."""
    lines = []
    for line in path.read_text().replace("\\\n", " ").splitlines():
        word, _, name = line.strip().partition(" ")
        other = path.parent / name.strip()
        lines += _lines(other) if word == "include" and other.is_file() and other != path else [line]
    return lines


def _options(words: list) -> dict:
    """`--name value` and `--name=value`; a word of its own is `yes`."""
    options, name = {}, ""
    for word in words:
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            options[name] = value if equals else "yes"
            name = "" if equals else name
        elif name:
            options[name], name = word, ""
    return options


def read(path: pathlib.Path) -> Layout:
    """Parses a layout; what is not understood is left out."""
    parts, table, number = [], "msdos", 0
    for line in _lines(path):
        try:
            words = shlex.split(line, comments=True)
        except ValueError:
            continue
        if words[:1] in (["part"], ["partition"]):
            mount = words[1] if len(words) > 1 and not words[1].startswith("--") else ""
            options = _options(words[1:] if not mount else words[2:])
            inside = "no-table" not in options
            number += inside
            parts.append(Part(mount, number if inside else 0, options))
        elif words[:1] == ["bootloader"]:
            table = _options(words[1:]).get("ptable", table)
    if table != "gpt" and number > 4:
        # wic makes the fourth one an extended partition.
        for part in parts:
            part.number += part.number > 3
    return Layout(parts, table)


def root_name(layout: Layout, signature: str) -> str:
    """How a kernel command line names the root of a layout; empty when nothing names it."""
    root = layout.only(boot=False)
    if root is None:
        return ""
    if layout.table == "msdos":
        return f"PARTUUID={signature}-{root.number:02}"
    if root.uuid:
        return f"PARTUUID={root.uuid.lower()}"
    if root.part_name:
        return f"PARTLABEL={root.part_name}"
    return f"LABEL={root.label}" if root.label and root.fstype.startswith("ext") else ""
