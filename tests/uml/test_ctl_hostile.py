# SPDX-License-Identifier: MIT
"""Mounts and links that would lead the tool, or the init's copy of fstab, out of the real root; names that
would forge what it prints."""

import json
import pathlib

import pytest
import uml
from conftest import Rig, assert_protected
from ctlboard import Board

# Something outside: nothing of it may change, and nothing of it may come in.
OUTSIDE = "mkdir -p /tmp/out/etc; echo theirs > /tmp/out/keep; echo theirs > /tmp/out/etc/keep"
LIST = "echo '<<out'; cd /tmp/out; find . | sort; cat keep etc/keep; cd /; echo '>>0'"
UNTOUCHED = ".\n./etc\n./etc/keep\n./keep\ntheirs\ntheirs\n"


def test_what_is_mounted_in_the_lower_is_passed_over(board: Board) -> None:
    """A bind mount below /mnt/root-RO is neither written nor read in place of what it hides."""
    found = board.run(
        f"""
        {OUTSIDE}
        mkdir /tmp/out2; chmod 700 /tmp/out2; echo mine > /tmp/out2/file
        mount -o bind /tmp/out/etc /mnt/root-RO/etc
        mount -t tmpfs none /mnt/root-RW/upper/data 2>/dev/null
        echo new > /etc/new; echo changed > /etc/keep
        ctl diff diff --json
        ctl commit commit /etc/new /etc/keep
        ctl revert revert /etc/text
        ctl edit edit -- /bin/busybox touch /etc/edited
        {LIST}
        umount /mnt/root-RO/etc
        echo '<<real'; cd /mnt/root-RO/etc; cat new keep; ls edited; cd /; echo '>>0'
        """
    )
    assert found["commit"][0] == 0, found["commit"]
    assert found["edit"][0] == 0, found["edit"]
    assert "/etc/text" not in found["diff"][1]
    assert found["out"][1] == UNTOUCHED
    assert found["real"][1] == "new\nchanged\nedited\n"
    uml.run("e2fsck", "-fn", board.disk)


@pytest.mark.parametrize(
    "mount",
    ["mount -o bind /tmp/fake /mnt", "mount -o bind /tmp/fake/root-RO /mnt/root-RO"],
    ids=["above", "over"],
)
def test_layers_that_are_hidden_are_refused(board: Board, mount: str) -> None:
    """A stick that is mounted at /mnt, with folders of these names on it, passes for no layer."""
    before = uml.sha256(board.disk)
    found = board.run(
        f"""
        {OUTSIDE}
        mkdir -p /tmp/fake/root-RO/etc /tmp/fake/root-RW/upper/etc
        echo theirs > /tmp/fake/root-RO/etc/keep
        echo changed > /etc/keep
        {mount}
        ctl commit commit /etc/keep
        ctl all commit --all
        ctl revert revert /etc/keep
        ctl diff diff
        ctl edit edit -- /bin/busybox touch /etc/edited
        echo '<<now'; cat /etc/keep /tmp/fake/root-RO/etc/keep; ls /tmp/fake/root-RO/etc; echo '>>0'
        """
    )
    for command in ("commit", "all", "revert", "diff", "edit"):
        code, text = found[command]
        assert code == 3 and "not seen" in text, (command, code, text)
    assert found["now"][1] == "changed\ntheirs\nkeep\n"
    assert uml.sha256(board.disk) == before


def test_names_and_links_in_the_running_system(board: Board) -> None:
    """Links out of the tree are kept as links; a pipe and odd names are entries like others."""
    found = board.run(
        f"""
        {OUTSIDE}
        rm -r /etc/conf.d; ln -s /tmp/out /etc/conf.d
        mkdir /opt; cd /opt
        ln -s ../../../tmp/out up; mkfifo pipe; touch "$(printf 'a\\nb')" "$(printf 'x%.0s' $(seq 255))"
        ln /etc/keep second; cd /
        ctl commit commit /etc/conf.d /opt
        ctl inside commit /etc/conf.d/keep
        ctl revert revert /opt
        {LIST}
        echo '<<real'; cd /mnt/root-RO
        readlink etc/conf.d; readlink opt/up; stat -c %F opt/pipe; ls opt | wc -l
        cd /; echo '>>0'
        """
    )
    assert found["commit"][0] == 0, found["commit"]
    assert found["out"][1] == UNTOUCHED
    # Links on the way are followed, by who types them: it is a path in the real root.
    assert "kept /tmp/out/keep" in found["inside"][1]
    assert found["real"][1] == "/tmp/out\n../../../tmp/out\nfifo\n5\n"
    uml.run("e2fsck", "-fn", board.disk)


def assert_harmless(text: str) -> None:
    """A terminal prints all of it, and obeys nothing."""
    odd = {character for character in text if not character.isprintable() and character != "\n"}
    assert not odd, (odd, text)


def test_names_are_printed_so_that_they_forge_nothing(board: Board) -> None:
    """Names with line ends, escapes and bytes that are no text: in text, in JSON and for xargs."""
    found = board.run(
        r"""
        mkdir /opt; cd /opt
        touch "$(printf 'a\ndeleted shadow')" "$(printf '\033[2J')" "$(printf 'c\377')" 'd e' f
        mkdir "$(printf 'g\033]0;x\007')"; touch "$(printf 'g\033]0;x\007/h\302\233')"; cd /
        printf 'one\r\n\033[31mtwo\nthree\n' > /etc/text
        ctl text diff /opt
        ctl json --json diff /opt
        ctl content diff --content /etc/text
        ctl patch --json diff --content /etc/text
        overlayrootctl diff -z /opt | { echo '<<null'; busybox od -An -v -tx1; echo '>>0'; }
        ctl status status
        ctl refused commit "$(printf '/opt/none\033[2J\nerror: x')"
        ctl plan plan --cmdline "$(printf 'root=/dev/ubda overlayfs=maybe\033[2J ofs-size=9\r')"
        overlayrootctl diff -z /opt | RUST_LOG=debug xargs -0 overlayrootctl commit > /tmp/out 2>&1
        echo "<<commit"; cat /tmp/out; echo '>>0'
        ctl kept --json commit --dry-run /opt
        echo changed > "$(printf '/opt/c\377')"
        ctl dry commit --dry-run /opt; ctl again --json commit /opt
        echo changed > "$(printf '/opt/c\377')"; ctl revert revert /opt; ctl nothing --json revert /opt/f
        echo '<<real'; ls /mnt/root-RO/opt | wc -l; echo '>>0'
        """
    )
    folder = r'"/opt/g\033]0;x\a'
    shown = [
        *("/opt/", r'"/opt/\033[2J"', r'"/opt/a\ndeleted shadow"', r'"/opt/c\377"', '"/opt/d e"'),
        *("/opt/f", folder + '/"', folder + r'/h\302\233"'),
    ]
    assert sorted(found["text"][1].splitlines()) == sorted(f"added   {name}" for name in shown)
    odd = b"/opt/c\xff"
    paths = {
        bytes(c["path"]) if isinstance(c["path"], list) else c["path"].encode()
        for c in json.loads(found["json"][1])
    }
    assert paths == {
        *(b"/opt", b"/opt/\x1b[2J", b"/opt/a\ndeleted shadow", odd, b"/opt/d e", b"/opt/f"),
        *(b"/opt/g\x1b]0;x\x07", b"/opt/g\x1b]0;x\x07/h\xc2\x9b"),
    }
    assert set(bytes.fromhex(found["null"][1]).split(b"\0")) == {*paths, b""}
    assert r"+one\r" in found["content"][1] and r"+\033[31mtwo" in found["content"][1]
    assert "+one\r\n+\x1b[31mtwo\n" in json.loads(found["patch"][1])[0]["diff"]
    assert folder in found["status"][1]
    assert found["refused"][0] == 3 and r'"/opt/none\033[2J\nerror: x" is neither' in found["refused"][1]
    assert r"maybe\033[2J" in found["plan"][1]
    kept = {
        "kept /opt",
        f'kept {folder}"',
        *(f"kept {name}" for name in shown if not name.endswith(("/", '/"'))),
    }
    assert kept <= set(found["commit"][1].splitlines()), found["commit"]
    assert json.loads(found["kept"][1])["committed"] == []
    assert r'would keep "/opt/c\377"' in found["dry"][1]
    assert json.loads(found["again"][1])["committed"] == [{"path": list(odd), "action": "write"}]
    assert found["revert"][1] == 'reverted "/opt/c\\377"\n'
    assert json.loads(found["nothing"][1]) == {"reverted": [], "unchanged": ["/opt/f"]}
    assert found["real"][1] == "6\n"
    for name, (_, text) in found.items():
        if name != "null":
            assert_harmless(text)


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("fstab", "/mnt/root-RO/etc/keep"),
        ("fstab", "../../../../../etc/keep"),
        ("fstab", "/proc/sys/kernel/hostname"),
        ("fstab", "/dev/ubda"),
        ("fstab", "."),
        ("fstab", "fstab"),
    ],
)
def test_the_copy_of_fstab_stays_inside(rig: Rig, name: str, target: str) -> None:
    """Wherever /etc/fstab leads, the board boots protected, and its disk stays as it was."""

    def change(folder: pathlib.Path) -> None:
        (folder / "etc" / name).unlink()
        (folder / "etc" / name).symlink_to(target)

    disk = rig.root("linked.img", change=change)
    boot = rig.boot_unchanged("root=/dev/ubda", disk, script="cat /proc/sys/kernel/hostname")
    assert_protected(boot)
    assert "overlayroot" not in boot.script
