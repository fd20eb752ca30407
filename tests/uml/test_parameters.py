# SPDX-License-Identifier: MIT
"""The command line: sizes, bad values, repeated words, garbage, other systems' spellings."""

import random

import pytest
from conftest import Rig, assert_protected, assert_writable
from failure_modes import failure

MIB = 1 << 20


def setting(boot, name: str) -> tuple[str, str]:
    """Value and origin of a setting, as the report has them."""
    return next((s["value"], s["origin"]) for s in boot.report["settings"] if s["name"] == name)


def total(boot) -> int:
    """MemTotal, bytes."""
    return int(boot.sections["memory"].split("MemTotal:")[1].split()[0]) << 10


@pytest.mark.parametrize(("size", "percent"), [("20", 20), ("20%", 20), ("40%", 40), ("10", 10)])
def test_percent_of_memory(rig: Rig, size: str, percent: int) -> None:
    boot = rig.boot_unchanged(f"root=/dev/ubda ofs-size={size}")
    assert_protected(boot)
    assert boot.report["upper"]["size_bytes"] == pytest.approx(total(boot) * percent / 100, rel=0.01)
    shown = next(o for o in boot.mounts["/mnt/root-RW"][2] if o.startswith("size="))
    assert int(shown[5:-1]) << 10 == pytest.approx(total(boot) * percent / 100, rel=0.01)
    assert setting(boot, "ofs-size") == (size, "command line")


@pytest.mark.parametrize(
    ("size", "expected"), [("16M", 16 * MIB), ("4096K", 4 * MIB), ("8m", 8 * MIB), ("8388608B", None)]
)
def test_bytes(rig: Rig, size: str, expected: int | None) -> None:
    boot = rig.boot_unchanged(f"root=/dev/ubda ofs-size={size}")
    assert_protected(boot)
    if expected is None:
        assert "cannot be used" in boot.report["warnings"][0]
    else:
        assert boot.report["upper"]["size_bytes"] == expected


@failure(
    "settings",
    "`ofs-size` is more than the board can spare, or too few bytes or inodes to start on",
    "warning: ofs-size is more or less than this board can live with: using … bytes, … inodes",
    "ram",
    "write another; what is used then is in the message",
)
def test_more_than_there_is(rig: Rig) -> None:
    boot = rig.boot_unchanged("root=/dev/ubda ofs-size=64G")
    assert_protected(boot)
    assert boot.report["upper"]["size_bytes"] < total(boot)
    assert boot.report["warnings"]


@failure(
    "running",
    "the RAM layer is full",
    "No space left on device",
    "ram",
    "remove files, `overlayrootctl size --now`, `revert`, or restart "
    "([more](settings.md#when-the-ram-layer-is-full))",
)
def test_full_upper(rig: Rig) -> None:
    """A full RAM layer is an error for who writes, and for nobody else."""
    script = """
        dd if=/dev/zero of=/filler bs=64k; echo "status $?"
        echo more > /etc/new || echo refused
        rm -f /filler; echo again > /etc/new && cat /etc/new
    """
    boot = rig.boot_unchanged("root=/dev/ubda ofs-size=8M", script=script)
    assert_protected(boot)
    assert "No space left on device" in boot.script
    assert boot.script.splitlines()[-1] == "again"


def test_inode_cap(rig: Rig) -> None:
    script = "i=0; while [ $i -lt 500 ]; do echo x > /tmp/$i || break; i=$((i+1)); done; echo $i"
    boot = rig.boot_unchanged("root=/dev/ubda ofs-size=16M,200", script=script)
    assert_protected(boot)
    assert boot.report["upper"]["inodes"] == 200
    assert 150 < int(boot.script.splitlines()[-1]) < 200


BAD = pytest.param(
    "ofs-size=0",
    marks=failure(
        "settings",
        "a value that cannot be used",
        "warning: …=… (command line) cannot be used; accepted: …; using …",
        "ram",
        "correct it; the value from the place before is in force",
    ),
)


@pytest.mark.parametrize(
    "bad",
    [BAD, "ofs-size=", "ofs-size=-5", "ofs-size=101", "ofs-size=20%%", "ofs-size=M", "ofs-size=9e9",
     "ofs-size=99999999999999999999", "ofs-dirty=yes", "ofs-fail=never", "ofs-fail=shell", "ofs-wait=0",
     "overlayfs=", "overlayfs=maybe", "overlayfs=NO?", "ofs-sise=3"],
)  # fmt: skip
def test_bad_value_is_reported_and_protects(rig: Rig, bad: str) -> None:
    boot = rig.boot_unchanged(f"root=/dev/ubda {bad}", script="echo fine")
    assert_protected(boot)
    name = bad.split("=")[0]
    assert any(name in warning for warning in boot.report["warnings"])
    assert any(f"warning: {name}" in line for line in boot.lines)


def test_a_message_may_be_long(rig: Rig) -> None:
    """The kernel log refuses lines of more than some 1000 bytes: they come in parts, no byte is missing."""
    value = "".join(f"{number}-" for number in range(500))
    boot = rig.boot_unchanged(f"root=/dev/ubda overlayfs={value}", script="echo fine")
    assert_protected(boot)
    at = next(at for at, line in enumerate(boot.lines) if line.startswith("warning: overlayfs=0-1-2-"))
    text = "".join(boot.lines[at : at + 3])
    assert f"overlayfs={value} (command line) cannot be used" in text
    assert "".join(boot.report["warnings"]) in text


@pytest.mark.parametrize(
    ("line", "writable"),
    [
        ("overlayfs=no", True),
        ("overlayfs=off", True),
        ("overlayfs=0", True),
        ('overlayfs="no"', True),
        ("overlayfs=yes overlayfs=no", True),
        ("overlayfs=no overlayfs=yes", False),
        ("overlayfs=no overlayfs=rubbish", True),
        ("overlayfs", False),
        ("overlayfs=1", False),
        ("overlayfs=on", False),
        ("OVERLAYFS=no", False),
        ("-- overlayfs=no", False),
    ],
)
def test_switch(rig: Rig, line: str, writable: bool) -> None:
    boot = rig.boot(f"root=/dev/ubda {line}")
    (assert_writable if writable else assert_protected)(boot)


def test_underscores(rig: Rig) -> None:
    boot = rig.boot_unchanged("root=/dev/ubda ofs_size=4M ofs_dirty=frozen")
    assert boot.report["upper"]["size_bytes"] == 4 * MIB
    assert setting(boot, "ofs-dirty") == ("frozen", "command line")


def test_ro_and_rw(rig: Rig) -> None:
    """Protection does not care about them; a writable boot does."""
    assert_protected(rig.boot_unchanged("root=/dev/ubda rw"))
    boot = rig.boot("root=/dev/ubda ro overlayfs=no")
    assert boot.mounts["/"][2][0] == "ro"


def test_origins(rig: Rig) -> None:
    conf = "# the image's\nsize = 10%\ndirty=frozen\nnonsense\ncolour=red\n"
    boot = rig.boot_unchanged("root=/dev/ubda ofs-dirty=replay", initrd=rig.initramfs(conf=conf))
    assert_protected(boot)
    assert setting(boot, "ofs-size") == ("10%", "overlayroot.conf")
    assert setting(boot, "ofs-dirty") == ("replay", "command line")
    assert setting(boot, "ofs-fail") == ("ladder", "built-in default")
    warnings = boot.report["warnings"]
    assert any("nonsense" in warning for warning in warnings)
    assert any("colour (overlayroot.conf) is not known" in warning for warning in warnings)


def test_configuration_can_leave_the_root_writable(rig: Rig) -> None:
    """Protection off by the image's own default, and on by one word."""
    initrd = rig.initramfs(conf="overlayfs=no\n")
    assert_writable(rig.boot("root=/dev/ubda", initrd=initrd))
    assert_protected(rig.boot("root=/dev/ubda overlayfs=yes", initrd=initrd))


@pytest.mark.parametrize(
    ("foreign", "ours"),
    [
        ("overlayroot=tmpfs", "overlayfs=yes"),
        ("overlayroot=disabled", "overlayfs=no"),
        ("rd.overlay=1", "overlayfs=yes"),
        ("rootrw=/dev/sda3", "ofs-size="),
        ("systemd.volatile=overlay", "overlayfs=yes"),
        ("ofs-dev=/dev/ubdb", "RAM only"),
    ],
)
def test_other_systems_spellings(rig: Rig, foreign: str, ours: str) -> None:
    boot = rig.boot_unchanged(f"root=/dev/ubda {foreign}", script="true")
    assert_protected(boot)
    (warning,) = boot.report["warnings"]
    assert warning.startswith(foreign.split("=")[0])
    assert ours in warning


@pytest.mark.parametrize("seed", range(6))
def test_garbage(rig: Rig, seed: int) -> None:
    """Nearly 4 KiB of it, quotes and control characters included: what was said clearly still holds."""
    source = random.Random(seed)
    letters = "abcXYZ019=-_.,:/%\"'\\$`~[]{}()<>|&;*?!@#^+\t\x01\x7f\xc3\xa9"
    words = []
    while sum(map(len, words)) < 2600:
        word = "".join(source.choice(letters) for _ in range(source.randrange(1, 60)))
        # An open quote would swallow what comes after it, for the kernel as for us.
        words.append(word if word.count('"') % 2 == 0 else word.replace('"', ""))
    line = "root=/dev/ubda " + " ".join(words) + " overlayfs=yes ofs-size=4M"
    # The kernel's own handlers for single-word parameters are not what is tested.
    boot = rig.boot_unchanged(line, script="true")
    assert_protected(boot)
    assert boot.report["upper"]["size_bytes"] == 4 * MIB


def test_open_quote_at_the_end(rig: Rig) -> None:
    boot = rig.boot_unchanged('root=/dev/ubda ofs-size=4M ofs-dirty="frozen', script="true")
    assert_protected(boot)
    assert boot.report["upper"]["size_bytes"] == 4 * MIB


@pytest.mark.parametrize(
    ("own", "protected"),
    [
        ("overlayfs=no", True),
        ("x --", True),
        ('"x', True),
        # Nothing that would take it back is seen.
        ("overlayfs=no -- x", False),
        ('overlayfs=no "x', False),
    ],
)
def test_words_of_the_owner_between_those_of_the_boot_script(rig: Rig, own: str, protected: bool) -> None:
    """As boot.cmd makes the line: its words come twice, and bootargs may hide the second time."""
    words = "panic=1 overlayfs=yes ofs-size=16M"
    boot = rig.boot(f"ofs-root=/dev/ubda {words} {own} quiet {words} root=")
    if protected:
        assert_protected(boot)
    else:
        assert_writable(boot)
        assert boot.verdict.endswith("overlayfs=no from the command line")


def test_kernel_that_mounts_the_root_itself(rig: Rig) -> None:
    """A writable boot without an initramfs, as boot.cmd asks for it: also without a root it has an end."""
    boot = rig.machine.boot(None, [rig.root()], "root=/dev/ubda rootdelay=1 panic=1 rw")
    assert boot.mounts["/"][:2] == ("/dev/root", "ext4")
    boot = rig.machine.boot(None, [rig.root()], "root=/dev/ubdg rootdelay=1 panic=1", timeout=120)
    assert "Unable to mount root fs" in boot.console
    assert boot.sections == {}
