# SPDX-License-Identifier: MIT
"""`export` on one board, `import` on another one."""

import base64
import io
import json
import pathlib
import tarfile

import uml
from conftest import Rig
from ctlboard import Board, changes

CHANGE = r"""
mkdir -p /srv/app /var/log; echo one >/srv/app/one; busybox ln /srv/app/one /srv/app/two
busybox ln -s '../etc/keep/' /srv/app/link; busybox mkfifo /srv/app/pipe; busybox mknod /srv/app/null c 1 3
busybox chown 70000:7 /srv/app/one; busybox chmod 4751 /srv/app/one
busybox touch -d '2001-02-03 04:05:06' /srv/app/one
echo zwei >/etc/text; rm /etc/conf.d/b; rm -r /etc/gone.d; busybox chmod 700 /data
rm /data/a; mkdir /data/a; echo in >/data/a/in
long=/srv/$(printf 'n%.0s' $(seq 200)); echo long >$long; echo odd >"/srv/$(printf 'a\nb\377')"
echo log >/var/log/log; echo id >/etc/machine-id; mkdir -p /etc/ssh; echo key >/etc/ssh/ssh_host_rsa_key
"""
LOOK = r"""
busybox stat -c '%n %a %u %g %Y %h' /srv/app/one /srv/app/two
busybox readlink /srv/app/link; busybox stat -c '%F %t %T' /srv/app/null /srv/app/pipe /data/a
cat /etc/text /data/a/in; busybox stat -c %a /data; [ -e /etc/conf.d/b ] || echo no b
[ -e /etc/gone.d ] || echo no gone.d
cat /srv/nnn*; ls /srv | busybox cat -v
"""


def moved(rig: Rig, ctl_disk: pathlib.Path, archive: bytes, script: str) -> dict[str, tuple[int, str]]:
    """What a second board makes of an archive, which it has as a disk."""
    disk = rig.folder / "archive.img"
    disk.write_bytes(archive + bytes(-len(archive) % 512))
    second = Board(rig, ctl_disk)
    return second.run(script, more=[disk])


def exported(rig: Rig, ctl_disk: pathlib.Path, script: str) -> tuple[dict[str, tuple[int, str]], bytes]:
    """The archive that a board writes to its second disk, between what it prints."""
    board = Board(rig, ctl_disk)
    disk = rig.folder / "out.img"
    disk.write_bytes(bytes(1 << 20))
    found = board.run(script, more=[disk])
    return found, disk.read_bytes()


def test_the_other_board_has_it_all(rig: Rig, ctl_disk: pathlib.Path) -> None:
    """Every kind of entry and of change; what makes a board that one board stays."""
    found, archive = exported(
        rig,
        ctl_disk,
        f"""{CHANGE}
        echo '<<look'; {LOOK} echo '>>0'
        ctl diff diff --json
        ctl file --json export /tmp/a.tar
        ctl text export /tmp/a.tar
        overlayrootctl export - >/dev/ubdb
        ctl some export /tmp/b.tar /etc/machine-id
        """,
    )
    assert found["file"][0] == 0, found["file"]
    said = json.loads(found["file"][1])
    assert {"/etc/conf.d/b", "/etc/gone.d"} <= set(said["deleted"])
    left_out = {one["path"] for one in said["skipped"]}
    own = {"/etc/machine-id", "/etc/ssh/ssh_host_rsa_key", "/var/log/log"}
    assert own <= left_out and "/srv/app/one" in said["exported"]
    assert "/tmp/a.tar" not in said["exported"]  # it was not there yet; the second time it was
    assert "left out /tmp/a.tar: " in found["text"][1]
    assert "/tmp/b.tar: 1 entries, 0 deletions\n" in found["some"][1]
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        members = {member.name: member for member in tar}
    assert next(iter(members)) == ".overlayroot/manifest.json"
    assert members["etc/conf.d/.wh.b"].size == 0
    assert members["srv/app/two"].islnk() and members["srv/app/link"].linkname == "../etc/keep/"
    assert (members["srv/app/one"].uid, members["srv/app/one"].mode) == (70000, 0o4751)

    there = moved(
        rig,
        ctl_disk,
        archive,
        f"""
        ctl dry import --dry-run /dev/ubdb
        ctl none diff --json
        ctl import --json import - </dev/ubdb
        echo '<<look'; {LOOK} echo '>>0'
        ctl diff diff --json
        ctl commit commit --all
        """,
    )
    assert there["dry"][0] == 0 and "would be imported" in there["dry"][1]
    assert changes(there["none"]) == {}
    assert there["import"][0] == 0, there["import"]
    assert json.loads(there["import"][1])["warnings"] == []
    assert there["look"] == found["look"]

    def of(output: tuple[int, str]) -> dict:
        listed = changes(output).items()
        keep = {path: change["change"] for path, change in listed if path not in own and "/tmp" not in path}
        return {path: how for path, how in keep.items() if path not in ("/var/log", "/var", "/etc/ssh")}

    assert of(there["diff"]) == of(found["diff"])
    assert there["commit"][0] == 0
    assert uml.run("debugfs", "-R", "cat /etc/text", rig.folder / "root.img") == "zwei\n"


def tar(*members: tuple[str, dict, bytes], manifest: bytes | None = None) -> bytes:
    """An archive by hand."""
    out = io.BytesIO()
    own = json.dumps({"format": 1, "overlayrootctl": "x", "image": {}}).encode()
    first = (".overlayroot/manifest.json", {}, own if manifest is None else manifest)
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, fields, content in (first, *members):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for field, value in fields.items():
                setattr(info, field, value)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def test_hostile_and_broken_archives(rig: Rig, ctl_disk: pathlib.Path) -> None:
    """Nothing leads out, and one bad entry keeps all of them away."""
    good = ("srv/good", {}, b"good\n")
    link = {"type": tarfile.SYMTYPE, "linkname": "/etc"}
    bad = {
        "up": tar(good, ("srv/../../etc/keep", {}, b"x")),
        "absolute": tar(good, ("/etc/keep", {}, b"x")),
        "through": tar(good, ("srv/way", link, b""), ("srv/way/keep", {}, b"x")),
        "here": tar(good, ("way/keep", {}, b"x")),
        "hard": tar(good, ("srv/h", {"type": tarfile.LNKTYPE, "linkname": "etc/keep"}, b"")),
        "layers": tar(good, ("mnt/root-RO/x", {}, b"x")),
        "whiteout": tar(good, ("srv/w", {"type": tarfile.CHRTYPE}, b"")),
        "newer": tar(good, manifest=b'{"format": 2, "overlayrootctl": "x", "image": {}}'),
        "other": tar(good, manifest=b"{}"),
        "short": tar(good, ("srv/long", {}, b"x" * 4000))[:3000],
        "noise": b"\xa5" * 2048,
    }
    big = rig.folder / "bad.img"
    offset, script = 0, ""
    blob = b""
    for name, archive in bad.items():
        blocks = -(-len(archive) // 512)
        blob += archive + bytes(blocks * 512 - len(archive))
        script += f"dd if=/dev/ubdb of=/tmp/x bs=512 skip={offset} count={blocks} 2>/dev/null\n"
        # Without the zeros of the block.
        script += f"busybox truncate -s {len(archive)} /tmp/x; ctl {name} import /tmp/x\n"
        offset += blocks
    attribute = {
        "pax_headers": {"LIBARCHIVE.xattr.trusted.x": base64.b64encode(b"a\n\xffb").decode().rstrip("=")}
    }
    fine = tar(("srv/good", attribute, b"good\n"), ("etc/.wh.keep", {}, b""))
    blob += fine
    big.write_bytes(blob + bytes(-len(blob) % 512))
    script += f"dd if=/dev/ubdb of=/tmp/x bs=512 skip={offset} 2>/dev/null; ctl diff diff --json /srv\n"
    script += "ctl keep cat /etc/keep\nctl fine import /tmp/x\n[ -e /etc/keep ] || echo gone\n"
    board = Board(rig, ctl_disk)
    found = board.run(script.replace("ctl keep cat", "cat"), more=[big])
    for name in bad:
        code, text = found[name]
        wanted = 1 if name in ("other", "short", "noise") else 3
        assert code == wanted and "nothing was changed" in text and "remedy: " in text, (name, code, text)
    assert found["diff"][0] == 3 or changes(found["diff"]) == {}
    assert "original" in board.boot.script and board.boot.script.endswith("gone")
    assert found["fine"][0] == 0, found["fine"]
    assert "of another image" in found["fine"][1] or "warning" not in found["fine"][1]
