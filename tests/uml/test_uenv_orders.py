# SPDX-License-Identifier: MIT
"""The plug is pulled while `uEnv.txt` is replaced, on a card whose cache writes in any order.

The boot partition is on device-mapper's log-writes target. After every prefix of its log, and after every
choice of what was not flushed yet (reorder.py), the file is read as U-Boot would: it is the old or the new
one. OVERLAYROOT_STATES=all looks at all choices (make test-writes), otherwise a sample is looked at.
"""

import pathlib
import shutil
import subprocess

import pytest
import recorder
import reorder
import uml
import writelog
from conftest import Rig
from test_ctl_orders import chosen

SECTOR = 512
# More than a cluster, and not a whole number of them.
NOTE = "".join(f"note{n}={'x' * 50}\n" for n in range(90))
OLD, NEW = f"{NOTE}overlayfs=yes\n".encode(), f"{NOTE}overlayfs=no\n".encode()
SCRIPT = b"a boot script\n" * 500
MODULES = ("overlay", "fat", "vfat", "nls_cp437", "nls_iso8859-1", "nls_ascii", "dm-mod", "dm-log-writes")

REPLACE = "overlayrootctl disable --store file --boot /boot"
# The other ways, as people do it by hand.
EDIT = "mount -o remount,rw /boot; cd /boot; sed s/overlayfs=yes/overlayfs=no/ uEnv.txt"
IN_PLACE = f"{EDIT} > /new; cp /new uEnv.txt"
RENAME = f"{EDIT} > new; sync; mv new uEnv.txt"


def system(folder: pathlib.Path) -> None:
    """The tool, and the program that makes the recording device."""
    shutil.copy(uml.setting("OVERLAYROOT_CTL"), folder / "bin/overlayrootctl")
    shutil.copy(recorder.dmlog(folder.parent), folder / "bin/dmlog")
    (folder / "boot").mkdir()


def record(rig: Rig, command: str) -> tuple[bytes, list[writelog.Entry]]:
    """The boot partition before, and what was written to it."""
    boot, log = rig.folder / "boot.img", rig.folder / "log.img"
    (rig.folder / "uEnv.txt").write_bytes(OLD)
    (rig.folder / "boot.scr").write_bytes(SCRIPT)
    for path, size in ((boot, 4), (log, 16)):
        with path.open("wb") as file:
            file.truncate(size << 20)
    uml.run("mkfs.vfat", boot)
    uml.run("mcopy", "-i", boot, rig.folder / "uEnv.txt", rig.folder / "boot.scr", "::")
    before = boot.read_bytes()
    root = uml.disk(rig.folder / "system.img", change=system)
    script = f"""dmlog $(cat /sys/block/ubdb/size) /dev/ubdb /dev/ubdc || exit
    mount -t vfat -o ro /dev/dm-0 /boot
    {command} >/dev/null && echo replaced
    cd /; sync; dmlog end flush"""
    found = rig.boot(
        "root=/dev/ubda overlayfs=no", [root, boot, log], rig.initramfs(modules=MODULES), script=script
    )
    assert found.script == "replaced", found.script
    assert read(boot, "uEnv.txt") == NEW
    return before, writelog.entries(log)


def read(image: pathlib.Path, name: str) -> bytes | None:
    """A file of the boot partition; None when it cannot be read."""
    done = subprocess.run(["mtype", "-i", image, f"::{name}"], capture_output=True)
    return done.stdout if done.returncode == 0 else None


def judge(medium: bytes, image: pathlib.Path) -> str:
    """What a boot finds: `old`, `new`, or what is wrong."""
    image.write_bytes(medium)
    if read(image, "boot.scr") != SCRIPT:
        return "boot.scr has changed"
    content = read(image, "uEnv.txt")
    if content in (OLD, NEW):
        return "old" if content == OLD else "new"
    return "uEnv.txt is absent" if content is None else f"uEnv.txt: {len(content)} bytes, neither old nor new"


def requests(log: list[writelog.Entry]) -> list[writelog.Write]:
    """The writes of a log."""
    return [writelog.Write(entry.offset, entry.data) for entry in log if entry.length]


def look(rig: Rig, before: bytes, log: list[writelog.Entry]) -> tuple[list[str], list[str]]:
    """What a boot finds after each cut: in the order of the writes, and in any order."""
    image = rig.folder / "cut.img"
    in_order = [judge(bytes(medium), image) for medium in writelog.prefixes(before, requests(log))]
    found = list(reorder.states(log, atom=SECTOR))
    any_order = [judge(state.medium(before), image) for state in chosen(found)]
    print(f"{len(in_order)} prefixes; {len(found)} states, {len(any_order)} looked at")
    return in_order, any_order


def test_uenv_is_old_or_new(rig: Rig) -> None:
    before, log = record(rig, REPLACE)
    in_order, any_order = look(rig, before, log)
    turn = in_order.index("new")
    assert in_order == ["old"] * turn + ["new"] * (len(in_order) - turn)
    assert set(any_order) == {"old", "new"}, sorted(set(any_order))


@pytest.mark.parametrize("command", [IN_PLACE, RENAME], ids=["in-place", "rename"])
def test_positive_control(rig: Rig, command: str) -> None:
    """The same rig sees the damage where the file is replaced by hand."""
    before, log = record(rig, command)
    in_order, any_order = look(rig, before, log)
    print(sorted(set(in_order) | set(any_order)))
    assert not set(in_order) | set(any_order) <= {"old", "new"}


def test_tool_works_after_any_cut(rig: Rig) -> None:
    """What a cut has left beside the file is no obstacle: it may name clusters that are free."""
    before, log = record(rig, REPLACE)
    media = {state.medium(before) for state in reorder.states(log, atom=SECTOR)}
    media |= {bytes(medium) for medium in writelog.prefixes(before, requests(log))}
    # Those in which something is left, and the root directory and the tables differ.
    left = [medium for medium in sorted(media) if b"UENV    NEW" in medium]
    assert len(left) > 10
    root = uml.disk(rig.folder / "system.img", change=system)
    script = """for disk in b c d e f g; do
        mount -t vfat -o ro /dev/ubd$disk /boot || continue
        NO_COLOR=1 overlayrootctl enable --store file --boot /boot 2>&1 | grep error
        umount /boot
    done"""
    wrong = []
    for first in range(0, len(left), 6):
        images = []
        for number, medium in enumerate(left[first : first + 6]):
            images.append(rig.folder / f"cut{number}.img")
            images[-1].write_bytes(medium)
        found = rig.boot(
            "root=/dev/ubda overlayfs=no", [root, *images], rig.initramfs(modules=MODULES[:6]), script=script
        )
        wrong += [found.script for image in images if read(image, "uEnv.txt") != OLD]
    print(f"{len(left)} media, {len(wrong)} wrong")
    assert not wrong, wrong[0]
