# SPDX-License-Identifier: MIT
"""Boots the shipped init for 64-bit ARM on QEMU's `virt` machine, with Debian's kernel for virtual machines.

The test system is that of `uml`, with programs for this processor.
"""

import pathlib
import shutil
from collections.abc import Sequence

import uml


def system(folder: pathlib.Path) -> None:
    """A change for `uml.disk`: the test system becomes one for this machine, with `overlayrootctl`."""
    init = folder / "sbin/init"
    init.write_text(uml.INIT.replace("/dev/ttyS0", "/dev/ttyAMA1").replace("/dev/ubdh", "/dev/vdb"))
    shutil.copy(uml.setting("OVERLAYROOT_BUSYBOX"), folder / "bin/busybox")
    shutil.copy(uml.setting("OVERLAYROOT_CTL"), folder / "bin/overlayrootctl")


def modules(*names: str) -> list[str]:
    """Paths of modules of the kernel, each after what it needs."""
    linux = uml.setting("OVERLAYROOT_LINUX")
    release = next((linux / "lib/modules").iterdir()).name
    found: dict[str, None] = {}
    for name in names:
        shown = uml.run(
            *("modprobe", "--dirname", linux, "--set-version", release, "--show-depends", name),
        )
        found.update((line.split()[1], None) for line in shown.splitlines() if line.startswith("insmod"))
    return list(found)


class Machine(uml.Machine):
    """A virtual 64-bit ARM machine; its disks are on PCI: vda, and vdb with the script."""

    MEMORY = 256

    def __init__(self, folder: pathlib.Path, options: Sequence[str] = ()) -> None:
        """A machine whose files are in `folder`; `options` of QEMU come on top."""
        super().__init__(folder)
        self.options = options

    def environment(self) -> dict[str, str]:
        """None: what User-Mode Linux needs is not for QEMU."""
        return {}

    def bare(self, serial: int, memory: int) -> list[str | pathlib.Path]:
        """The emulator without a disk and anything to start; the serial line is ttyAMA1."""
        words = [uml.setting("OVERLAYROOT_QEMU"), "-M", "virt", "-cpu", "cortex-a53", "-m", f"{memory}M"]
        words += ["-no-reboot", "-display", "none", "-nodefaults", "-serial", "stdio"]
        words += ["-chardev", f"file,id=serial,path=/proc/self/fd/{serial},append=on"]
        return [*words, "-serial", "chardev:serial"]

    def command(
        self,
        initrd: pathlib.Path | None,
        disks: Sequence[str],
        line: str,
        serial: int,
        script: pathlib.Path | None,
        memory: int,
    ) -> list[str | pathlib.Path]:
        """The emulator and its options; see `uml.Machine.start`."""
        (kernel,) = (uml.setting("OVERLAYROOT_LINUX") / "boot").glob("vmlinuz-*")
        words = [*self.bare(serial, memory), "-kernel", kernel, *self.options]
        if initrd:
            words += ["-initrd", initrd]
        for number, name in enumerate([*disks, f"r:{script}"] if script else disks):
            read_only = "on" if name.startswith("r:") else "off"
            path = name.removeprefix("r:")
            words += ["-drive", f"if=none,id=d{number},format=raw,read-only={read_only},file={path}"]
            words += ["-device", f"virtio-blk-pci,drive=d{number}"]
        return [*words, "-append", f"console=ttyAMA0 quiet panic=-1 {line}"]
