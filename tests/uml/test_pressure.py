# SPDX-License-Identifier: MIT
"""The RAM layer as large as it can be, and full; memory used up. Nothing of that takes the board down.

The figures are in docs/settings.md: scripts/pytest tests/uml/test_pressure.py -rP
"""

import contextlib
import math
import re
import time

import pytest
import uml
from conftest import Rig, assert_protected
from failure_modes import failure

MIB = 1 << 20
FULL = "dd if=/dev/zero of=/full bs=64k 2>&1 | grep -o 'No space left on device'"
# Directories of 500 files each, until nothing fits.
FILES = """d=0
while mkdir /many$d; do i=0
    while [ $i -lt 500 ]; do CONTENT > /many$d/$i || break 2; i=$((i + 1)); done
    d=$((d + 1))
done 2>/tmp/said
grep -o 'No space left on device' /tmp/said"""
# The system answers: a new process, a file that is not cached, one that is replaced.
AFTER = """
df -k / | tail -n 1; df -i / | tail -n 1; grep -E "MemTotal|MemFree|SUnreclaim" /proc/meminfo
echo x > /new || echo refused
echo 3 > /proc/sys/vm/drop_caches; cat /etc/keep; ls /bin | wc -l; ps | grep -c "[i]nit"
rm -rf /full /many*; echo x > /new && cat /new; sync; echo alive"""
HOG = "tail /dev/zero; [ $? = 137 ] && echo 'the largest was killed'"


def figures(boot: uml.Boot) -> str:
    """What the docs say of it."""
    report, numbers = boot.report["upper"], dict(re.findall(r"(Mem\w+|SUnreclaim): +(\d+) kB", boot.script))
    used, inodes = [line.split()[2] for line in boot.script.splitlines() if line.startswith("overlay")]
    mib = {name: int(value) // 1024 for name, value in numbers.items()}
    return (
        f"{mib['MemTotal']} MiB of RAM: layer {report['size_bytes'] // MIB} MiB, {report['inodes']} inodes; "
        f"full: {int(used) // 1024} MiB, {inodes} inodes used, {mib['MemFree']} MiB free, "
        f"{mib['SUnreclaim']} MiB in the kernel"
    )


@pytest.mark.parametrize(
    ("load", "memory", "said"),
    [
        (FULL, 96, "No space left on device"),
        (FULL, 256, "No space left on device"),
        pytest.param(
            FILES.replace("CONTENT", "echo x"),
            64,
            "No space left on device",
            marks=failure(
                "running",
                "no inode is left in the RAM layer",
                "No space left on device",
                "ram",
                "remove files; `ofs-size=64M,20000` allows more of them",
            ),
        ),
        (FILES.replace("CONTENT", "true"), 96, "No space left on device"),
        pytest.param(
            f"{FULL}; {HOG}",
            64,
            "the largest was killed",
            marks=failure(
                "running",
                "memory is used up while the RAM layer is full",
                "Out of memory: Killed process …",
                "ram",
                "a smaller RAM layer, or less of what was killed; init and the layer stay",
            ),
        ),
    ],
    ids=["bytes", "more bytes", "files", "empty files", "memory"],
)
def test_layer_is_full(rig: Rig, load: str, memory: int, said: str) -> None:
    """As large as the init allows: ofs-size=100."""
    boot = rig.boot_unchanged("root=/dev/ubda ofs-size=100", script=load + AFTER, memory=memory)
    print(figures(boot))
    assert_protected(boot)
    assert "Kernel panic" not in boot.console
    lines = boot.script.splitlines()
    assert said in lines
    assert "refused" in lines
    assert lines[-5] == "original" and int(lines[-4]) > 0 and int(lines[-3]) >= 1
    assert lines[-2:] == ["x", "alive"]
    # The killer of processes was needed for one only, the one that asked for all.
    assert boot.console.count("Out of memory: Killed process") == (1 if "killed" in said else 0)


@pytest.mark.parametrize(
    ("size", "least"),
    [
        ("16M,1", 16),
        ("16M,99999999999g", 1000),
        ("100", 1000),
        ("99999999G", 1000),
        ("1K,1", 16),
        ("1", 1000),
    ],
)
def test_caps_are_always_set(rig: Rig, size: str, least: int) -> None:
    """Bytes and inodes, whatever ofs-size says; and the layer is there."""
    script = "df -k / | tail -n 1; df -i / | tail -n 1"
    boot = rig.boot_unchanged(f"root=/dev/ubda ofs-size={size}", script=script)
    assert_protected(boot)
    kib, inodes = [int(line.split()[1]) for line in boot.script.splitlines()]
    total = int(boot.sections["memory"].split("MemTotal:")[1].split()[0]) << 10
    assert (kib << 10, inodes) == (boot.report["upper"]["size_bytes"], boot.report["upper"]["inodes"])
    assert 4 * MIB <= kib << 10 <= total * 2 // 3
    assert inodes >= least
    assert (kib << 10) + inodes * 2048 <= total - 24 * MIB


def test_positive_control(rig: Rig) -> None:
    """A layer that may take all of RAM: under the same load processes are killed, or the kernel panics.

    After that the machine has a minute to end or to say that it is alive: it may stand still for ever.
    """
    script = f"mount -o remount,size=100%,nr_inodes=0 /mnt/root-RW; {FULL}; {FULL}; {HOG}; {AFTER}"
    deadline = math.inf

    def until_down(_machine: uml.Machine, console: str) -> None:
        nonlocal deadline
        if harmed(console):
            deadline = min(deadline, time.monotonic() + 60)
        if "Kernel panic" in console or time.monotonic() > deadline:
            raise Down

    with contextlib.suppress(Down):
        rig.boot("root=/dev/ubda", script=script, memory=64, during=until_down)
    boot = rig.machine.last
    assert boot and "alive" not in boot.sections.get("script", "")
    assert harmed(boot.console)


def harmed(console: str) -> bool:
    """More than the one process that `test_layer_is_full` allows was killed, or the kernel gave up."""
    return console.count("Out of memory: Killed process") > 1 or "Kernel panic" in console


class Down(Exception):
    """What the control waits for."""
