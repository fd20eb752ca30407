# SPDX-License-Identifier: MIT
"""A verified root: dm-verity of a real kernel under the overlay, and what becomes of a changed byte."""

import dataclasses
import json
import pathlib
from collections.abc import Callable

import pytest
import uml
from conftest import Rig, assert_gave_up
from overlayroot import verity

MODULES = {"ext4": [], "squashfs": ["squashfs"], "erofs": ["erofs"]}
# Not compressible, so that squashfs and erofs keep it as it is.
BIG = bytes((n * n * 7 + (n >> 8) * 13) & 0xFF for n in range(1 << 18))


def with_big_file(folder: pathlib.Path) -> None:
    (folder / "big").write_bytes(BIG)


@dataclasses.dataclass
class Sealed:
    """A root with its hash tree."""

    disk: pathlib.Path
    word: str
    offset: int

    def change(self, at: int, value: bytes) -> None:
        """Changes bytes behind the kernel's back."""
        with self.disk.open("r+b") as file:
            file.seek(at)
            assert file.read(len(value)) != value
            file.seek(at)
            file.write(value)

    def change_big_file(self) -> None:
        """A byte in the middle of /big."""
        piece = BIG[1 << 17 : (1 << 17) + 64]
        at = self.disk.read_bytes().index(piece)
        self.change(at, bytes([piece[0] ^ 1]))


@pytest.fixture
def sealed(rig: Rig) -> Callable[..., Sealed]:
    """Makes a root that is sealed as an image is."""

    def make(fstype: str = "ext4") -> Sealed:
        options = {"squashfs": ["-noD", "-noF"], "erofs": []}.get(fstype, [])
        plain = rig.root("plain.img", fstype=fstype, change=with_big_file, options=options)
        word = verity.seal(plain, rig.folder / "root.img")
        return Sealed(rig.folder / "root.img", word, int(word.partition("@")[2]))

    return make


def boot(rig: Rig, root: Sealed, line: str = "", fstype: str = "ext4", **options) -> uml.Boot:
    """Boots with the root hash on the command line, unless `line` has another."""
    if "ofs-verity=" not in line and "conf" not in options:
        line = f"ofs-verity={root.word} {line}"
    modules = ["dm-mod", "dm-bufio", "dm-verity", *MODULES[fstype], "overlay"]
    initrd = rig.initramfs(modules=options.pop("modules", modules), conf=options.pop("conf", None))
    return rig.boot(f"root=/dev/ubda ofs-reboot-delay=1 {line}".strip(), [root.disk], initrd, **options)


def assert_verified(found: uml.Boot, fstype: str = "ext4") -> None:
    """`/` is RAM over a device whose blocks are verified, and everything that says so agrees."""
    assert found.verdict.startswith(f"protected: / is RAM over read-only /dev/ubda, {fstype}, verified;")
    source, lower_type, options = found.mounts["/mnt/root-RO"]
    assert (source, lower_type, options[0]) == ("/dev/mapper/overlayroot", fstype, "ro")
    report = found.report
    assert (report["reached"], report["protected"]) == ("ram", True)
    assert report["root"]["device"] == "/dev/ubda"
    assert report["root"]["verity"]["device"] == "/dev/mapper/overlayroot"


@pytest.mark.parametrize("fstype", MODULES)
def test_verified_root(rig: Rig, sealed: Callable[..., Sealed], fstype: str) -> None:
    root = sealed(fstype)
    before = uml.sha256(root.disk)
    script = """sha256sum </big; echo x >/etc/new; cat /etc/new
    cat /sys/block/ubda/ro /sys/block/dm-0/ro
    mount -o remount,rw /mnt/root-RO || echo refused
    for to in /dev/ubda /dev/mapper/overlayroot; do echo x 2>/dev/null >$to || echo no; done
    sync; set -- $(cat /sys/block/ubda/stat); echo "$5 writes, ${12} discards, ${16} flushes" """
    found = boot(rig, root, fstype=fstype, script=script)
    assert_verified(found, fstype)
    assert found.report["warnings"] == []
    digest, *rest = found.script.splitlines()
    assert digest.split()[0] == verity.hashlib.sha256(BIG).hexdigest()
    assert rest[:3] == ["x", "1", "1"]
    assert "refused" in rest
    assert rest.count("no") == 2
    assert rest[-1] == "0 writes, 0 discards, 0 flushes"
    assert uml.sha256(root.disk) == before


def test_changed_byte_cannot_be_read(rig: Rig, sealed: Callable[..., Sealed]) -> None:
    """The kernel says EIO, and everything else goes on."""
    root = sealed()
    root.change_big_file()
    script = "cat /big >/dev/null || echo noticed; cat /etc/keep"
    found = boot(rig, root, script=script)
    assert_verified(found)
    said = found.script.splitlines()
    assert "cat: read error: Input/output error" in said
    assert ["noticed", "original"] == [line for line in said if " " not in line]
    assert "device-mapper: verity: 98:0: data block" in found.sections["log"] + found.console


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ("restart", "dm-verity device corrupted"),
        ("panic", "Kernel panic - not syncing: dm-verity device corrupted"),
    ],
)
def test_changed_byte_stops_the_board(
    rig: Rig, sealed: Callable[..., Sealed], policy: str, said: str
) -> None:
    root = sealed()
    root.change_big_file()
    found = boot(rig, root, f"ofs-verity-error={policy}", script="cat /big >/dev/null; echo still here")
    assert said in found.console
    assert "script" not in found.sections
    # Not one block more was read than was asked for: without the file it runs.
    found = boot(rig, root, f"ofs-verity-error={policy}", script="echo still here")
    assert_verified(found)


def test_tool_refuses_and_sees(rig: Rig, ctl_disk: pathlib.Path) -> None:
    """commit and edit are refused with the remedy; status shows what was read."""

    def status(found: uml.Boot) -> dict:
        return json.loads(found.script[found.script.index("{") :])

    word = verity.seal(ctl_disk, rig.folder / "root.img")
    root = Sealed(rig.folder / "root.img", word, 0)
    script = """echo x >/etc/x; overlayrootctl commit /etc/x 2>&1 || echo "code $?"
    overlayrootctl edit -- true 2>&1 || echo "code $?"
    overlayrootctl status; overlayrootctl --json status"""
    found = boot(rig, root, script=script, memory=192)
    assert_verified(found)
    assert found.script.count("is verified (ofs-verity=): with one block changed") == 2
    assert found.script.count("build and install a new image") == 2
    # `edit` has codes that are not its command's.
    assert (found.script.count("code 3"), found.script.count("code 125")) == (1, 1)
    assert "/dev/ubda is verified: no changed block was read" in found.script
    seen = status(found)
    assert (seen["level"], seen["disagreements"]) == ("ok", [])
    assert seen["root"]["verity"] == {"device": "/dev/ubda", "corrupted": False}
    root.change(root.disk.read_bytes().index(b"data b\n"), b"X")
    script = "cat /data/b; overlayrootctl status --check || echo code $?; overlayrootctl --json status"
    found = boot(rig, root, script=script, memory=192)
    assert "CRITICAL" in found.script and "code 2" in found.script
    assert status(found)["root"]["verity"]["corrupted"] is True


def test_unverified_control(rig: Rig, sealed: Callable[..., Sealed]) -> None:
    """The same byte without dm-verity: nobody notices."""
    root = sealed()
    root.change_big_file()
    found = rig.boot("root=/dev/ubda", [root.disk], script="cat /big >/dev/null && sha256sum </big")
    assert found.verdict.startswith("protected: / is RAM over read-only /dev/ubda, ext4;")
    assert found.report["root"]["verity"] is None
    assert found.script.split()[0] != verity.hashlib.sha256(BIG).hexdigest()


def test_changed_hash_block(rig: Rig, sealed: Callable[..., Sealed]) -> None:
    """The first block of the tree is its top: nothing can be read, and nothing is booted."""
    root = sealed()
    root.change(root.offset + 4096 + 100, b"\xff\xff")
    found = boot(rig, root)
    assert_gave_up(found, "the file system is damaged, or ofs-verity= is of another one")


def test_other_root_hash(rig: Rig, sealed: Callable[..., Sealed]) -> None:
    root = sealed()
    word = ("1" if root.word[0] == "0" else "0") + root.word[1:]
    found = boot(rig, root, f"ofs-verity={word}")
    assert_gave_up(found, "the file system is damaged, or ofs-verity= is of another one")
    # The wish for a writable boot changes nothing.
    found = boot(rig, root, f"ofs-verity={word} overlayfs=no")
    assert_gave_up(found, "the file system is damaged, or ofs-verity= is of another one")


@pytest.mark.parametrize("word", ["no", "0123@512"])
def test_unusable_root_hash_never_means_unverified(
    rig: Rig, sealed: Callable[..., Sealed], word: str
) -> None:
    found = boot(rig, sealed(), f"ofs-verity={word}")
    assert_gave_up(found, "the root cannot be verified: no usable root hash; check ofs-verity=")


def test_cut_off_hash_tree(rig: Rig, sealed: Callable[..., Sealed]) -> None:
    root = sealed()
    with root.disk.open("r+b") as file:
        file.truncate(root.offset + 4096)
    assert_gave_up(boot(rig, root), "E2BIG; the hash tree is cut off")


@pytest.mark.parametrize("at", [0, 32], ids=["magic", "digest"])
def test_damaged_superblock(rig: Rig, sealed: Callable[..., Sealed], at: int) -> None:
    root = sealed()
    root.change(root.offset + at, b"\x07")
    assert_gave_up(boot(rig, root), "no superblock of a hash tree (version 1, sha256) is there")


def test_kernel_without_dm_verity(rig: Rig, sealed: Callable[..., Sealed]) -> None:
    root = sealed()
    found = boot(rig, root, modules=["dm-mod", "overlay"])
    assert_gave_up(found, "EINVAL; the kernel needs CONFIG_DM_VERITY")
    found = boot(rig, root, modules=["overlay"])
    assert_gave_up(found, "; the kernel needs CONFIG_DM_VERITY")


def test_nothing_can_be_written(rig: Rig, sealed: Callable[..., Sealed]) -> None:
    """`overlayfs=no` comes up with the plain root, read-only and verified, and says why."""
    root = sealed()
    before = uml.sha256(root.disk)
    found = boot(rig, root, "overlayfs=no", script="echo x >/etc/new || echo refused; cat /etc/keep")
    assert "a verified root cannot be written; write a new image instead" in found.console
    assert found.verdict.startswith(
        "error: DEGRADED: / is the plain read-only root (/dev/ubda, ext4, verified)"
    )
    assert found.mounts["/"][0] == "/dev/mapper/overlayroot"
    assert found.script.splitlines()[-2:] == ["refused", "original"]
    assert uml.sha256(root.disk) == before


def test_without_overlay_it_is_verified_too(rig: Rig, sealed: Callable[..., Sealed]) -> None:
    """The rung below takes the device away and makes it anew."""
    found = boot(rig, sealed(), modules=["dm-mod", "dm-bufio", "dm-verity"])
    assert found.verdict.startswith(
        "error: DEGRADED: / is the plain read-only root (/dev/ubda, ext4, verified)"
    )
    steps = [step["step"].split(":")[0] for step in found.report["steps"]]
    assert steps.count("verify /dev/ubda as /dev/mapper/overlayroot") == 2
    assert "undo" in steps


def test_root_hash_of_the_initramfs_stays(rig: Rig, sealed: Callable[..., Sealed]) -> None:
    root = sealed()
    other = "f" * 64 + "@4096"
    found = boot(rig, root, f"ofs-verity={other}", conf=f"verity={root.word}\nverity-error=restart\n")
    assert_verified(found)
    (warning,) = found.report["warnings"]
    assert warning.startswith(f"ofs-verity={other} (command line) cannot be used")
    settings = {s["name"]: (s["value"], s["origin"]) for s in found.report["settings"]}
    assert settings["ofs-verity"] == (root.word, "overlayroot.conf")
    assert settings["ofs-verity-error"] == ("restart", "overlayroot.conf")


def test_journal_is_not_replayed(rig: Rig, sealed: Callable[..., Sealed]) -> None:
    """An image that was sealed with a journal to recover is mounted without it, whatever ofs-dirty= says."""
    plain = rig.root("plain.img")
    script = "echo new > /etc/new; sync; echo newer > /etc/new; sync"
    rig.boot("root=/dev/ubda overlayfs=no", [plain], script=script)
    assert "needs_recovery" in uml.run("dumpe2fs", "-h", plain)
    word = verity.seal(plain, rig.folder / "root.img")
    root = Sealed(rig.folder / "root.img", word, 0)
    found = boot(rig, root)
    assert_verified(found)
    assert "but the device is read-only: mounted without the journal" in found.report["warnings"][0]
    assert "noload" in found.mounts["/mnt/root-RO"][2] or "norecovery" in found.mounts["/mnt/root-RO"][2]
