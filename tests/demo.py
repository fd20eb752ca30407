# SPDX-License-Identifier: MIT
"""The demonstration: a board whose plug is pulled, and which does not mind. Run it with `make demo`."""

import os
import sys
import threading
import time
from collections.abc import Callable

from labgrid import Environment
from labgrid_board import BoardStrategy, Status
from pexpect import EOF, TIMEOUT

COLOUR = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(code: str, text: str) -> str:
    """Text in a colour, on a terminal."""
    return f"\x1b[{code}m{text}\x1b[0m" if COLOUR else text


class DemoError(Exception):
    """The board did not do what the story says."""


class Story:
    """Tells what happens while it makes it happen."""

    def __init__(self, strategy: BoardStrategy, *, verbose: bool) -> None:
        """A story on the board of a strategy; `verbose` shows its whole console."""
        self.strategy = strategy
        self.start = time.monotonic()
        self.verbose = verbose

    def chapter(self, title: str) -> None:
        """Begins a chapter."""
        print(f"\n{paint('1', f'[{time.monotonic() - self.start:4.0f} s] {title}')}", flush=True)

    def tell(self, text: str) -> None:
        """One line of the story."""
        print(f"  {text}", flush=True)

    def check(self, claim: str, truth: bool) -> None:
        """A claim of the story; one that is not true ends it."""
        if not truth:
            raise DemoError(f"not true: {claim}")
        print(f"  {paint('32', 'ok:')} {claim}", flush=True)

    def type(self, command: str, *, timeout: int = 60) -> list[str]:
        """Types a command on the board and shows what it says."""
        print(f"  {paint('36', '# ' + command)}", flush=True)
        lines = self.strategy.shell.run_check(command, timeout=timeout)
        for line in lines:
            shown = line.rsplit("\r", 1)[-1]  # the last state of a progress display
            print(f"  {shown}", flush=True)
        return lines

    def boot(self) -> None:
        """Switches the board on."""
        self._await(lambda: self.strategy.transition(Status.shell), "U-Boot, kernel, systemd, login")

    def restart(self) -> None:
        """Types `reboot`."""
        print(f"  {paint('36', '# reboot')}", flush=True)
        self._await(self.strategy.reboot, "shut down, U-Boot, kernel, systemd, login")

    def _await(self, boot: Callable[[], None], what: str) -> None:
        """Lets the board boot, and shows how long it has taken."""
        began = time.monotonic()
        done = threading.Event()

        def progress() -> None:
            while sys.stdout.isatty() and not self.verbose and not done.wait(1):
                print(f"\r  booting: {time.monotonic() - began:3.0f} s", end="", flush=True)

        watcher = threading.Thread(target=progress)
        watcher.start()
        try:
            boot()
        finally:
            done.set()
            watcher.join()
        print("\r" if sys.stdout.isatty() and not self.verbose else "", end="")
        self.tell(self.strategy.verdict)
        self.tell(f"({what}: {time.monotonic() - began:.0f} s)")


def article(story: Story) -> None:
    """The first boot: what a protected system looks like."""
    story.chapter("A board with a new SD card is switched on")
    story.boot()
    shell = story.strategy.shell
    story.type("mount | grep -E ' / |/mnt/root'")
    story.check("/ is an overlay", shell.run_check("findmnt -no FSTYPE /") == ["overlay"])
    options = shell.run_check("findmnt -no OPTIONS /mnt/root-RO")[0]
    story.check("below it is the real root, read-only", "ro" in options.split(","))
    story.type("cat /proc/cmdline | tr ' ' '\\n' | grep -E '^(overlayfs|ofs)'")
    story.type("grep '^#' /etc/fstab | head -4")
    story.type("echo 'my settings' > /etc/important; cat /etc/important")
    story.tell("Packages can be installed and removed, too; that is as short-lived:")
    story.type("dpkg --remove less", timeout=120)
    story.tell("What is so now, and what the next boot will be:")
    story.type("overlayrootctl status", timeout=120)


def pull_the_plug(story: Story, before: str) -> None:
    """Power lost while the board writes as fast as it can."""
    story.chapter("The plug is pulled while it writes as fast as it can")
    shell, console = story.strategy.shell, story.strategy.console
    shell.run_check("echo gone > /etc/half-written; mkdir -p /srv/data")
    console.sendline(
        "(while :; do for i in 1 2 3 4 5 6 7 8; do head -c 3000000 /dev/urandom > /srv/data/$i; sync; "
        "echo rou''nd; done; done)"
    )
    for _ in range(6):
        console.expect("round", timeout=120)
    story.tell("(SIGKILL to the emulator: no warning, no flush)")
    story.strategy.cut_power()
    story.check(
        "the root partition on the card is what it was, bit by bit", story.strategy.root_hash() == before
    )
    story.tell(f"SHA-256 {before}")

    story.chapter("It is switched on again")
    story.boot()
    shell = story.strategy.shell
    story.check("it is protected as before", story.strategy.verdict.startswith("protected:"))
    kept = shell.run("ls /etc/important /etc/half-written /srv/data")[0]
    story.check("what was written is gone", sum("No such file" in line for line in kept) == 3)
    story.check("the package is back", shell.run("dpkg --verify less && test -x /usr/bin/less")[2] == 0)
    failed = shell.run_check("systemctl list-units --failed --plain --no-legend")
    story.check("no service failed", not "".join(failed).strip())


def writable_boot(story: Story, before: str) -> None:
    """The way to change the root for good."""
    story.chapter("One writable boot, for a change that stays")
    shell = story.strategy.shell
    said = story.type("overlayrootctl disable --once", timeout=120)
    story.check("the request is in U-Boot's environment", any("overlayfs_once=no" in line for line in said))
    story.restart()
    shell = story.strategy.shell
    story.check("U-Boot has used the request up", story.strategy.verdict.startswith("NOT PROTECTED:"))
    story.type("findmnt /")
    story.check("/ is the card itself", shell.run_check("findmnt -no FSTYPE /") == ["ext4"])
    story.type("echo 'to stay' > /etc/important; sync")
    shell.run_check("mount -o remount,ro / || { sync; echo u > /proc/sysrq-trigger; sleep 3; }", timeout=90)
    story.tell("(the plug is pulled)")
    story.strategy.cut_power()
    story.check("the root partition has changed", story.strategy.root_hash() != before)


def protected_again(story: Story) -> None:
    """The request was used up: protection is back."""
    story.chapter("And the next boot is protected again, by itself")
    before = story.strategy.root_hash()
    story.boot()
    shell = story.strategy.shell
    story.type("overlayrootctl status --motd")
    story.check("/ is an overlay", shell.run_check("findmnt -no FSTYPE /") == ["overlay"])
    story.type("cat /etc/important")
    story.check("the change has stayed", shell.run_check("cat /etc/important") == ["to stay"])
    shell.run_check("rm /etc/important; sync")
    story.strategy.cut_power()
    story.check("and the card does not change any more", story.strategy.root_hash() == before)


def main() -> int:
    """Tells the story; exit status 1 when the board does not play along."""
    verbose = "--verbose" in sys.argv  # scripts/demo has looked at the options
    environment = Environment(os.environ["LG_ENV"])
    strategy = environment.get_target().get_driver("BoardStrategy")
    log = f"{os.environ['LG_BOARD']}/console.log"
    strategy.console.echo = verbose
    story = Story(strategy, verbose=verbose)
    story.tell(f"(whole console: {os.path.relpath(log)})")
    try:
        strategy.transition(Status.off)
        # Nobody stops U-Boot in this story.
        strategy.emulated.set_environment(bootdelay="0")
        before = strategy.root_hash()
        article(story)
        pull_the_plug(story, before)
        writable_boot(story, before)
        protected_again(story)
    except (DemoError, TIMEOUT, EOF) as error:
        print(f"{paint('31', 'error:')} {error}", file=sys.stderr)
        print(f"See {log}", file=sys.stderr)
        return 1
    finally:
        strategy.cut_power()
    story.chapter("That is all. `make boot` gives you the console of such a board.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
