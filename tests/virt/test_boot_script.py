# SPDX-License-Identifier: MIT
"""The boot script in a real U-Boot: what it makes of variables and files, hundreds of times in one boot.

The outcome is kept in rust/overlayrootctl/tests/boot-script.json, and what `overlayrootctl` says about the
next boot is compared with it (boot_script.rs there). After a change of boot.cmd or of the cases:

    OVERLAYROOT_BLESS=1 scripts/pytest tests/virt -k boot_script
"""

import json
import os
import pathlib
import random
import re
import subprocess
import threading

import uml

RECORD = uml.TOP / "rust/overlayrootctl/tests/boot-script.json"
# Where the disk's partition begins, sectors.
START = 2048
NAMES = ("overlayfs", "ofs-size", "ofs_size", "overlayfs_once", "ofs_default_overlayfs", "ofs_default_size")
# What goes behind these on the command line.
NAMES += ("cma", "ofs-dirty", "ofs_fail", "ofs-fail", "ofs_lock", "ofs-verity", "ofs_verity_error")
VALUES = {
    "overlayfs": "yes|no|off|0|maybe|no overlayfs=yes|yes |no\t|\"no\"|'no'|n\\o|$x".split("|"),
    "ofs-size": "20|20 overlayfs=no|5 overlayfs=on|2\toverlayfs=no|20\"|'20|20\\|1;2|${overlayfs}".split("|"),
    "overlayfs_once": ["no", "yes", "no ", "0"],
    "other": ["64M", "yes overlayfs=no", "x overlayfs=on", "'"],
}
# Lines of a file that are no plain assignments.
LINES = "# a comment|overlayfs|overlayfs=| overlayfs=no|=x|a\\|\toverlayfs=off|overlayfs=no\r|".split("|")


def value(dice: random.Random, name: str) -> str:
    """A value for a variable."""
    kind = name.replace("ofs_default_", "").replace("ofs_size", "ofs-size")
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


def block(number: int, shown: str) -> str:
    """Commands that run the script with a case's variables and files, and print what it has made."""
    settings = {"devtype": "virtio", "devnum": "0", "distro_bootpart": "1", "prefix": f"s{number}/"}
    return f"""
env default -f -a
load virtio 0:1 0x50000000 s{number}/environment
env import -d -b 0x50000000 ${{filesize}}
{"".join(f"setenv {name} {value};" for name, value in settings.items())}
setenv kernel_addr_r 0x41000000; setenv fdt_addr_r 0x43000000; setenv ramdisk_addr_r 0x44000000
load virtio 0:1 0x51000000 ours.scr
source 0x51000000
echo; echo @@{number}; printenv {shown}; echo @@.
"""


def boot(folder: pathlib.Path, every: list[dict], shown: str = "ofs_args") -> dict[int, str]:
    """A variable after the script, by default the kernel command line, of each case by its number."""
    disk = folder / "disk.img"
    with disk.open("wb") as file:
        file.truncate(64 << 20)
    uml.run("sfdisk", "--quiet", disk, stdin=f"{START} - c")
    tree = folder / "tree"
    tree.mkdir()
    (tree / "ours.scr").write_bytes(uml.setting("OVERLAYROOT_BOOT_SCRIPT").read_bytes())
    script = ""
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
        for name, content in case.get("files", {}).items():
            (place / name).write_bytes(content)
        script += block(number, shown)
    (folder / "all.cmd").write_text(script + "\necho @@done\npoweroff\n")
    uml.run(uml.TOP / "scripts/boot-script", tree / "all.scr", folder / "all.cmd")
    uml.run("mkfs.vfat", "--offset", str(START), "-F", "32", disk, str((64 << 10) - START // 2))
    uml.run("mcopy", "-s", "-Q", "-i", f"{disk}@@{START * 512}", *sorted(tree.iterdir()), "::")
    command: list[str | pathlib.Path] = [uml.setting("OVERLAYROOT_QEMU_ARM"), "-M", "virt", "-m", "512"]
    command += ["-nodefaults", "-display", "none", "-no-reboot", "-serial", "stdio"]
    command += ["-bios", uml.setting("OVERLAYROOT_U_BOOT")]
    command += ["-drive", f"if=none,id=d,format=raw,file={disk}", "-device", "virtio-blk-device,drive=d"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        watchdog = threading.Timer(600, process.kill)
        watchdog.start()
        console = b""
        # What is typed before the prompt is there would be lost.
        for expected, typed in (
            (b"any key", b" "),
            (b"=> ", b"virtio scan; load virtio 0:1 0x52000000 all.scr; source 0x52000000\n"),
        ):
            while not console.endswith(expected) and (byte := process.stdout.read(1)):
                console += byte
            process.stdin.write(typed)
            process.stdin.flush()
        console += process.stdout.read()
        watchdog.cancel()
    console = console.decode(errors="replace").replace("\r", "")
    (folder / "console").write_text(console)
    assert "@@done" in console, console[-3000:]
    found = re.findall(rf"^@@(\d+)\n{shown}=(.*?)\n@@\.$", console, re.MULTILINE | re.DOTALL)
    return {int(number): line for number, line in found}


def test_what_u_boot_makes_of_it(tmp_path: pathlib.Path) -> None:
    every = cases()
    lines = boot(tmp_path, every)
    assert lines.keys() == set(range(len(every)))
    for number, case in enumerate(every):
        case["command_line"] = lines[number]
    new = json.dumps(every, indent=1, ensure_ascii=False) + "\n"
    if os.environ.get("OVERLAYROOT_BLESS"):
        RECORD.write_text(new)
    assert new == RECORD.read_text()


def test_hooks_of_boundarys_u_boot(tmp_path: pathlib.Path) -> None:
    """Each runs once, in the order of Boundary's scripts; device tree and command line can be changed."""
    tree = tmp_path / "virt.dtb"
    uml.run(
        uml.setting("OVERLAYROOT_QEMU_ARM"), "-nodefaults", "-display", "none", "-M", f"virt,dumpdtb={tree}"
    )
    files = {"zImage": b"none", "overlayroot.cpio.gz": b"none", "virt.dtb": tree.read_bytes()}
    order = "board custom hdmi lcd lcd2 lvds lvds2 mipi".split()
    # More than what is free in a page.
    long = "x" * 700
    hooks = {
        f"cmd_{name}": f"fdt set / {name} {long}; fdt get value got / {name};"
        f'if test "${{got}}" = {long}; then setenv bootargs ${{bootargs}} {name}; fi'
        for name in reversed(order)
    }
    boots = [
        {"environment": hooks | {"fdt_file": "virt.dtb"}, "files": files},
        {"environment": {"fdt_file": "virt.dtb", "cmd_lvds": hooks["cmd_lvds"]}, "files": files},
        # Nothing runs where nothing boots.
        {"environment": hooks | {"fdt_file": "virt.dtb", "bootargs": "as before"}, "files": {}},
    ]
    ends = [f"ofs-size=20 {' '.join(order)}", "ofs-size=20 lvds", "as before"]
    found = boot(tmp_path, boots, "bootargs")
    assert [found[number].endswith(end) for number, end in enumerate(ends)] == [True] * 3, found
