# SPDX-License-Identifier: MIT
"""What recipes and images become on each board, with and without the feature."""

import pytest
from conftest import Series

IMAGE = "recipes-core/images/overlayroot-image-minimal.bb"
INITRAMFS = "recipes-core/images/overlayroot-initramfs.bb"
INIT = "recipes-core/overlayroot/overlayroot-init_*.bb"
KERNEL = "recipes-kernel/linux/{kernel}_*.bb"
ORDINARY = "recipes-core/images/core-image-minimal.bb"
WANTED = {
    "": ["MACHINE", "DISTRO_FEATURES", "PREFERRED_PROVIDER_virtual/kernel"],
    IMAGE: [
        "IMAGE_BOOT_FILES",
        "IMAGE_FEATURES",
        "IMAGE_FSTYPES",
        "IMAGE_INSTALL",
        "OVERLAYROOT_BOOT",
        "OVERLAYROOT_UBOOT_FILE",
        "QB_DEFAULT_KERNEL",
        "SPL_BINARY",
        "WKS_FULL_PATH",
        "_WKS_TEMPLATE",
    ],
    INITRAMFS: ["IMAGE_FSTYPES", "PACKAGE_INSTALL"],
    INIT: ["CARGO_BUILD_FLAGS", "DEPENDS", "SRC_URI"],
    KERNEL: ["SRC_URI"],
    ORDINARY: ["IMAGE_BOOT_FILES", "IMAGE_INSTALL", "WKS_FILE"],
}
OFF = ('DISTRO_FEATURES:remove = "overlayroot"',)

# Kernel, and the layout of the card.
BOARDS = {
    "nitrogen6x": ("linux-boundary", "spi-nor"),
    "nitrogen6x-lite": ("linux-boundary", "spi-nor"),
    "nitrogen6sx": ("linux-boundary", "spi-nor"),
    "nitrogen7": ("linux-boundary", "spi-nor"),
    "imx6qdlsabresd": ("linux-fslc", "card-spl"),
    "wandboard": ("linux-fslc", "card-spl"),
    "qemuarm": ("linux-yocto", None),
}
on_each_board = pytest.mark.parametrize("board", BOARDS)
on_each_card = pytest.mark.parametrize("board", [board for board, (_, layout) in BOARDS.items() if layout])


def words(value: str | None) -> list[str]:
    return (value or "").split()


@on_each_board
def test_protected_image(series: Series, board: str) -> None:
    found = series.expand(board, WANTED)
    assert found[""]["MACHINE"] == board
    assert found[""]["PREFERRED_PROVIDER_virtual/kernel"] == BOARDS[board][0]
    assert "overlayroot" in words(found[IMAGE]["IMAGE_FEATURES"])
    assert "packagegroup-overlayroot" in words(found[IMAGE]["IMAGE_INSTALL"])


@on_each_card
def test_card(series: Series, board: str) -> None:
    image = series.expand(board, WANTED)[IMAGE]
    assert {"wic.gz", "wic.bmap"} <= set(words(image["IMAGE_FSTYPES"]))
    assert image["WKS_FULL_PATH"].endswith(f"/overlayroot-{BOARDS[board][1]}.wks")
    boot = words(image["IMAGE_BOOT_FILES"])
    assert "zImage" in boot
    assert f"overlayroot-initramfs-{board}.cpio.gz;overlayroot.cpio.gz" in boot
    assert f"overlayroot-image-minimal-{board}.overlayroot.env;overlayroot.env" in boot
    scripts = [entry for entry in boot if entry.endswith("boot.scr")]
    assert scripts == ["boot.scr-overlayroot;boot.scr"]


def test_runqemu_gets_a_kernel_with_the_initramfs(series: Series) -> None:
    image = series.expand("qemuarm", WANTED)[IMAGE]
    assert image["OVERLAYROOT_BOOT"] == "bundle"
    assert "ext4" in words(image["IMAGE_FSTYPES"])
    assert not any(kind.startswith("wic") for kind in words(image["IMAGE_FSTYPES"]))
    assert "initramfs" in image["QB_DEFAULT_KERNEL"]


@on_each_card
def test_layout_has_u_boot_where_the_board_looks(series: Series, board: str) -> None:
    layout = BOARDS[board][1]
    image = series.expand(board, WANTED)[IMAGE]
    text = image["_WKS_TEMPLATE"] or ""
    raw = [line for line in text.splitlines() if "--source rawcopy" in line]
    assert len(raw) == {"spi-nor": 0, "card": 1, "card-spl": 2}[layout]
    if raw:
        assert words(image["OVERLAYROOT_UBOOT_FILE"]) and "$" not in image["OVERLAYROOT_UBOOT_FILE"]
    if layout == "card-spl":
        assert image["SPL_BINARY"]


@on_each_board
def test_initramfs(series: Series, board: str) -> None:
    initramfs = series.expand(board, WANTED)[INITRAMFS]
    assert set(words(initramfs["PACKAGE_INSTALL"])) == {"overlayroot-init", "overlayroot-conf"}
    assert words(initramfs["IMAGE_FSTYPES"]) == ["cpio.gz"]


@on_each_board
def test_kernel_gets_fragments(series: Series, board: str) -> None:
    assert "file://overlayroot.cfg" in words(series.expand(board, WANTED)[KERNEL]["SRC_URI"])


def test_init_comes_from_the_right_rust(series: Series) -> None:
    init = series.expand("nitrogen6x", WANTED)[INIT]
    depends = words(init["DEPENDS"])
    assert ("cargo-bin-cross-arm" in depends) == bool(series.rust)
    assert ("cargo-native" in depends) == (not series.rust)
    assert "--frozen" in words(init["CARGO_BUILD_FLAGS"])
    crates = [word for word in words(init["SRC_URI"]) if word.startswith("crate://")]
    assert any("/rustix/" in crate for crate in crates)


@on_each_board
def test_without_the_feature_nothing_is_there(series: Series, board: str) -> None:
    found = series.expand(board, WANTED, OFF)
    for recipe in (IMAGE, INITRAMFS, INIT):
        assert "overlayroot" in found[recipe]["skipped"]
    assert "overlayroot" not in found[KERNEL]["SRC_URI"]


@on_each_board
def test_other_images_stay_as_they_are(series: Series, board: str) -> None:
    on, off = (series.expand(board, WANTED, settings)[ORDINARY] for settings in ((), OFF))
    assert on == off
    assert "overlayroot" not in "".join(value or "" for value in on.values())


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ('OVERLAYROOT_SISE = "20"', "did you mean OVERLAYROOT_SIZE?"),
        ('OVERLAYROOT_ROOTFS = "btrfs"', "accepted: ext4, squashfs, erofs"),
        ('OVERLAYROOT_BOOT_SIZE = "many"', "a number of MiB"),
    ],
)
def test_wrong_settings_end_the_build(series: Series, setting: str, message: str) -> None:
    with pytest.raises(AssertionError) as caught:
        series.expand("nitrogen6x", {IMAGE: ["PN"]}, (setting,))
    assert message in str(caught.value)
