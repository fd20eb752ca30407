# SPDX-License-Identifier: MIT
"""What labgrid needs to know of our boards: the emulated one as a driver, and how a board is brought up."""

import enum
import os
import pathlib
import re
import select
import subprocess
import sys
from typing import BinaryIO

import attr
from emulator import Board
from labgrid import step, target_factory
from labgrid.driver import Driver
from labgrid.driver.consoleexpectmixin import ConsoleExpectMixin
from labgrid.protocol import ConsoleProtocol, PowerProtocol
from labgrid.strategy import Strategy
from labgrid.util import PtxExpect
from pexpect import EOF, TIMEOUT

# Seconds that the emulated board may take for anything: a boot takes 40 on a host with nothing else to do.
PATIENCE = 900

# On the kernel command line: a shell in place of Debian's init.
BARE = " init=/bin/bash"

# The line with which the init ends its work (docs/boot-flow.md).
VERDICT = re.compile(
    rb"overlayroot: (?:warning: |error: )?"
    rb"((?:protected|NOT PROTECTED|DEGRADED|no root could be mounted): [^\r\n]*)[\r\n]"
)


@target_factory.reg_driver
@attr.s(eq=False)
class SabreliteDriver(ConsoleExpectMixin, Driver, PowerProtocol, ConsoleProtocol):
    """The emulated board: its power switch, which cuts without warning, and its console.

    Args:
        folder: where its card, its flash and the log of its console are.
        image: SD image of which the card is a copy.
    """

    folder = attr.ib(validator=attr.validators.instance_of(str))
    image = attr.ib(validator=attr.validators.instance_of(str))

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self.txdelay = self.txchunk = None
        self.echo = False  # show the console on standard output too
        folder = pathlib.Path(self.folder)
        self.board = Board(folder, pathlib.Path(self.image))
        self._log: BinaryIO = (folder / "console.log").open("wb", buffering=0)
        self._process: subprocess.Popen | None = None

    def on_deactivate(self) -> None:
        """A board whose console nobody reads would stop anyway."""
        self.off()

    @Driver.check_active
    @step()
    def on(self) -> None:
        """Switches the board on."""
        if self._process:
            return
        self._expect = PtxExpect(self)  # nothing of the boot before
        self._log.write(b"\n--- power on ---\n")
        self._process = subprocess.Popen(
            self.board.argv(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    @step()
    def off(self) -> None:
        """Pulls the plug: SIGKILL."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process.stdin.close()
            self._process.stdout.close()
            self._process = None
            self._log.write(b"\n--- power off ---\n")

    def cycle(self) -> None:
        """Off and on."""
        self.off()
        self.on()

    def expect(self, pattern, timeout: float = -1):
        """As labgrid's own, with more patience: its drivers give a prompt a second or two.

        With TIMEOUT among the patterns the time is no deadline, but how often they look.
        """
        if not (isinstance(pattern, list) and TIMEOUT in pattern):
            timeout = max(timeout, PATIENCE)
        return super().expect(pattern, timeout)

    def _read(self, size: int = 1, timeout: float = 10, max_size: int | None = None) -> bytes:
        if not self._process:
            raise EOF("the board is off")
        output = self._process.stdout
        if not select.select([output], [], [], timeout)[0]:
            raise TIMEOUT(f"nothing on the console for {timeout:.0f} s")
        data = os.read(output.fileno(), max_size or 4096)
        if not data:
            raise EOF(f"the emulator ended with status {self._process.wait()}; see {self.folder}/console.log")
        self._log.write(data)
        if self.echo:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        return data

    def _write(self, data: bytes) -> int:
        self._process.stdin.write(data)
        self._process.stdin.flush()
        return len(data)


class Status(enum.Enum):
    """States of a board."""

    unknown = 0
    off = 1
    uboot = 2
    shell = 3


@target_factory.reg_driver
@attr.s(eq=False)
class BoardStrategy(Strategy):
    """Brings a board to U-Boot's prompt or to a shell, and remembers what the init said on the way."""

    bindings = {  # noqa: RUF012 # labgrid's own form
        "power": "PowerProtocol",
        "console": "ConsoleProtocol",
        "uboot": "UBootDriver",
        "shell": "ShellDriver",
    }
    boot_timeout = attr.ib(default=PATIENCE, validator=attr.validators.instance_of(int))

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self.status = Status.unknown
        # What our init said; nothing is waited for where a test has put a system without it on the card.
        self.verdict = ""
        self.has_init = True
        self.bare = False

    @property
    def emulated(self) -> Board | None:
        """The emulated board's files, for what a test cannot do to a real board."""
        return self.console.board if isinstance(self.console, SabreliteDriver) else None

    @step(args=["status"])
    def transition(self, status: str | Status) -> None:
        """Goes to a state; `shell` and `uboot` from any other state begin with the power off."""
        wanted = Status[status] if isinstance(status, str) else status
        if wanted == self.status:
            return
        if wanted == Status.off:
            self.cut_power()
        elif wanted == Status.uboot:
            self.cut_power()
            self.target.activate(self.console)
            self.power.on()
            self.target.activate(self.uboot)
        elif wanted == Status.shell:
            self.cut_power()
            self.target.activate(self.console)
            self.power.on()
            self._await_shell()
        self.status = wanted

    @step()
    def cut_power(self) -> None:
        """Pulls the plug, whatever the board is doing."""
        self.target.activate(self.power)
        self.power.off()
        self._leave()
        self.status = Status.off

    def _leave(self) -> None:
        for driver in (self.shell, self.uboot):
            self.target.deactivate(driver)

    @step(args=["bare"])
    def set_bare(self, bare: bool) -> None:
        """From the next boot on: whether the emulated board starts a shell in place of Debian's init.

        U-Boot, kernel and our init do the same as ever, in a fifth of the time. The power is cut. A real
        board has the time, and starts Debian's init.
        """
        if not self.emulated or bare == self.bare:
            return
        self.cut_power()
        words = self.emulated.quirks["bootargs"].removesuffix(BARE) + (BARE if bare else "")
        self.emulated.quirks["bootargs"] = words
        self.emulated.set_environment(bootargs=words)
        self.bare = bare

    @step(args=["variables"])
    def boot(self, **variables: str) -> None:
        """From U-Boot's prompt: sets variables for this boot only, boots, waits for a shell.

        A hyphen of a name is written as two underscores: `ofs__size` is `ofs-size`.
        """
        self.transition(Status.uboot)
        for name, value in variables.items():
            self.uboot.run_check(f"setenv {name.replace('__', '-')} '{value}'")
        self.uboot.boot()
        self._await_shell()
        self.status = Status.shell

    @step()
    def reboot(self) -> None:
        """Reboots from the shell, in good order if there is an init for that; waits for the next shell."""
        self.console.sendline("reboot -f" if self.bare else "reboot")
        self._await_shell()

    @step()
    def _await_shell(self) -> None:
        self._leave()
        self.verdict = ""
        if self.has_init:
            _, _, verdict, _ = self.console.expect(VERDICT, timeout=self.boot_timeout)
            self.verdict = verdict.group(1).decode()
        else:
            self.console.expect("Starting kernel", timeout=self.boot_timeout)
        if self.bare:
            self.console.expect("bash: no job control in this shell", timeout=self.boot_timeout)
            # What the kernel still says would come between a command and its output.
            self.console.sendline("dmesg -n 1")
        self.target.activate(self.shell)

    @step()
    def default_environment(self) -> None:
        """At U-Boot's prompt with no environment: what an emulator needs beside the compiled-in one."""
        for name, value in self.emulated.quirks.items() if self.emulated else ():
            self.uboot.run_check(f"setenv {name}")
            # In pieces: a line has at most 512 characters.
            for start in range(0, len(value), 200):
                piece = value[start : start + 200]
                self.uboot.run_check(f'setenv {name} "${{{name}}}{piece}"')

    @step(result=True)
    def root_hash(self) -> str:
        """SHA-256 of the root partition: of the emulated card, while it is off, or read on the board."""
        if self.emulated:
            assert self.status == Status.off, "the emulated card is read while the board is off"
            return self.emulated.root_hash()
        self.transition(Status.shell)
        device = self.shell.run_check("findmnt -no SOURCE /mnt/root-RO")[0]
        return self.shell.run_check(f"sha256sum {device}", timeout=600)[0].split()[0]
