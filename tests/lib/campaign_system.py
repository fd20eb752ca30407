# SPDX-License-Identifier: MIT
"""What runs on the boards of the campaign, and the cards that they have.

A card has a boot partition (vfat) and a root partition, as that of a real board. The system on it does what
`work=` on the kernel command line says, again and again until the plug is pulled, and says each step on its
serial line: `@NAME`.
"""

import hashlib
import pathlib
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Mapping, Sequence

import uml
from uboot_environment import ONE, TWO, BadEnvironmentError, Place

MIB = 1 << 20
# The partition table: 2 MiB for boot.
BOOT, BOOT_SIZE = 1 * MIB, 2 * MIB
ROOT = BOOT + BOOT_SIZE
TABLE = f"label: dos\nstart={BOOT // 512}, size={BOOT_SIZE // 512}, type=c\nstart={ROOT // 512}, type=83\n"
ROOT_DEVICE = "/dev/ubda2"

UENV = "# of the owner\nnote=" + "x" * 3000 + "\n"
PLAIN, OFF = UENV.encode(), f"{UENV}overlayfs=no\n".encode()
ON = f"{UENV}overlayfs=yes\n".encode()
SCRIPT = b"a boot script that knows overlayfs_once\n"
# U-Boot's environment, more than a page of it, so that a copy is written in several pieces; and where it is.
VARIABLES = {f"note{n}": "x" * 50 for n in range(100)} | {"bootcmd": "run it"}
ENVIRONMENTS = {"one": ONE, "two": TWO}
# Files that are copied up, 60 of them; and those that are committed.
FILES, LINES = 60, 1500
COMMITTED = ("big", "small", "deep/er/file")

# What a system may do to its root; an unprotected one is damaged by exactly this.
INIT = """#!/bin/busybox sh
export PATH=/bin NO_COLOR=1
exec 3>/dev/ttyS0
say() { echo "@$*" >&3; }
say up
mount -a 2>/dev/null; mkdir -p /var/log /var/run
for f in messages auth daemon kern; do echo started >> /var/log/$f; done
echo $$ > /var/run/init.pid; cp /etc/fstab /var/run/fstab; touch /etc/machine-id; date > /etc/adjtime
say started
exec >&3 2>&3 </dev/null
n=0
storm() {
    for f in /data/*; do echo "round $n" >> $f; done; say copied-up
    for f in /data/*[05]; do echo "round $n" > $f; done; say truncated
    for f in /data/*7; do echo "round $n" > $f.new; mv $f.new $f; done; say renamed
    sync; say synced
    mkdir -p /srv/$n; cp -a /etc /srv/$n; rm -rf /srv/$((n - 1)); say copied
    dd if=/dev/zero of=/var/log/big bs=16k count=40 conv=fsync 2>/dev/null; say fsync
    chmod -R go-w /data; ln -f /data/a1 /data/link; rm -f /data/*9; say removed
    mount -o remount,rw /; for f in 1 2 3 4 5 6 7 8; do echo "$n" >> /var/log/messages; sync; done; say logged
    mv /etc/keep /etc/moved; mv /etc/moved /etc/keep; say moved
}
commit() {
    version=$((version + 1))
    mkdir -p /keep/deep/er
    yes "version $version" | head -n LINES > /keep/big
    for f in /keep/small /keep/deep/er/file; do echo "version $version" > $f; done
    say commit $version
    RUST_LOG=debug overlayrootctl commit /keep || say failed
    say kept $version
}
settings() {
    for word in disable enable; do
        say settings $word
        RUST_LOG=debug overlayrootctl $word --store file || say failed
        say done $word
    done
}
environment() {
    for words in "disable --once" enable disable "disable --once" disable enable \\
        "size $((n % 9 + 20))" "size 30"; do
        say environment $words
        RUST_LOG=debug overlayrootctl $words --store environment --fw-config /etc/fw_env.$copies || say failed
        say done $words
    done
}
say work
while :; do $work; n=$((n + 1)); done
""".replace("LINES", str(LINES))


def system(folder: pathlib.Path) -> None:
    """The system of all boards; see `uml.tree`."""
    (folder / "sbin/init").write_text(INIT)
    shutil.copy(uml.setting("OVERLAYROOT_CTL"), folder / "bin/overlayrootctl")
    for name in ("fw_printenv", "fw_setenv"):
        uml.host_program(folder, name)
    for copies, place in ENVIRONMENTS.items():
        (folder / f"etc/fw_env.{copies}").write_text(place.config("/dev/ubda"))
    for name in ("data", "keep/deep/er", "var", "srv"):
        (folder / name).mkdir(parents=True)
    for number in range(FILES):
        (folder / f"data/a{number}").write_text("original\n" * (50 * (number % 8) + 1))
    (folder / "keep/big").write_text("version 0\n" * LINES)
    for name in COMMITTED[1:]:
        (folder / "keep" / name).write_text("version 0\n")


def card(
    path: pathlib.Path, fstype: str = "ext4", *, root_size: int = 13, options: Sequence[str] = ()
) -> None:
    """Makes a card; `root_size` in MiB."""
    with tempfile.TemporaryDirectory() as name:
        root = pathlib.Path(name) / "root.img"
        card_of(path, uml.disk(root, fstype, change=system, size=root_size, options=options))


def card_of(path: pathlib.Path, root: pathlib.Path) -> None:
    """Makes a card with this file system as its root."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        uml.partitioned(path, TABLE, 2, root, size=(ROOT + root.stat().st_size) >> 20)
        boot = folder / "boot.img"
        with boot.open("wb") as file:
            file.truncate(BOOT_SIZE)
        uml.run("mkfs.vfat", boot)
        (folder / "uEnv.txt").write_bytes(PLAIN)
        (folder / "boot.scr").write_bytes(SCRIPT)
        uml.run("mcopy", "-i", boot, folder / "uEnv.txt", folder / "boot.scr", "::")
        with path.open("r+b") as file:
            file.seek(BOOT)
            file.write(boot.read_bytes())
        for place in ENVIRONMENTS.values():
            save(path, place, VARIABLES)


def save(path: pathlib.Path, place: Place, variables: Mapping[str, str]) -> None:
    """Saves U-Boot's environment on a card, as U-Boot does."""
    with path.open("r+b") as file:
        front = bytearray(file.read(BOOT))
        place.write(front, variables)
        file.seek(0)
        file.write(front)


def environment(path: pathlib.Path, place: Place) -> dict[str, str] | None:
    """What U-Boot finds on a card; None when no copy is whole."""
    with path.open("rb") as file:
        try:
            return place.read(file.read(BOOT))
        except BadEnvironmentError:
            return None


def told(variables: Mapping[str, str], words: str) -> dict[str, str]:
    """What the tool makes of the variables when it is told `words` (docs/environment.md)."""
    found = dict(variables)
    if words.startswith("size "):
        return found | {"ofs-size": words.removeprefix("size ")}
    found.pop("overlayfs_once", None)
    if words == "disable":
        return found | {"overlayfs": "no"}
    if found.get("overlayfs") == "no":
        found["overlayfs"] = "yes"
    return found | ({"overlayfs_once": "no"} if words == "disable --once" else {})


def digest(
    path: pathlib.Path, start: int = 0, end: int | None = None, *, without: Place | None = None
) -> str:
    """SHA-256 of a card, or of a part of it; of a whole one without an environment where that is wished."""
    if without:
        content = bytearray(path.read_bytes())
        without.blank(content)
        return hashlib.sha256(content).hexdigest()
    with path.open("rb") as file:
        file.seek(start)
        if end is None:
            return hashlib.file_digest(file, "sha256").hexdigest()
        return hashlib.sha256(file.read(end - start)).hexdigest()


def copy_root(source: pathlib.Path, target: pathlib.Path) -> None:
    """Puts the root of one card onto another."""
    with source.open("rb") as old, target.open("r+b") as new:
        old.seek(ROOT)
        new.seek(ROOT)
        new.write(old.read())


def needs_replay(path: pathlib.Path, root: int = ROOT) -> bool:
    """Whether the journal of a root is to be replayed (INCOMPAT_RECOVER in the superblock of ext4)."""
    with path.open("rb") as file:
        file.seek(root + 1024 + 0x60)
        (incompatible,) = struct.unpack("<I", file.read(4))
    return bool(incompatible & 4)


def boot_file(path: pathlib.Path, name: str) -> bytes | None:
    """A file of the boot partition; None when it cannot be read."""
    command = ["mtype", "-i", f"{path}@@{BOOT}", f"::{name}"]
    done = subprocess.run(command, capture_output=True)
    return done.stdout if done.returncode == 0 else None


def take_root(path: pathlib.Path, copy: pathlib.Path) -> None:
    """Copies the root of a card to a file of its own."""
    with path.open("rb") as file:
        file.seek(ROOT)
        copy.write_bytes(file.read())


def repaired(path: pathlib.Path, copy: pathlib.Path) -> str:
    """What e2fsck found in the root that it could not repair by itself; the repaired root is `copy`."""
    take_root(path, copy)
    done = subprocess.run(["e2fsck", "-p", "-f", copy], capture_output=True, text=True)
    return "" if done.returncode in (0, 1) else done.stdout + done.stderr


def damage(path: pathlib.Path, copy: pathlib.Path, *, journal: bool) -> list[str]:
    """What is wrong with the root of an unprotected board, by one word for each kind.

    `unrepaired`: e2fsck wants to ask somebody. `inconsistent`, without a journal: it finds anything.
    `empty`: files of which the content is lost; none was empty before, and none is to be.
    """
    found = []
    if journal:
        if repaired(path, copy):
            found.append("unrepaired")
    else:
        take_root(path, copy)
        if subprocess.run(["e2fsck", "-fn", copy], capture_output=True).returncode:
            found.append("inconsistent")
        if repaired(path, copy):
            found.append("unrepaired")
    # Inode, mode, owner, group, size, date, name.
    lines = uml.run("debugfs", "-R", "ls -l /data", copy).splitlines()
    sizes = [line.split()[5] for line in lines if len(line.split()) > 8 and "(1)" in line]
    if "0" in sizes:
        found.append("empty")
    return found


def versions(root: pathlib.Path) -> dict[str, int | None]:
    """Version of each committed file in a root that is not mounted; None: it is no version as a whole."""
    found = {}
    for name in COMMITTED:
        text = uml.run("debugfs", "-R", f"cat /keep/{name}", root)
        lines = text.splitlines()
        whole = len(lines) == (LINES if name == "big" else 1) and len(set(lines)) == 1
        found[name] = int(lines[0].split()[1]) if whole else None
    return found
