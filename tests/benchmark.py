# SPDX-License-Identifier: MIT
"""What protection costs at a boot: instructions, system calls, reads of the disk, memory, size.

Ours in its ways, the floor (no protection), the limit (the same mounts and nothing else) and its peers boot
the same kernel and the same root on QEMU's 64-bit ARM `virt` machine, whose instructions are counted: what
else the host does makes no difference. One instruction is one nanosecond; time in which nothing is to be done
is left out.

Another's initramfs is measured, too: --others FOLDER with NAME.initramfs and NAME.line, words of the command
line; the root is /dev/vda, ext4, and everything that it needs is built into the kernel.
"""

import argparse
import json
import os
import pathlib
import platform
import subprocess
import sys
import tempfile

import page

TOP = pathlib.Path(__file__).resolve().parents[1]
RECORD = TOP / "docs/benchmarks.json"


def measure(machine, contestant, disk: pathlib.Path, runs: int) -> dict:
    """One row: its boots."""
    boots = []
    for number in range(runs):
        print(f"==> {contestant.name}: {number + 1} of {runs}", file=sys.stderr, flush=True)
        cost = machine.boot(contestant.initramfs, contestant.line, disk, contestant.root)
        boots.append({name: getattr(cost, name) for name in page.NUMBERS})
        report = cost.report
    row = {
        "name": contestant.name,
        "initramfs_bytes": contestant.initramfs.stat().st_size if contestant.initramfs else 0,
        "command_line": contestant.line,
        "leaves_out": contestant.less,
        "boots": boots,
    }
    if report:
        row["steps"] = [
            {"step": step["step"], "microseconds": step["microseconds"]} for step in report["steps"]
        ]
    return row


def versions(kernel: pathlib.Path) -> dict:
    """What was measured with."""
    run = [os.environ["OVERLAYROOT_QEMU"], "--version"]
    qemu = subprocess.run(run, capture_output=True, text=True, check=True).stdout.splitlines()[0]
    commit = ["git", "-C", str(TOP), "describe", "--always", "--dirty", "--abbrev=12"]
    return {
        "qemu": qemu,
        "kernel": (kernel / "release").read_text().strip(),
        "commit": subprocess.run(commit, capture_output=True, text=True).stdout.strip(),
        "host": platform.machine(),
    }


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="scripts/benchmark", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="JSON instead of a table: each boot, each step")
    parser.add_argument("--runs", type=int, default=5, help="boots of each (default: 5)")
    parser.add_argument(
        "--only", metavar="WORDS", default="", help="only rows whose name has these words, and the floor"
    )
    parser.add_argument("--others", metavar="FOLDER", type=pathlib.Path, help="more contestants: see above")
    parser.add_argument(
        "--record", action="store_true", help="write docs/benchmarks.json, the page and the picture"
    )
    # For scripts/benchmark.
    parser.add_argument("--options-only", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.runs < 1:
        parser.error("--runs: at least 1")
    if options.others and not options.others.is_dir():
        parser.error(f"--others: {options.others} is no folder")
    if options.record and (options.only or options.others):
        parser.error("--record takes all rows of the project, and no others")
    if options.options_only:
        return 0

    import contestants
    import rig
    import tool
    import uml

    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        try:
            machine = rig.benchmark(folder)
            disks = contestants.Disks(folder)
            rows = contestants.ours(folder, disks)
            rows += contestants.peers(folder, uml.setting("OVERLAYROOT_PEERS"))
            if options.others:
                rows += contestants.others(options.others)
            if not any(options.only in row.name for row in rows):
                names = "".join(f"\n  {row.name}" for row in rows)
                raise uml.UmlError(f"no row is named {options.only!r}; there are:{names}")
            chosen = [row for row in rows if options.only in row.name or row is rows[0]]
            tool_rows = [] if options.only else tool.measure(machine, folder)
            results = [measure(machine, one, disks.path(one.disk), options.runs) for one in chosen]
        except uml.UmlError as error:
            print(f"benchmark: {error}", file=sys.stderr)
            return 1
    record = {"version": 1, **versions(rig.kernel()), "rows": results, "tool": tool_rows}
    if options.record:
        for suffix, text in (
            (".json", json.dumps(record, indent=1) + "\n"),
            (".md", page.page(record)),
            (".svg", page.picture(record)),
        ):
            RECORD.with_suffix(suffix).write_text(text)
    if options.json:
        print(json.dumps(record, indent=1))
    else:
        print(page.table(results))
        if tool_rows:
            print("\n" + page.tool_table(tool_rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
