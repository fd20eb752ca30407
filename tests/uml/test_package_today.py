# SPDX-License-Identifier: MIT
"""overlayroot-boot looks at what boots the board today: what the next boot would not do is refused or noted.

"The next boot is protected" is said only when everything was looked at.
"""

import json
import pathlib
import re
import shutil
import subprocess
from collections.abc import Callable

import pytest
import uml
from makebelieve import (
    BOOTED,
    CONFIG,
    MODEL,
    MOUNTS,
    TREE,
    Fake,
    device_tree,
    link,
    script,
    write,
)

PROTECTED = "the next boot is protected"
CAREFUL = "It was not found out:"


def settings(fake: Fake) -> dict[str, str]:
    """What boot.cmd imports."""
    lines = (fake.boot / "overlayroot.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if not line.startswith("#"))


def old(fake: Fake, text: str) -> None:
    """Today's boot script."""
    write(fake.boot / "boot.scr", script(text))


BOOTS = "load mmc 0 1 zImage; load mmc 0 2 right.dtb; bootz 1 - 2\n"


def test_all_was_looked_at(fake: Fake) -> None:
    """With and without U-Boot's environment."""
    said = fake.run("install")
    assert f"{PROTECTED}, unless U-Boot's own variables, which cannot be read here, say otherwise" in said
    fake.run("uninstall")
    fake.environment(bootdelay="1")
    assert f"{PROTECTED}. Undo" in fake.run("install")


@pytest.mark.parametrize(
    ("line", "words", "note"),
    [
        ('dyndbg="file x +p" vendor=1', 'dyndbg="file x +p" vendor=1', ""),
        ('"dyndbg=file x +p; module y +p" root="/dev/x y" v', '"dyndbg=file x +p; module y +p" v', ""),
        ('a="open  end', 'a="open  end"', ""),
        (
            "quiet resume=/dev/x resume_offset=3 v",
            "quiet v",
            "resume=/dev/x of the command line is not passed on",
        ),
        ("break=mount v", "v", "break=mount of the command line is not passed on"),
        ("cryptdevice=UUID=1:r rd.luks.uuid=2 v", "v", "encrypted devices"),
        ("zfs=pool/x nfsroot=1.2.3.4:/x v", "v", "a root on the network"),
        ("rdinit=/x v", "v", "the program of the old initramfs"),
        ("ip=dhcp v", "ip=dhcp v", "only a kernel with CONFIG_IP_PNP does"),
        ("boot=local noinitrd v", "v", ""),
        ("rootflags=noatime rootfstype=ext4", "rootflags=noatime rootfstype=ext4", ""),
    ],
)
def test_words_of_the_command_line(fake: Fake, line: str, words: str, note: str) -> None:
    """Read by the kernel's rules; what only today's initramfs has a use for is left out, and said."""
    fake.command_line(line + "\n")
    said = fake.run("install")
    assert settings(fake)["ofs_bootargs"] == words
    assert note in said
    assert PROTECTED in said


@pytest.mark.parametrize("word", ["it's", "a\\040b", 'x="a\'b c"'])
def test_words_that_u_boot_cannot_carry(fake: Fake, word: str) -> None:
    fake.command_line(f"quiet {word} v\n")
    before = fake.files()
    assert f"the command line has {word}, and U-Boot's shell takes" in fake.run("install", code=3)
    assert fake.files() == before
    said = fake.run("install", "--accept", "command-line")
    assert settings(fake)["ofs_bootargs"] == "quiet v"
    assert CAREFUL in said
    assert PROTECTED not in said


def test_subvolume_of_the_root(fake: Fake) -> None:
    """Whatever has chosen it today; one that the command line names stays as it is."""
    members = fake.root / "sys/fs/btrfs/1234/devices"
    link(members / "mmcblk3p2", fake.root / "sys/class/block/mmcblk3p2")
    write(
        fake.root / "proc/self/mountinfo",
        MOUNTS.replace("179:98 / /", "0:30 /@ /").replace("ext4", "btrfs"),
    )
    link(fake.root / "sys/class/block/mmcblk3p2", fake.root / "sys/dev/block/179:98")
    write(fake.root / "proc/filesystems", "nodev\tproc\n\tbtrfs\n")
    for line, flags in (
        ("v", "rootflags=subvol=/@ v"),
        ("rootflags=noatime v", "rootflags=noatime,subvol=/@ v"),
        ("rootflags=subvolid=256", "rootflags=subvolid=256"),
    ):
        fake.command_line(f"{line}\n")
        fake.run("install")
        assert settings(fake)["ofs_bootargs"] == flags
    link(members / "sda2", fake.root / "sys/class/block/sda2")
    assert "btrfs on 2 devices" in fake.run("install", code=3)


def mounts(fake: Fake, old: str, new: str) -> None:
    """Changes the mount table."""
    write(fake.root / "proc/self/mountinfo", MOUNTS.replace(old, new))


def raid_member(fake: Fake) -> None:
    """A RAID 1 with metadata 1.0, which is at the end: 8 KiB before it, or a little more, to 4 KiB."""
    image = write(fake.root / "dev/mmcblk3p2")
    size = 16 << 20
    with image.open("wb") as file:
        file.truncate(size)
    uml.run("mkfs.ext4", "-q", "-F", image)
    at = (size // 512 - 16) & ~7
    superblock = bytearray(512)
    superblock[0:4] = (0xA92B4EFC).to_bytes(4, "little")
    superblock[4:8] = (1).to_bytes(4, "little")
    superblock[144:152] = at.to_bytes(8, "little")
    # Newer versions of blkid look at the checksum: the sum of the words of the first 256 bytes, the carry
    # added (`calc_sb_1_csum()` in the kernel's drivers/md/md.c).
    total = sum(int.from_bytes(superblock[n : n + 4], "little") for n in range(0, 256, 4))
    superblock[216:220] = ((total & 0xFFFFFFFF) + (total >> 32)).to_bytes(4, "little")
    with image.open("r+b") as file:
        file.seek(at * 512)
        file.write(superblock)
    (fake.programs / "blkid").unlink()


def own_usr(fake: Fake) -> None:
    mounts(fake, "21 20", "22 20 179:99 / /usr rw - ext4 /dev/mmcblk3p3 rw\n21 20")


REFUSED: dict[str, tuple[Callable[[Fake], object], str]] = {
    "/usr": (own_usr, "/usr is a file system of its own (/dev/mmcblk3p3)"),
    "/usr in fstab": (
        lambda fake: write(fake.root / "etc/fstab", "# /x /usr\nLABEL=usr\t/usr ext4 ro 0 2"),
        "/usr is a file system of its own (LABEL=usr)",
    ),
    "/usr on the command line": (
        lambda fake: fake.command_line("quiet mount.usr=/dev/x\n"),
        "/usr is a file system of its own (/dev/x)",
    ),
    "half of a RAID 1": (raid_member, "it is a member of a RAID"),
    "two signatures": (
        lambda fake: write(fake.programs / "blkid", "#!/bin/sh\nexit 8\n"),
        "signatures of more than one kind on mmcblk3p2",
    ),
    "no signature": (
        lambda fake: write(fake.programs / "blkid", "#!/bin/sh\nexit 2\n"),
        "blkid finds no file system",
    ),
    "a folder is the root": (
        lambda fake: mounts(fake, "179:98 / /", "179:98 /ostree/1 /"),
        "the root is the folder /ostree/1 of mmcblk3p2",
    ),
    "file system": (lambda fake: mounts(fake, "ext4", "jfs"), "the root is jfs"),
    "another tool's overlay": (
        lambda fake: mounts(
            fake, "179:98 / / rw,relatime shared:1 - ext4 /dev/mmcblk3p2", "0:30 / / rw - overlay overlayroot"
        ),
        "another tool's overlay, or a container",
    ),
    "kernel without attributes in RAM": (
        lambda fake: write(
            fake.root / f"boot/config-{fake.release}", CONFIG.replace("CONFIG_TMPFS_XATTR=y", "# no")
        ),
        "was built without CONFIG_TMPFS_XATTR",
    ),
    "kernel with its own command line": (
        lambda fake: write(fake.root / f"boot/config-{fake.release}", CONFIG + "CONFIG_CMDLINE_FORCE=y\n"),
        "was built with CONFIG_CMDLINE_FORCE",
    ),
    "kernel that did not take the words": (
        lambda fake: write(fake.root / "proc/cmdline", "console=ttymxc1 root=/dev/x\n"),
        "the kernel has not taken quiet from U-Boot",
    ),
    "another script is found first": (
        lambda fake: write(fake.boot / "boot.scr.uimg"),
        "there is a boot.scr.uimg",
    ),
    "firmware of a Raspberry Pi": (
        lambda fake: write(fake.boot / "config.txt"),
        "the firmware of a Raspberry Pi",
    ),
    "our root in U-Boot's bootargs": (
        lambda fake: fake.environment(bootargs="quiet ofs-root=/dev/x"),
        "U-Boot's environment has ofs-root=/dev/x in bootargs",
    ),
    "end of the kernel's words in U-Boot's bootargs": (
        lambda fake: fake.environment(bootargs="quiet -- single"),
        "U-Boot's environment has -- in bootargs",
    ),
    "open quote in U-Boot's bootargs": (
        lambda fake: fake.environment(bootargs='x="a'),
        "bootargs in U-Boot's environment has a quote that is not closed",
    ),
    "bootargs of uEnv.txt": (
        lambda fake: write(fake.boot / "uEnv.txt", "bootargs=rdinit=/x\n"),
        "uEnv.txt has rdinit=/x in bootargs",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(fake: Fake, case: str) -> None:
    """With a remedy, and nothing is written."""
    change, message = REFUSED[case]
    change(fake)
    fake.refuses(message)


def overlaid(fake: Fake) -> None:
    write(fake.root / "sys/firmware/fdt", device_tree(MODEL, BOOTED | {"can": {"reg": bytes(4)}}))


def armbian(fake: Fake) -> None:
    """An overlay that only switches something on."""
    write(fake.boot / "armbianEnv.txt", "verbosity=1\noverlays=uart3\n")
    write(fake.root / "sys/firmware/fdt", device_tree(MODEL, BOOTED | {"serial": {"status": b"disabled\0"}}))


def cannot_be_seen(fake: Fake) -> None:
    write(fake.boot / "uEnv.txt", "dtb_overlay=/lib/firmware/x.dtbo\r\n")
    (fake.root / "sys/firmware/fdt").unlink()


def keyscript(fake: Fake) -> None:
    write(fake.root / "etc/crypttab", "data /dev/x none luks,initramfs,keyscript=/x")


ACCEPTED: dict[str, tuple[Callable[[Fake], object], str, str]] = {
    "overlay": (overlaid, "overlays", "the device tree in use has what right.dtb has not"),
    "overlay of armbianEnv.txt": (armbian, "overlays", "/serial:status (overlays=uart3 in armbianEnv.txt)"),
    "overlay that cannot be seen": (
        cannot_be_seen,
        "overlays",
        "dtb_overlay=/lib/firmware/x.dtbo in uEnv.txt",
    ),
    "overlay of the script": (
        lambda fake: (old(fake, f"fdt apply 3; {BOOTS}"), (fake.root / "sys/firmware/fdt").unlink()),
        "overlays",
        "fdt apply in boot.scr",
    ),
    "long command line": (
        lambda fake: fake.command_line("x" * 800),
        "command-line",
        "the command line is 801 characters without ours",
    ),
    "words for the init": (
        lambda fake: fake.command_line("quiet -- single"),
        "command-line",
        "words for the init of the system (behind --)",
    ),
    "another initramfs": (
        lambda fake: fake.command_line("boot=live v"),
        "initramfs",
        "the command line says boot=live",
    ),
    "keyscript": (keyscript, "initramfs", "data in /etc/crypttab is opened by a keyscript"),
    "another kernel": (
        lambda fake: (old(fake, BOOTS.replace("zImage", "${prefix}vmlinuz")), write(fake.boot / "vmlinuz")),
        "boot-script",
        "boot.scr loads the kernel vmlinuz",
    ),
    "another way to start it": (
        lambda fake: old(fake, BOOTS.replace("bootz", "bootm")),
        "boot-script",
        "boot.scr starts something by bootm",
    ),
    "no script": (
        lambda fake: write(fake.boot / "boot.scr", "text"),
        "boot-script",
        "boot.scr cannot be read",
    ),
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_refused_unless_accepted(fake: Fake, case: str) -> None:
    """The remedy names the word, and with it nothing is promised."""
    change, word, message = ACCEPTED[case]
    change(fake)
    before = fake.files()
    said = fake.run("install", code=3)
    assert message in said
    assert f"overlayroot-boot install --accept {word}\n" in said
    assert fake.files() == before
    said = fake.run("install", "--accept", word)
    assert "note: accepted: " in said
    assert CAREFUL in said
    assert PROTECTED not in said


def test_overlays_that_were_merged_into_the_file(fake: Fake) -> None:
    """The remedy, followed by the letter: what armbianEnv.txt says is in the file then."""
    armbian(fake)
    write(fake.boot / "merged.dtb", device_tree(MODEL, TREE | {"serial": {"status": b"disabled\0"}}))
    write(fake.root / "etc/default/overlayroot-boot", "FDT=merged.dtb\n")
    assert PROTECTED in fake.run("install")
    assert settings(fake)["ofs_fdt"] == "merged.dtb"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (f"gpio set 5\n{BOOTS}", "gpio"),
        (f"if true; then gpio set 5; fi; {BOOTS}", "gpio"),
        (f"setenv x 'gpio set 5; true'\nrun x; {BOOTS}", "gpio"),
        (f"run unknown\n{BOOTS}", "run unknown"),
        (f"load mmc 0 3 splash.bmp; bmp d 3; {BOOTS}", "load splash.bmp; bmp"),
        ("load mmc 0 1 zImage\n${bootcommand} 1", "${bootcommand}"),
        (f"test -n 'a b' || fpga load 0 1\n{BOOTS}", "fpga"),
    ],
)
def test_what_the_old_script_also_does(fake: Fake, text: str, found: str) -> None:
    old(fake, text)
    said = fake.run("install")
    assert f"boot.scr also does this, and the new boot script does not: {found}\n" in said
    assert CAREFUL in said
    assert PROTECTED not in said
    assert "overlayrootctl status after it" in said
    # It was replaced: the next time there is nothing to look at any more.
    assert "also does" not in fake.run("install")


@pytest.mark.parametrize(
    "text",
    [
        BOOTS,
        f"# gpio set 5\necho 'gpio set 5; reset' # x\n{BOOTS}",
        f'for i in 1 2; do test "$i" = 1 && setenv a "gpio; $i"; done\n{BOOTS}',
        f"run cmd_hdmi; fdt addr 2; fdt set /x y; {BOOTS}",
        "x=1; setenv go 'load mmc 0 1 zImage; bootz 1 - 2'; \\\n load mmc 0 2 a.dtb; run go; run go",
        "setenv again 'run again; bootz 1'; load mmc 0 1 zImage; run again",
    ],
)
def test_an_old_script_that_is_understood(fake: Fake, text: str) -> None:
    old(fake, text)
    assert PROTECTED in fake.run("install")


def test_variables_that_the_old_script_runs(fake: Fake) -> None:
    """Where U-Boot's environment can be read they are known."""
    fake.environment(mine="gpio set 1; run boots", boots=BOOTS.strip())
    old(fake, "run mine")
    assert "does not: gpio\n" in fake.run("install")


def test_changed_values_of_the_device_tree_are_named(fake: Fake) -> None:
    tree = BOOTED | {"serial": {"status": b"disabled\0"}}
    write(fake.root / "sys/firmware/fdt", device_tree(MODEL, tree))
    said = fake.run("install")
    assert "has changed the device tree: /serial:status\n" in said
    assert CAREFUL in said


def test_old_initramfs(fake: Fake) -> None:
    """What was added to it is named; without one there is nothing to lose."""
    write(fake.root / "etc/initramfs-tools/hooks/mine")
    write(fake.root / "etc/initramfs-tools/scripts/local-top/his")
    write(fake.root / "etc/initramfs-tools/scripts/README")
    write(fake.root / "etc/initramfs-tools/modules", "# comment\n\nnvme core=1 # why\n")
    write(fake.root / "etc/initramfs-tools/conf.d/resume", "RESUME=UUID=1\n")
    write(fake.root / "etc/dracut.conf.d/x.conf")
    write(
        fake.root / "etc/crypttab", "# none\nswap /dev/x /dev/urandom swap\ndata UUID=1 none luks,initramfs\n"
    )
    said = fake.run("install")
    for found in (
        "hooks/mine /etc/initramfs-tools/scripts/local-top/his /etc/dracut.conf.d/x.conf\n",
        "only what the root needs: nvme.",
        "RESUME= in /etc/initramfs-tools/conf.d/resume",
        "data in /etc/crypttab is opened by today's initramfs",
    ):
        assert found in said
    assert "README" not in said
    assert "swap in /etc/crypttab" not in said
    assert CAREFUL in said
    fake.run("uninstall")
    (fake.root / "proc/device-tree/chosen/linux,initrd-start").unlink()
    said = fake.run("install")
    assert "today's initramfs" not in said
    assert PROTECTED in said


@pytest.mark.parametrize(
    ("gone", "what"),
    [
        ("sys/firmware/fdt", "the device tree in use"),
        ("proc/device-tree/chosen", "what U-Boot gave to the kernel as command line"),
        ("boot/config-*", "the configuration of kernel"),
    ],
)
def test_what_could_not_be_looked_at(fake: Fake, gone: str, what: str) -> None:
    for path in fake.root.glob(gone):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    said = fake.run("install")
    assert what in said.partition(CAREFUL)[2]
    assert PROTECTED not in said


def test_variables_of_uenv(fake: Fake) -> None:
    """Those of a vendor have no meaning to our script; a device tree that it names does."""
    write(fake.boot / "uEnv.txt", "uname_r=6.1\nconsole=ttyO0\n#x=1\ncmdline=quiet\nfdtfile=gone.dtb\n")
    assert "the device tree is gone.dtb, which is not in" in fake.run("install", code=3)
    write(fake.boot / "uEnv.txt", "uname_r=6.1\nconsole=ttyO0\n#x=1\ncmdline=quiet\nfdtfile=right.dtb\n")
    said = fake.run("install")
    assert "uEnv.txt sets uname_r cmdline: the new boot script makes nothing of it" in said
    assert "what uname_r cmdline of uEnv.txt are for" in said.partition(CAREFUL)[2]


def test_json_of_errors(fake: Fake) -> None:
    """One object, with version and command, whatever happens."""

    def said(code: int, *words: str) -> dict:
        text = fake.run("status", "--json", *words, code=code)
        lines = [line for line in text.splitlines() if line.startswith("{")]
        assert len(lines) == 1
        return json.loads(lines[0])

    fields = {"version": 1, "command": "status"}
    write(fake.root / "etc/default/overlayroot-boot", "BOOT=/gone\n")
    refused = said(3)
    assert refused.items() >= (fields | {"exit_code": 3}).items()
    assert "no boot.scr" in refused["error"]
    assert "BOOT=" in refused["remedy"]
    assert said(64, "x").keys() == refused.keys()
    write(fake.root / "etc/default/overlayroot-boot", "")
    keys = said(0).keys()
    (fake.boot / "boot.scr").unlink()
    assert said(0).keys() == keys
    write(
        fake.root / "proc/self/mountinfo",
        MOUNTS.replace("- ext4 /dev/mmcblk3p2 rw", "- overlay overlay rw,lowerdir=/mnt/root-RO"),
    )
    protected = said(0)
    assert protected.keys() == keys
    assert protected["protected"] is True
    assert protected["root"] is None


def test_programs_survive_any_input(tmp_path: pathlib.Path) -> None:
    """Damaged images and device trees: an error or an answer, no message of Perl's."""
    tree, image = device_tree(MODEL, BOOTED), script(BOOTS + "run a; setenv b 'c")
    good = write(tmp_path / "good", tree)
    for program, whole, more in (("tree-differences", tree, [good]), ("script-commands", image, [])):
        for at in range(0, len(whole), 7):
            for damaged in (whole[:at], whole[:at] + b"\xff\xff\xff\xff" + whole[at + 4 :]):
                file = write(tmp_path / "damaged", damaged)
                done = subprocess.run(
                    [uml.TOP / "debian/package/boot" / program, file, *more], capture_output=True, timeout=10
                )
                assert done.returncode in (0, 1)
                assert not re.search(rb"at .* line \d", done.stderr), (program, at, done.stderr)
