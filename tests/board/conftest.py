# SPDX-License-Identifier: MIT
"""The board of these tests, and what a failure shows."""

import json
import os
import pathlib
import subprocess
import time
from collections.abc import Iterator

import pytest
from emulator import Board
from labgrid_board import PATIENCE, BoardStrategy, Status
from uboot_environment import BadEnvironmentError

# Workers of pytest-xdist have a board each; read before labgrid loads its environment.
if worker := os.environ.get("PYTEST_XDIST_WORKER"):
    os.environ["LG_BOARD"] += f"-{worker}"


class System:
    """A booted system, asked by its shell."""

    def __init__(self, strategy: BoardStrategy) -> None:
        """The system that `strategy` has booted."""
        self.strategy = strategy

    def run(self, command: str, *, timeout: int = 300) -> str:
        """Output of a command that must succeed."""
        return "\n".join(self.strategy.shell.run_check(command, timeout=timeout))

    def mount(self, target: str) -> dict[str, str]:
        """A line of the mount table: `fstype`, `source`, and `options` as a list."""
        shown = json.loads(self.run(f"findmnt --json --output FSTYPE,SOURCE,OPTIONS {target}"))
        mount = shown["filesystems"][-1]
        mount["options"] = mount["options"].split(",")
        return mount

    def report(self) -> dict:
        """What the init reported of this boot."""
        return json.loads(
            self.run("cat /mnt/root-RW/report.json 2>/dev/null || cat /run/overlayroot/report.json")
        )

    def command_line(self) -> list[str]:
        """Words of the kernel command line."""
        return self.run("cat /proc/cmdline").split()

    def need_flash(self) -> None:
        """Without Debian's init the SPI NOR flash's driver has to be loaded; with it the flash is there."""
        load = "modprobe -a spi-imx spi-nor; " if self.strategy.bare else ""
        self.run(f"{load}test -e /dev/mtd0")


def assert_protected(system: System, size: str) -> None:
    """`/` is RAM over the read-only root, and everything that says so agrees."""
    assert system.strategy.verdict.startswith("protected: / is RAM over read-only /dev/mmcblk")
    root, lower, ram = (system.mount(m) for m in ("/", "/mnt/root-RO", "/mnt/root-RW"))
    assert root["fstype"] == "overlay"
    assert {
        "lowerdir=/mnt/root-RO",
        "upperdir=/mnt/root-RW/upper",
        "workdir=/mnt/root-RW/work",
    } <= set(root["options"])
    assert (lower["fstype"], "ro" in lower["options"]) == ("ext4", True)
    assert (ram["fstype"], "rw" in ram["options"]) == ("tmpfs", True)
    report = system.report()
    assert (report["wanted"], report["reached"], report["protected"]) == ("ram", "ram", True)
    assert report["root"]["device"] == lower["source"]
    assert {"overlayfs=yes", f"ofs-size={size}"} <= set(system.command_line())
    origins = {setting["name"]: setting for setting in report["settings"]}
    assert origins["ofs-size"] == {"name": "ofs-size", "value": size, "origin": "command line"}


def assert_writable(system: System) -> None:
    """`/` is the card itself."""
    assert system.strategy.verdict.startswith("NOT PROTECTED: / is writable (/dev/mmcblk")
    root = system.mount("/")
    assert (root["fstype"], "rw" in root["options"]) == ("ext4", True)
    assert system.report()["reached"] == "writable"


@pytest.fixture(scope="session")
def board(strategy: BoardStrategy) -> Iterator[BoardStrategy]:
    """The board; it is off when the tests are done."""
    yield strategy
    strategy.cut_power()


@pytest.fixture(scope="module")
def bare(board: BoardStrategy) -> Iterator[None]:
    """For a module whose boots are about what comes before Debian's init: it is left out if possible."""
    board.set_bare(True)
    yield
    board.set_bare(False)


@pytest.fixture
def system(board: BoardStrategy) -> System:
    """The system on the board; the test boots it."""
    return System(board)


@pytest.fixture
def card(board: BoardStrategy) -> Iterator[pathlib.Path]:
    """The emulated card while the board is off; what the test changes on its boot partition stays."""
    board.transition(Status.off)
    yield board.emulated.card


def mtools(command: str, card: pathlib.Path, *arguments: str) -> None:
    """Runs an mtools command on the boot partition, which begins at 4 MiB."""
    subprocess.run([command, "-i", f"{card}@@4M", *arguments], check=True)


def await_flash(board: BoardStrategy, wanted: dict[str, str] | None) -> None:
    """Waits until the flash has an environment with these variables; None: until it has none that is whole.

    The emulator writes its flash a moment after the guest thinks so; a real one does not.
    """

    def is_there(emulated: Board) -> bool:
        try:
            found = emulated.environment()
        except BadEnvironmentError:
            return wanted is None
        return wanted is not None and wanted.items() <= found.items()

    deadline = time.monotonic() + PATIENCE
    while board.emulated and not is_there(board.emulated):
        assert time.monotonic() < deadline, f"not in the flash: {wanted}"
        time.sleep(0.1)


def boot_without_environment(board: BoardStrategy) -> None:
    """Boots a board that is off, and whose environment U-Boot must refuse."""
    board.target.activate(board.console)
    board.power.on()
    board.console.expect("bad CRC, using default environment", timeout=300)
    board.target.activate(board.uboot)
    board.status = Status.uboot
    board.default_environment()
    board.boot()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo) -> Iterator:
    """A failure shows the end of the console and the mount table."""
    report = yield
    strategy = getattr(item, "funcargs", {}).get("board")
    if report.when == "call" and report.failed and strategy is not None:
        if strategy.emulated:
            console = strategy.emulated.card.with_name("console.log").read_bytes()[-6000:]
            report.sections.append(("console", console.decode(errors="replace").replace("\r", "")))
        if strategy.status == Status.shell:
            try:
                mounts = "\n".join(strategy.shell.run("cat /proc/mounts")[0])
            except Exception as error:  # whatever a broken board raises
                mounts = f"cannot be read: {error}"
            report.sections.append(("mount table", mounts))
        # The next test begins with the power off.
        strategy.cut_power()
    return report
