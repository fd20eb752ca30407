# SPDX-License-Identifier: MIT
"""A real build with Debian's toolchain: the init, its initramfs, a card for the Nitrogen6X; then it boots."""

import gzip
import json
import os
import pathlib
import re
import shutil
import subprocess
from collections.abc import Iterator

import pytest
from conftest import LAYER, WORK, Series
from console import served
from labgrid import Environment
from labgrid_board import BoardStrategy, Status

FOLDER = "quick"
DEPLOY = WORK / FOLDER / "build/tmp-glibc/deploy/images/nitrogen6x"
PACKAGES = WORK / FOLDER / "build/tmp-glibc/deploy/deb"
NAME = "overlayroot-image-minimal-nitrogen6x.rootfs"
INITRAMFS = "overlayroot-initramfs-nitrogen6x.cpio.gz"
ENVIRONMENT = "overlayroot-image-minimal-nitrogen6x.overlayroot.env"
# Of OpenEmbedded's tests only ours, on a board that a test here has booted.
CONSOLE = WORK / FOLDER / "console"
TESTIMAGE = f"""\
IMAGE_CLASSES += "testimage"
TEST_SUITES = "overlayroot"
addpylib {LAYER}/tests/openembedded/testimage oeqa
TEST_TARGET = "ConsoleTarget"
TEST_SERIALCONTROL_CMD = "{CONSOLE}"
"""
OEQA_TESTS = {
    "test_root_is_an_overlay",
    "test_report",
    "test_fstab_is_a_copy_in_ram",
    "test_lower_cannot_be_written",
    "test_overlayrootctl_agrees",
    "test_nothing_was_written",
}
# An image recipe of somebody else's, with a bad idea.
SPOIL = """\
ROOTFS_POSTPROCESS_COMMAND:append = " spoil"
spoil() {
    echo 'LABEL=rootfs /mnt/again ext4 defaults 0 0' >>${IMAGE_ROOTFS}/etc/fstab
}
"""


def build(series: Series, target: str, settings: str = "") -> subprocess.CompletedProcess:
    """Runs BitBake for a target; `settings` is configuration of this build only."""
    extra = WORK / FOLDER / "settings.conf"
    extra.parent.mkdir(exist_ok=True)
    extra.write_text(TESTIMAGE + settings)
    spoil = WORK / FOLDER / "classes/spoil.bbclass"
    spoil.parent.mkdir(exist_ok=True)
    spoil.write_text(SPOIL)
    files = "kas/nitrogen6x.yml:kas/opt/debian-toolchain.yml:local.yml"
    command = f"bitbake -R {extra} {target}"
    return series.kas("shell", files, "--command", command, folder=FOLDER, timeout=3 * 3600)


@pytest.fixture(scope="module")
def deployed(scarthgap: Series, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A folder with what a build has deployed; a build that fails takes things out of the real one."""
    result = build(scarthgap, "overlayroot-image-minimal")
    assert result.returncode == 0, result.stdout[-6000:]
    assert "WARNING" not in result.stdout, result.stdout[-6000:]
    folder = tmp_path_factory.mktemp("deployed")
    for name in (f"{NAME}.wic.gz", f"{NAME}.wic.bmap", INITRAMFS, ENVIRONMENT):
        shutil.copy(DEPLOY / name, folder)
    return folder


def test_initramfs_holds_the_init_and_little_else(deployed: pathlib.Path) -> None:
    archive = gzip.decompress((deployed / INITRAMFS).read_bytes())
    listing = subprocess.run(["cpio", "-t", "--quiet"], input=archive, stdout=subprocess.PIPE, check=True)
    names = set(listing.stdout.decode().split())
    ends = {name for name in names if not any(other.startswith(name + "/") for other in names)} - {"."}
    modules = {name for name in ends if name.endswith(".ko")}
    assert ends - modules == {
        "init",
        "etc/overlayroot.conf",
        "etc/overlayroot.modules",
        "dev",
        "mnt",
        "proc",
        "sys",
    }
    assert {pathlib.Path(name).stem for name in modules} >= {"ext4", "overlay", "sdhci-esdhc-imx"}


def test_card(deployed: pathlib.Path) -> None:
    card = gzip.decompress((deployed / f"{NAME}.wic.gz").read_bytes())
    signature = int.from_bytes(card[440:444], "little")
    environment = (deployed / ENVIRONMENT).read_text()
    assert f"ofs_root=PARTUUID={signature:08x}-02" in environment
    start = int.from_bytes(card[446 + 8 : 446 + 12], "little") * 512
    assert start == 4 << 20
    assert (deployed / f"{NAME}.wic.bmap").stat().st_size > 0


def test_packages_of_the_tool(deployed: pathlib.Path) -> None:
    wanted = {
        "overlayrootctl": {"/usr/sbin/overlayrootctl", "/etc/profile.d/overlayroot-login.sh"},
        "overlayrootctl-watch": {"/etc/init.d/overlayroot-watch"},
        "overlayrootctl-doc": {f"/usr/share/man/man8/overlayrootctl{end}.8" for end in ("", "-status")},
        "overlayrootctl-bash-completion": {"/usr/share/bash-completion/completions/overlayrootctl"},
        "overlayrootctl-fish-completion": {"/usr/share/fish/vendor_completions.d/overlayrootctl.fish"},
        "overlayrootctl-zsh-completion": {"/usr/share/zsh/site-functions/_overlayrootctl"},
    }
    for name, files in wanted.items():
        (package,) = PACKAGES.glob(f"*/{name}_*.deb")
        listing = subprocess.run(["dpkg-deb", "-c", package], stdout=subprocess.PIPE, text=True, check=True)
        assert files <= {line.split()[5].removeprefix(".") for line in listing.stdout.splitlines()}, name


@pytest.fixture
def board(
    deployed: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[BoardStrategy]:
    """The emulated board with that card, switched off."""
    if not os.environ.get("OVERLAYROOT_QEMU"):
        pytest.skip("no emulator; scripts/test-layer provides it")
    image = tmp_path / "card.wic"
    image.write_bytes(gzip.decompress((deployed / f"{NAME}.wic.gz").read_bytes()))
    monkeypatch.setenv("LG_IMAGE", str(image))
    monkeypatch.setenv("LG_BOARD", str(tmp_path / "board"))
    target = Environment(str(LAYER / "tests/env/qemu-sabrelite-openembedded.yaml")).get_target("main")
    strategy = target.get_driver("BoardStrategy")
    strategy.transition(Status.off)
    yield strategy
    strategy.cut_power()


def run(board: BoardStrategy, command: str) -> str:
    return "\n".join(board.shell.run_check(command))


def test_boots_to_the_overlay(board: BoardStrategy) -> None:
    before = board.root_hash()
    board.transition(Status.shell)
    assert re.match(r"protected: / is RAM over read-only /dev/mmcblk\dp2, ext4;", board.verdict)
    report = json.loads(run(board, "cat /mnt/root-RW/report.json"))
    assert report["reached"] == "ram" and report["protected"] is True
    assert report["root"]["spec"].startswith("PARTUUID=")
    assert report["warnings"] == []
    root = [line.split() for line in run(board, "cat /proc/mounts").splitlines() if line.split()[1] == "/"]
    assert [line[2] for line in root] == ["overlay"]
    run(board, "echo new >/kept && sync")
    board.transition(Status.off)
    assert board.root_hash() == before
    board.transition(Status.shell)
    assert board.shell.run("test -e /kept")[2] == 1


def test_one_writable_boot(board: BoardStrategy) -> None:
    """The positive control: the same rig, not protected, changes."""
    board.emulated.set_environment(overlayfs="no")
    before = board.root_hash()
    board.transition(Status.shell)
    assert board.verdict.startswith("NOT PROTECTED: / is writable")
    run(board, "echo new >/kept && sync")
    board.transition(Status.off)
    assert board.root_hash() != before


def run_testimage(series: Series, board: BoardStrategy) -> tuple[int, dict[str, str]]:
    """`bitbake -c testimage` with a booted board: its exit status, and the result of each test."""
    with served(board.shell, CONSOLE):
        result = build(series, "overlayroot-image-minimal -c testimage")
    results = re.findall(r"RESULTS - overlayroot\.OverlayrootTest\.(\w+): (\w+)", result.stdout)
    assert results, result.stdout[-6000:]
    return result.returncode, dict(results)


def test_testimage_on_a_protected_board(scarthgap: Series, board: BoardStrategy) -> None:
    board.transition(Status.shell)
    status, results = run_testimage(scarthgap, board)
    assert set(results) == OEQA_TESTS
    assert set(results.values()) == {"PASSED"}, results
    assert status == 0


def test_testimage_fails_on_a_writable_boot(scarthgap: Series, board: BoardStrategy) -> None:
    board.emulated.set_environment(overlayfs="no")
    board.transition(Status.shell)
    status, results = run_testimage(scarthgap, board)
    assert set(results) == OEQA_TESTS
    assert results.pop("test_root_is_an_overlay") == "FAILED"
    # The others build on it.
    assert set(results.values()) == {"SKIPPED"}, results
    assert status != 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        # Debian's kernel has ext4 and overlayfs as modules.
        ('OVERLAYROOT_KERNEL_MODULES = "0"', "The kernel could not protect the root"),
        (
            'OVERLAYROOT_KERNEL_CONFIG = "/nonexistent"',
            "nobody knows whether the kernel can protect the root",
        ),
        # The image alone: oe-core has a check of its own for the initramfs.
        (
            'INITRAMFS_MAXSIZE:pn-overlayroot-image-minimal = "100"',
            "more than INITRAMFS_MAXSIZE = 100 KiB",
        ),
        (
            'IMAGE_BOOT_FILES:remove = "boot.scr-overlayroot;boot.scr"',
            "boot.scr is not on the boot partition",
        ),
        (f'BBPATH:append = ":{WORK / FOLDER}"\nINHERIT += "spoil"', "mounts the real root writable"),
    ],
    ids=["modules", "no-config", "large", "boot-script", "fstab"],
)
def test_image_that_could_not_protect_itself_ends_the_build(
    scarthgap: Series, deployed: pathlib.Path, settings: str, message: str
) -> None:
    result = build(scarthgap, "overlayroot-image-minimal", settings + "\n")
    assert result.returncode != 0
    assert message in result.stdout, result.stdout[-6000:]
