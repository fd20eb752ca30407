# SPDX-License-Identifier: MIT
"""The boot script in a real U-Boot: what it makes of variables and files, hundreds of times in one boot.

The outcome is kept in rust/overlayrootctl/tests/boot-script.json, and what `overlayrootctl` says about the
next boot is compared with it (boot_script.rs there). After a change of boot.cmd or of the cases:

    OVERLAYROOT_BLESS=1 scripts/pytest tests/virt -k boot_script
"""

import contextlib
import json
import os
import pathlib
import random
import re
import struct
import subprocess
import threading
import time
from collections.abc import Iterator

import pytest
import uml

RECORD = uml.TOP / "rust/overlayrootctl/tests/boot-script.json"
# Where the disk's partition begins, sectors.
START = 2048
NAMES = ("overlayfs", "ofs-size", "ofs_size", "overlayfs_once", "ofs_default_overlayfs", "ofs_default_size")
# What goes behind these on the command line, and the owner's own words between.
NAMES += ("bootargs", "ofs_bootargs")
NAMES += ("cma", "ofs-dirty", "ofs_fail", "ofs-fail", "ofs_lock", "ofs-verity", "ofs_verity_error")
VALUES = {
    "overlayfs": "yes|no|off|0|maybe|no overlayfs=yes|yes |no\t|\"no\"|'no'|n\\o|$x".split("|"),
    "ofs-size": "20|20 overlayfs=no|5 overlayfs=on|2\toverlayfs=no|20\"|'20|20\\|1;2|${overlayfs}".split("|"),
    "bootargs": 'quiet|a="b c" d|overlayfs=no|x -- y|overlayfs=no -- x|"x|overlayfs=no "x|root=/dev/x|'
    "a;b & c|it's|b\\c|$x|ofs-size=9  --".split("|"),
    "overlayfs_once": ["no", "yes", "no ", "0"],
    "other": ["64M", "yes overlayfs=no", "x overlayfs=on", "'"],
}
# Lines of a file that are no plain assignments.
LINES = "# a comment|overlayfs|overlayfs=| overlayfs=no|=x|a\\|\toverlayfs=off|overlayfs=no\r|".split("|")


def value(dice: random.Random, name: str) -> str:
    """A value for a variable."""
    kind = (
        name.replace("ofs_default_", "").replace("ofs_size", "ofs-size").replace("ofs_bootargs", "bootargs")
    )
    return dice.choice(VALUES.get("ofs-size" if kind == "size" else kind, VALUES["other"]))


def text(dice: random.Random) -> str:
    """A file of a boot partition."""
    lines = []
    for _ in range(dice.randrange(5)):
        name = dice.choice(NAMES)
        lines.append(dice.choice(LINES) if dice.random() < 0.3 else f"{name}={value(dice, name)}")
    return "".join(f"{line}\n" for line in lines)[: None if dice.random() < 0.9 else -1]


def cases() -> list[dict]:
    """Environment, overlayroot.env and uEnv.txt of each case; a file may be missing."""
    dice = random.Random(20261125)
    plain: list[dict] = [
        {"environment": {name: one}} for name in NAMES for one in VALUES.get(name, ["no", "no overlayfs=no"])
    ]
    for _ in range(320):
        names = dice.sample(NAMES, dice.randrange(4))
        case: dict = {"environment": {name: value(dice, name) for name in names}}
        if dice.random() < 0.6:
            case["overlayroot.env"] = text(dice)
        if dice.random() < 0.6:
            case["uEnv.txt"] = text(dice)
        plain.append(case)
    return plain


ADDRESSES = {"kernel": "0x41000000", "fdt": "0x43000000", "ramdisk": "0x44000000"}


def block(number: int, shown: str, addresses: dict[str, str]) -> str:
    """Commands that run the script with a case's variables and files, and print what it has made.

    `shown` is printed before the kernel is started, by the last of Boundary's hooks. Memory holds no part of
    an initramfs: what was there before would complete one that is cut off, and that one is whole then.
    """
    settings = {"devtype": "virtio", "devnum": "0", "distro_bootpart": "1", "prefix": f"s{number}/"}
    return f"""
env default -f -a
load virtio 0:1 0x50000000 s{number}/environment
env import -d -b 0x50000000 ${{filesize}}
{"".join(f"setenv {name} {value};" for name, value in settings.items())}
{"".join(f"setenv {name}_addr_r {address};" for name, address in addresses.items())}
env exists fdt_file || setenv fdt_file virt.dtb
setenv cmd_mipi 'echo; echo @@{number}; printenv {shown}; echo @@.'
load virtio 0:1 0x51000000 ours.scr
mw.b 0x44000000 5a 8000
source 0x51000000
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Files of a boot partition whose kernel U-Boot refuses to start, so that the script comes to its end."""
    folder = tmp_path_factory.mktemp("files")
    uml.run(uml.setting("OVERLAYROOT_QEMU_ARM"), *QUIET, "-M", f"virt,dumpdtb={folder / 'tree'}")
    tree = (folder / "tree").read_bytes()
    # Without the room that QEMU leaves in it: 365 of them have to fit (Devicetree Specification, 5.2).
    (at,), (length,) = struct.unpack_from(">I", tree, 12), struct.unpack_from(">I", tree, 32)
    tree = tree[:4] + struct.pack(">I", at + length) + tree[8 : at + length]
    (folder / "init").write_bytes(b"no program")
    pack = [uml.TOP / "scripts/mkinitramfs", "--init", folder / "init", "--output", folder / "i.uInitrd"]
    uml.run(*pack)
    return {
        "zImage": b"none",
        "virt.dtb": tree,
        "overlayroot.uInitrd": (folder / "i.uInitrd").read_bytes(),
    }


QUIET = ("-nodefaults", "-display", "none")


class Console:
    """What a machine writes to its serial line, and what is typed there."""

    def __init__(self, process: subprocess.Popen) -> None:
        """The machine is a process whose standard input and output are the line."""
        self.process = process
        self.text = bytearray()

    def expect(self, *wanted: bytes) -> bytes:
        """Waits for one of these, which is returned; empty at the end of the machine."""
        while byte := self.process.stdout.read(1):
            self.text += byte
            for one in wanted:
                if self.text.endswith(one):
                    return one
        return b""

    def prompt(self) -> None:
        """Stops a U-Boot that has just begun."""
        # What is typed before the prompt is there would be lost.
        self.expect(b"any key")
        self.type(b" ")
        self.expect(b"=> ")
        self.run("virtio scan")

    def run(self, command: str) -> str:
        """Types a command and waits for the next prompt; what it has printed."""
        self.type(command.encode() + b"\n")
        before = len(self.text)
        assert self.expect(b"=> "), bytes(self.text[-3000:])
        return self.text[before:].decode(errors="replace").replace("\r", "")

    def type(self, text: bytes) -> None:
        """Types text."""
        self.process.stdin.write(text)
        self.process.stdin.flush()


@contextlib.contextmanager
def machine(folder: pathlib.Path, tree: pathlib.Path) -> Iterator[Console]:
    """A machine at U-Boot's prompt; what is in `tree` is on its disk. Ends after ten minutes at most."""
    disk = folder / "disk.img"
    with disk.open("wb") as file:
        file.truncate(64 << 20)
    uml.run("sfdisk", "--quiet", disk, stdin=f"{START} - c")
    uml.run("mkfs.vfat", "--offset", str(START), "-F", "32", disk, str((64 << 10) - START // 2))
    uml.run("mcopy", "-s", "-Q", "-i", f"{disk}@@{START * 512}", *sorted(tree.iterdir()), "::")
    command: list[str | pathlib.Path] = [
        uml.setting("OVERLAYROOT_QEMU_ARM"),
        *QUIET,
        "-M",
        "virt",
        "-m",
        "512",
    ]
    command += ["-serial", "stdio", "-bios", uml.setting("OVERLAYROOT_U_BOOT")]
    command += ["-drive", f"if=none,id=d,format=raw,file={disk}", "-device", "virtio-blk-device,drive=d"]
    # U-Boot's environment is in the second flash.
    flash = folder / "flash.img"
    with flash.open("wb") as file:
        file.truncate(64 << 20)
    command += ["-drive", f"if=pflash,unit=1,format=raw,file={flash}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        watchdog = threading.Timer(600, process.kill)
        watchdog.start()
        console = Console(process)
        try:
            console.prompt()
            yield console
        finally:
            watchdog.cancel()
            process.kill()
            (folder / "console").write_bytes(console.text.replace(b"\r", b""))


def boot(folder: pathlib.Path, every: list[dict], shown: str = "bootargs") -> tuple[dict[int, str], str]:
    """A variable of each case, by its number, when the kernel is started; and the whole console.

    By default it is the command line. Ctrl-C ends each pause.
    """
    tree = folder / "tree"
    tree.mkdir()
    (tree / "ours.scr").write_bytes(uml.setting("OVERLAYROOT_BOOT_SCRIPT").read_bytes())
    for number, case in enumerate(every):
        place = tree / f"s{number}"
        place.mkdir()
        variables = b"".join(f"{name}={value}\0".encode() for name, value in case["environment"].items())
        (place / "environment").write_bytes(variables + b"\0")
        # Where RAM is on this machine.
        own = "ofs_ram=0x4\n" + case.get("overlayroot.env", "")
        (place / "overlayroot.env").write_bytes(own.encode())
        if "uEnv.txt" in case:
            (place / "uEnv.txt").write_bytes(case["uEnv.txt"].encode())
        for name, content in case["files"].items():
            (place / name).write_bytes(content)
        (folder / "case.cmd").write_text(block(number, shown, case.get("addresses", ADDRESSES)))
        uml.run(uml.TOP / "scripts/boot-script", place / "case.scr", folder / "case.cmd")
    with machine(folder, tree) as console:
        for number in range(len(every)):
            # Not one script for all: after Ctrl-C no loop works until the next prompt.
            console.type(f"load virtio 0:1 0x52000000 s{number}/case.scr; source 0x52000000\n".encode())
            console.expect(b"Ctrl-C stops that")
            console.type(b"\x03")
            assert console.expect(b"=> "), console.text[-3000:]
        text = console.text.decode(errors="replace").replace("\r", "")
    found = re.findall(rf"^@@(\d+)\n{shown}=(.*?)\n@@\.$", text, re.MULTILINE | re.DOTALL)
    return {int(number): line for number, line in found}, text


def test_what_u_boot_makes_of_it(tmp_path: pathlib.Path, files: dict[str, bytes]) -> None:
    every = cases()
    lines, _ = boot(tmp_path, [case | {"files": files} for case in every])
    assert lines.keys() == set(range(len(every)))
    for number, case in enumerate(every):
        case["command_line"] = lines[number]
    new = json.dumps(every, indent=1, ensure_ascii=False) + "\n"
    if os.environ.get("OVERLAYROOT_BLESS"):
        RECORD.write_text(new)
    assert new == RECORD.read_text()


def test_hooks_of_boundarys_u_boot(tmp_path: pathlib.Path, files: dict[str, bytes]) -> None:
    """Each runs once, in the order of Boundary's scripts; device tree and command line can be changed."""
    order = "board custom hdmi lcd lcd2 lvds lvds2".split()
    # More than what is free in a page.
    long = "x" * 700
    hooks = {
        f"cmd_{name}": f"fdt set / {name} {long}; fdt get value got / {name};"
        f'if test "${{got}}" = {long}; then setenv bootargs ${{bootargs}} {name}; fi'
        for name in reversed(order)
    }
    boots = [
        {"environment": hooks, "files": files},
        {"environment": {"cmd_lvds": hooks["cmd_lvds"]}, "files": files},
        # Nothing runs where nothing boots.
        {"environment": hooks, "files": {}},
    ]
    found, _ = boot(tmp_path, boots)
    assert found.keys() == {0, 1}
    assert found[0].endswith(f"root= {' '.join(order)}") and found[1].endswith("root= lvds")


PAUSE = "overlayroot: nothing boots: restart in 10 s. Ctrl-C stops that"


def variables(console: Console) -> dict[str, str]:
    """U-Boot's variables, less those that any load sets."""
    lines = console.run("printenv").split("\n")
    pairs = dict(line.split("=", 1) for line in lines if "=" in line)
    return {name: pairs[name] for name in pairs if name not in ("filesize", "fileaddr")}


def test_what_saveenv_keeps(tmp_path: pathlib.Path, files: dict[str, bytes]) -> None:
    """A boot that fails, saveenv, another image: nothing of the first one is left."""
    first = "ofs_ram=0x4\nofs_root=PARTUUID=first\nofs_verity=abc@512\nofs_bootargs=first\n"
    first += "ofs_default_overlayfs=no\nofs_default_size=30\nofs_console=ttyfirst0\nofs_fdt=first.dtb\n"
    owners = "overlayfs=on\nofs-lock=yes\nofs_fail=reboot\nbootargs=replaced\nfdt_file=virt.dtb\n"
    tree = tmp_path / "tree"
    for name, content in {
        "s0": files | {"overlayroot.env": first.encode(), "uEnv.txt": owners.encode()},
        "s1": {"overlayroot.env": first.encode(), "uEnv.txt": owners.encode()},
        "s2": files | {"overlayroot.env": b"ofs_ram=0x4\nofs_root=PARTUUID=other\nofs_fdt=virt.dtb\n"},
    }.items():
        (tree / name).mkdir(parents=True)
        for file, data in content.items():
            (tree / name / file).write_bytes(data)
    (tree / "ours.scr").write_bytes(uml.setting("OVERLAYROOT_BOOT_SCRIPT").read_bytes())

    def run_script(console: Console, prefix: str) -> str:
        console.type(
            f"setenv prefix {prefix}/; load virtio 0:1 0x51000000 ours.scr; source 0x51000000\n".encode()
        )
        before = len(console.text)
        assert console.expect(PAUSE.encode())
        console.type(b"\x03")
        assert console.expect(b"=> ")
        return console.text[before:].decode(errors="replace").replace("\r", "")

    with machine(tmp_path, tree) as console:
        console.run("setenv devtype virtio; setenv devnum 0; setenv distro_bootpart 1; setenv prefix s0/")
        console.run("setenv bootargs \"mine 'and mine'\"; setenv cmd_mipi 'echo @@; printenv bootargs'")
        before = variables(console)
        assert "PARTUUID=first" in run_script(console, "s0").split("@@\n")[1]
        assert variables(console) == before
        assert "no zImage" in run_script(console, "s1")
        assert variables(console) == before | {"prefix": "s1/"}
        assert "OK" in console.run("saveenv")
        console.type(b"reset\n")
        console.prompt()
        assert variables(console) == before | {"prefix": "s1/"}
        line = run_script(console, "s2").split("@@\n")[1].split("\n")[0]
        ours = "panic=10 overlayfs=yes ofs-size=20"
        assert line.startswith(f"bootargs=ofs-root=PARTUUID=other {ours} mine ")
        assert line.endswith(f" console=ttymxc1,115200 {ours} root=")
        assert "first" not in line and "lock" not in line


def test_nobody_is_there(tmp_path: pathlib.Path) -> None:
    """A boot partition without a kernel: a message, a pause, and the board starts again by itself."""
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "ours.scr").write_bytes(uml.setting("OVERLAYROOT_BOOT_SCRIPT").read_bytes())
    with machine(tmp_path, tree) as console:
        console.run("setenv devtype virtio; setenv devnum 0")
        console.type(b"load virtio 0:1 0x51000000 ours.scr; source 0x51000000\n")
        assert console.expect(PAUSE.encode())
        began = time.monotonic()
        assert console.expect(b"U-Boot 20", b"=> ") == b"U-Boot 20"
        assert 5 < time.monotonic() - began < 60


def damages(whole: bytes, count: int) -> Iterator[bytes]:
    """Ways in which an initramfs for U-Boot may be damaged."""
    dice = random.Random(20261127)
    yield from (b"", whole[:63], whole[:64], whole[:-1], whole[64:], whole[64:] + whole[:64], bytes(9000))
    yield from (b"\xff" * 9000, bytes(64) + whole[64:], b"\xff" * 64 + whole[64:])
    for _ in range(count):
        data = bytearray(whole)
        at = dice.randrange(64) if dice.random() < 0.4 else dice.randrange(len(data))
        match dice.randrange(3):
            case 0:
                data[at] ^= 1 << dice.randrange(8)
            case 1:
                del data[at:]
            case 2:
                length = dice.randrange(1, 64)
                new = dice.choice([bytes(length), b"\xff" * length, dice.randbytes(length)])
                data[at : at + length] = new
        if data[: len(whole)] != whole:
            yield bytes(data)


def test_no_damaged_initramfs_is_used(tmp_path: pathlib.Path, files: dict[str, bytes]) -> None:
    """U-Boot refuses each, writable boots included; an initramfs that is whole is used."""
    whole = files["overlayroot.uInitrd"]
    cases = [
        {"environment": {"overlayfs": "no"} if at % 2 else {}, "files": files | {"overlayroot.uInitrd": data}}
        for at, data in enumerate(damages(whole, 60))
    ]
    found, console = boot(tmp_path, [*cases, {"environment": {}, "files": files}])
    assert found.keys() == {len(cases)}
    assert console.count("ERROR: overlayroot.uInitrd on virtio 0:1 is damaged: write it anew") == len(cases)


def test_without_an_initramfs(tmp_path: pathlib.Path, files: dict[str, bytes]) -> None:
    """Only a writable boot goes without; then alone the kernel gets a root, and a wait that ends."""
    bare = {name: files[name] for name in files if name != "overlayroot.uInitrd"}
    cases = [
        {
            "environment": {"overlayfs": overlayfs},
            "overlayroot.env": f"ofs_root=/dev/vda2\n{more}",
            "files": bare,
        }
        for overlayfs, more in (("no", ""), ("yes", ""), ("no", "ofs_verity=x@1\n"), ("nothing", ""))
    ]
    found, _ = boot(tmp_path, cases)
    assert found.keys() == {0}
    words = found[0].split()
    assert words[:2] == words[-2:] == ["root=/dev/vda2", "rootdelay=5"]
    assert not [word for word in words if word.startswith(("ofs-root", "rootwait"))]


def test_where_ram_begins(tmp_path: pathlib.Path, files: dict[str, bytes]) -> None:
    """overlayroot.env says where, for a U-Boot that has no addresses for these files."""
    case = {"environment": {"loadaddr": "0x50000000"}, "addresses": {}, "files": files}
    found, console = boot(tmp_path, [case], "kernel_addr_r")
    assert found == {0: "0x42000000"}
    assert "Checking Image at 48100000" in console


def test_words_of_overlayroot_boot(tmp_path: pathlib.Path, files: dict[str, bytes]) -> None:
    """What it passes on of a command line arrives as it is: quotes, blanks, signs of shells, many words."""
    words = 'dyndbg="file x +p; module  y" "a b=c d" rootflags=subvol=/@ a;b $c &d |e <f> #g *h [i] k=~ `l`'
    many = " ".join(f"w{number}" for number in range(90))
    lines, _ = boot(
        tmp_path,
        [
            {"environment": {}, "overlayroot.env": f"ofs_bootargs={text}\n", "files": files}
            for text in (words, many)
        ],
    )
    for number, text in enumerate((words, many)):
        before, found, after = lines[number].partition(f" {text} ")
        assert found, lines[number]
        assert "overlayfs=yes" in before and "overlayfs=yes" in after
