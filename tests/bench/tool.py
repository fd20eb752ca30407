# SPDX-License-Identifier: MIT
"""What the tool costs on a board on which a hundred thousand files have changed, beside find, cp and rsync.

The same machine as for boots. Each step runs twice, so that nobody pays for the first look at a file, and the
second run counts; what writes runs once.
"""

import dataclasses
import pathlib
import re
import shutil

import rig
import uml

FOLDERS, FILES = 100, 1000
# Of 3.6 KB each, as the configuration of a system that is set up.
SMALL_FILES = 1000

# The first program of that board. Each step says its marks' number, so that none is taken for another.
SCRIPT = """#!/bin/busybox sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
busybox mount -t devtmpfs devtmpfs /dev 2>/dev/null
exec </dev/null >/dev/ttyAMA0 2>&1
step() {
    times=$1; shift
    while [ $times -gt 0 ]; do
        mark; "$@" >/run/output 2>&1; code=$?; mark
        times=$((times - 1))
    done
    echo "@@ step $code"
    [ $code = 0 ] || busybox tail -n 5 /run/output
}
touch-many || echo "@@ step 99"
STEPS
echo "@@ end"
busybox poweroff -f
"""


@dataclasses.dataclass(frozen=True)
class Step:
    """A command whose cost is counted."""

    name: str
    command: str
    # The last one counts.
    times: int = 2
    # Run before it, not counted.
    before: str = "true"


WALK = "find /mnt/root-RW/upper/srv/many /mnt/root-RO/srv/many -size +999999"
SMALL = (
    "mkdir /run/small\n"
    f"for n in $(busybox seq {SMALL_FILES}); do busybox head -c 3600 /dev/urandom >/run/small/$n; done\n"
)
STEPS = (
    Step("`find` that stats both layers", WALK),
    Step("`overlayrootctl status --check`", "overlayrootctl status --check"),
    Step("`overlayrootctl diff`", "overlayrootctl diff"),
    Step("`rsync -aHAXn` of both layers", "rsync -aHAXn /mnt/root-RW/upper/srv/many/ /mnt/root-RO/srv/many/"),
    Step(
        "`cp -a` of 1,000 files to another file system, `sync`",
        "sh -c 'cp -a /run/small /other/small; sync'",
        times=1,
        before=f"{SMALL}mkdir /other; mount -t ext4 /dev/vdb /other",
    ),
    Step(
        "`overlayrootctl commit` of 1,000 files",
        "overlayrootctl commit /srv/small",
        times=1,
        before="cp -a /run/small /srv/small",
    ),
)


# Of mke2fs; see `contestants.Disks`.
OPTIONS = ("-b", "1024", "-N", "160000", "-O", "^orphan_file")


def disks(folder: pathlib.Path) -> list[pathlib.Path]:
    """The root with a hundred thousand files, and another one, empty."""
    made = {name: rig.guest_program(name, folder) for name in ("mark", "touch")}

    def change(tree: pathlib.Path) -> None:
        programs = uml.setting("OVERLAYROOT_BENCH_PROGRAMS")
        leave = shutil.ignore_patterns("share", "perl*", "var")
        shutil.copytree(programs, tree, symlinks=True, dirs_exist_ok=True, ignore=leave)
        shutil.copy(uml.setting("OVERLAYROOT_BUSYBOX"), tree / "bin/busybox")
        shutil.copy(uml.setting("OVERLAYROOT_CTL"), tree / "bin/overlayrootctl")
        (tree / "bin/sh").symlink_to("busybox")
        (tree / "bin/mount").symlink_to("busybox")
        shutil.copy(made["mark"], tree / "bin/mark")
        shutil.copy(made["touch"], tree / "bin/touch-many")
        steps = "\n".join(f"{step.before}\nstep {step.times} {step.command}" for step in STEPS)
        (tree / "sbin/init").write_text(SCRIPT.replace("STEPS", steps))
        for number in range(FOLDERS):
            directory = tree / f"srv/many/{number:02}"
            directory.mkdir(parents=True)
            for file in range(FILES):
                (directory / f"{file:03}").write_bytes(bytes(100))

    root = uml.disk(folder / "changed", change=change, size=640, options=OPTIONS)
    other = folder / "other"
    with other.open("wb") as file:
        file.truncate(64 << 20)
    uml.run("mke2fs", "-q", "-t", "ext4", "-b", "1024", other)
    return [root, other]


def measure(machine: rig.Rig, folder: pathlib.Path) -> list[dict]:
    """A row for each step."""
    initramfs = uml.initramfs(folder / "tool.cpio.gz", modules=())
    ended = machine.run(initramfs, "ofs-root=/dev/vda ofs-size=60", disks(folder), memory=4096, timeout=3600)
    codes = re.findall(r"^@@ step (\d+)$", ended.console, re.MULTILINE)
    if codes != ["0"] * len(STEPS) or "@@ end" not in ended.console:
        raise uml.UmlError(f"a step failed: {ended.console}")
    marks = [numbers for name, numbers in ended.marks if name == "hint1"]
    rows = []
    for step in STEPS:
        (before, after), marks = marks[2 * step.times - 2 : 2 * step.times], marks[2 * step.times :]
        whole, of_programs, calls = (end - start for start, end in zip(before, after, strict=True))
        rows.append({"name": step.name, "whole": whole, "of_programs": of_programs, "system_calls": calls})
    return rows
