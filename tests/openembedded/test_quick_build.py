# SPDX-License-Identifier: MIT
"""A real build with Debian's toolchain: the init, its initramfs, a card for the Nitrogen6X; then it boots."""

import gzip
import pathlib
import shutil
import subprocess

import pytest
from labgrid_board import BoardStrategy
from quick import (
    DEPLOY,
    ENVIRONMENT,
    FOLDER,
    IMAGES,
    INITRAMFS,
    NAME,
    PACKAGES,
    assert_boots_to_the_overlay,
    assert_init_and_little_else,
    assert_writable_on_request,
    build,
)
from series import WORK, Series

# An image recipe of somebody else's, with a bad idea.
SPOIL = """\
ROOTFS_POSTPROCESS_COMMAND:append = " spoil"
spoil() {
    echo 'LABEL=rootfs /mnt/again ext4 defaults 0 0' >>${IMAGE_ROOTFS}/etc/fstab
}
"""


def test_initramfs_holds_the_init_and_little_else(deployed: pathlib.Path) -> None:
    assert_init_and_little_else(deployed / INITRAMFS)


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
    # What is promised of the whole initramfs, without the modules that are in it here.
    assert len(gzip.compress(init, 9)) < 48 << 10
    assert str(WORK).encode() not in init


def test_packages_of_the_tool(deployed: pathlib.Path) -> None:
    wanted = {
        "overlayrootctl": {"/usr/sbin/overlayrootctl", "/etc/profile.d/overlayroot-login.sh"},
        "overlayrootctl-watch": {"/etc/init.d/overlayroot-watch"},
        "overlayrootctl-doc": {
            *(f"/usr/share/man/man8/overlayrootctl{end}.8" for end in ("", "-status")),
            "/usr/share/man/man5/overlayroot.conf.5",
            "/usr/share/man/man7/overlayroot.7",
        },
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
    assert_boots_to_the_overlay(board)


def test_one_writable_boot(board: BoardStrategy) -> None:
    assert_writable_on_request(board)


def test_without_a_card_of_wics(scarthgap: Series, deployed: pathlib.Path) -> None:
    """In a folder of its own, where nothing is deployed yet: what the boot partition needs is there, too."""
    other = WORK / FOLDER / "build/tmp-without-wic"
    shutil.rmtree(other, ignore_errors=True)
    settings = f'TMPDIR = "{other}"\nIMAGE_FSTYPES = "tar"\nOVERLAYROOT_IMAGE_FSTYPES = ""\n'
    result = build(scarthgap, "overlayroot-image-minimal", settings)
    assert result.returncode == 0, result.stdout[-6000:]
    images = other / IMAGES
    assert (images / f"{NAME}.tar").is_file() and not list(images.glob("*.wic*"))
    for name in (INITRAMFS, "boot.scr-overlayroot"):
        assert (images / name).read_bytes() == (DEPLOY / name).read_bytes()
    assert "ofs_root=" in (images / ENVIRONMENT).read_text()


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
