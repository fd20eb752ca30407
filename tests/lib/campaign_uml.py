# SPDX-License-Identifier: MIT
"""The many cuts of the campaign: boards on User-Mode Linux, each with cards that live through cut after cut.

A bench has a card for each chain. A chain is a few cuts one after the other: what a cut leaves is what the
next boot of the chain begins with, so that each boot is the proof of the cut before it.
"""

import pathlib
import re
import shutil
import threading
from collections.abc import Callable
from random import Random

import campaign_initramfs
import campaign_system as system
import uml
from campaign_kinds import CHAINS, KINDS, PROTECTED, SAID, VERDICT, WRITABLE, Damage, Kind
from campaign_result import Pace, Result
from powercut import Cut, Moment, pull

MODULES = ("overlay", "fat", "vfat", "nls_cp437", "nls_iso8859-1", "nls_ascii")
# A boot takes a second. On a busy machine, where a campaign has the lowest priority, it may take minutes.
TIMEOUT = 1800


class Parts:
    """What all benches share: the initramfs, and a card of each kind as it was made."""

    def __init__(self, folder: pathlib.Path) -> None:
        """Makes them in `folder`."""
        self.initrd = uml.initramfs(folder / "initramfs.cpio.gz", modules=MODULES)
        self.card, self.ext2 = folder / "card.img", folder / "ext2.img"
        system.card(self.card)
        system.card(self.ext2, "ext2")
        self.digest = system.digest(self.card)
        self.boot_digest = system.digest(self.card, end=system.ROOT)
        self.root_digest = system.digest(self.card, system.ROOT)
        self.damage = campaign_initramfs.Parts(folder)


class Bench:
    """A machine and its cards."""

    def __init__(self, folder: pathlib.Path, parts: Parts, pace: Pace, stop: threading.Event) -> None:
        """Files are in `folder`; `stop` ends a chain after the next cut."""
        folder.mkdir()
        self.stop = stop
        self.folder, self.parts, self.pace = folder, parts, pace
        self.machine = uml.Machine(folder)
        self.copy = folder / "copy.img"
        self.cards: dict[str, pathlib.Path] = {}
        self.versions = dict.fromkeys(system.COMMITTED, 0)
        self.uenv, self.digest = system.PLAIN, ""
        self.variables: dict[str, dict[str, str]] = {}
        self.cut: Cut | None = None
        self.checks = {
            "writable": self.writable,
            "replay": self.replay,
            "after-writable": self.after_writable,
            "commit": self.commit,
            "settings": self.settings,
            "environment-one": self.environment,
            "environment-two": self.environment,
            "damaged-initramfs": self.initramfs,
            "control-initramfs": self.initramfs,
            "control": self.control,
            "control-ext2": self.control,
        }

    def fresh(self, chain: str, pristine: pathlib.Path | None = None) -> pathlib.Path:
        """A new card for a chain."""
        self.cards[chain] = self.folder / f"{chain}.img"
        shutil.copy(pristine or self.parts.card, self.cards[chain])
        if chain == "commit":
            self.versions = dict.fromkeys(system.COMMITTED, 0)
        if chain == "settings":
            self.uenv = system.PLAIN
        if chain == "environment":
            self.variables = {copies: dict(system.VARIABLES) for copies in system.ENVIRONMENTS}
        return self.cards[chain]

    def card(self, chain: str) -> pathlib.Path:
        """The card of a chain as the last cut has left it."""
        return self.cards.get(chain) or self.fresh(chain)

    def pull(
        self, card: pathlib.Path, kind: Kind, moment: Moment, line: str, expect: str, result: Result
    ) -> Cut:
        """Boots and cuts; the boot has to come to what is expected, unless it was cut before."""
        words = f"root={system.ROOT_DEVICE} loglevel=8 {kind.line} {line}".strip()

        def start(output: int):
            return self.machine.start(self.parts.initrd, [card], words, output, output)

        watched = (b"Run /init", SAID[expect], b"@work", kind.begin, kind.end)
        self.cut = cut = pull(start, moment, timeout=TIMEOUT, watched=watched)
        if not cut.pulled:
            result.fail(f"the moment did not come within {cut.seconds:.0f} s: {moment}")
        verdict = VERDICT.search(cut.text)
        if verdict is None:
            if not kind.early:
                result.fail(f"not {expect}")
        elif verdict[1] == expect:
            result.count("reached")
        else:
            result.fail(f"{verdict[1]}, not {expect}")
        if all(text in cut.seen for text in watched[:3]):
            init, verdict_at, work = (cut.seen[text] for text in watched[:3])
            self.pace.learn("power-on", verdict_at)
            self.pace.learn("initramfs", verdict_at - init)
            self.pace.learn("init", work - verdict_at)
        return cut

    def run(
        self, chain: str, draw: Callable[[str], tuple[Result, Moment]], done: Callable[[Result], None]
    ) -> None:
        """All cuts of a chain; one that fails ends it, and its card is kept and replaced by a new one."""
        for position, name in enumerate(CHAINS[chain][0]):
            result, moment = draw(name)
            self.checks.get(name, self.unchanged)(self.card(chain), KINDS[name], moment, result, position)
            if result.failures:
                self.keep(result, self.card(chain))
                self.fresh(chain)
            done(result)
            if result.failures or self.stop.is_set():
                return

    def keep(self, result: Result, card: pathlib.Path) -> None:
        """What a failure left, for people."""
        folder = self.folder.with_name("failed") / f"{result.kind}-{result.number}"
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(card, folder / "card.img")
        (folder / "console").write_text(f"{result.failures}\n{self.cut.text if self.cut else ''}")

    def unchanged(
        self, card: pathlib.Path, kind: Kind, moment: Moment, result: Result, _position: int
    ) -> None:
        """A protected boot of a clean card: the whole card is what it was when it was made."""
        self.pull(card, kind, moment, "", PROTECTED, result)
        if system.digest(card) != self.parts.digest:
            result.fail("the card has changed")

    def writable(
        self, card: pathlib.Path, kind: Kind, moment: Moment, result: Result, _position: int
    ) -> None:
        """A boot that was asked to be writable."""
        self.pull(card, kind, moment, "overlayfs=no", WRITABLE, result)
        if system.needs_replay(card):
            result.count("replay")
        if system.digest(card, end=system.ROOT) != self.parts.boot_digest:
            result.fail("the boot partition has changed")

    def replay(self, card: pathlib.Path, kind: Kind, moment: Moment, result: Result, _position: int) -> None:
        """A protected boot of a dirty card; the next boot is the check."""
        self.pull(card, kind, moment, "", PROTECTED, result)
        result.count("dirty-after" if system.needs_replay(card) else "clean-after")

    def after_writable(
        self, card: pathlib.Path, kind: Kind, moment: Moment, result: Result, position: int
    ) -> None:
        """After a writable boot: the first protected one leaves it whole, the next one as it was."""
        self.pull(card, kind, moment, "", PROTECTED, result)
        digest = system.digest(card)
        if position == len(CHAINS["dirty"][0]) - 1:
            if digest != self.digest:
                result.fail("the card has changed")
            return
        self.digest = digest
        if system.needs_replay(card):
            result.fail("the journal was not replayed")
        if wrong := system.repaired(card, self.copy):
            result.fail(f"e2fsck: {wrong}")

    def commit(self, card: pathlib.Path, kind: Kind, moment: Moment, result: Result, _position: int) -> None:
        """Each committed file is as it was or as it is to be; what was said to be kept is kept."""
        start = max(self.versions.values())
        cut = self.pull(card, kind, moment, f"version={start}", PROTECTED, result)
        begun = [int(n) for n in re.findall(r"@commit (\d+)", cut.text)]
        kept = [int(n) for n in re.findall(r"@kept (\d+)", cut.text)]
        if "@failed" in cut.text:
            result.fail("commit failed")
        if wrong := system.repaired(card, self.copy):
            result.fail(f"e2fsck: {wrong}")
            return
        found = system.versions(self.copy)
        for name, version in found.items():
            old = kept[-1] if kept else self.versions[name]
            if version not in (old, *begun[-1:]):
                result.fail(f"/keep/{name} is version {version}, neither {old} nor {begun[-1:]}")
        if not result.failures:
            self.versions = {name: version or 0 for name, version in found.items()}
            inside = begun and (not kept or kept[-1] < begun[-1])
            states = {self.versions[name] == begun[-1] for name in found}
            state = "part-new" if len(states) > 1 else "new" if True in states else "old"
            result.count(state if inside else "between")
        if system.digest(card, end=system.ROOT) != self.parts.boot_digest:
            result.fail("the boot partition has changed")

    def settings(
        self, card: pathlib.Path, kind: Kind, moment: Moment, result: Result, _position: int
    ) -> None:
        """uEnv.txt is the old or the new one; the next boot is as it says (read for U-Boot here)."""
        writable = self.uenv == system.OFF
        line = f"overlayfs={'no' if writable else 'yes'}"
        cut = self.pull(card, kind, moment, line, WRITABLE if writable else PROTECTED, result)
        if "@failed" in cut.text:
            result.fail("overlayrootctl failed")
        story = re.findall(r"@(settings|done) (enable|disable)", cut.text)
        content = {"enable": system.ON, "disable": system.OFF}
        old, new = self.uenv, self.uenv
        for step, word in story:
            new = content[word]
            if step == "done":
                old = new
        self.uenv = system.boot_file(card, "uEnv.txt") or b""
        if self.uenv not in (old, new):
            result.fail(f"uEnv.txt is neither old nor new: {len(self.uenv)} bytes")
        elif old != new:
            result.count("old" if self.uenv == old else "new")
        else:
            result.count("between")
        if system.boot_file(card, "boot.scr") != system.SCRIPT:
            result.fail("boot.scr has changed")
        if writable:
            system.copy_root(self.parts.card, card)
        elif system.digest(card, system.ROOT) != self.parts.root_digest:
            result.fail("the root partition has changed")

    def environment(
        self, card: pathlib.Path, kind: Kind, moment: Moment, result: Result, _position: int
    ) -> None:
        """U-Boot's environment is old or new; a single copy may have a wrong checksum, too.

        The boot script's part is done here: a request for one writable boot is used up, and without an
        environment the root is protected.
        """
        copies = kind.name.removeprefix("environment-")
        place, old = system.ENVIRONMENTS[copies], self.variables[copies]
        once = old.pop("overlayfs_once", None) is not None
        if once:
            system.save(card, place, old)
        writable = once or old.get("overlayfs") == "no"
        line = f"overlayfs={'no' if writable else 'yes'}"
        before = system.digest(card, without=place)
        cut = self.pull(card, kind, moment, line, WRITABLE if writable else PROTECTED, result)
        if "@failed" in cut.text:
            result.fail("overlayrootctl failed")
        new = old
        for step, words in re.findall(r"@(environment|done) ([a-z0-9 -]+)\r?\n", cut.text):
            if step == "environment":
                new = system.told(old, words)
            else:
                old = new
        found = system.environment(card, place)
        if found is None:
            result.count("torn")
            if copies == "two":
                result.fail("no copy of the environment is whole")
            found = dict(system.VARIABLES)
            system.save(card, place, found)
        elif found not in (old, new):
            result.fail(f"the environment is neither old nor new: {found}")
        else:
            result.count("between" if old == new else "old" if found == old else "new")
        self.variables[copies] = found
        if writable:
            system.copy_root(self.parts.card, card)
        if system.digest(card, without=place) != before:
            result.fail("the card has changed outside of the environment")

    def initramfs(
        self, _card: pathlib.Path, _kind: Kind, _moment: Moment, result: Result, _position: int
    ) -> None:
        """No cut: an initramfs that is damaged."""
        dice = Random(f"{result.kind} {result.number} {result.moment}")
        campaign_initramfs.boot(self.machine, self.parts.damage, result, dice)
        result.count("reached")

    def control(self, card: pathlib.Path, kind: Kind, moment: Moment, result: Result, _position: int) -> None:
        """Not protected: what the same cut does to a new card."""
        ext2 = kind.name == "control-ext2"
        card = self.fresh("control", self.parts.ext2 if ext2 else None)
        before = system.digest(card)
        self.pull(card, kind, moment, "overlayfs=no", WRITABLE, result)
        if system.digest(card) != before:
            result.count("changed")
        if not ext2 and system.needs_replay(card):
            result.count("replay")
        for what in system.damage(card, self.copy, journal=not ext2):
            result.count(what)


def measure(bench: Bench) -> None:
    """How long each part of a boot takes, before the first cut."""
    names = dict.fromkeys(name for names, _ in CHAINS.values() for name in names)
    for kind in (KINDS[name] for name in names if not isinstance(KINDS[name], Damage)):
        line, expect = "", PROTECTED
        if kind.name in ("writable", "control", "control-ext2"):
            line, expect = "overlayfs=no", WRITABLE
        result = Result(kind.name, 0, "measured")
        if kind.name != "replay":  # of what "writable" has left
            bench.fresh("measured", bench.parts.ext2 if kind.name == "control-ext2" else None)
        cut = bench.pull(bench.cards["measured"], kind, Moment(kind.end), line, expect, result)
        if result.failures:
            raise uml.UmlError(f"{kind.name}: {result.failures}\n{cut.text}")
        bench.pace.learn(kind.name, cut.seen[kind.end] - cut.seen.get(kind.begin, 0.0))


def last(bench: Bench, done: Callable[[Result], None]) -> None:
    """After the last cut: each card boots once more, to the end."""
    for chain, card in bench.cards.items():
        if chain in ("control", "measured"):
            continue
        result = Result("last", 0, "checked")
        writable = chain == "settings" and bench.uenv == system.OFF
        line, expect = ("overlayfs=no", WRITABLE) if writable else ("", PROTECTED)
        bench.pull(card, KINDS["storm"], Moment(b"@moved"), line, expect, result)
        if result.failures:
            bench.keep(result, card)
        done(result)
