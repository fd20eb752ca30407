# SPDX-License-Identifier: MIT
"""Progress on a terminal, and Ctrl-C."""

import json
import pathlib
import re

import pytest
import uml
from conftest import Rig
from ctlboard import Board, system
from failure_modes import failure

COUNT = 6000
# Files that are in RAM only; a terminal; what the real root holds.
READY = f"""
mkdir -p /srv/many /dev/pts; busybox mount -t devpts devpts /dev/pts
n=0; while [ $n -lt {COUNT} ]; do echo $n >/srv/many/$n; n=$((n + 1)); done
unset NO_COLOR
export TERM=vt102
real() {{ (cd /mnt/root-RO; find . | sort | sha256sum) }}
real >/tmp/before
run() {{ echo "<<$1"; shift; "$@"; echo ">>$?"; }}
# NAME TEXT COMMAND: at a terminal where somebody types Ctrl-C once the command has printed TEXT.
typed() {{ name=$1; text=$2; shift 2; run $name onpty -c "$text" overlayrootctl "$@"; }}
look() {{
    echo '<<before'; cat /tmp/before; echo '>>0'
    echo "<<look"; real; cat /sys/block/ubda/ro; ls -d /mnt/root-RO/.overlayroot
    grep /mnt/root-RO /proc/mounts; echo ">>0"
}}
"""
LINE = "root=/dev/ubda ofs-size=96M ofs-lock=yes"


@pytest.fixture(scope="module")
def many_disk(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A root with room for many files, and a program that is a terminal."""
    folder = tmp_path_factory.mktemp("interrupt")
    program = uml.compiled(folder, "onpty")

    def change(tree: pathlib.Path) -> None:
        system(tree)
        (tree / "bin/onpty").write_bytes(program.read_bytes())
        (tree / "bin/onpty").chmod(0o755)

    return uml.disk(folder / "many.img", change=change, size=96, options=["-N", "16384"])


def is_untouched(found: dict[str, tuple[int, str]]) -> None:
    """The real root is what it was, closed and locked, without a folder of the tool's."""
    real, locked, *rest = found["look"][1].splitlines()
    assert real == found["before"][1].strip()
    assert locked == "1"
    (mount,) = [line for line in rest if line.startswith("/dev/ubda ")]
    assert mount.split()[3].startswith("ro,")
    assert "/mnt/root-RO/.overlayroot" not in rest


@failure(
    "running",
    "Ctrl-C, SIGTERM or a connection that is lost while `overlayrootctl commit` copies",
    "",
    "ram",
    "none: nothing was changed, and the root is read-only again. Once entries take their places it "
    "goes on to its end",
)
def test_ctrl_c_while_copying(rig: Rig, many_disk: pathlib.Path) -> None:
    """At a terminal: a line says how far it is; nothing was changed."""
    board = Board(rig, many_disk)
    script = f"{READY}\ntyped work copying: commit --all\nlook"
    found = board.run(script, LINE, memory=256)
    code, text = found["work"]
    assert code == 130, text
    assert re.search(r"copying: \d+ of 600\d", text), "no progress was shown"
    # The line has gone before something else is printed.
    assert text.split("\033[K")[-1].startswith(
        "\033[31;1merror:\033[0m interrupted (SIGINT): nothing was changed"
    )
    is_untouched(found)
    uml.run("e2fsck", "-fn", board.disk)


def test_ctrl_c_when_it_is_too_late(rig: Rig, many_disk: pathlib.Path) -> None:
    """Entries take their places: the commit goes on to its end. Its line does not stay."""
    board = Board(rig, many_disk)
    script = f"""{READY}
    typed work 'putting into place' commit --all
    ctl diff diff --json
    ctl check status --check
    """
    found = board.run(script, LINE, memory=256)
    code, text = found["work"]
    assert code == 0, text
    *_, last = text.split("\033[K")
    assert last.startswith("\033[32mkept\033[0m /")
    assert all(change["excluded"] for change in json.loads(found["diff"][1])["changes"])
    assert found["check"][0] == 0, found["check"]


@pytest.mark.parametrize(("signal", "code"), [("TERM", 143), ("HUP", 129), ("INT", 0)])
def test_a_signal_to_the_tool_alone(rig: Rig, many_disk: pathlib.Path, signal: str, code: int) -> None:
    """Without a terminal, as systemd or a script ends it: nothing is printed of how far it was.

    SIGINT is what a shell has its background commands ignore.
    """
    board = Board(rig, many_disk)
    script = f"""{READY}
    (ctl work commit --all) >/tmp/said 2>&1 &
    until [ -e /mnt/root-RO/.overlayroot/new/300 ]; do busybox usleep 1000; done
    kill -{signal} $(pidof overlayrootctl | tr ' ' '\n' | sort -n | head -n 1)
    wait
    cat /tmp/said
    look
    ctl later commit --all
    """
    found = board.run(script, LINE, memory=256)
    assert found["work"][0] == code, found["work"]
    assert "copying" not in found["work"][1] and "\033" not in found["work"][1]
    if code:
        assert f"error: interrupted (SIG{signal}): nothing was changed" in found["work"][1]
        is_untouched(found)
    assert found["later"][0] == 0


def test_what_is_in_ram(rig: Rig, many_disk: pathlib.Path) -> None:
    """Progress of the other commands, and Ctrl-C: no half archive, no file that was being made."""
    board = Board(rig, many_disk)
    left = "find / -xdev -name '.overlayrootctl-*' -o -xdev -name '*.tar'"
    script = f"""{READY}
    # However quick it is: stopped for a second.
    run diff onpty busybox sh -c 'overlayrootctl diff & n=$!
        busybox usleep 200000; kill -STOP $n; sleep 1; kill -CONT $n; wait $n'
    typed export exporting: export /srv/a.tar
    run left1 {left}
    typed whole none export /srv/whole.tar
    typed revert reverting: revert /srv/many
    ctl again revert /srv/many
    typed import importing: import /srv/whole.tar
    run left2 {left}
    """
    found = board.run(script, LINE, memory=256)
    assert "looking for changes: " in found["diff"][1]
    assert found["export"][0] == 130 and "no archive was written" in found["export"][1]
    assert found["left1"] == (0, "")
    assert found["whole"][0] == 0
    assert found["revert"][0] == 130 and " changes are reverted" in found["revert"][1]
    assert found["again"][0] == 0
    assert found["import"][0] == 130 and " entries are imported" in found["import"][1]
    assert found["left2"] == (0, "/srv/whole.tar\n")


def test_a_short_command_shows_nothing(rig: Rig, many_disk: pathlib.Path) -> None:
    """Nor does one whose terminal is dumb."""
    board = Board(rig, many_disk)
    script = f"""{READY.replace(str(COUNT), "3")}
    typed short none diff
    n=0; while [ $n -lt {COUNT} ]; do echo $n >/srv/many/$n; n=$((n + 1)); done
    export TERM=dumb
    typed dumb none diff
    """
    found = board.run(script, LINE, memory=256)
    assert found["short"][0] == found["dumb"][0] == 0
    assert "looking for changes" not in found["short"][1] + found["dumb"][1]
