# SPDX-License-Identifier: MIT
"""The plug is pulled while U-Boot's environment is changed, on a card or eMMC that writes in any order.

The tools that write are those of the distribution (libubootenv). The environment is on device-mapper's
log-writes target. After every prefix of its log, and after every choice of what was not flushed yet
(reorder.py), it is read as U-Boot would: with two copies it is the old or the new one, and one copy may also
have a wrong checksum, with which U-Boot takes its own variables: protected.
"""

import itertools
import pathlib
import shutil
import subprocess

import pytest
import recorder
import reorder
import uml
import writelog
from campaign_system import VARIABLES as PLAIN
from conftest import Rig
from test_uenv_orders import requests
from uboot_environment import ONE, TWO, BadEnvironmentError, Place, pack

SECTOR = 512
MODULES = ("overlay", "dm-mod", "dm-log-writes")
# What the tool is told, one after the other, and the variables that make the difference.
STORY = (
    ("disable --once", {"overlayfs_once": "no"}),
    ("enable", {}),
    ("disable", {"overlayfs": "no"}),
    ("disable --once", {"overlayfs": "yes", "overlayfs_once": "no"}),
    ("disable", {"overlayfs": "no"}),
    ("size 30", {"overlayfs": "no", "ofs-size": "30"}),
)
NAMES = ("overlayfs", "overlayfs_once", "ofs-size")

TOOL = "overlayrootctl $words --store environment --fw-config /tmp/config"
# Both copies at once: of two writes, neither may be there as a whole.
CARELESS = "dd if=/next of=/dev/dm-0 bs=1k skip=512 seek=512 count=256 conv=fsync"


def system(folder: pathlib.Path) -> None:
    """The tools, and the program that makes the recording device."""
    shutil.copy(uml.setting("OVERLAYROOT_CTL"), folder / "bin/overlayrootctl")
    shutil.copy(recorder.dmlog(folder.parent), folder / "bin/dmlog")
    for name in ("fw_printenv", "fw_setenv"):
        uml.host_program(folder, name)
    following = bytearray(1 << 20)
    TWO.write(following, PLAIN | {"overlayfs_once": "no"})
    (folder / "next").write_bytes(following)


def record(rig: Rig, place: Place, command: str = TOOL) -> tuple[bytes, list[writelog.Entry]]:
    """The medium before, and what was written to it when `command` was run for each step of the story."""
    medium, log = rig.folder / "medium.img", rig.folder / "log.img"
    before = bytearray(1 << 20)
    place.write(before, PLAIN)
    medium.write_bytes(before)
    with log.open("wb") as file:
        file.truncate(16 << 20)
    root = uml.disk(rig.folder / "system.img", change=system)
    config = place.config("/dev/dm-0").replace("\n", "\\n")
    script = f"""dmlog $(cat /sys/block/ubdb/size) /dev/ubdb /dev/ubdc || exit
    printf '{config}' > /tmp/config
    for words in {" ".join(f"'{words}'" for words, _ in STORY)}; do
        NO_COLOR=1 {command} > /tmp/said 2>&1 || cat /tmp/said
    done
    dmlog end flush"""
    found = rig.boot(
        "root=/dev/ubda overlayfs=no", [root, medium, log], rig.initramfs(modules=MODULES), script=script
    )
    assert found.script == ""
    return bytes(before), writelog.entries(log)


def described(variables: dict[str, str]) -> str:
    """Variables that matter, for comparison."""
    return ", ".join(f"{name}={variables[name]}" for name in NAMES if name in variables) or "plain"


def judge(place: Place, medium: bytes, before: bytes) -> str:
    """What U-Boot finds: the variables that matter, `torn`, or what is wrong."""
    rest, old = bytearray(medium), bytearray(before)
    place.blank(rest)
    place.blank(old)
    if rest != old:
        return "something else has changed"
    try:
        found = place.read(medium)
    except BadEnvironmentError:
        return "torn"
    if {name: value for name, value in found.items() if name not in NAMES} != PLAIN:
        return "other variables have changed"
    return described(found)


def look(place: Place, before: bytes, log: list[writelog.Entry]) -> tuple[list[str], list[str]]:
    """What U-Boot finds after each cut: in the order of the writes, and in any order."""
    in_order = [judge(place, bytes(medium), before) for medium in writelog.prefixes(before, requests(log))]
    any_order = [judge(place, state.medium(before), before) for state in reorder.states(log, atom=SECTOR)]
    print(f"{len(in_order)} prefixes, {len(any_order)} states: {sorted({*in_order, *any_order})}")
    return in_order, any_order


@pytest.mark.parametrize("place", [ONE, TWO], ids=["one", "two"])
def test_environment_is_old_or_new(rig: Rig, place: Place) -> None:
    in_order, any_order = look(place, *record(rig, place))
    turns = ["plain", *(described(changes) for _, changes in STORY)]
    assert [name for name, _ in itertools.groupby(name for name in in_order if name != "torn")] == turns
    assert set(any_order) == {*turns, *(["torn"] if place is ONE else [])}
    assert place is ONE or "torn" not in in_order


def test_positive_control(rig: Rig) -> None:
    """The same rig sees two copies torn, where both were written at once."""
    _, any_order = look(TWO, *record(rig, TWO, CARELESS))
    assert "torn" in any_order


@pytest.mark.parametrize("torn", [(), (0,), (1,), (0, 1)], ids=["whole", "first", "second", "both"])
def test_libubootenv_takes_the_same_copy(tmp_path: pathlib.Path, torn: tuple[int, ...]) -> None:
    """Our reading of two copies is that of a program which others wrote."""
    path, config = tmp_path / "medium", tmp_path / "config"
    config.write_text(TWO.config(str(path)))
    for serials in ((0, 0), (1, 0), (0, 1), (7, 9), (255, 254), (254, 255), (255, 0), (0, 255), (200, 3)):
        medium = bytearray(1 << 20)
        for number, (offset, serial) in enumerate(zip(TWO.offsets, serials, strict=True)):
            medium[offset : offset + TWO.size] = pack({"copy": str(number)}, TWO.size, serial)
            if number in torn:
                medium[offset + 100] ^= 1
        path.write_bytes(medium)
        try:
            ours = TWO.read(medium)["copy"]
        except BadEnvironmentError:
            ours = ""
        done = subprocess.run(["fw_printenv", "-c", config, "-n", "copy"], capture_output=True, text=True)
        assert done.stdout.strip() == ours, f"serial numbers {serials}: {done.stdout}{done.stderr}"
