# SPDX-License-Identifier: MIT
"""Who is compared: the floor, the limit, ours in its ways, and its peers."""

import dataclasses
import pathlib
import shutil
from collections.abc import Sequence

import rig
import uml
from overlayroot import verity


@dataclasses.dataclass
class Contestant:
    """A way to boot."""

    name: str
    # None: the kernel mounts the root by itself.
    initramfs: pathlib.Path | None
    line: str
    # File name of the disk, see `Disks`.
    disk: str = "plain"
    # Type of / then.
    root: str = "overlay"
    # What it leaves out, for the document.
    less: str = ""


# What an image of the layer and what most other boards have; the root is the second partition.
TABLES = {
    "mbr": "label: dos\nlabel-id: 0x6f767231\nstart=8192, size=16384, type=c\nstart=24576, type=83\n",
    "gpt": "label: gpt\nstart=8192, size=16384\nstart=24576, uuid=6F767231-0000-4000-8000-000000000002\n",
    # Sixty-two more at the end of the disk; the root is the second one here, too.
    "many": "label: gpt\nstart=8192, size=16384\n"
    "start=24576, size=65536, uuid=6F767231-0000-4000-8000-000000000002\n"
    + "".join(f"start={90112 + 64 * number}, size=64\n" for number in range(62)),
}


class Disks:
    """The disks: all with the same ext4 root, whose first program is first.c."""

    GPT_ROOT = "PARTUUID=6f767231-0000-4000-8000-000000000002"
    MBR_ROOT = "PARTUUID=6f767231-02"

    def __init__(self, folder: pathlib.Path) -> None:
        """Makes them in `folder`."""
        self.folder = folder
        first = rig.guest_program("first", folder)
        busybox = uml.setting("OVERLAYROOT_BUSYBOX")

        def change(tree: pathlib.Path) -> None:
            shutil.copy(first, tree / "sbin/init")
            shutil.copy(busybox, tree / "bin/busybox")
            # Debian's initramfs looks there before it hands over.
            (tree / "etc/os-release").write_text("ID=benchmark\n")

        def long_fstab(tree: pathlib.Path) -> None:
            change(tree)
            lines = (f"/dev/sd{number} /srv/{number} ext4 noauto 0 2\n" for number in range(10_000))
            (tree / "etc/fstab").write_text("/dev/root / ext4 defaults 0 1\n" + "".join(lines))

        # A default of newer versions of mke2fs, which has the kernel read 32 blocks more.
        options = ("-O", "^orphan_file")
        plain = uml.disk(folder / "plain", change=change, options=options)
        uml.disk(folder / "fstab", change=long_fstab, options=options)
        for name, table in TABLES.items():
            uml.partitioned(folder / name, table, 2, plain)
        self.root_hash = verity.seal(plain, folder / "verity")
        for name in ("plain", "fstab", "verity"):
            path = folder / name
            with path.open("r+b") as file:
                file.truncate(-(-path.stat().st_size // 512) * 512)

    def path(self, name: str) -> pathlib.Path:
        """A disk."""
        return self.folder / name


def archive(folder: pathlib.Path, name: str, files: Sequence[tuple[pathlib.Path, str]]) -> pathlib.Path:
    """A cpio archive with an /init and other files, packed as ours is."""
    target = folder / f"{name}.cpio.gz"
    (init, _), *others = files
    command: list[str | pathlib.Path] = [uml.TOP / "scripts/mkinitramfs", "--output", target, "--init", init]
    for path, place in others:
        command += ["--file", f"{path}={place}"]
    uml.run(*command)
    return target


def ours(folder: pathlib.Path, disks: Disks) -> list[Contestant]:
    """The floor, the limit, and ours."""
    limit = archive(folder, "limit", [(rig.guest_program("limit", folder), "init")])
    init = uml.initramfs(folder / "ours.cpio.gz", modules=())
    # squashfs: nothing needs it, so that the row is what loading costs.
    module = uml.initramfs(folder / "module.cpio.gz", modules=[str(rig.kernel() / "squashfs.ko")])
    project = "meta-overlayroot"
    return [
        Contestant(
            "floor: the kernel alone, read-only",
            None,
            "root=/dev/vda ro",
            root="ext4",
            less="protection, but for the read-only mount",
        ),
        Contestant("limit: a C program without libc", limit, "", less="everything but the mounts"),
        Contestant(f"{project}, by path", init, "ofs-root=/dev/vda"),
        Contestant(f"{project}, PARTUUID, MBR", init, f"ofs-root={Disks.MBR_ROOT}", "mbr"),
        Contestant(f"{project}, PARTUUID, GPT", init, f"ofs-root={Disks.GPT_ROOT}", "gpt"),
        Contestant(f"{project}, PARTUUID, GPT of 64 partitions", init, f"ofs-root={Disks.GPT_ROOT}", "many"),
        Contestant(f"{project}, UUID, GPT", init, f"ofs-root=UUID={uml.UUID}", "gpt"),
        Contestant(f"{project}, verified", init, f"ofs-root=/dev/vda ofs-verity={disks.root_hash}", "verity"),
        Contestant(f"{project}, a module to load", module, "ofs-root=/dev/vda"),
        Contestant(f"{project}, fstab of 10,000 lines", init, "ofs-root=/dev/vda", "fstab"),
        Contestant(
            f"{project}, overlayfs=no", init, "ofs-root=/dev/vda overlayfs=no", root="ext4", less="protection"
        ),
    ]


def peers(folder: pathlib.Path, made: pathlib.Path) -> list[Contestant]:
    """A busybox script, and what scripts/bench-peers has made: Debian's own."""
    busybox = uml.setting("OVERLAYROOT_BUSYBOX")
    script = archive(
        folder, "busybox", [(uml.TOP / "tests/bench/busybox-init", "init"), (busybox, "bin/busybox")]
    )
    return [
        Contestant(
            "busybox script, by path",
            script,
            "root=/dev/vda overlayfs=yes",
            less="looking at the superblock, the ladder, the report",
        ),
        Contestant(
            "initramfs-tools with overlayroot",
            made / "initramfs-tools",
            "root=/dev/vda overlayroot=tmpfs:recurse=0",
            less="looking at the superblock before the mount, the ladder, the report",
        ),
    ]


def others(folder: pathlib.Path) -> list[Contestant]:
    """From a folder of somebody's: NAME.initramfs, and NAME.line with the words of the command line."""
    found = []
    for initramfs in sorted(folder.glob("*.initramfs")):
        line = initramfs.with_suffix(".line")
        words = line.read_text().strip() if line.exists() else "root=/dev/vda"
        found.append(Contestant(initramfs.stem, initramfs, words))
    return found
