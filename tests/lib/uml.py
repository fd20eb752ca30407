# SPDX-License-Identifier: MIT
"""Boots the shipped init on a real kernel in User-Mode Linux, some forty times a minute.

A test system is a busybox whose init prints what it sees to a serial line of its own, runs the test's
script, and powers off at once, without unmounting anything: what the disk holds then is what a cut leaves.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
import re
import shutil
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence

TOP = pathlib.Path(__file__).resolve().parents[2]
BUSYBOX = pathlib.Path("/bin/busybox")
UUID = "6f76b1a7-0000-4c6f-8b5a-726f6f740001"

# Runs as /sbin/init. Sections go to the serial line; the console belongs to the kernel and to our init.
INIT = """#!/bin/busybox sh
export PATH=/bin
busybox [ -e /proc/mounts ] || busybox mount -t proc proc /proc
busybox [ -e /dev/ttyS0 ] || busybox mount -t devtmpfs dev /dev
exec 3>/dev/ttyS0
section() { echo "@@ $1" >&3; shift; "$@" >&3 2>&3; echo "@@." >&3; }
section mounts busybox cat /proc/mounts
section arguments echo "$0" "$@"
section fstab busybox cat /etc/fstab
section memory busybox cat /proc/meminfo
section log busybox dmesg
for report in /mnt/root-RW/report.json /run/overlayroot/report.json; do
    busybox [ ! -e $report ] || section report busybox cat $report
done
if busybox [ -b /dev/ubdh ]; then
    section script busybox sh -c "$(busybox tr -d '\\000' </dev/ubdh)" </dev/null
fi
section end busybox true
busybox poweroff -n -f
"""

FSTAB = """# the original
LABEL=ROOT / ext4 noatime 0 1
LABEL=SWAP none swap sw 0 0
tmpfs /tmp tmpfs defaults 0 0
"""

# Without benchmarks the kernel is there in a quarter of the time: how long a loop takes, and which code is
# best for RAID 6, which btrfs brings.
QUICK = ("lpj=8000000", "initcall_blacklist=raid6_select_algo")


class UmlError(Exception):
    """The test bed itself does not work."""


def setting(name: str) -> pathlib.Path:
    """A path that scripts/uml-env gives."""
    try:
        return pathlib.Path(os.environ[name])
    except KeyError as missing:
        raise UmlError(f'{name} is not set; eval "$(scripts/uml-env)"') from missing


def run(*command: str | pathlib.Path, stdin: str | None = None) -> str:
    """Runs a program of the host; its output is shown when it fails."""
    done = subprocess.run(command, input=stdin, capture_output=True, text=True)
    if done.returncode:
        raise UmlError(f"{' '.join(map(str, command))}: {done.stdout}{done.stderr}")
    return done.stdout


def tree(folder: pathlib.Path, change: Callable[[pathlib.Path], None] | None = None) -> pathlib.Path:
    """Makes the test system's files; `change` edits them."""
    for name in ("bin", "dev", "etc", "mnt", "proc", "run", "sbin", "sys", "tmp", "home"):
        (folder / name).mkdir(parents=True)
    shutil.copy(BUSYBOX, folder / "bin/busybox")
    (folder / "sbin/init").write_text(INIT)
    (folder / "sbin/init").chmod(0o755)
    (folder / "etc/fstab").write_text(FSTAB)
    (folder / "etc/keep").write_text("original\n")
    if change:
        change(folder)
    return folder


def disk(
    path: pathlib.Path,
    fstype: str = "ext4",
    *,
    change: Callable[[pathlib.Path], None] | None = None,
    label: str = "ROOT",
    uuid: str = UUID,
    size: int = 24,
    options: Sequence[str] = (),
) -> pathlib.Path:
    """Makes a file system with the test system in it; `size` in MiB."""
    with tempfile.TemporaryDirectory() as name:
        folder = tree(pathlib.Path(name) / "tree", change)
        path.unlink(missing_ok=True)
        if fstype not in ("squashfs", "erofs"):
            with path.open("wb") as file:
                file.truncate(size << 20)
        # The owner of the files is root, whoever runs the test.
        match fstype:
            case "ext2" | "ext3" | "ext4":
                run(
                    *("mke2fs", "-q", "-t", fstype, "-L", label, "-U", uuid, "-d", folder),
                    *("-E", "root_owner=0:0", *options, path),
                )
            case "squashfs":
                run("mksquashfs", folder, path, "-quiet", "-no-progress", "-all-root", *options)
            case "erofs":
                run("mkfs.erofs", "--all-root", "-U", uuid, *options, path, folder)
            case "btrfs":
                run("mkfs.btrfs", "-q", "-L", label, "-U", uuid, "--rootdir", folder, *options, path)
            case "f2fs":
                run("mkfs.f2fs", "-q", "-l", label, *options, path)
                run("sload.f2fs", "-f", folder, path)
            case "xfs":
                script = path.with_suffix(".proto")
                script.write_text("\n".join(["/dev/null", "0 0", *prototype(folder), ""]))
                run("mkfs.xfs", "-q", "-f", "-L", label, "-m", f"uuid={uuid}", "-p", script, *options, path)
            case "vfat":
                run("mkfs.vfat", "-n", label, *options, path)
                run("mcopy", "-s", "-i", path, *sorted(folder.iterdir()), "::")
            case _:
                raise UmlError(f"no file system {fstype}")
    return path


def prototype(folder: pathlib.Path, name: str = "") -> list[str]:
    """A directory as mkfs.xfs takes it, whose owner is root."""
    lines = [f"{name} d--755 0 0"]
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            lines += prototype(path, path.name)
        else:
            lines.append(f"{path.name} ---{path.stat().st_mode & 0o777:03o} 0 0 {path}")
    return [*lines, "$"]


def partitioned(
    path: pathlib.Path, script: str, part: int, content: pathlib.Path, *, size: int = 64
) -> pathlib.Path:
    """Makes a disk of `size` MiB by an sfdisk script and puts `content` into its partition `part`."""
    with path.open("wb") as file:
        file.truncate(size << 20)
    run("sfdisk", "--quiet", path, stdin=script)
    table = json.loads(run("sfdisk", "--json", path))["partitiontable"]["partitions"]
    start = next(p["start"] for p in table if p["node"] == f"{path}{part}")
    with path.open("r+b") as file:
        file.seek(start * 512)
        file.write(content.read_bytes())
    return path


def module(name: str) -> pathlib.Path:
    """A module of the test kernel."""
    found = list(setting("OVERLAYROOT_UML_MODULES").rglob(f"{name}.ko"))
    if len(found) != 1:
        raise UmlError(f"the test kernel has no module {name}")
    return found[0]


def compiled(folder: pathlib.Path, name: str) -> pathlib.Path:
    """A program of tests/lib for test systems: static, compiled once."""
    program = folder / name
    if not program.exists():
        run("gcc", "-static", "-Wall", "-Wextra", "-Werror", "-o", program, TOP / f"tests/lib/{name}.c")
    return program


def host_program(folder: pathlib.Path, name: str) -> None:
    """Puts a program of this machine, and its libraries, into a test system."""
    program = shutil.which(name)
    if program is None:
        raise UmlError(f"this machine has no {name}; scripts/host-packages uml")
    shutil.copy(program, folder / "bin" / name)
    for line in run("ldd", program).splitlines():
        words = [word for word in line.split() if word.startswith("/")]
        for library in words[:1]:
            target = folder / library.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(library, target)


def initramfs(
    path: pathlib.Path,
    *,
    modules: Sequence[str] = ("overlay",),
    conf: str | None = None,
    files: Sequence[str] = (),
    first: pathlib.Path | None = None,
) -> pathlib.Path:
    """Packs the shipped init; `modules` are names, `conf` is overlayroot.conf.

    `first` runs before it, and then executes /overlayroot-init.
    """
    command: list[str | pathlib.Path] = [TOP / "scripts/mkinitramfs", "--output", path]
    init = setting("OVERLAYROOT_INIT")
    command += ["--init", first, "--file", f"{init}=overlayroot-init"] if first else ["--init", init]
    if conf is not None:
        (path.parent / "overlayroot.conf").write_text(conf)
        command += ["--conf", path.parent / "overlayroot.conf"]
    for name in modules:
        name, _, parameters = name.partition(" ")
        source = name if name.startswith("/") else module(name)
        command += ["--module", f"{source}={parameters}" if parameters else str(source)]
    for file in files:
        command += ["--file", file]
    run(*command)
    return path


# Runs before our init: device-mapper puts something under the root, so that it is root=/dev/dm-0.
MAPPER = """#!/bin/busybox sh
b=/bin/busybox
$b mount -t proc proc /proc
$b mount -t sysfs sysfs /sys
$b mount -t devtmpfs dev /dev
for module in MODULES; do $b insmod /lib/modules/$module.ko; done
COMMAND
$b umount -l /dev
$b umount /sys
$b umount /proc
exec /overlayroot-init "$@"
"""


def mapped_initramfs(
    path: pathlib.Path,
    command: str,
    *,
    program: pathlib.Path,
    targets: Sequence[str] = (),
    modules: Sequence[str] = ("overlay",),
) -> pathlib.Path:
    """Packs the shipped init, and before it `command` of `program`, which makes /dev/dm-0.

    `targets` are device-mapper's modules that the command needs; `modules` are the init's.
    """
    wrapper = path.parent / "wrapper"
    needed = ["dm-mod", *targets]
    wrapper.write_text(MAPPER.replace("MODULES", " ".join(needed)).replace("COMMAND", command))
    wrapper.chmod(0o755)
    files = [f"{BUSYBOX}=bin/busybox", f"{program}=bin/{program.name}"]
    files += [f"{module(name)}=lib/modules/{name}.ko" for name in needed]
    return initramfs(path, modules=modules, files=files, first=wrapper)


@dataclasses.dataclass
class Boot:
    """What one boot left behind."""

    console: str
    sections: dict[str, str]
    seconds: float

    @property
    def report(self) -> dict:
        """The init's report."""
        assert "report" in self.sections, "no report: no system was booted"
        return json.loads(self.sections["report"])

    @property
    def mounts(self) -> dict[str, tuple[str, str, list[str]]]:
        """Mount table: target to source, type, options; the topmost of several."""
        table = {}
        for line in self.sections["mounts"].splitlines():
            source, target, fstype, options, *_ = line.split()
            table[target] = (source, fstype, options.split(","))
        return table

    @property
    def script(self) -> str:
        """Output of the test's script."""
        return self.sections["script"].strip()

    @property
    def lines(self) -> list[str]:
        """What our init wrote on the console, without `overlayroot: `."""
        return re.findall(r"overlayroot: (.*)", self.console)

    @property
    def verdict(self) -> str:
        """The last word of our init."""
        return self.lines[-1]


def sha256(path: pathlib.Path) -> str:
    """Digest of a disk."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def parse_sections(text: str) -> dict[str, str]:
    """`@@ NAME`, lines, `@@.`"""
    text = text.replace("\r", "")
    return dict(re.findall(r"^@@ (\w+)\n(.*?)^@@\.$", text, re.MULTILINE | re.DOTALL))


class Machine:
    """A machine in a folder: disks, an initramfs, and how it is switched on."""

    # MiB, where a boot does not say. This kernel makes 640 threads at its start (a /sbin/hotplug for each
    # event), on a busy machine all of them before the first one ends; with 96 MiB it has room for 520 to 660
    # (fork_init() in kernel/fork.c). Then a fork fails: that for the test of SHA-256, without which there is
    # no dm-verity, or the first one of a system.
    MEMORY = 128

    def __init__(self, folder: pathlib.Path) -> None:
        """A machine whose files are in `folder`."""
        self.folder = folder
        self.boots: list[Boot] = []

    @property
    def last(self) -> Boot | None:
        """What the last boot left behind."""
        return self.boots[-1] if self.boots else None

    def start(
        self,
        initrd: pathlib.Path | None,
        disks: Sequence[str | pathlib.Path],
        line: str,
        console: int,
        serial: int,
        *,
        script: str | None = None,
        memory: int = 0,
    ) -> subprocess.Popen:
        """Switches the machine on; `console` and `serial` are descriptors that it writes to.

        `disks` become ubda, ubdb ...; one that begins with "r:" is write-protected. `script` is on ubdh;
        `memory` is in MiB. The emulator is a family of processes of its own session: SIGKILL to all of them
        is the plug pulled.
        """
        file = None
        if script is not None:
            file = self.folder / "script"
            data = script.encode()
            file.write_bytes(data + bytes(-len(data) % (64 << 10)))
        return subprocess.Popen(
            self.command(initrd, [str(disk) for disk in disks], line, serial, file, memory or self.MEMORY),
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=console,
            pass_fds=(serial,),
            start_new_session=True,
            env=os.environ | self.environment(),
        )

    def environment(self) -> dict[str, str]:
        """Variables that the emulator needs."""
        return {"LD_PRELOAD": str(setting("OVERLAYROOT_UML_PRELOAD"))}

    def command(
        self,
        initrd: pathlib.Path | None,
        disks: Sequence[str],
        line: str,
        serial: int,
        script: pathlib.Path | None,
        memory: int,
    ) -> list[str | pathlib.Path]:
        """The emulator and its options; see `start`."""
        words = [f"mem={memory}M", "con0=null,fd:1", "con=null", f"ssl0=null,fd:{serial}", "ssl=null"]
        words += ["noreboot", "panic=1", "random.trust_cpu=1", f"umid={self.folder.name}"]
        words += [f"uml_dir={self.folder}/", *QUICK]
        # What is left of a machine that was killed: whether that still runs is guessed by its process id.
        shutil.rmtree(self.folder / self.folder.name, ignore_errors=True)
        if initrd:
            words.append(f"initrd={initrd}")
        for number, name in enumerate(disks):
            words.append(f"ubd{number}{'r' if name.startswith('r:') else ''}={name.removeprefix('r:')}")
        if script:
            words.append(f"ubd7r={script}")
        return [setting("OVERLAYROOT_UML"), *words, *line.split(" ")]

    def boot(
        self,
        initrd: pathlib.Path | None,
        disks: Sequence[str | pathlib.Path],
        line: str,
        *,
        timeout: float = 900,
        during: Callable[["Machine", str], None] | None = None,
        **options,
    ) -> Boot:
        """Boots once: see `start`. `script` runs in the booted system.

        `during` is called again and again with the console so far. A machine that does not end within
        `timeout` seconds is an error.
        """
        console_file, serial_file = self.folder / "console", self.folder / "serial"
        began = time.monotonic()
        with console_file.open("wb") as console, serial_file.open("wb") as serial:
            process = self.start(initrd, disks, line, console.fileno(), serial.fileno(), **options)
            try:
                while process.poll() is None:
                    if time.monotonic() - began > timeout:
                        raise UmlError(f"still running after {timeout:.0f} s")
                    if during:
                        during(self, console_file.read_text(errors="replace"))
                    time.sleep(0.02)
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, 9)
                    process.wait()
                boot = Boot(
                    console_file.read_text(errors="replace").replace("\r", ""),
                    parse_sections(serial_file.read_text(errors="replace")),
                    time.monotonic() - began,
                )
                self.boots.append(boot)
        return boot

    def plug_in(self, command: str) -> str:
        """Tells the running kernel to add a device (UML's mconsole, arch/um/include/shared/mconsole.h)."""
        path = self.folder / self.folder.name / "mconsole"
        mine = self.folder / "answer"
        mine.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as link:
            link.bind(str(mine))
            link.settimeout(120)
            data = command.encode() + b"\0"
            link.sendto(struct.pack("<III", 0xCAFEBABE, 2, len(data)) + data.ljust(512, b"\0"), str(path))
            error, _, length = struct.unpack_from("<III", answer := link.recv(4096))
        text = answer[12 : 12 + length].decode(errors="replace")
        if error:
            raise UmlError(f"{command}: {text}")
        return text
