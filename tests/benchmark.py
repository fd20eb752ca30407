# SPDX-License-Identifier: MIT
"""What protection costs at a boot: size of the initramfs, time in it, memory that is left.

The machine is QEMU's 64-bit ARM `virt`, one processor, with a clock that counts instructions (1 ns each) and
passes over idle time: what else the host does hardly matters. The same kernel, the same ext4 root and the
same first program are booted with our initramfs, and with that of Debian's initramfs-tools, whose package
`overlayroot` does the same.

Times are the kernel's: from its start, and from the start of /init to the first line of the system's init;
the median of several boots.
"""

import argparse
import dataclasses
import json
import pathlib
import re
import statistics
import sys
import tempfile

import uml
import virt

CLOCK = ("-icount", "shift=0,sleep=off", "-seed", "1", "-rtc", "base=2026-01-01,clock=vm", "-smp", "1")
START, END = "Run /init as init process", "benchmark: init of the system"


@dataclasses.dataclass
class Way:
    """A way to boot."""

    name: str
    initramfs: pathlib.Path
    line: str
    # What / is then.
    root: str


@dataclasses.dataclass
class Result:
    """What boots were like; times in milliseconds, one for each boot."""

    way: str
    initramfs_bytes: int
    in_initramfs: list[float]
    from_kernel_start: list[float]
    memory_available_kib: int


def ways(folder: pathlib.Path) -> list[Way]:
    """Ours first: the others are compared with it."""
    modules = virt.modules("virtio_pci", "virtio_blk", "overlay")
    ours = uml.initramfs(folder / "ours.cpio.gz", modules=modules)
    peers = uml.setting("OVERLAYROOT_PEERS")
    return [
        Way("meta-overlayroot, protected", ours, "overlayfs=yes", "overlay"),
        Way("meta-overlayroot, overlayfs=no", ours, "overlayfs=no", "ext4"),
        Way("initramfs-tools, MODULES=list, overlayroot", peers / "list", "overlayroot=tmpfs", "overlay"),
        Way("initramfs-tools, MODULES=list, writable", peers / "list", "rw", "ext4"),
        Way("initramfs-tools, MODULES=most, overlayroot", peers / "most", "overlayroot=tmpfs", "overlay"),
    ]


def system(folder: pathlib.Path) -> None:
    """A change for `uml.disk`: the system's init begins with a word in the kernel's log."""
    virt.system(folder)
    init = folder / "sbin/init"
    head, rest = init.read_text().split("\n", 1)
    init.write_text(f"{head}\necho '{END}' >/dev/kmsg\n{rest}")


def moment(log: str, text: str) -> float:
    """When the kernel's log has a text, milliseconds."""
    found = re.search(rf"^\[ *(\d+\.\d+)\] {re.escape(text)}", log, re.MULTILINE)
    if not found:
        raise uml.UmlError(f"the kernel's log has no `{text}`")
    return float(found[1]) * 1000


def measure(way: Way, folder: pathlib.Path, root: pathlib.Path, runs: int) -> Result:
    """Boots some times, always from the same disk."""
    content = root.read_bytes()
    result = Result(way.name, way.initramfs.stat().st_size, [], [], 0)
    for number in range(runs):
        print(f"==> {way.name}: {number + 1} of {runs}", file=sys.stderr, flush=True)
        machine = virt.Machine(folder, CLOCK)
        line = f"root=LABEL=ROOT loglevel=1 {way.line}"
        boot = machine.boot(way.initramfs, [root], line, memory=512, timeout=900)
        if "end" not in boot.sections or boot.mounts["/"][1] != way.root:
            raise uml.UmlError(f"{way.name}: / is no {way.root}; console:\n{boot.console}")
        log = boot.sections["log"]
        end = moment(log, END)
        result.in_initramfs.append(round(end - moment(log, START), 1))
        result.from_kernel_start.append(round(end, 1))
        available = re.search(r"^MemAvailable: +(\d+) kB", boot.sections["memory"], re.MULTILINE)
        result.memory_available_kib = int(available[1])
        root.write_bytes(content)
    return result


def table(results: list[Result]) -> str:
    """For docs/benchmarks.md; in brackets: as many times ours."""
    ours = results[0]
    lines = [
        "| | initramfs | in the initramfs | from the kernel's start | memory available |",
        "|---|--:|--:|--:|--:|",
    ]
    for one in results:
        size = one.initramfs_bytes / ours.initramfs_bytes
        inside, whole = statistics.median(one.in_initramfs), statistics.median(one.from_kernel_start)
        time = inside / statistics.median(ours.in_initramfs)
        lines.append(
            f"| {one.way} | {one.initramfs_bytes / 1024:,.0f} KiB ({size:.1f}) "
            f"| {inside:,.0f} ms ({time:.1f}) | {whole:,.0f} ms | {one.memory_available_kib / 1024:.1f} MiB |"
        )
    return "\n".join(lines)


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="scripts/benchmark", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="JSON instead of a table")
    parser.add_argument("--runs", type=int, default=5, help="boots of each (default: 5)")
    # For scripts/benchmark.
    parser.add_argument("--options-only", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.runs < 1:
        parser.error("--runs: at least 1")
    if options.options_only:
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        root = uml.disk(folder / "root.img", change=system)
        try:
            results = [measure(way, folder, root, options.runs) for way in ways(folder)]
        except uml.UmlError as error:
            print(f"benchmark: {error}", file=sys.stderr)
            return 1
    as_json = json.dumps([dataclasses.asdict(one) for one in results], indent=1)
    print(as_json if options.json else table(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
