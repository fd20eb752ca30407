# SPDX-License-Identifier: MIT
"""The machine of the benchmark: QEMU's 64-bit ARM `virt`, whose instructions and system calls are counted.

A boot ends at the first instruction of the root's own first program (first.c), which then says what / is and
what was read from the disk until then. Time in which the processor has nothing to do does not count, nor does
what else the host does: one instruction is one nanosecond.
"""

import dataclasses
import json
import pathlib
import re
import subprocess
from collections.abc import Sequence

import uml

HERE = pathlib.Path(__file__).resolve().parent
CROSS = "aarch64-linux-gnu-"
# A function of the kernel (init/main.c) that runs once the initramfs is unpacked and is about to be entered.
ENTRY = "run_init_process"
# A clock that counts instructions, so that the kernel's timers do not depend on the host either.
CLOCK = ("-icount", "shift=0,sleep=on", "-seed", "1", "-rtc", "base=2026-01-01,clock=vm", "-smp", "1")
GUEST_FLAGS = (
    *("-Os", "-Wall", "-Wextra", "-Werror", "-ffreestanding", "-fno-pic", "-static", "-nostdlib"),
    *("-fno-stack-protector", "-fno-asynchronous-unwind-tables", "-s"),
    *("-Wl,--build-id=none", "-Wl,-z,noseparate-code"),
)


@dataclasses.dataclass
class Cost:
    """What one boot cost."""

    # Instructions from the kernel's first to the first program's.
    whole: int
    # From `Run /init` to the first program: instructions, those that are no kernel's, system calls.
    inside: int
    of_programs: int
    system_calls: int
    # Requests that the disk answered, and KiB that it gave.
    disk_reads: int
    disk_kib: int
    # What the kernel calls available, KiB.
    memory_kib: int
    # The init's report, where there is one.
    report: dict | None = None


@dataclasses.dataclass
class Ended:
    """A machine that was switched off."""

    console: str
    # What the emulator said.
    errors: str
    # Each mark, and the counters then: all instructions, those of programs, system calls.
    marks: list[tuple[str, tuple[int, int, int]]]


def guest_program(name: str, folder: pathlib.Path) -> pathlib.Path:
    """Compiles a program of this folder for the guest."""
    program = folder / name
    uml.run(f"{CROSS}gcc", *GUEST_FLAGS, "-o", program, HERE / f"{name}.c")
    return program


def plugin(folder: pathlib.Path) -> pathlib.Path:
    """Compiles the plugin that counts."""
    library = folder / "count.so"
    uml.run("gcc", "-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", "-o", library, HERE / "count.c")
    return library


def symbol(kernel: pathlib.Path, name: str) -> str:
    """The address of a function of the kernel, hexadecimal."""
    found = re.search(rf"^([0-9a-f]+) \w {name}$", (kernel / "System.map").read_text(), re.MULTILINE)
    if not found:
        raise uml.UmlError(f"the kernel has no {name}")
    return found[1]


class Rig:
    """A machine with a kernel."""

    def __init__(self, folder: pathlib.Path, image: pathlib.Path, entry: str = "") -> None:
        """Files go to `folder`. `entry`: address of `ENTRY`, where inside begins; else a system call is."""
        self.folder, self.image, self.entry = folder, image, entry
        self.plugin = plugin(folder)

    def run(
        self,
        initramfs: pathlib.Path | None,
        line: str,
        disks: Sequence[pathlib.Path],
        memory: int = 512,
        timeout: int = 900,
    ) -> Ended:
        """Boots once, until the machine is switched off. The disks are not changed; `memory` in MiB."""
        marks = self.folder / "marks"
        qemu = uml.setting("OVERLAYROOT_QEMU")
        command: list[str | pathlib.Path] = [qemu, "-M", "virt", "-cpu", "cortex-a53", "-m", f"{memory}M"]
        command += ["-no-reboot", "-display", "none", "-nodefaults", "-serial", "stdio"]
        command += [*CLOCK, "-kernel", self.image]
        entry = f",address={ENTRY}:{self.entry}" if self.entry else ""
        command += ["-plugin", f"{self.plugin},marks={marks}{entry}"]
        if initramfs:
            command += ["-initrd", initramfs]
        for number, disk in enumerate(disks):
            command += ["-drive", f"if=none,id=d{number},format=raw,snapshot=on,file={disk}"]
            command += ["-device", f"virtio-blk-pci,drive=d{number}"]
        # Quiet: who prints more pays for the serial line, but not for what the kernel itself says.
        command += ["-append", f"console=ttyAMA0 quiet loglevel=1 nokaslr norandmaps panic=-1 {line}"]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL
            )
        except subprocess.TimeoutExpired as late:
            raise uml.UmlError(f"still running after {timeout} s: {late.stdout}") from late
        found = []
        for mark in marks.read_text().splitlines() if marks.exists() else []:
            name, whole, of_programs, calls = mark.split()
            found.append((name, (int(whole), int(of_programs), int(calls))))
        return Ended(done.stdout.replace("\r", ""), done.stderr, found)

    def boot(self, initramfs: pathlib.Path | None, line: str, disk: pathlib.Path, root: str) -> Cost:
        """Boots a disk whose first program is first.c, and asserts that / is of the type `root` then."""
        ended = self.run(initramfs, line, [disk])
        console = ended.console
        sections = dict(re.findall(r"^@@ (\w+)\n(.*?)(?=^@@ )", console, re.MULTILINE | re.DOTALL))
        if "mounts" not in sections:
            raise uml.UmlError(f"the first program was not started: {console}{ended.errors}")
        types = [fields[2] for fields in map(str.split, sections["mounts"].splitlines()) if fields[1] == "/"]
        if types[-1] != root:
            raise uml.UmlError(f"/ is {types[-1]}, not {root}: {console}")
        # The first of each.
        counters = dict(reversed(ended.marks))
        first, entry = counters["hint0"], counters[ENTRY if self.entry else "program"]
        stat = list(map(int, sections["stat"].split()))
        memory = re.search(r"^MemAvailable: +(\d+)", sections["memory"], re.MULTILINE)
        return Cost(
            whole=first[0],
            inside=first[0] - entry[0],
            of_programs=first[1] - entry[1],
            system_calls=first[2] - entry[2],
            disk_reads=stat[0],
            disk_kib=stat[2] // 2,
            memory_kib=int(memory[1]),
            report=json.loads(sections["report"]) if sections.get("report") else None,
        )


def kernel() -> pathlib.Path:
    """Where scripts/benchmark has put the kernel in which everything is built in."""
    return uml.setting("OVERLAYROOT_BENCH_KERNEL")


def benchmark(folder: pathlib.Path) -> Rig:
    """The machine of the benchmark."""
    return Rig(folder, kernel() / "Image", symbol(kernel(), ENTRY))
