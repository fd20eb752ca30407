# SPDX-License-Identifier: MIT
"""The machine of these tests, and what a failure shows."""

import pathlib
import shutil
from collections.abc import Callable, Iterator, Sequence

import ctlboard
import failure_modes
import makebelieve
import pytest
import uml


class Rig:
    """One machine for one test."""

    def __init__(self, folder: pathlib.Path, cache: pathlib.Path) -> None:
        """Files go to `folder`; what several tests use comes from `cache`."""
        self.folder, self.cache = folder, cache
        self.machine = uml.Machine(folder)

    def root(self, name: str = "root.img", **options) -> pathlib.Path:
        """A disk of its own with the test system on it: see `uml.disk`."""
        if options:
            return uml.disk(self.folder / name, **options)
        shutil.copy(self.cache / "root.img", self.folder / name)
        return self.folder / name

    def initramfs(self, **options) -> pathlib.Path:
        """An initramfs: see `uml.initramfs`; without options, the one with the overlay module."""
        if options:
            return uml.initramfs(self.folder / "initramfs.cpio.gz", **options)
        return self.cache / "initramfs.cpio.gz"

    def boot(
        self,
        line: str,
        disks: Sequence[str | pathlib.Path] | None = None,
        initrd: pathlib.Path | None = None,
        **options,
    ) -> uml.Boot:
        """Boots with this command line; without `disks`, with a fresh root on /dev/ubda."""
        disks = [self.root()] if disks is None else disks
        return self.machine.boot(initrd or self.initramfs(), disks, line, **options)

    def boot_unchanged(self, line: str, disk: pathlib.Path | None = None, **options) -> uml.Boot:
        """Boots, writes to the running system, and asserts that the disk has not changed by one bit."""
        disk = disk or self.root()
        before = uml.sha256(disk)
        script = options.pop("script", "echo x > /etc/new; rm /etc/keep; sync; cat /etc/new")
        boot = self.boot(line, [disk, *options.pop("more", [])], script=script, **options)
        assert uml.sha256(disk) == before, "the root file system has changed"
        return boot


def assert_protected(boot: uml.Boot, device: str = "/dev/ubda", fstype: str = "ext4") -> None:
    """`/` is RAM over this device, and everything that says so agrees."""
    assert boot.verdict.startswith(f"protected: / is RAM over read-only {device}, {fstype};")
    mounts = boot.mounts
    assert mounts["/"][:2] == ("overlay", "overlay")
    assert "lowerdir=/mnt/root-RO" in mounts["/"][2]
    source, lower_type, options = mounts["/mnt/root-RO"]
    assert (source, lower_type, options[0]) == (device, fstype, "ro")
    assert mounts["/mnt/root-RW"][1] == "tmpfs"
    report = boot.report
    assert (report["wanted"], report["reached"], report["protected"]) == ("ram", "ram", True)
    assert report["root"]["device"] == device


def assert_writable(boot: uml.Boot, device: str = "/dev/ubda") -> None:
    """`/` is the device itself, as it was asked for."""
    assert boot.verdict.startswith(f"warning: NOT PROTECTED: / is writable ({device}, ")
    assert (boot.mounts["/"][0], boot.mounts["/"][2][0]) == (device, "rw")
    assert (boot.report["reached"], boot.report["protected"]) == ("writable", False)


def assert_degraded(boot: uml.Boot, device: str = "/dev/ubda") -> None:
    """`/` is the device itself, read-only, and it says so loudly."""
    assert boot.verdict.startswith(f"error: DEGRADED: / is the plain read-only root ({device}, ")
    assert (boot.mounts["/"][0], boot.mounts["/"][2][0]) == (device, "ro")
    assert (boot.report["wanted"], boot.report["reached"]) == ("ram", "read-only")
    assert boot.report["protected"] is True


def assert_gave_up(boot: uml.Boot, reason: str) -> None:
    """No system was started: a reason, and a restart."""
    assert boot.verdict.startswith(("error: no root could be mounted: ", "error: no init could be started: "))
    assert reason in boot.verdict
    assert boot.verdict.endswith("rebooting in 1 s")
    assert boot.sections == {}
    assert "reboot: Restarting system" in boot.console
    assert "Kernel panic" not in boot.console


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """What several tests use; each worker makes its own."""
    folder = tmp_path_factory.mktemp("cache")
    uml.disk(folder / "root.img")
    uml.initramfs(folder / "initramfs.cpio.gz")
    return folder


@pytest.fixture
def rig(cache: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A machine; its files go when the test has passed."""
    # A short name: sockets of the kernel's console are below it.
    folder = tmp_path_factory.mktemp("m")
    yield Rig(folder, cache)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def ctl_disk(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A root with the command-line tool on it, to copy."""
    return uml.disk(tmp_path_factory.mktemp("ctl") / "ctl.img", change=ctlboard.system, size=32)


@pytest.fixture
def fake(tmp_path: pathlib.Path) -> Iterator[makebelieve.Fake]:
    """A board on which nothing has been done; its files go when the test has passed."""
    yield makebelieve.Fake(tmp_path)
    shutil.rmtree(tmp_path, ignore_errors=True)


@pytest.fixture
def board(rig: Rig, ctl_disk: pathlib.Path) -> ctlboard.Board:
    """A fresh board with the tool."""
    return ctlboard.Board(rig, ctl_disk)


def pytest_configure(config: pytest.Config) -> None:
    """Declares our mark."""
    config.addinivalue_line("markers", "failure(row): a row of docs/failure-modes.md")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator:
    """A test with a row of docs/failure-modes.md has to see what it says."""
    result = yield
    for row in failure_modes.rows(item):
        failure_modes.check(row, item.funcargs["rig"].machine.boots)
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo) -> Iterator:
    """A failure shows the console and the mount table."""
    report = yield
    rig = getattr(item, "funcargs", {}).get("rig")
    if report.when == "call" and report.failed and rig is not None and rig.machine.last is not None:
        boot = rig.machine.last
        report.sections.append(("console", boot.console[-6000:]))
        for name in ("mounts", "report", "script"):
            if name in boot.sections:
                report.sections.append((name, boot.sections[name]))
    return report


Change = Callable[[pathlib.Path], None]
