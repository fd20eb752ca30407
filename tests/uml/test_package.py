# SPDX-License-Identifier: MIT
"""overlayroot-boot, the command of the Debian package, on make-believe boards: folders with /sys and /proc.

Their kernel is User-Mode Linux's, so that an initramfs can be booted. tests/board/test_package.py has the
packages on an emulated board.
"""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable

import pytest
import uml
from conftest import Rig, assert_protected
from makebelieve import COMMAND, MOUNTS, NEW_SCRIPT, OLD_SCRIPT, PROTECTED, Fake, link, program, write


def test_install_and_uninstall(fake: Fake) -> None:
    before = fake.files()
    assert "not overlayroot" in fake.run("status")
    fake.run("update", "--if-installed")
    assert fake.files() == before
    assert "the boot script of this board is not overlayroot's" in fake.run("update", code=3)
    assert "is mounted writable" in fake.run("install")
    after = fake.files()
    assert after.pop("boot.scr") == NEW_SCRIPT
    assert after.pop("boot.scr.before-overlayroot") == OLD_SCRIPT
    assert after.pop("overlayroot.uInitrd")
    assert after.pop("overlayroot.env").decode().splitlines()[1:] == [
        "ofs_root=PARTUUID=1234-02",
        "ofs_default_overlayfs=yes",
        "ofs_default_size=30%",
        "ofs_console=ttymxc1",
        "ofs_fdt=right.dtb",
        "ofs_bootargs=quiet console=tty1 vendor=1",
    ]
    assert set(after.items()) == set(before.items()) - {("boot.scr", OLD_SCRIPT)}
    mark = fake.root / "var/lib/overlayroot/installed"
    assert mark.exists()
    # Again: nothing is written, the script that was there is still known.
    assert "wrote" not in fake.run("install")
    assert "boot script     overlayroot" in fake.run("status")
    assert json.loads(fake.run("status", "--json")) == {
        "version": 1,
        "command": "status",
        "protected": False,
        "root": "/dev/mmcblk3p2",
        "file_system": "ext4",
        "boot_folder": "/boot/firmware",
        "boot_script": "overlayroot",
        "initramfs_bytes": (fake.boot / "overlayroot.uInitrd").stat().st_size,
        "kernel": fake.release,
    }
    fake.run("uninstall")
    assert fake.files() == before
    assert not mark.exists()
    status = json.loads(fake.run("status", "--json"))
    assert (status["boot_script"], status["initramfs_bytes"]) == ("not overlayroot", None)
    assert "not overlayroot's" in fake.run("uninstall", code=3)
    fake.run("uninstall", "--if-installed")


def test_both_names_of_boot_scripts(fake: Fake) -> None:
    write(fake.boot / "6x_bootscript", OLD_SCRIPT + b"\n")
    before = fake.files()
    fake.run("install")
    assert fake.files()["6x_bootscript"] == fake.files()["boot.scr"] == NEW_SCRIPT
    fake.run("uninstall")
    assert fake.files() == before


def test_boot_folder_of_a_single_partition(fake: Fake) -> None:
    """Root and /boot on the first partition, as on Boundary's newer images."""
    fake.boot.rename(fake.root / "boot/new")
    fake.boot = fake.root / "boot"
    for file in (fake.boot / "new").iterdir():
        file.rename(fake.boot / file.name)
    write(fake.root / "proc/self/mountinfo", "20 1 179:97 / / rw - ext4 /dev/mmcblk3p1 rw\n")
    fake.run("install")
    assert (fake.boot / "boot.scr").read_bytes() == NEW_SCRIPT
    assert b"ofs_root=PARTUUID=1234-01\n" in (fake.boot / "overlayroot.env").read_bytes()


@pytest.mark.parametrize("line", ["size=64M", "\tofs-size = 64M\r\n", 'ofs_size="64M"\n'])
def test_spellings_of_the_configuration(fake: Fake, line: str) -> None:
    write(fake.root / "etc/overlayroot/overlayroot.conf", line)
    fake.run("install")
    assert "ofs_default_size=64M\n" in (fake.boot / "overlayroot.env").read_text()


@pytest.mark.parametrize(
    ("conf", "environment", "uenv", "place"),
    [
        ("overlayfs=no", "", "", "/etc/overlayroot/overlayroot.conf"),
        ("overlayfs=yes", "off", "", "U-Boot's environment"),
        ("overlayfs=yes", "yes", "overlayfs=0\n", "uEnv.txt"),
        ("overlayfs=no", "no", "overlayfs=yes\n", None),
        ("overlayfs=no", "yes", "console=x\n", None),
    ],
)
def test_what_the_next_boot_will_be(
    fake: Fake, conf: str, environment: str, uenv: str, place: str | None
) -> None:
    write(fake.root / "etc/overlayroot/overlayroot.conf", conf)
    fake.environment(**{"overlayfs": environment} if environment else {})
    if uenv:
        write(fake.boot / "uEnv.txt", uenv)
    said = fake.run("install")
    assert ("the next boot is protected" in said) == (place is None)
    assert (f"in {place}\n" in said) == (place is not None), said


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("u", ["update", "uninstall"]),
        ("--dry-run ins", ["install"]),
        ("install --d", ["--dry-run"]),
        ("install u", []),
    ],
)
def test_completion(line: str, words: list[str]) -> None:
    script = f"""
        source {COMMAND.with_suffix(".bash")}
        COMP_WORDS=(overlayroot-boot {line}) COMP_CWORD={len(line.split())}
        $(complete -p overlayroot-boot | sed 's/.*-F \\([^ ]*\\).*/\\1/')
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    assert uml.run("bash", "-euc", script).split() == words


def test_every_option_is_documented_and_completed() -> None:
    script = COMMAND.read_text()
    options = set(re.findall(r"^    (--[a-z-]+)", script, re.MULTILINE)) | {"--kernel"}
    for name in (".8", ".bash"):
        text = COMMAND.with_suffix(name).read_text().replace("\\-", "-")
        assert not [option for option in options if option not in text]
    assert not [option for option in options - {"--help"} if option not in uml.run(COMMAND, "--help")]


def test_dry_run(fake: Fake) -> None:
    before = fake.files()
    assert fake.run("--dry-run", "install").count("would write") == 4
    assert fake.files() == before
    assert not (fake.root / "var").exists()
    fake.run("install")
    before = fake.files()
    said = fake.run("--dry-run", "uninstall")
    assert (said.count("would write"), said.count("would remove")) == (1, 3)
    assert fake.files() == before


def test_words_of_the_environment_are_not_repeated(fake: Fake) -> None:
    fake.environment(bootargs="quiet vendor=1")
    fake.command_line("quiet vendor=1 rw video=x root=/dev/x\n")
    fake.run("install")
    assert "ofs_bootargs=video=x\n" in (fake.boot / "overlayroot.env").read_text()


@pytest.mark.parametrize("packed", ["", "xz --check=crc32", "zstd --quiet --rm"])
def test_modules(fake: Fake, packed: str) -> None:
    """Suppliers first, each after what it needs, unpacked; the file system that is built in needs none."""
    fake.kernel(fake.release, packed=packed)
    fake.run("install")
    names = ("loop", "dm-mod", "dm-bufio", "dm-verity", "overlay")
    assert fake.modules() == [f"{fake.release}/{name}.ko" for name in names]
    files = fake.initramfs()
    for name in names:
        assert files[f"lib/modules/{fake.release}/{name}.ko"] == uml.module(name).read_bytes()
    assert files["init"] == uml.setting("OVERLAYROOT_INIT").read_bytes()
    assert files["etc/overlayroot.conf"] == b"overlayfs=yes\nsize=30%\n"


def test_file_system_as_a_module_and_modules_of_the_owner(fake: Fake) -> None:
    fake.run("install")
    write(fake.root / "proc/self/mountinfo", MOUNTS.replace("ext4", "f2fs"))
    write(fake.root / "etc/default/overlayroot-boot", "MODULES=dm-mod\n")
    link(fake.root / "sys/class/regulator/1/device", fake.root / "sys/devices/platform/regulator")
    # Without links to suppliers, as before Linux 5.11, all regulators are taken.
    (fake.root / "sys/devices/platform/soc/2198000.mmc/supplier:platform:regulator").unlink()
    fake.run("update")
    assert [name.rpartition("/")[2] for name in fake.modules()] == [
        *("dm-mod.ko", "dm-bufio.ko", "dm-verity.ko", "loop.ko", "f2fs.ko", "overlay.ko")
    ]
    write(fake.root / "etc/default/overlayroot-boot", "MODULES=nonesuch\n")
    assert "no module nonesuch" in fake.run("update", code=1)


@pytest.fixture
def built_in(fake: Fake) -> Fake:
    """A board whose kernel has no modules."""
    shutil.rmtree(fake.root / "sys/module")
    shutil.rmtree(fake.root / "lib/modules")
    write(fake.root / "proc/filesystems", "nodev\toverlay\n\text4\n")
    return fake


def test_everything_built_in(built_in: Fake) -> None:
    fake = built_in
    fake.run("install")
    assert fake.modules() == []


def test_kernel_without_overlayfs(fake: Fake) -> None:
    fake.kernel(fake.release, modules=("loop", "dm-mod", "dm-bufio", "dm-verity"))
    before = fake.files()
    assert "has no overlayfs" in fake.run("install", code=1)
    assert fake.files() == before


def test_initramfs_boots(fake: Fake, rig: Rig) -> None:
    """Also one for two kernels: modules of the other one are passed over."""
    fake.kernel("9.9.9")
    image = fake.root.with_name("i.cpio.gz")
    fake.run("initramfs", "--kernel", "9.9.9", "--kernel", fake.release, str(image))
    boot = rig.boot("root=/dev/ubda", initrd=image)
    assert_protected(boot)
    loads = [step for step in boot.report["steps"] if step["step"].startswith("load")]
    assert len(loads) == 10
    fake.run("initramfs", str(image))
    boot = rig.boot("root=/dev/ubda", initrd=image)
    assert_protected(boot)
    assert not boot.report["warnings"]


def test_kernel_update(fake: Fake) -> None:
    """The new kernel may get onto the boot partition at any moment between the two hooks."""

    def kernels() -> set[str]:
        return {module.partition("/")[0] for module in fake.modules()}

    old, new = fake.release, "9.9.9"
    # Nothing is installed, nothing is said.
    assert fake.hook("postinst.d/00-overlayroot", new) == ""
    fake.run("install")
    assert kernels() == {old}
    fake.kernel(new)
    fake.hook("postinst.d/00-overlayroot", new)
    assert kernels() == {old, new}
    write(fake.boot / "zImage", f"kernel {new}")
    fake.hook("postinst.d/zz-overlayroot", new)
    assert kernels() == {new}
    # A kernel that is none of those in /boot: for all that are installed.
    write(fake.boot / "zImage", "kernel and something")
    assert "is none of /boot/vmlinuz-*" in fake.hook("postinst.d/zz-overlayroot", new)
    assert kernels() == {old, new}
    # It may be the one that is removed: then the initramfs is the only one that fits.
    shutil.rmtree(fake.root / "lib/modules" / old)
    assert "the initramfs stays as it is" in fake.hook("postrm.d/zz-overlayroot", old)
    assert kernels() == {old, new}
    # With one there that is installed, all is well again.
    write(fake.boot / "zImage", f"kernel {new}")
    fake.run("update")
    assert kernels() == {new}


def test_protected_board(fake: Fake) -> None:
    fake.run("install")
    write(fake.root / "proc/self/mountinfo", PROTECTED)
    before = fake.files()
    fake.kernel("9.9.9")
    write(fake.boot / "zImage", "kernel 9.9.9")
    before["zImage"] = b"kernel 9.9.9"
    for hook in ("postinst.d/00-overlayroot", "postinst.d/zz-overlayroot", "postrm.d/zz-overlayroot"):
        assert "remedy: overlayrootctl edit -- COMMAND" in fake.hook(hook, "9.9.9")
    for words in (
        ["install"],
        ["update"],
        ["uninstall"],
        ["uninstall", "--if-installed"],
        ["initramfs", "x"],
    ):
        assert "the root is protected" in fake.run(*words, code=3)
    assert "protected" in fake.run("status")
    assert fake.files() == before


def test_containers_are_no_boards(fake: Fake) -> None:
    """Nor are folders in which an image is made: kernel hooks and removal of the package do nothing."""
    for mounts in ("20 1 0:30 / / rw - overlay overlay rw,lowerdir=/a,upperdir=/b\n", ""):
        write(fake.root / "proc/self/mountinfo", mounts)
        assert fake.hook("postinst.d/00-overlayroot", "9.9.9") == ""
        assert fake.run("uninstall", "--if-installed") == ""
        assert "which is no block device" in fake.run("install", code=3)


def no_partition_id(fake: Fake) -> None:
    shutil.rmtree(fake.root / "dev/disk")


def mapped(fake: Fake) -> None:
    write(fake.root / "proc/self/mountinfo", "20 1 254:0 / / rw - ext4 /dev/mapper/a rw\n")
    link(fake.root / "sys/dev/block/254:0", write(fake.root / "sys/devices/virtual/block/dm-0/dev").parent)


def network(fake: Fake) -> None:
    write(fake.root / "proc/self/mountinfo", "20 1 0:20 / / rw - nfs 10.0.0.1:/root rw\n")


def ambiguous(fake: Fake) -> None:
    shutil.copy(fake.boot / "right.dtb", fake.boot / "again.dtb")


def flash_kernel(fake: Fake) -> None:
    write(fake.root / "usr/share/flash-kernel/db/all.db", "Machine: Another\n\nMachine: Some Board\n")


REFUSALS: dict[str, tuple[Callable[[Fake], object], str]] = {
    "no script": (lambda fake: (fake.boot / "boot.scr").unlink(), "no boot partition was found"),
    "no kernel": (lambda fake: (fake.boot / "zImage").unlink(), "there is no zImage in /boot/firmware"),
    "no device tree": (
        lambda fake: [tree.unlink() for tree in fake.boot.glob("*.dtb")],
        "there is no device tree",
    ),
    "which device tree": (ambiguous, "fitting: again.dtb right.dtb"),
    "device tree of the environment": (
        lambda fake: fake.environment(fdt_file="gone.dtb"),
        "the device tree is gone.dtb, which is not in /boot/firmware",
    ),
    "device tree of the settings": (
        lambda fake: write(fake.root / "etc/default/overlayroot-boot", "FDT=gone.dtb\n"),
        "correct FDT=",
    ),
    "folder of the settings": (
        lambda fake: write(fake.root / "etc/default/overlayroot-boot", "BOOT=/media\n"),
        "correct BOOT=",
    ),
    "extlinux": (
        lambda fake: write(fake.boot / "extlinux/extlinux.conf"),
        "this board boots by extlinux.conf",
    ),
    "flash-kernel": (flash_kernel, "flash-kernel makes the boot script of this board (Some Board)"),
    "another processor": (
        lambda fake: (fake.root / "usr/lib/overlayroot/boot.scr").unlink(),
        "the boot script is for 32-bit ARM boards",
    ),
    "no identifiers": (no_partition_id, "neither /dev/disk/by-partuuid nor by-uuid names mmcblk3p2"),
    "device-mapper": (mapped, "the root is on dm-0"),
    "network": (network, "which is no block device"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_refused(fake: Fake, case: str) -> None:
    """With a remedy, and nothing is written."""
    change, message = REFUSALS[case]
    change(fake)
    fake.refuses(message)


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["now"],
        ["install", "x"],
        ["--force", "install"],
        ["initramfs"],
        ["install", "--json"],
        ["install", "--also", "9.9.9"],
        ["update", "--kernel", "9.9.9"],
    ],
)
def test_wrong_command_line(fake: Fake, words: list[str]) -> None:
    before = fake.files()
    fake.run(*words, code=64)
    assert fake.files() == before


def test_initramfs_is_a_file(fake: Fake) -> None:
    """A folder that is named by mistake stays one, and what is in it stays where it is."""
    folder = fake.root.with_name("folder")
    write(folder / "kept", "content")
    for words in (["initramfs"], ["--dry-run", "initramfs"]):
        assert f"{folder} is there and no file" in fake.run(*words, str(folder), code=3)
        assert f"there is no folder {folder}/none" in fake.run(*words, f"{folder}/none/x", code=3)
    assert {path.name for path in folder.iterdir()} == {"kept"}
    assert not folder.with_name("folder.new").exists()
    # The same for what is written to the boot partition.
    (fake.boot / "overlayroot.env").mkdir()
    assert "/overlayroot.env is no file" in fake.run("install", code=1)
    assert (fake.boot / "overlayroot.env").is_dir()
    assert (fake.boot / "boot.scr").read_bytes() == OLD_SCRIPT


def test_nothing_to_take_back(fake: Fake) -> None:
    before = fake.files()
    said = fake.run("uninstall", code=3)
    assert "the boot script of this board is not overlayroot's" in said
    assert "overlayroot-boot install" not in said
    assert "remedy: overlayroot-boot install" in fake.run("update", code=3)
    assert fake.files() == before


def test_help(fake: Fake) -> None:
    assert fake.run("--help").startswith("usage: overlayroot-boot")


def test_version(fake: Fake) -> None:
    program(fake.programs / "dpkg-query", 'echo "1.2.3 $*"')
    said = fake.run("--version")
    assert said == "overlayroot-boot 1.2.3 --show --showformat ${Version} overlayroot-init\n"
    program(fake.programs / "dpkg-query", "exit 1")
    assert fake.run("--version") == "overlayroot-boot (not packaged)\n"


def test_long_arguments_are_not_repeated_as_a_whole(fake: Fake) -> None:
    assert len(fake.run("--" + "a" * 100_000, code=64)) < 300


def cut(fake: Fake, words: list[str], at: int) -> bool:
    """Kills the command at its `at`-th sync; False when it has fewer."""
    count = fake.root.with_name("count")
    count.write_text(str(at))
    program(
        fake.programs / "sync",
        f'read -r n <{count}; echo $((n - 1)) >{count}; [ "$n" -ne 1 ] || kill -KILL $PPID',
    )
    try:
        fake.run(*words)
    except AssertionError:
        assert int(count.read_text()) == 0
        return True
    finally:
        program(fake.programs / "sync", "exit 0")
    return False


def test_header_of_the_initramfs(fake: Fake) -> None:
    """Byte for byte mkimage's, also made again; U-Boot's own list of it finds no fault."""
    fake.run("install")
    image = fake.boot / "overlayroot.uInitrd"
    archive = write(fake.root.with_name("archive"), image.read_bytes()[64:])
    same = fake.root.with_name("same")
    kind = "-A arm -O linux -T ramdisk -C none -n overlayroot".split()
    subprocess.run(
        ["mkimage", *kind, "-d", archive, same],
        env=os.environ | {"SOURCE_DATE_EPOCH": "0"},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    assert image.read_bytes() == same.read_bytes()
    assert "ARM Linux RAMDisk Image (uncompressed)" in uml.run("mkimage", "-l", image)
    raw = fake.root.with_name("raw")
    fake.run("initramfs", str(raw))
    assert raw.read_bytes() == archive.read_bytes()


OLDER_SCRIPT = b"ours, older: loads overlayroot.cpio.gz\n"


def older(fake: Fake) -> None:
    """As an older version has installed it: an initramfs without a header, and a script that loads it."""
    fake.run("install")
    image = fake.boot / "overlayroot.uInitrd"
    write(fake.boot / "overlayroot.cpio.gz", image.read_bytes()[64:])
    image.unlink()
    write(fake.boot / "boot.scr", OLDER_SCRIPT)


def test_older_installation(built_in: Fake) -> None:
    """An update, cut at any step: the script that is there has its initramfs."""
    fake = built_in
    before = fake.files()
    older(fake)
    begin = fake.files()
    assert json.loads(fake.run("status", "--json"))["boot_script"] == "overlayroot"
    fake.run("update")
    whole = fake.files()
    assert whole.keys() - begin.keys() == {"overlayroot.uInitrd"}
    assert begin.keys() - whole.keys() == {"overlayroot.cpio.gz"}
    assert whole["boot.scr"] == NEW_SCRIPT
    at = 1
    restore(fake, begin)
    while cut(fake, ["update"], at):
        now = fake.files()
        name = {OLDER_SCRIPT: "overlayroot.cpio.gz", NEW_SCRIPT: "overlayroot.uInitrd"}[now["boot.scr"]]
        assert now[name] == (whole | begin)[name]
        assert now["boot.scr.before-overlayroot"] == OLD_SCRIPT
        if at % 5 == 0:
            fake.run("update")
            assert fake.files() == whole
        restore(fake, begin)
        at += 1
    assert at > 8
    assert fake.files() == whole
    restore(fake, begin)
    fake.run("uninstall")
    assert fake.files() == before


def restore(fake: Fake, files: dict[str, bytes]) -> None:
    """The boot partition as it was."""
    shutil.rmtree(fake.boot)
    for name, content in files.items():
        write(fake.boot / name, content)


def test_cut_at_any_step(built_in: Fake) -> None:
    """At each moment either script boots, and ours never without the rest; the next run completes it."""
    fake = built_in
    before = fake.files()
    fake.run("install")
    whole = fake.files()
    cuts = 0
    for command, begin, goal in (("uninstall", whole, before), ("install", before, whole)):
        at = 1
        while cut(fake, [command], at):
            cuts += 1
            now = {name: content for name, content in fake.files().items() if not name.endswith(".new")}
            for name, content in now.items():
                assert content in (whole.get(name), before.get(name)), name
            assert now["boot.scr"] == OLD_SCRIPT or now == whole
            if at % 5 == 0:
                # What a cut has left does not keep the next run from its goal.
                fake.run(command, "--if-installed")
                assert fake.files() == goal
            restore(fake, begin)
            at += 1
        assert fake.files() == goal
    assert cuts > 20
