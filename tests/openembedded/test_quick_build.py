# SPDX-License-Identifier: MIT
"""A real build with Debian's toolchain: the init, its initramfs, a card for the Nitrogen6X; then it boots."""

import gzip
import json
import pathlib
import re
import subprocess

import pytest
from labgrid_board import BoardStrategy, Status
from quick import ENVIRONMENT, FOLDER, INITRAMFS, NAME, PACKAGES, build, run
from series import WORK, Series

# An image recipe of somebody else's, with a bad idea.
SPOIL = """\
ROOTFS_POSTPROCESS_COMMAND:append = " spoil"
spoil() {
    echo 'LABEL=rootfs /mnt/again ext4 defaults 0 0' >>${IMAGE_ROOTFS}/etc/fstab
}
"""


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


def package(name: str) -> pathlib.Path:
    """The file of a package."""
    (found,) = PACKAGES.glob(f"*/{name}_*.deb")
    return found


def test_init_is_small_and_names_no_folder_of_the_build(deployed: pathlib.Path) -> None:
    archive = subprocess.run(
        ["dpkg-deb", "--fsys-tarfile", package("overlayroot-init")], stdout=subprocess.PIPE, check=True
    )
    init = subprocess.run(
        ["tar", "-xO", "./init"], input=archive.stdout, stdout=subprocess.PIPE, check=True
    ).stdout
    # scripts/size has the exact limit; a std, or tables to unwind, would double it.
    assert len(gzip.compress(init, 9)) < 56 << 10
    assert str(WORK).encode() not in init


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
        listing = subprocess.run(
            ["dpkg-deb", "-c", package(name)], stdout=subprocess.PIPE, text=True, check=True
        )
        assert files <= {line.split()[5].removeprefix(".") for line in listing.stdout.splitlines()}, name


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
    spoil = WORK / FOLDER / "classes/spoil.bbclass"
    spoil.parent.mkdir(exist_ok=True)
    spoil.write_text(SPOIL)
    result = build(scarthgap, "overlayroot-image-minimal", settings + "\n")
    assert result.returncode != 0
    assert message in result.stdout, result.stdout[-6000:]
