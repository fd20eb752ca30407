# SPDX-License-Identifier: MIT
"""The few cuts of the campaign on the emulated i.MX6 board: the real chain, from U-Boot on."""

import hashlib
import pathlib
import shutil
import struct
import subprocess
import threading
from collections.abc import Callable

from campaign_kinds import BOARD_CHAINS, KINDS, PROTECTED, VERDICT, WRITABLE, Kind
from campaign_result import Pace, Result
from campaign_system import needs_replay
from emulator import ENV_AREA, Board, EmulatorError
from powercut import Cut, Moment, pull
from uboot_environment import BadEnvironmentError

# A boot takes half a minute. On a busy machine, where a campaign has the lowest priority, it may take long.
TIMEOUT = 3600
REQUEST = {"overlayfs_once": "no"}


class BoardBench:
    """A board, its card and its flash, which live through cut after cut."""

    def __init__(self, folder: pathlib.Path, image: pathlib.Path, pace: Pace, stop: threading.Event) -> None:
        """Files are in `folder`; `stop` ends a chain after the next cut."""
        self.folder, self.image, self.pace, self.stop = folder, image, pace, stop
        self.board = Board(folder, image)
        self.board.set_environment(bootdelay="0")
        self.digest = self.card_digest()
        self.plain = self.board.environment()
        self.settled = self.board.flash.read_bytes()
        self.cut: Cut | None = None

    def card_digest(self) -> str:
        """SHA-256 of the whole card."""
        with self.board.card.open("rb") as card:
            return hashlib.file_digest(card, "sha256").hexdigest()

    def pull(self, kind: Kind, moment: Moment, result: Result, expect: str = PROTECTED) -> Cut:
        """Switches on and cuts; the boot has to come to what is expected, unless it was cut before."""

        def start(output: int) -> subprocess.Popen:
            return subprocess.Popen(
                self.board.argv(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

        self.cut = cut = pull(start, moment, timeout=TIMEOUT, watched=(kind.begin, kind.end))
        if not cut.pulled:
            result.fail(f"the moment did not come within {cut.seconds:.0f} s: {moment}")
        if verdict := VERDICT.search(cut.text):
            if verdict[1] == expect:
                result.count("reached")
            else:
                result.fail(f"{verdict[1]}, not {expect}")
        if expect == PROTECTED and self.card_digest() != self.digest:
            result.fail("the card has changed")
        return cut

    def run(
        self, chain: str, draw: Callable[[str], tuple[Result, Moment]], done: Callable[[Result], None]
    ) -> None:
        """All cuts of a chain; what a failure left is kept."""
        for name in BOARD_CHAINS[chain][0]:
            result, moment = draw(name)
            checks = {"board-boot": self.boot, "board-saveenv": self.saveenv, "control-board": self.control}
            checks[name](KINDS[name], moment, result)
            if result.failures:
                self.keep(result)
            done(result)
            if result.failures or self.stop.is_set():
                return

    def keep(self, result: Result) -> None:
        """What a failure left, for people: not the card, which is large."""
        folder = self.folder.with_name("failed") / f"{result.kind}-{result.number}"
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(self.board.flash, folder / "flash.img")
        (folder / "console").write_text(f"{result.failures}\n{self.cut.text if self.cut else ''}")

    def boot(self, kind: Kind, moment: Moment, result: Result) -> None:
        """From power-on to the system's init: neither the card nor the flash changes."""
        if self.state() == "old":
            # A request that the cut before has left: U-Boot would use it up.
            self.board.flash.write_bytes(self.settled)
        before = self.board.flash.read_bytes()
        self.pull(kind, moment, result)
        if self.board.flash.read_bytes() != before:
            result.fail("the flash has changed")

    def saveenv(self, kind: Kind, moment: Moment, result: Result) -> None:
        """The boot script uses up a request for one writable boot: the environment is old, new, or torn.

        Torn is one with a wrong checksum: U-Boot takes its own variables, and the next boot protects. U-Boot
        itself is asked. An old one is left as it is for the next cut of this kind, which is the proof that
        the request still works; of a new one the next boot is.
        """
        if self.state() != "old":
            self.board.set_environment(**REQUEST)
        before = bytearray(self.board.flash.read_bytes())
        self.pull(kind, moment, result)
        flash = self.board.flash.read_bytes()
        before[ENV_AREA] = flash[ENV_AREA]
        if flash != before:
            result.fail("the flash has changed outside of the environment")
        state = self.state()
        result.count(state)
        if state == "other":
            result.fail("the environment is neither old nor new")
        elif self.board.judge_flash(self.board.flash, seconds=TIMEOUT) != (state != "torn"):
            result.fail(f"U-Boot does not see it as {state}")
        if state == "torn" or result.failures:
            self.board.flash.write_bytes(self.settled)

    def control(self, kind: Kind, moment: Moment, result: Result) -> None:
        """The writable boot that was requested; afterwards the board is as it was before."""
        self.board.set_environment(**REQUEST)
        self.pull(kind, moment, result, WRITABLE)
        if self.card_digest() != self.digest:
            result.count("changed")
        with self.board.card.open("rb") as card:
            (start,) = struct.unpack_from("<I", card.read(512), 446 + 16 + 8)
        if needs_replay(self.board.card, start * 512):
            result.count("replay")
        self.board.insert(self.image)
        self.board.flash.write_bytes(self.settled)

    def state(self) -> str:
        """What the environment is: `new` without the request, `old` with it, or `torn`."""
        try:
            found = self.board.environment()
        except BadEnvironmentError:
            return "torn"
        lasting = {name: value for name, value in found.items() if self.plain.get(name) == value}
        if lasting != self.plain:
            return "other"
        return "old" if "overlayfs_once" in found else "new"


def measure(bench: BoardBench) -> None:
    """How long each part of a boot takes, before the first cut."""
    for name, environment in (("board-boot", {}), ("board-saveenv", REQUEST)):
        kind, result = KINDS[name], Result(name, 0, "measured")
        if environment:
            bench.board.set_environment(**environment)
        cut = bench.pull(kind, Moment(kind.end), result)
        if result.failures:
            raise EmulatorError(f"{name}: {result.failures}\n{cut.text}")
        bench.pace.learn(name, cut.seen[kind.end] - cut.seen.get(kind.begin, 0.0))
        bench.board.flash.write_bytes(bench.settled)
    bench.pace.learn("control-board", 5.0)  # of the system's start


def last(bench: BoardBench, done: Callable[[Result], None]) -> None:
    """After the last cut: the board boots once more, protected."""
    if bench.state() != "new":
        bench.board.flash.write_bytes(bench.settled)
    result = Result("last", 0, "checked")
    bench.pull(KINDS["board-boot"], Moment(KINDS["board-boot"].end), result)
    done(result)
