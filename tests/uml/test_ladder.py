# SPDX-License-Identifier: MIT
"""What happens when something is missing: down the ladder, never silently, never to a shell."""

import os
import pathlib

import pytest
import uml
from conftest import Change, Rig, assert_degraded, assert_gave_up, assert_protected, assert_writable
from failure_modes import failure


def with_overlay(folder: pathlib.Path) -> None:
    """Puts the overlay module where the kernel's own package has it."""
    release = uml.setting("OVERLAYROOT_UML_MODULES").name
    place = folder / f"lib/modules/{release}/kernel/fs/overlayfs"
    place.mkdir(parents=True)
    (place / "overlay.ko").write_bytes(uml.module("overlay").read_bytes())


def without_init(folder: pathlib.Path) -> None:
    """Takes away every program that the kernel would start."""
    (folder / "sbin/init").unlink()


@failure(
    "kernel",
    "overlayfs is not in the kernel",
    "DEGRADED: / is the plain read-only root (…): cannot mount overlay on /newroot: …: ENODEV; the "
    "kernel has no overlay file system: enable CONFIG_OVERLAY_FS (OVERLAYFS_FS on 3.10 kernels)",
    "read-only",
    "enable it, or put the module into the initramfs, or into `/lib/modules` of the root "
    "([parameters](parameters.md#the-initramfs))",
)
def test_no_overlay_in_the_kernel(rig: Rig) -> None:
    """Plain read-only root; the device itself refuses what fstab may ask for."""
    script = "mount -o remount,rw / || echo refused; touch /x || echo read-only; blockdev --getro /dev/ubda"
    boot = rig.boot_unchanged("root=/dev/ubda", initrd=rig.initramfs(modules=[]), script=script)
    assert_degraded(boot)
    assert {"refused", "read-only"} <= set(boot.script.splitlines())
    assert boot.script.splitlines()[-1] == "1"
    assert "enable CONFIG_OVERLAY_FS" in boot.verdict
    (failure,) = boot.report["failures"]
    assert (failure["mode"], failure["errno"]) == ("ram", "ENODEV")
    # What the failed mode had mounted is gone.
    assert "/mnt/root-RW" not in boot.mounts and "/mnt/root-RO" not in boot.mounts


def test_overlay_from_the_root_itself(rig: Rig) -> None:
    disk = rig.root(change=with_overlay)
    boot = rig.boot_unchanged("root=/dev/ubda", disk, initrd=rig.initramfs(modules=[]))
    assert_protected(boot)


@failure(
    "kernel",
    "the overlay module of the root is no file: a pipe, say",
    "warning: cannot load overlay from /mnt/root-RO/lib/modules/…, continuing: EINVAL",
    "read-only",
    "install the kernel's modules again",
)
def test_overlay_module_that_is_a_pipe(rig: Rig) -> None:
    """Opening it would wait for ever."""

    def change(folder: pathlib.Path) -> None:
        with_overlay(folder)
        (module,) = folder.glob("lib/modules/*/kernel/fs/overlayfs/overlay.ko")
        module.unlink()
        os.mkfifo(module)

    boot = rig.boot_unchanged("root=/dev/ubda", rig.root(change=change), initrd=rig.initramfs(modules=[]))
    assert_degraded(boot)


@failure(
    "settings",
    "a mode cannot be reached, and `ofs-fail=reboot`",
    "no root could be mounted: …; rebooting in … s",
    "restart",
    "what the message says",
)
def test_rebooting_instead_of_degrading(rig: Rig) -> None:
    initrd = rig.initramfs(modules=[])
    boot = rig.boot("root=/dev/ubda ofs-fail=reboot ofs-reboot-delay=1", initrd=initrd)
    assert_gave_up(boot, "enable CONFIG_OVERLAY_FS")


@failure(
    "system",
    "no init is there",
    "no root could be mounted: cannot find init in /newroot: …: ENOENT; no candidate is an executable "
    "file: check init=",
    "restart",
    "correct `init=`, or `root=` if it names another partition; write the image again",
)
def test_missing_init(rig: Rig) -> None:
    disk = rig.root(change=without_init)
    before = uml.sha256(disk)
    boot = rig.boot("root=/dev/ubda ofs-reboot-delay=1", [disk])
    assert_gave_up(boot, "no candidate is an executable file: check init=")
    assert uml.sha256(disk) == before


@pytest.mark.parametrize("init", ["/nowhere", "/etc/fstab", "/etc"])
@failure(
    "system",
    "`init=` names nothing, a directory, or a file without execute permission",
    "warning: init=… is no executable file; starting /sbin/init",
    "ram",
    "correct `init=`",
)
def test_bad_init_falls_back(rig: Rig, init: str) -> None:
    boot = rig.boot_unchanged(f"root=/dev/ubda init={init}")
    assert_protected(boot)
    assert any(
        f"init={init} is no executable file; starting /sbin/init" in w for w in boot.report["warnings"]
    )


@failure(
    "system",
    "`init=` is a file that is no program for this board",
    "error: cannot start …: ENOEXEC",
    "ram",
    "correct `init=`; the next of the list is started",
)
def test_init_that_cannot_be_executed(rig: Rig) -> None:
    """A file that looks like a program and is none: the kernel's list goes on."""

    def rubbish(folder: pathlib.Path) -> None:
        (folder / "sbin/rubbish").write_bytes(b"\x7fELF\0\0")
        (folder / "sbin/rubbish").chmod(0o755)

    boot = rig.boot_unchanged("root=/dev/ubda init=/sbin/rubbish", rig.root(change=rubbish))
    assert boot.verdict == "error: cannot start /sbin/rubbish: ENOEXEC"
    assert boot.report["reached"] == "ram"
    assert boot.mounts["/"][1] == "overlay"


def test_init_of_ones_own_and_its_arguments(rig: Rig) -> None:
    def move(folder: pathlib.Path) -> None:
        (folder / "sbin/init").rename(folder / "sbin/mine")

    boot = rig.boot_unchanged("root=/dev/ubda init=/sbin/mine single -- one two", rig.root(change=move))
    assert_protected(boot)
    program, *arguments = boot.sections["arguments"].split()
    assert program == "/sbin/mine"
    assert arguments[arguments.index("one") + 1] == "two"
    assert "single" in arguments
    assert boot.report["init"] == "/sbin/mine"


def test_init_by_symbolic_link(rig: Rig) -> None:
    """As on a merged /usr: absolute links are those of the new root, not of the initramfs."""

    def merge(folder: pathlib.Path) -> None:
        (folder / "usr/lib/systemd").mkdir(parents=True)
        (folder / "sbin/init").rename(folder / "usr/lib/systemd/systemd")
        (folder / "sbin").rename(folder / "usr/sbin")
        (folder / "sbin").symlink_to("/usr/sbin")
        (folder / "usr/sbin/init").symlink_to("/usr/lib/systemd/systemd")

    assert_protected(rig.boot_unchanged("root=/dev/ubda", rig.root(change=merge)))


@failure(
    "system",
    "init is a link that never ends",
    "no root could be mounted: cannot find init in /newroot: …: ELOOP; no candidate is an executable "
    "file: check init=",
    "restart",
    "write the image again",
)
def test_link_that_never_ends(rig: Rig) -> None:
    def loop(folder: pathlib.Path) -> None:
        (folder / "sbin/init").unlink()
        (folder / "sbin/init").symlink_to("init")

    boot = rig.boot("root=/dev/ubda ofs-reboot-delay=1", [rig.root(change=loop)])
    assert_gave_up(boot, "check init=")


def script_without_interpreter(folder: pathlib.Path) -> None:
    """The only init is a script for a shell that is not there."""
    (folder / "sbin/init").write_text("#!/bin/nowhere\n")


def rubbish_as_init(folder: pathlib.Path) -> None:
    """The only init is no program."""
    (folder / "sbin/init").write_bytes(b"\x7fELF\0\0")


def without_execute_permission(folder: pathlib.Path) -> None:
    """The only init may not be executed."""
    (folder / "sbin/init").chmod(0o644)


def directory_as_init(folder: pathlib.Path) -> None:
    """The only init is a directory."""
    (folder / "sbin/init").unlink()
    (folder / "sbin/init").mkdir()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param(
            script_without_interpreter,
            "no init could be started: ENOENT",
            marks=failure(
                "system",
                "the loader or the interpreter of init is not there",
                "no init could be started: ENOENT",
                "restart",
                "write the image again: the file is there, what it needs is not",
            ),
        ),
        pytest.param(
            rubbish_as_init,
            "no init could be started: ENOEXEC",
            marks=failure(
                "system",
                "init is no program, or one for another processor, and there is no other",
                "no init could be started: ENOEXEC",
                "restart",
                "write the image again",
            ),
        ),
        pytest.param(
            without_execute_permission,
            "check init=",
            marks=failure(
                "system",
                "init has no execute permission, or is a directory, and there is no other",
                "no root could be mounted: cannot find init in /newroot: …: EACCES; "
                "no candidate is an executable file: check init=",
                "restart",
                "write the image again",
            ),
        ),
        (directory_as_init, "check init="),
    ],
)
def test_no_init_that_can_be_executed(rig: Rig, change: Change, reason: str) -> None:
    disk = rig.root(change=change)
    before = uml.sha256(disk)
    boot = rig.boot("root=/dev/ubda ofs-reboot-delay=1", [disk])
    assert_gave_up(boot, reason)
    assert uml.sha256(disk) == before


# --- Kernel modules that the initramfs carries.


def test_modules_are_loaded_in_order(rig: Rig) -> None:
    initrd = rig.initramfs(modules=["dm-mod", "overlay metacopy=on"])
    script = "cat /proc/modules; cat /sys/module/overlay/parameters/metacopy"
    boot = rig.boot_unchanged("root=/dev/ubda", initrd=initrd, script=script)
    assert_protected(boot)
    assert boot.script.splitlines()[-1] == "Y"
    loaded = [step["step"] for step in boot.report["steps"] if step["step"].startswith("load /")]
    assert loaded == ["load /lib/modules/dm-mod.ko", "load /lib/modules/overlay.ko"]


@failure(
    "kernel",
    "a module of `overlayroot.modules` is not there or does not fit the kernel",
    "warning: cannot load …, continuing: ENOEXEC",
    "ram",
    "build the initramfs with the modules of this kernel; without overlay or the driver of the root the "
    "rows for those apply",
)
def test_bad_module_is_reported(rig: Rig) -> None:
    bad = rig.folder / "bad.ko"
    bad.write_bytes(b"no module at all")
    initrd = rig.initramfs(modules=[str(bad), "overlay"])
    boot = rig.boot_unchanged("root=/dev/ubda", initrd=initrd)
    assert_protected(boot)
    assert "cannot load /lib/modules/bad.ko, continuing: ENOEXEC" in boot.report["warnings"]


def test_listed_module_that_is_not_there(rig: Rig) -> None:
    modules = rig.folder / "overlayroot.modules"
    modules.write_text("/lib/modules/absent.ko\n")
    initrd = rig.initramfs(modules=[], files=[f"{modules}=/etc/overlayroot.modules"])
    boot = rig.boot_unchanged("root=/dev/ubda", initrd=initrd)
    assert_degraded(boot)
    assert "cannot load /lib/modules/absent.ko, continuing: ENOENT" in boot.report["warnings"]


def test_module_loaded_twice(rig: Rig) -> None:
    initrd = rig.initramfs(modules=["overlay", "overlay"])
    boot = rig.boot_unchanged("root=/dev/ubda", initrd=initrd)
    assert_protected(boot)
    assert boot.report["warnings"] == []


def test_writable_boot_needs_no_overlay(rig: Rig) -> None:
    assert_writable(rig.boot("root=/dev/ubda overlayfs=no", initrd=rig.initramfs(modules=[])))
