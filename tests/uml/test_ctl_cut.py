# SPDX-License-Identifier: MIT
"""The plug is pulled during `commit`: at every write that reaches the disk, and in the middle of long ones.

The real root is on device-mapper's log-writes target, which records all writes in the order in which the
disk gets them. Each prefix of that log is a disk after a cut; each is repaired as at a boot and looked at.
A block of 4 KiB is written as a whole or not at all, as on flash: ext4 itself would not survive half of its
superblock.
"""

import json
import pathlib
import re
import shutil
import subprocess
from collections.abc import Iterator

import pytest
import uml
import writelog
from conftest import Rig
from ctlboard import RUN, outputs

# Long enough for many blocks, and the same nowhere.
OLD = "".join(f"old line {n}\n" for n in range(9000))
NEW = "".join(f"new line {n}\n" for n in range(9500))

STACK = """
mkdir -p /stack
dmlog $(cat /sys/block/ubdb/size) /dev/ubdb /dev/ubdc || exit
mount -t ext4 -o ro$OPTIONS /dev/dm-0 /mnt/root-RO
mount -t tmpfs -o mode=755 ram /mnt/root-RW
mkdir /mnt/root-RW/upper /mnt/root-RW/work
mount -t overlay -o lowerdir=/mnt/root-RO,upperdir=/mnt/root-RW/upper,workdir=/mnt/root-RW/work over /stack
mount --move /mnt/root-RO /stack/mnt/root-RO
mount --move /mnt/root-RW /stack/mnt/root-RW
for d in bin dev proc sys; do mount --bind /$d /stack/$d; done
"""
END = "sync; dmlog end flush"
CHANGE = """
for n in $(seq 0 9499); do echo new line $n; done > /etc/big
echo new > /etc/small; echo added > /etc/added
rm /etc/gone; rm -r /etc/gone.d
mkdir -p /opt/deep; echo deep > /opt/deep/file; ln /etc/added /etc/linked
rm /etc/turns; mkdir /etc/turns; echo inside > /etc/turns/file
"""
COMMIT = "ctl commit commit /etc/big /etc/small /etc/added /etc/linked /etc/gone /etc/gone.d /opt /etc/turns"
# The other way, as people do it by hand: the file is there in part for a while.
BY_HAND = """
mount -o remount,rw /mnt/root-RO
head -n 4000 /etc/big > /mnt/root-RO/etc/big; sync; tail -n +4001 /etc/big >> /mnt/root-RO/etc/big
mount -o remount,ro /mnt/root-RO
"""
BLOCK = 4096
# Path: what it may hold before, and what after; None: it is not there.
FILES: dict[str, tuple[str | None, str | None]] = {
    "etc/big": (OLD, NEW),
    "etc/small": ("old\n", "new\n"),
    "etc/added": (None, "added\n"),
    "etc/linked": (None, "added\n"),
    "etc/gone": ("gone\n", None),
    "etc/gone.d/deep/file": ("gone\n", None),
    "opt/deep/file": (None, "deep\n"),
    "etc/turns": ("file\n", None),
    "etc/turns/file": (None, "inside\n"),
}


def real_root(folder: pathlib.Path) -> None:
    """A small root with what is to be changed; programs come from elsewhere."""
    for name in ("bin/busybox", "sbin/init"):
        (folder / name).unlink()
    for name, (old, _) in FILES.items():
        if old is not None:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(old)
    for name in ("mnt/root-RO", "mnt/root-RW", "opt"):
        (folder / name).mkdir(parents=True, exist_ok=True)


def tools(folder: pathlib.Path) -> None:
    """The system around it: the tool, and a program that makes the recording device."""
    shutil.copy(uml.setting("OVERLAYROOT_CTL"), folder / "bin/overlayrootctl")
    source = uml.TOP / "tests/lib/dmlog.c"
    uml.run("gcc", "-static", "-Wall", "-Wextra", "-Werror", "-o", folder / "bin/dmlog", source)
    for name in ("mnt/root-RO", "mnt/root-RW", "stack"):
        (folder / name).mkdir()


def record(
    rig: Rig, script: str, options: str = "", disk: pathlib.Path | None = None
) -> tuple[bytes, pathlib.Path, str]:
    """The real root before, the log of what was written to it, and what the script printed.

    `disk` is a real root that an earlier boot has left; it is changed.
    """
    if disk is None:
        make = ("-b", str(BLOCK), "-m", "0")
        disk = uml.disk(rig.folder / "real.img", change=real_root, size=12, options=make)
    before = disk.read_bytes()
    log = rig.folder / "log.img"
    with log.open("wb") as file:
        file.truncate(64 << 20)
    system = uml.disk(rig.folder / "system.img", change=tools, size=32)
    initrd = rig.initramfs(modules=["overlay", "dm-mod", "dm-log-writes"])
    boot = rig.boot(
        "root=/dev/ubda overlayfs=no",
        [system, disk, log],
        initrd,
        script=f"OPTIONS={options}{STACK}chroot /stack /bin/busybox sh -c '{RUN}{script}'\n{END}",
        memory=128,
    )
    assert writelog.writes(log), f"nothing was recorded: {boot.script}"
    return before, log, boot.script


def committed(rig: Rig) -> pathlib.Path:
    """A real root in which an earlier boot has committed all of CHANGE."""
    _, _, printed = record(rig, f"{CHANGE}\n{COMMIT}")
    assert outputs(printed)["commit"][0] == 0, printed
    return rig.folder / "real.img"


def files_after_cut(medium: bytes, folder: pathlib.Path) -> dict[str, str | None]:
    """Repairs a disk as a boot does, and reads the files."""
    image, out = folder / "cut.img", folder / "files"
    image.write_bytes(medium)
    repaired = subprocess.run(["e2fsck", "-p", "-f", image], capture_output=True, text=True)
    assert repaired.returncode in (0, 1), repaired.stdout + repaired.stderr
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    uml.run("debugfs", "-R", f"rdump / {out}", image)
    # What says that a commit has begun is whole by then: `undo` can always read it.
    for record in out.glob(".overlayroot/commits/*/record"):
        header, *steps = [json.loads(line) for line in record.read_text().splitlines()]
        assert len(steps) == header["steps"], record

    def content(name: str) -> str | None:
        path = out / name
        return path.read_text() if path.is_file() and not path.is_symlink() else None

    return {name: content(name) for name in FILES}


def cuts(before: bytes, requests: list[writelog.Write]) -> Iterator[bytes]:
    """Disks after a cut: before each write, after half the blocks of a longer one, and in the end."""
    medium = bytearray(before)
    yield bytes(medium)
    for offset, data in requests:
        half = len(data) // BLOCK // 2 * BLOCK
        for start, end in ((0, half), (half, len(data))):
            if start < end and medium[offset + start : offset + end] != data[start:end]:
                medium[offset + start : offset + end] = data[start:end]
                yield bytes(medium)


def replay(
    before: bytes, requests: list[writelog.Write], folder: pathlib.Path
) -> list[dict[str, str | None]]:
    """The files after each cut."""
    return [files_after_cut(medium, folder) for medium in cuts(before, requests)]


def torn(states: list[dict[str, str | None]]) -> list[str]:
    """Files that were neither old nor new, with what there was of them."""
    wrong = []
    for number, state in enumerate(states):
        for name, content in state.items():
            if content not in FILES[name]:
                length = "absent" if content is None else f"{len(content)} bytes"
                wrong.append(f"cut {number}: {name}: {length}")
    return wrong


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("options", ["", ",sync"], ids=["usual", "each-step-by-itself"])
def test_each_file_is_old_or_new(rig: Rig, options: str) -> None:
    """With `sync` ext4 writes each rename at once, not several as one: the most that can be cut."""
    script = f"{CHANGE}\n{COMMIT}"
    before, log, printed = record(rig, script, options)
    code, text = outputs(printed)["commit"]
    assert code == 0, text
    states = replay(before, writelog.writes(log), rig.folder)
    assert len(states) > 20, f"only {len(states)} cuts"
    assert torn(states) == []
    assert states[0] == {name: old for name, (old, _) in FILES.items()}
    assert states[-1] == {name: new for name, (_, new) in FILES.items()}


@pytest.mark.timeout(7200)
def test_undo(rig: Rig) -> None:
    """The way back is as safe: old, new, old."""
    before, log, printed = record(rig, f"{CHANGE}\n{COMMIT}\nctl undo undo")
    found = outputs(printed)
    assert found["commit"][0] == found["undo"][0] == 0, found
    states = replay(before, writelog.writes(log), rig.folder)
    assert torn(states) == []
    new = {name: new for name, (_, new) in FILES.items()}
    old = {name: old for name, (old, _) in FILES.items()}
    assert states[0] == states[-1] == old and new in states


@pytest.mark.timeout(7200)
def test_purge(rig: Rig) -> None:
    """A later boot gives up what is kept, each step by itself: no file of the system changes."""
    before, log, printed = record(rig, "ctl purge purge", ",sync", committed(rig))
    assert outputs(printed)["purge"][0] == 0, printed
    kept = []
    for medium in cuts(before, writelog.writes(log)):
        files = files_after_cut(medium, rig.folder)
        assert files == {name: new for name, (_, new) in FILES.items()}, f"cut {len(kept)}"
        kept.append(len(list((rig.folder / "files/.overlayroot").rglob("*"))))
    assert kept[0] > kept[-1] == 0 and len(set(kept)) > 3, kept


def attributes_after_cut(medium: bytes, folder: pathlib.Path) -> tuple[str, ...]:
    """Mode, owner and group, and time of the files that ATTRIBUTES changes."""
    image = folder / "cut.img"
    image.write_bytes(medium)
    repaired = subprocess.run(["e2fsck", "-p", "-f", image], capture_output=True, text=True)
    assert repaired.returncode in (0, 1), repaired.stdout + repaired.stderr
    found = []
    for name in ("big", "small", "gone", "turns"):
        text = uml.run("debugfs", "-R", f"stat /etc/{name}", image)
        words = re.search(r"Mode: +(\d+).*?User: +(\d+) +Group: +(\d+)", text, re.DOTALL)
        time = re.search(r"mtime: (0x[0-9a-f]+)", text)
        assert words and time, text
        found.append(" ".join((*words.groups(), time[1])))
    return tuple(found)


# One attribute of each is written where it is; of the last, several, which takes a copy.
ATTRIBUTES = """
chmod 4755 /etc/big; chown 7:8 /etc/small; touch -d "2002-02-02 02:02:02" /etc/gone
chmod 600 /etc/turns; chown 9:9 /etc/turns; touch -d "2003-03-03 03:03:03" /etc/turns
"""


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("options", ["", ",sync"], ids=["usual", "each-step-by-itself"])
def test_attributes_are_old_or_new(rig: Rig, options: str) -> None:
    before, log, printed = record(rig, f"{ATTRIBUTES}\nctl commit --json commit --all", options)
    code, text = outputs(printed)["commit"]
    assert code == 0, text
    done = {c["path"]: c["action"] for c in json.loads(text)["committed"]}
    assert (done["/etc/big"], done["/etc/turns"]) == ("attributes", "write")
    states = [attributes_after_cut(medium, rig.folder) for medium in cuts(before, writelog.writes(log))]
    old, new = states[0], states[-1]
    assert all(one != two for one, two in zip(old, new, strict=True)), (old, new)
    torn = [s for s in states if any(now not in pair for now, *pair in zip(s, old, new, strict=True))]
    assert torn == []


@pytest.mark.timeout(7200)
def test_positive_control(rig: Rig) -> None:
    """The same rig sees the damage where a file is changed by hand."""
    before, log, _ = record(rig, f"{CHANGE}{BY_HAND}")
    states = replay(before, writelog.writes(log), rig.folder)
    assert any("etc/big" in line for line in torn(states))
