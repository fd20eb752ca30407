# SPDX-License-Identifier: MIT
"""A protected system with the command-line tool on it."""

import json
import os
import pathlib
import shutil
import typing

import ctlschema
import uml

if typing.TYPE_CHECKING:
    from conftest import Rig

# What the tool prints, between two lines that nothing else prints. The serial line is its terminal: without
# colours and progress.
RUN = """
export NO_COLOR=1 TERM=dumb
ctl() { echo "<<$1"; shift; overlayrootctl "$@"; echo ">>$?"; }
"""


def system(folder: pathlib.Path) -> None:
    """The test system with the tool, and files of every kind."""
    shutil.copy(uml.setting("OVERLAYROOT_CTL"), folder / "bin/overlayrootctl")
    etc = folder / "etc"
    shutil.copy(uml.TOP / "rust/overlayrootctl/files/overlayroot-check.init", etc / "check")
    (etc / "conf.d").mkdir()
    (etc / "conf.d/a").write_text("a\n")
    (etc / "conf.d/b").write_text("b\n")
    (etc / "gone.d/deep").mkdir(parents=True)
    (etc / "gone.d/deep/file").write_text("gone\n")
    (etc / "text").write_text("one\ntwo\nthree\n")
    (etc / "link").symlink_to("keep")
    (etc / "mode").write_text("mode\n")
    (folder / "way").symlink_to("etc")
    (folder / "data").mkdir()
    (folder / "data/a").write_text("data a\n")
    (folder / "data/b").write_text("data b\n")


class Board:
    """A protected system with the tool."""

    def __init__(self, rig: "Rig", disk: pathlib.Path) -> None:
        """Its disk is a copy of `disk`."""
        self.rig = rig
        self.disk = shutil.copy(disk, rig.folder / "root.img")

    def run(
        self, script: str, line: str = "root=/dev/ubda ofs-size=64M", **options
    ) -> dict[str, tuple[int, str]]:
        """Boots and runs; `ctl NAME ARGUMENT...` in the script gives an exit code and an output by name.

        `more` are further disks, from ubdb on.
        """
        memory = options.pop("memory", 192)
        disks = [self.disk, *options.pop("more", [])]
        boot = self.rig.boot(line, disks, script=RUN + script, memory=memory, **options)
        self.boot = boot
        return outputs(boot.script)


def outputs(text: str) -> dict[str, tuple[int, str]]:
    """`<<NAME`, output, `>>CODE`. What is JSON has to fit its schema."""
    found = {}
    for piece in text.split("<<")[1:]:
        name, _, rest = piece.partition("\n")
        output, _, code = rest.rpartition(">>")
        ctlschema.check(output)
        found[name] = (int(code.split()[0]), output)
    return found


def changes(output: tuple[int, str]) -> dict[str, dict]:
    """Path to change, of `diff --json`."""
    code, text = output
    assert code == 0, text

    def name(path: str | list[int]) -> str:
        return path if isinstance(path, str) else os.fsdecode(bytes(path))

    return {name(change["path"]): change for change in json.loads(text)["changes"]}
