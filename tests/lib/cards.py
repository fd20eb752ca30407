# SPDX-License-Identifier: MIT
"""Cards of 64-bit boards, started by a firmware in QEMU's `virt` machine: a boot partition and a root.

The test system on the root is that of `virt`: it reports on the second serial line.
"""

import contextlib
import pathlib
from collections.abc import Mapping, Sequence

import uml
import virt

# Partitions, in MiB: the boot partition from 1 on, the root behind it.
BOOT, ROOT = 96, 24
SIGNATURE = "0badcafe"


def make(path: pathlib.Path, files: Mapping[str, bytes], root: pathlib.Path, table: str = "dos") -> None:
    """Makes a card: `files` by their names on the boot partition, `root` an image of the second one."""
    with path.open("wb") as card:
        card.truncate((BOOT + ROOT + 3) << 20)
    kinds = {"dos": ("c, *", "83"), "gpt": ("U", "L")}[table]
    script = f"label: {table}\n" + (f"label-id: 0x{SIGNATURE}\n" if table == "dos" else "")
    uml.run(
        "sfdisk",
        "--quiet",
        path,
        stdin=f"{script}1MiB {BOOT}MiB {kinds[0]}\n{BOOT + 1}MiB {ROOT}MiB {kinds[1]}\n",
    )
    uml.run("mkfs.vfat", "--offset", "2048", "-F", "32", path, str(BOOT << 10))
    with path.open("r+b") as card:
        card.seek((BOOT + 1) << 20)
        card.write(root.read_bytes())
    put(path, files)


def put(path: pathlib.Path, files: Mapping[str, bytes]) -> None:
    """Writes files to the boot partition of a card, in place of those of the same name."""
    where = f"{path}@@1M"
    part = path.with_name("part")
    for name, data in files.items():
        folder = ""
        for word in name.split("/")[:-1]:
            folder = f"{folder}/{word}"
            if not uml.subprocess.run(["mdir", "-i", where, f"::{folder}"], capture_output=True).returncode:
                continue
            uml.run("mmd", "-i", where, f"::{folder}")
        part.write_bytes(data)
        uml.run("mcopy", "-o", "-i", where, part, f"::{name}")


def root(path: pathlib.Path) -> str:
    """Digest of a card's root partition."""
    with path.open("rb") as card:
        card.seek((BOOT + 1) << 20)
        return uml.hashlib.sha256(card.read(ROOT << 20)).hexdigest()


def initramfs(path: pathlib.Path) -> bytes:
    """The init with what it needs on this machine; what `path` ends with says in which form."""
    modules = virt.modules("virtio_pci", "virtio_blk", "nvme", "overlay")
    return uml.initramfs(path, modules=modules).read_bytes()


class Seen(Exception):
    """The console shows what was waited for."""


class Machine(virt.Machine):
    """A `virt` machine with a firmware that looks for something to start on a card."""

    MEMORY = 512

    def __init__(self, folder: pathlib.Path, firmware: pathlib.Path, disk: str = "virtio-blk-pci") -> None:
        """A machine whose files are in `folder`; `disk` is the device that the card is on."""
        super().__init__(folder)
        self.firmware, self.disk = firmware, disk

    def command(
        self,
        initrd: pathlib.Path | None,
        disks: Sequence[str],
        line: str,
        serial: int,
        script: pathlib.Path | None,
        memory: int,
    ) -> list[str | pathlib.Path]:
        """The emulator and its options: no kernel, no command line."""
        assert initrd is None and line == "" and len(disks) == 1
        words = [*self.bare(serial, memory), "-bios", self.firmware]
        words += ["-drive", f"if=none,id=card,format=raw,file={disks[0]},cache=directsync"]
        # The firmware with EFI connects only what it may boot from.
        serial_number = ",serial=card" if "nvme" in self.disk else ""
        words += ["-device", f"{self.disk},drive=card,bootindex=1{serial_number}"]
        if script:
            words += ["-drive", f"if=none,id=script,format=raw,read-only=on,file={script}"]
            words += ["-device", "virtio-blk-pci,drive=script"]
        return words

    def start_card(self, card: pathlib.Path, script: str = "") -> uml.Boot:
        """Boots from a card once; `script` runs in the booted system."""
        return self.boot(None, [card], "", script=script, timeout=240)

    def until(self, card: pathlib.Path, text: str) -> str:
        """Boots from a card, and pulls the plug when the console shows a text; the console."""

        def look(_machine: uml.Machine, console: str) -> None:
            if text in console:
                raise Seen

        with contextlib.suppress(Seen):
            self.boot(None, [card], "", timeout=240, during=look)
        return (self.folder / "console").read_text(errors="replace").replace("\r", "")
