# SPDX-License-Identifier: MIT
"""Power cuts, thousands of them, at random moments and at the worst ones.

Cards are compared after each cut, and boards have to come up again as they should. The same cuts on a board
that is not protected have to be noticed, or nothing was proved. Run it with `make campaign N=...`.
"""

import argparse
import hashlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable

import campaign_board
import campaign_record
import campaign_uml
import uml
from campaign_kinds import BOARD_CHAINS, CHAINS, KINDS
from campaign_record import Record
from campaign_result import Pace, Result
from powercut import Moment

DONE, FAILED, UNFINISHED = 0, 1, 3


class Campaign:
    """Several benches that draw from one record until there are enough cuts, or somebody stops it."""

    def __init__(self, folder: pathlib.Path, record: Record, arguments: argparse.Namespace) -> None:
        """Benches are in `folder`."""
        self.record, self.wanted = record, arguments.cuts
        self.known = BOARD_CHAINS if arguments.board else CHAINS
        self.chains = arguments.chains or list(self.known)
        self.stop = threading.Event()
        self.lock = threading.Lock()
        self.given: dict[str, int] = dict.fromkeys(self.known, 0)
        for kind in record.by_kind():
            for chain, (names, _) in self.known.items():
                if kind in names:
                    self.given[chain] += record.drawn[kind]
        self.pace = Pace()
        self.bed = campaign_board if arguments.board else campaign_uml
        if arguments.board:
            image = uml.setting("OVERLAYROOT_IMAGE")
            self.benches = [campaign_board.BoardBench(folder / "0", image, self.pace, self.stop)]
        else:
            parts = campaign_uml.Parts(folder)
            folders = [folder / str(number) for number in range(arguments.benches)]
            self.benches = [campaign_uml.Bench(name, parts, self.pace, self.stop) for name in folders]
        self.error: Exception | None = None

    def next_chain(self) -> str | None:
        """The chain that is most behind its share."""
        with self.lock:
            if self.stop.is_set() or sum(self.given.values()) >= self.wanted:
                return None
            chain = min(self.chains, key=lambda name: self.given[name] / self.known[name][1])
            self.given[chain] += len(self.known[chain][0])
            return chain

    def draw(self, kind: str) -> tuple[Result, Moment]:
        """The next cut of a kind."""
        dice, number = self.record.draw(kind)
        way, moment = KINDS[kind].moment(dice, number, self.pace)
        return Result(kind, number, way, str(moment)), moment

    def counts(self, kind: str) -> bool:
        """Whether cuts of this kind are made now."""
        return any(kind in names for names, _ in self.known.values())

    def work(self, bench: campaign_uml.Bench | campaign_board.BoardBench) -> None:
        """One bench, until the end."""
        try:
            while chain := self.next_chain():
                bench.run(chain, self.draw, self.record.add)
            self.bed.last(bench, self.record.add)
        except Exception as error:  # of whatever kind: the other benches have to end, too
            self.error = error
            self.stop.set()

    def run(self, show: "Progress", deadline: float) -> None:
        """All benches; saves now and then."""
        self.bed.measure(self.benches[0])
        threads = [threading.Thread(target=self.work, args=(bench,)) for bench in self.benches]
        for thread in threads:
            thread.start()
        saved = time.monotonic()
        while any(thread.is_alive() for thread in threads):
            time.sleep(0.5)
            if time.monotonic() > deadline:
                self.stop.set()
            if time.monotonic() > saved + 10:
                self.record.save()
                saved = time.monotonic()
            show.update()
        self.record.save()
        show.update(final=True)
        if self.error:
            raise self.error


class Progress:
    """A bar on a terminal; otherwise a line now and then."""

    def __init__(self, record: Record, wanted: int, counts: Callable[[str], bool]) -> None:
        """Counts up to `wanted` those of the kinds that count."""
        self.record, self.wanted, self.counts = record, wanted, counts
        self.began, self.before = time.monotonic(), record.cuts(counts)
        self.terminal, self.shown = sys.stderr.isatty(), 0.0

    def update(self, *, final: bool = False) -> None:
        """Shows how far it is."""
        now = time.monotonic()
        if not final and now < self.shown + (0.5 if self.terminal else 60):
            return
        self.shown = now
        cuts, failed = self.record.cuts(self.counts), self.record.failed()
        rate = (cuts - self.before) / max(now - self.began, 1)
        left = max(self.wanted - cuts, 0) / rate if rate else 0
        text = f"{cuts} of {self.wanted} cuts, {failed} failed, {rate:.1f} a second, {left / 60:.0f} min left"
        if self.terminal:
            full = min(30 * cuts // max(self.wanted, 1), 30)
            end = "\n" if final else ""
            print(f"\r[{'#' * full}{' ' * (30 - full)}] {text} \x1b[K", end=end, file=sys.stderr, flush=True)
        else:
            print(f"campaign: {text}", file=sys.stderr, flush=True)


def about(*, board: bool) -> dict[str, str]:
    """What a run was made with."""

    def sha256(name: str) -> str:
        return hashlib.sha256(uml.setting(name).read_bytes()).hexdigest()

    git = subprocess.run(
        ["git", "-C", uml.TOP, "describe", "--always", "--dirty"], capture_output=True, text=True
    )
    made = {"commit": git.stdout.strip()}
    if board:
        return made | {"bed": "emulated sabrelite", "image_sha256": sha256("OVERLAYROOT_IMAGE")}
    made |= {"bed": "User-Mode Linux", "kernel": uml.setting("OVERLAYROOT_UML_MODULES").name}
    return made | {"init_sha256": sha256("OVERLAYROOT_INIT"), "ctl_sha256": sha256("OVERLAYROOT_CTL")}


def options() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="scripts/campaign",
        description=__doc__,
        epilog="Exit status: 0 all is well; 1 a cut has failed, or the control shows nothing; 3 stopped "
        "before the end: the same command goes on. SIGINT and SIGTERM stop it in good order.",
    )
    parser.add_argument(
        "--cuts", type=int, default=1000, help="in all on this test bed, with those of the file [1000]"
    )
    parser.add_argument("--file", type=pathlib.Path, help="results [build/campaign/campaign.json]")
    parser.add_argument("--fresh", action="store_true", help="begin a new file")
    parser.add_argument("--seed", type=int, help="of a new file [random]")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop after so many")
    parser.add_argument(
        "--benches", type=int, default=2 * (os.cpu_count() or 1), help="boards at a time [%(default)s]"
    )
    parser.add_argument(
        "--chain",
        action="append",
        choices=(*CHAINS, *BOARD_CHAINS),
        dest="chains",
        help="only these [all]",
    )
    parser.add_argument("--board", action="store_true", help="the emulated board, instead of User-Mode Linux")
    parser.add_argument(
        "--table", action="store_true", help="cut nothing: print the file as a table for the docs"
    )
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    # For scripts/campaign.
    parser.add_argument("--options-only", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> int:
    """Runs the campaign and says what came of it."""
    arguments = options()
    if arguments.options_only:
        return DONE
    path = arguments.file or pathlib.Path(os.environ["OVERLAYROOT_BUILD"]) / "campaign/campaign.json"
    if arguments.table:
        try:
            kinds = campaign_record.read(path)["total"]["kinds"]
        except ValueError as error:
            print(f"error: {error}", file=sys.stderr)
            return FAILED
        print("\n".join(campaign_record.table(kinds)))
        return DONE
    path.parent.mkdir(parents=True, exist_ok=True)
    if arguments.fresh:
        path.unlink(missing_ok=True)
    try:
        record = Record(path, arguments.seed, about(board=arguments.board))
    except ValueError as error:
        print(f"error: {error}; --fresh begins a new one", file=sys.stderr)
        return FAILED
    deadline = time.monotonic() + 60 * arguments.minutes
    # In RAM: the disks of the boards are theirs, not ours.
    shared = pathlib.Path("/dev/shm")
    folder = pathlib.Path(tempfile.mkdtemp(prefix="oc-", dir=shared if shared.is_dir() else None))
    try:
        campaign = Campaign(folder, record, arguments)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: campaign.stop.set())
        campaign.run(Progress(record, arguments.cuts, campaign.counts), deadline)
    finally:
        if (folder / "failed").exists():
            shutil.copytree(folder / "failed", path.with_name("failed"), dirs_exist_ok=True)
        shutil.rmtree(folder)
    return conclude(record, arguments, finished=record.cuts(campaign.counts) >= arguments.cuts)


def conclude(record: Record, arguments: argparse.Namespace, *, finished: bool) -> int:
    """The end of a campaign: its numbers, and the exit status."""
    summary, silent = record.summary(), campaign_record.silent_control(record.by_kind())
    total = summary["total"]
    if arguments.json:
        print(json.dumps(summary, indent=1))
    else:
        bound = (
            f"; at 95 % at most {total['upper_bound_95']:.2g} of all cuts" if total["upper_bound_95"] else ""
        )
        print(f"{total['cuts']} cuts of protected boards, {total['failures']} failures{bound}")
        print(f"{total['control']} cuts of the control, seed {record.seed}, in {record.path}")
    for failure in record.failures:
        print(f"FAILED: {failure}", file=sys.stderr)
    if silent:
        print(f"FAILED: {silent}", file=sys.stderr)
    if total["failures"] or silent:
        return FAILED
    return DONE if finished else UNFINISHED


if __name__ == "__main__":
    sys.exit(main())
