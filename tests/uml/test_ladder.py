# SPDX-License-Identifier: MIT
"""What happens when something is missing: down the ladder, never silently, never to a shell."""

import pathlib

import pytest
import uml
from conftest import Rig, assert_degraded, assert_gave_up, assert_protected, assert_writable


def with_overlay(folder: pathlib.Path) -> None:
    """Puts the overlay module where the kernel's own package has it."""
    release = uml.setting("OVERLAYROOT_UML_MODULES").name
    place = folder / f"lib/modules/{release}/kernel/fs/overlayfs"
    place.mkdir(parents=True)
    (place / "overlay.ko").write_bytes(uml.module("overlay").read_bytes())


def without_init(folder: pathlib.Path) -> None:
    """Takes away every program that the kernel would start."""
    (folder / "sbin/init").unlink()


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


def test_rebooting_instead_of_degrading(rig: Rig) -> None:
    initrd = rig.initramfs(modules=[])
    boot = rig.boot("root=/dev/ubda ofs-fail=reboot ofs-reboot-delay=1", initrd=initrd)
    assert_gave_up(boot, "enable CONFIG_OVERLAY_FS")


def test_missing_init(rig: Rig) -> None:
    disk = rig.root(change=without_init)
    before = uml.sha256(disk)
    boot = rig.boot("root=/dev/ubda ofs-reboot-delay=1", [disk])
    assert_gave_up(boot, "no candidate is an executable file: check init=")
    assert uml.sha256(disk) == before


@pytest.mark.parametrize("init", ["/nowhere", "/etc/fstab", "/etc"])
def test_bad_init_falls_back(rig: Rig, init: str) -> None:
    boot = rig.boot_unchanged(f"root=/dev/ubda init={init}")
    assert_protected(boot)
    assert any(
        f"init={init} is no executable file; starting /sbin/init" in w for w in boot.report["warnings"]
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


def test_link_that_never_ends(rig: Rig) -> None:
    def loop(folder: pathlib.Path) -> None:
        (folder / "sbin/init").unlink()
        (folder / "sbin/init").symlink_to("init")

    boot = rig.boot("root=/dev/ubda ofs-reboot-delay=1", [rig.root(change=loop)])
    assert_gave_up(boot, "check init=")


# --- Kernel modules that the initramfs carries.


def test_modules_are_loaded_in_order(rig: Rig) -> None:
    initrd = rig.initramfs(modules=["dm-mod", "overlay metacopy=on"])
    script = "cat /proc/modules; cat /sys/module/overlay/parameters/metacopy"
    boot = rig.boot_unchanged("root=/dev/ubda", initrd=initrd, script=script)
    assert_protected(boot)
    assert boot.script.splitlines()[-1] == "Y"
    loaded = [step["step"] for step in boot.report["steps"] if step["step"].startswith("load /")]
    assert loaded == ["load /lib/modules/dm-mod.ko", "load /lib/modules/overlay.ko"]


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
