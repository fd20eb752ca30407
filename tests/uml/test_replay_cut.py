# SPDX-License-Identifier: MIT
"""The plug is pulled while a journal is replayed, at the first protected boot after a writable one.

What the replay writes is recorded. After every prefix of that, and after every choice of what was not flushed
yet (reorder.py), the next boot has to be protected, with the same files. OVERLAYROOT_STATES=all looks at all
choices, and boots each (make test-writes); otherwise a sample is looked at, and some are booted. A block of
4 KiB is there as a whole or not at all, as in test_ctl_cut.py.
"""

import os
import pathlib
import shutil
import subprocess

import recorder
import reorder
import uml
import writelog
from conftest import Rig, assert_protected
from test_ctl_cut import BLOCK, cuts
from test_ctl_orders import chosen

# Files that are in the journal only, in several transactions.
WRITE = """
mkdir /home/a; for n in 1 2 3 4 5 6; do echo "file $n" > /home/a/$n; done; sync
mv /home/a/1 /home/a/one; rm /home/a/2; echo longer >> /home/a/3; mkdir -p /home/b/c; sync
mv /home/a/one /home/b/c/1; ln /home/a/3 /home/b/3; chmod 600 /home/a/4; rm /etc/keep; sync
"""
LOOK = "cd /; ls -ln home home/* home/*/* etc/keep; cat home/*/* home/*/*/*"


def dirty(rig: Rig) -> pathlib.Path:
    """A root that was written to when the power went."""

    def change(folder: pathlib.Path) -> None:
        shutil.copy(recorder.dmlog(rig.cache), folder / "bin/dmlog")

    disk = rig.root(change=change, options=("-b", str(BLOCK)))
    rig.boot("root=/dev/ubda overlayfs=no", [disk], script=WRITE)
    assert "needs_recovery" in uml.run("dumpe2fs", "-h", disk)
    return disk


def replay(rig: Rig, line: str = "") -> tuple[bytes, list[writelog.Entry], str]:
    """The disk before, what the replay wrote to it, and what the system then sees."""
    disk = dirty(rig)
    before = disk.read_bytes()
    found = recorder.record(rig, disk, line, script=f"({LOOK}) 2>&1\n{recorder.END}")
    assert_protected(found.boot, "/dev/dm-0")
    assert found.boot.report["root"]["state"] == "dirty"
    # Only what came before the system was started counts, which is all of it.
    assert len(found.written) > 5
    return before, found.entries, found.boot.script.split("stat ubda")[0].strip()


def files(medium: bytes, folder: pathlib.Path) -> str:
    """The files of a disk, repaired as a boot does; or what is wrong with it."""
    image, out = folder / "cut.img", folder / "files"
    image.write_bytes(medium)
    done = subprocess.run(["e2fsck", "-p", "-f", image], capture_output=True, text=True)
    if done.returncode not in (0, 1):
        return done.stdout + done.stderr
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    uml.run("debugfs", "-R", f"rdump / {out}", image)
    paths = sorted(path for path in out.rglob("*") if path.is_file() and "busybox" not in path.name)
    return "\n".join(f"{path.relative_to(out)}: {path.read_bytes()!r}" for path in paths)


def media(before: bytes, log: list[writelog.Entry]) -> list[bytes]:
    """Each disk that a cut may leave: the prefixes, and then what a cache may have left out."""
    requests = [writelog.Write(entry.offset, entry.data) for entry in log if entry.length]
    prefixes = list(cuts(before, requests))
    states = list(reorder.states(log))
    picked = chosen(states)
    print(f"{len(prefixes)} prefixes; {len(states)} states, {len(picked)} looked at")
    return prefixes + [state.medium(before) for state in picked]


def test_cut_during_replay(rig: Rig) -> None:
    before, log, seen = replay(rig)
    every = media(before, log)
    found = {files(medium, rig.folder) for medium in every}
    assert len(found) == 1, f"{len(found)} different outcomes"
    assert "home/b/c/1: b'file 1\\n'" in found.pop()
    step = 1 if os.environ.get("OVERLAYROOT_STATES") == "all" else len(every) // 8
    disk = rig.folder / "again.img"
    for medium in every[::step]:
        disk.write_bytes(medium)
        boot = rig.boot("root=/dev/ubda", [disk], script=f"({LOOK}) 2>&1")
        assert_protected(boot)
        assert boot.script == seen


def test_positive_control(rig: Rig) -> None:
    """The same on a file system that asks for no flush: now the order matters, and damage is seen."""
    before, log, _ = replay(rig, "rootflags=barrier=0")
    found = {files(medium, rig.folder) for medium in media(before, log)}
    assert len(found) > 1
