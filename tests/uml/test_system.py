# SPDX-License-Identifier: MIT
"""The system that was booted: its mounts, its fstab, its memory; odd roots and odd surroundings."""

import os
import pathlib
import re

import pytest
import uml
from conftest import Change, Rig, assert_protected, assert_writable
from failure_modes import failure


def test_mounts_are_those_of_a_normal_boot(rig: Rig) -> None:
    boot = rig.boot_unchanged("root=/dev/ubda ofs-size=20")
    targets = [line.split()[1] for line in boot.sections["mounts"].splitlines()]
    assert sorted(targets) == sorted(["/dev", "/proc", "/sys", "/mnt/root-RO", "/mnt/root-RW", "/"])


# What is timed as a whole, not a step of the plan.
UNSAID = ("bring up /dev, /proc, /sys", "load ", "find the root")


def test_report_is_complete(rig: Rig) -> None:
    boot = rig.boot_unchanged("root=LABEL=ROOT ofs-size=20")
    report = boot.report
    assert report["version"] == 1
    assert report["kernel"].startswith("6.1")
    assert report["root"]["spec"] == "LABEL=ROOT"
    assert (report["root"]["major"], report["root"]["label"]) == (98, "ROOT")
    assert report["overlay"]["fstype"] == "overlay" and report["overlay"]["workdir"] is True
    assert report["init"] == "/sbin/init"
    assert report["failures"] == [] and report["warnings"] == []
    assert all(step["errno"] is None for step in report["steps"])
    assert 0 < sum(step["microseconds"] for step in report["steps"]) <= report["microseconds"]


def test_console_and_kernel_log_agree(rig: Rig) -> None:
    boot = rig.boot_unchanged("root=/dev/ubda")
    # The only line on the console, and of ours in the log: the report has the rest.
    assert boot.lines == [boot.verdict]
    assert re.findall("overlayroot: (.*)", boot.sections["log"]) == [boot.verdict]


def test_debug_shows_each_step(rig: Rig) -> None:
    """Many lines in a moment: the kernel takes more than ten of a program only when it is told to."""
    boot = rig.boot_unchanged("root=/dev/ubda debug ofs-size=30")
    lines = re.findall("overlayroot: (.*)", boot.sections["log"])
    program = boot.report["program"]
    assert f"{program}: overlayfs=yes (built-in default), root=/dev/ubda" in lines
    assert "setting: ofs-size=30 (command line)" in lines
    steps = [step["step"] for step in boot.report["steps"] if not step["step"].startswith(UNSAID)]
    assert len(steps) >= 10
    assert [line.rpartition(": ")[0] for line in lines if line.endswith(" us")] == steps
    assert lines[-1] == boot.verdict


def test_quiet_console(rig: Rig) -> None:
    """`quiet` keeps the console quiet, but for errors; the log has it all."""
    boot = rig.boot_unchanged("root=/dev/ubda quiet")
    assert "protected: / is RAM over" in boot.sections["log"]
    degraded = rig.boot("root=/dev/ubda quiet", initrd=rig.initramfs(modules=[]))
    assert "DEGRADED" in degraded.console


def fstab_as(text: str | None) -> Change:
    """A root with this /etc/fstab."""

    def change(folder: pathlib.Path) -> None:
        fstab = folder / "etc/fstab"
        fstab.unlink()
        if text is not None:
            fstab.write_text(text)

    return change


def test_fstab(rig: Rig) -> None:
    boot = rig.boot_unchanged("root=/dev/ubda", script="cat /mnt/root-RO/etc/fstab")
    copy = boot.sections["fstab"]
    assert copy.startswith("# overlayroot: this copy of /etc/fstab lives in RAM.")
    assert "/dev/ubda /mnt/root-RO ext4 ro,noauto,nosuid,nodev 0 0" in copy
    active = [line.split()[1] for line in copy.splitlines() if line and line[0] != "#"]
    assert active == ["/mnt/root-RO", "/tmp"]
    assert boot.script.startswith("# the original\nLABEL=ROOT / ext4")


@failure(
    "system",
    "no `/etc/fstab`",
    "",
    "ram",
    "none",
)
def test_fstab_absent(rig: Rig) -> None:
    boot = rig.boot_unchanged("root=/dev/ubda", rig.root(change=fstab_as(None)))
    assert_protected(boot)
    assert "/mnt/root-RO ext4 ro,noauto" in boot.sections["fstab"]


@failure(
    "system",
    "`/etc/fstab` of a megabyte",
    "",
    "ram",
    "none",
)
def test_fstab_of_one_megabyte(rig: Rig) -> None:
    text = "".join(f"tmpfs /tmp/{i} tmpfs noauto 0 0\n" for i in range(32000))
    boot = rig.boot_unchanged("root=/dev/ubda", rig.root(change=fstab_as(text)))
    assert_protected(boot)
    assert boot.sections["fstab"].count("tmpfs /tmp/") == 32000


def test_fstab_that_is_a_link(rig: Rig) -> None:
    def link(folder: pathlib.Path) -> None:
        (folder / "etc/fstab").rename(folder / "etc/fstab.real")
        (folder / "etc/fstab").symlink_to("/etc/fstab.real")

    boot = rig.boot_unchanged("root=/dev/ubda", rig.root(change=link))
    assert_protected(boot)
    assert boot.sections["fstab"].startswith("# overlayroot: this copy")


@failure(
    "system",
    "`/etc/fstab` is a directory, or a pipe",
    "warning: cannot write /newroot/etc/fstab, continuing: EINVAL",
    "ram",
    "make it a file: the original entries are in force, swap among them",
)
def test_fstab_that_is_no_file(rig: Rig) -> None:
    def folder_instead(folder: pathlib.Path) -> None:
        (folder / "etc/fstab").unlink()
        (folder / "etc/fstab").mkdir()

    boot = rig.boot_unchanged("root=/dev/ubda", rig.root(change=folder_instead))
    assert_protected(boot)
    assert any("fstab" in warning for warning in boot.report["warnings"])


def test_fstab_that_is_a_pipe(rig: Rig) -> None:
    """Reading one would wait for ever."""

    def pipe(folder: pathlib.Path) -> None:
        (folder / "etc/fstab").unlink()
        os.mkfifo(folder / "etc/fstab")
        # The test system shows its fstab.
        init = folder / "sbin/init"
        init.write_text(init.read_text().replace("cat /etc/fstab", "true"))

    boot = rig.boot_unchanged("root=/dev/ubda", rig.root(change=pipe))
    assert_protected(boot)
    assert "cannot write /newroot/etc/fstab, continuing: EINVAL" in boot.report["warnings"]


@failure(
    "system",
    "`/etc/fstab` is a link that never ends, or larger than 2 MiB",
    "warning: cannot write /newroot/etc/fstab, continuing: ELOOP",
    "ram",
    "make it a file of a sensible size",
)
def test_fstab_that_never_ends(rig: Rig) -> None:
    def loop(folder: pathlib.Path) -> None:
        (folder / "etc/fstab").unlink()
        (folder / "etc/fstab").symlink_to("fstab")

    assert_protected(rig.boot_unchanged("root=/dev/ubda", rig.root(change=loop)))
    boot = rig.boot_unchanged("root=/dev/ubda", rig.root(change=fstab_as("# long\n" * 300000)))
    assert_protected(boot)
    assert "cannot write /newroot/etc/fstab, continuing: EFBIG" in boot.report["warnings"]


@pytest.mark.parametrize("target", ["usr/etc", "/usr/etc", "../../../usr/etc", "/../usr/etc"])
@failure(
    "system",
    "`/etc` is a link, absolute, relative, or by `..` out of the root",
    "",
    "ram",
    "none: it is followed within the root",
)
def test_etc_is_a_link(rig: Rig, target: str) -> None:
    def link(folder: pathlib.Path) -> None:
        (folder / "usr").mkdir()
        (folder / "etc").rename(folder / "usr/etc")
        (folder / "etc").symlink_to(target)

    boot = rig.boot_unchanged("root=/dev/ubda", rig.root(change=link))
    assert_protected(boot)
    assert boot.sections["fstab"].startswith("# overlayroot: this copy")


def test_fstab_of_a_writable_boot_is_the_original(rig: Rig) -> None:
    boot = rig.boot("root=/dev/ubda overlayfs=no")
    assert_writable(boot)
    assert boot.sections["fstab"].startswith("# the original\nLABEL=ROOT / ext4")


@pytest.mark.parametrize("target", ["/tmp", "/home/mnt", "tmp", "/nowhere", "../../home/mnt", "/../tmp"])
@failure(
    "system",
    "`/mnt` is a link, absolute or relative, also to what is not there",
    "",
    "ram",
    "none: it is followed within the root",
)
def test_mnt_is_a_link(rig: Rig, target: str) -> None:
    """Mount points below a link are made where the link points to in the new root."""

    def link(folder: pathlib.Path) -> None:
        (folder / "mnt").rmdir()
        (folder / "mnt").symlink_to(target)
        (folder / "home/mnt").mkdir()

    boot = rig.boot_unchanged("root=/dev/ubda", rig.root(change=link), script="ls /mnt/root-RO/etc/keep")
    assert boot.verdict.startswith("protected: ")
    assert boot.script == "/mnt/root-RO/etc/keep"


@failure(
    "system",
    "`/mnt` is a file, or a link that never ends",
    "warning: cannot move /mnt/root-RW to /newroot/mnt/root-RW, continuing: …",
    "ram",
    "make it a directory; the report is in `/run/overlayroot`, the real root is mounted and cannot be "
    "reached",
)
@pytest.mark.parametrize("kind", ["file", "loop"])
def test_mnt_cannot_be_used(rig: Rig, kind: str) -> None:
    """The layers work from where nobody sees them."""

    def change(folder: pathlib.Path) -> None:
        (folder / "mnt").rmdir()
        if kind == "file":
            (folder / "mnt").touch()
        else:
            (folder / "mnt").symlink_to("mnt")

    boot = rig.boot_unchanged("root=/dev/ubda", rig.root(change=change))
    assert boot.report["reached"] == "ram" and boot.mounts["/"][1] == "overlay"
    assert boot.script == "x"
    assert "/mnt/root-RW" not in boot.mounts and "/run" in boot.mounts


@failure(
    "system",
    "`/mnt/root-RO` or `/mnt/root-RW` is a link to `/`",
    "warning: cannot move … to …, continuing: EBUSY",
    "ram",
    "make it a directory; that layer is mounted and cannot be reached, the report is in the other one, or in "
    "`/run/overlayroot`",
)
@pytest.mark.parametrize("name", ["root-RO", "root-RW"])
def test_mount_point_that_is_the_root_itself(rig: Rig, name: str) -> None:
    """The real root would be mounted over the layers, and whoever remounts `/` would write to it."""

    def change(folder: pathlib.Path) -> None:
        (folder / "mnt" / name).symlink_to("/")

    script = "mount -o remount,rw /; echo x > /etc/new; sync; grep ' - ext4 ' /proc/self/mountinfo"
    boot = rig.boot_unchanged("root=/dev/ubda", rig.root(change=change), script=script)
    assert boot.report["reached"] == "ram" and boot.mounts["/"][1] == "overlay"
    # Seen only where the other one is the link.
    assert [line.split(" - ")[1] for line in boot.script.splitlines()] == (
        [] if name == "root-RO" else ["ext4 /dev/ubda ro"]
    )


@failure(
    "system",
    "no `/mnt`, also on a format that cannot be written",
    "",
    "ram",
    "none: it is made in RAM",
)
def test_no_mnt_at_all(rig: Rig) -> None:
    def remove(folder: pathlib.Path) -> None:
        (folder / "mnt").rmdir()

    initrd = rig.initramfs(modules=["squashfs", "overlay"])
    disk = rig.root(fstype="squashfs", change=remove)
    assert_protected(rig.boot_unchanged("root=/dev/ubda", disk, initrd=initrd), fstype="squashfs")


@failure(
    "system",
    "no `/proc`, `/sys` or `/dev`",
    "",
    "ram",
    "none: they are made in RAM",
)
def test_no_api_mount_points(rig: Rig) -> None:
    """A root without /proc, /sys and /dev: they are made in RAM."""

    def remove(folder: pathlib.Path) -> None:
        for name in ("proc", "sys", "dev"):
            (folder / name).rmdir()

    boot = rig.boot_unchanged("root=/dev/ubda", rig.root(change=remove))
    assert_protected(boot)
    assert {"/proc", "/sys", "/dev"} <= set(boot.mounts)


@pytest.mark.parametrize(
    "line",
    [
        "console=ttyS5",
        pytest.param(
            "console=null",
            marks=failure(
                "kernel",
                "no console",
                "warning: /dev/console cannot be opened, continuing: …",
                "ram",
                "`console=`; the kernel log and the report have what it would show",
            ),
        ),
        "console=ttynull",
    ],
)
def test_no_console(rig: Rig, line: str) -> None:
    boot = rig.boot_unchanged(f"root=/dev/ubda {line}")
    assert boot.report["reached"] == "ram"


def test_root_keeps_its_owner_and_mode(rig: Rig) -> None:
    def close(folder: pathlib.Path) -> None:
        folder.chmod(0o750)

    initrd = rig.initramfs(modules=["squashfs", "overlay"])
    disk = rig.root(fstype="squashfs", change=close)
    boot = rig.boot_unchanged("root=/dev/ubda", disk, initrd=initrd, script="stat -c '%a %u %g' /")
    assert boot.script == "750 0 0"


def test_initramfs_is_freed(rig: Rig) -> None:
    """What the initramfs held does not stay in memory."""
    ballast = rig.folder / "ballast"
    ballast.write_bytes(b"x" * (24 << 20))

    def used(boot) -> int:
        memory = dict(line.split()[:2] for line in boot.sections["memory"].splitlines())
        return (int(memory["MemTotal:"]) - int(memory["MemFree:"])) << 10

    plain = used(rig.boot("root=/dev/ubda"))
    loaded = used(rig.boot("root=/dev/ubda", initrd=rig.initramfs(files=[f"{ballast}=/ballast"])))
    assert loaded - plain < 8 << 20


def test_lower_is_opened_and_closed_as_in_the_article(rig: Rig) -> None:
    disk = rig.root()
    script = """
        mount -o remount,rw /mnt/root-RO && echo stays > /mnt/root-RO/etc/new
        mount -o remount,ro /mnt/root-RO && echo closed
    """
    boot = rig.boot("root=/dev/ubda", [disk], script=script)
    assert boot.script == "closed"
    boot = rig.boot_unchanged("root=/dev/ubda", disk, script="cat /etc/new")
    assert boot.script == "stays"


def test_new_root_is_whole(rig: Rig) -> None:
    """Copy-up, whiteouts, opaque folders: the overlay behaves, and the lower does not notice."""
    script = """
        rm -r /etc && mkdir /etc && ls -A /etc | wc -l
        mv /bin/busybox /bin/b && cp /bin/b /bin/busybox && chmod 4755 /bin/busybox && ln /bin/b /bin/c
        mknod /tmp/null c 1 3 && echo x > /tmp/null && echo device works
        ls -1 /mnt/root-RO/etc
    """
    boot = rig.boot_unchanged("root=/dev/ubda", script=script)
    lines = boot.script.splitlines()
    assert lines[0] == "0"
    assert "device works" in lines
    assert {"fstab", "keep"} <= set(lines)


def test_nothing_outlives_the_hand_over(rig: Rig) -> None:
    """No file descriptor and no process of ours stays behind."""
    script = "ls -l /proc/1/fd; ps -o pid,ppid,comm"
    boot = rig.boot_unchanged("root=/dev/ubda", script=script)
    assert "kmsg" not in boot.script
    assert "socket:" not in boot.script
    assert "overlayroot" not in boot.script


def test_set_user_id_and_devices(rig: Rig) -> None:
    """On / they work; by way of the real root's own mount they do not."""
    program = (
        '#include <stdio.h>\n#include <unistd.h>\nint main(void) { return printf("%d\\n", geteuid()) < 0; }'
    )

    def change(folder: pathlib.Path) -> None:
        uml.run("gcc", "-static", "-x", "c", "-o", folder / "bin/who", "-", stdin=program)
        (folder / "bin/who").chmod(0o4755)
        (folder / "bin/sh").symlink_to("busybox")
        (folder / "etc/passwd").write_text("root:x:0:0::/:/bin/sh\nuser:x:9:9::/:/bin/sh\n")

    script = """grep 'root-RO ext4' /proc/mounts
    for top in '' /mnt/root-RO; do busybox su user -c "$top/bin/who"; done
    mknod /null c 1 3 && echo x >/null && echo device"""
    boot = rig.boot_unchanged("root=/dev/ubda", rig.root(change=change), script=script)
    mount, *said = boot.script.splitlines()
    assert {"ro", "nosuid", "nodev"} <= set(mount.split()[3].split(","))
    assert said == ["0", "9", "device"]
