# SPDX-License-Identifier: MIT
"""What recipes and images become on each board, with and without the feature."""

import re

import pytest
from series import Series, checked_out

IMAGE = "recipes-core/images/overlayroot-image-minimal.bb"
INITRAMFS = "recipes-core/images/overlayroot-initramfs.bb"
INIT = "recipes-core/overlayroot/overlayroot-init_*.bb"
KERNEL = "recipes-kernel/linux/{kernel}_*.bb"
UBOOT = "recipes-bsp/u-boot/{bootloader}_*.bb"
ORDINARY = "recipes-core/images/core-image-minimal.bb"
CRYPTSETUP = "recipes-crypto/cryptsetup/cryptsetup_*.bb"
WANTED = {
    "": [
        "MACHINE",
        "DISTRO_FEATURES",
        "PREFERRED_PROVIDER_virtual/bootloader",
        "PREFERRED_PROVIDER_virtual/kernel",
    ],
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
    INIT: ["CARGO_BUILD_FLAGS", "DEPENDS", "RUSTFLAGS", "SRC_URI"],
    KERNEL: ["SRC_URI"],
    UBOOT: ["SRC_URI", "UBOOT_INITIAL_ENV"],
    ORDINARY: ["IMAGE_BOOT_FILES", "IMAGE_INSTALL", "WKS_FILE"],
}
OFF = ('DISTRO_FEATURES:remove = "overlayroot"',)
# The BSP of NXP, which meta-freescale has beside mainline's: its own kernel, and NXP's unchanged one.
NXP_KERNELS = {
    "linux-fslc-imx": ('IMX_DEFAULT_BSP = "nxp"',),
    "linux-imx": ('IMX_DEFAULT_BSP = "nxp"', 'PREFERRED_PROVIDER_virtual/kernel = "linux-imx"'),
}
# Kernel and U-Boot that are there for this board, but not its own ones.
OTHERS = (
    'PREFERRED_PROVIDER_virtual/kernel = "linux-fslc-lts"',
    'PREFERRED_PROVIDER_virtual/bootloader = "u-boot-imx"',
    'PREFERRED_PROVIDER_u-boot = "u-boot-imx"',
    'IMX_DEFAULT_BOOTLOADER = "u-boot-imx"',
)
VERIFIED = {
    IMAGE: [
        "EXTRA_IMAGECMD:ext4",
        "IMAGE_BOOT_FILES",
        "IMAGE_TYPEDEP:wic",
        "OVERLAYROOT_VERITY_DIR",
        "_WKS_TEMPLATE",
        "do_image_wic[prefuncs]",
        "do_rootfs[depends]",
    ],
    KERNEL: ["SRC_URI"],
}

# Kernel, U-Boot, and the layout of the card.
BOARDS = {
    "nitrogen6x": ("linux-boundary", "u-boot-boundary", "spi-nor"),
    "nitrogen6x-lite": ("linux-boundary", "u-boot-boundary", "spi-nor"),
    "nitrogen6sx": ("linux-boundary", "u-boot-boundary", "spi-nor"),
    "nitrogen7": ("linux-boundary", "u-boot-boundary", "spi-nor"),
    "imx6qdlsabresd": ("linux-fslc", "u-boot-fslc", "card-spl"),
    "wandboard": ("linux-fslc", "u-boot-fslc", "card-spl"),
    "qemuarm": ("linux-yocto", "u-boot", None),
}
on_each_board = pytest.mark.parametrize("board", BOARDS)
on_each_card = pytest.mark.parametrize("board", [board for board, (*_, layout) in BOARDS.items() if layout])
on_boundary_s = pytest.mark.parametrize(
    "board", [board for board, (_, uboot, _) in BOARDS.items() if uboot == "u-boot-boundary"]
)


def words(value: str | None) -> list[str]:
    return (value or "").split()


@on_each_board
def test_protected_image(series: Series, board: str) -> None:
    found = series.expand(board, WANTED)
    assert found[""]["MACHINE"] == board
    assert found[""]["PREFERRED_PROVIDER_virtual/kernel"] == BOARDS[board][0]
    # scarthgap names none for qemuarm, where nothing else provides one.
    assert (found[""]["PREFERRED_PROVIDER_virtual/bootloader"] or "u-boot") == BOARDS[board][1]
    assert "overlayroot" in words(found[IMAGE]["IMAGE_FEATURES"])
    assert "packagegroup-overlayroot" in words(found[IMAGE]["IMAGE_INSTALL"])


@on_each_card
def test_card(series: Series, board: str) -> None:
    image = series.expand(board, WANTED)[IMAGE]
    assert {"wic.gz", "wic.bmap"} <= set(words(image["IMAGE_FSTYPES"]))
    assert image["WKS_FULL_PATH"].endswith(f"/overlayroot-{BOARDS[board][2]}.wks")
    boot = words(image["IMAGE_BOOT_FILES"])
    assert "zImage" in boot
    assert f"overlayroot-initramfs-{board}.cpio.gz.u-boot;overlayroot.uInitrd" in boot
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
    layout = BOARDS[board][2]
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
    assert words(initramfs["IMAGE_FSTYPES"]) == ["cpio.gz", "cpio.gz.u-boot"]


@on_each_board
def test_init_is_thumb_code(series: Series, board: str) -> None:
    flags = words(series.expand(board, WANTED)[INIT]["RUSTFLAGS"])
    assert {"-Crelocation-model=static", "-Ctarget-feature=+thumb-mode"} <= set(flags)


@on_each_board
def test_kernel_gets_fragments(series: Series, board: str) -> None:
    assert "file://overlayroot.cfg" in words(series.expand(board, WANTED)[KERNEL]["SRC_URI"])


@pytest.mark.parametrize("kernel", NXP_KERNELS)
def test_kernel_of_nxp(series: Series, kernel: str) -> None:
    """The vendor's kernel in place of mainline's."""
    found = series.expand("imx6qdlsabresd", WANTED, NXP_KERNELS[kernel])
    assert found[""]["PREFERRED_PROVIDER_virtual/kernel"] == kernel
    assert {"file://overlayroot.cfg", "file://overlayroot-imx.cfg"} <= set(words(found[KERNEL]["SRC_URI"]))
    assert found[IMAGE]["WKS_FULL_PATH"].endswith("/overlayroot-card-spl.wks")
    assert "boot.scr-overlayroot;boot.scr" in words(found[IMAGE]["IMAGE_BOOT_FILES"])


@on_each_board
def test_initial_environment_is_where_libubootenv_looks(series: Series, board: str) -> None:
    uboot = series.expand(board, WANTED)[UBOOT]
    assert uboot["UBOOT_INITIAL_ENV"] == "u-boot-initial-env"
    # Nothing is built in unless it is asked for.
    assert "overlayroot" not in uboot["SRC_URI"]


@on_boundary_s
def test_environment_of_boundary_s_u_boot_is_found(series: Series, board: str) -> None:
    name = "file://fw_env.config"
    uboot = series.expand(board, {UBOOT: ["SRC_URI", name]})[UBOOT]
    assert name in words(uboot["SRC_URI"])
    assert words(uboot[name]) == ["/dev/mtd1", "0x00000", "0x2000", "0x1000", "2"]


@on_boundary_s
def test_mainline_kernel(series: Series, board: str) -> None:
    """linux-fslc, with the same device trees, in folders; but for those that it does not have."""
    wanted = {"": ["KERNEL_DEVICETREE", "PREFERRED_PROVIDER_virtual/kernel"], IMAGE: ["IMAGE_BOOT_FILES"]}
    own = series.expand(board, wanted)[""]["KERNEL_DEVICETREE"]
    found = series.expand(board, wanted, options=("mainline-bsp",))
    assert found[""]["PREFERRED_PROVIDER_virtual/kernel"] == "linux-fslc"
    known = [name for name in words(own) if "nitrogen6_vm" not in name]
    assert words(found[""]["KERNEL_DEVICETREE"]) == [f"nxp/imx/{name}" for name in known]
    assert set(known) <= set(words(found[IMAGE]["IMAGE_BOOT_FILES"]))


@pytest.mark.parametrize(
    ("board", "fragment"),
    [("nitrogen6x", "overlayroot-env-boundary.cfg"), ("wandboard", "overlayroot-env.cfg")],
)
def test_u_boot_is_built_with_our_variables(series: Series, board: str, fragment: str) -> None:
    uboot = series.expand(board, {UBOOT: ["SRC_URI"]}, ('OVERLAYROOT_UBOOT_ENV = "1"',))[UBOOT]
    assert f"file://{fragment}" in words(uboot["SRC_URI"])


@on_each_card
def test_verified_root(series: Series, board: str) -> None:
    checked_out(series, "verity")
    found = series.expand(board, VERIFIED, options=("verity",))
    image, kernel = found[IMAGE], found[KERNEL]
    folder = image["OVERLAYROOT_VERITY_DIR"]
    assert "file://overlayroot-verity.cfg" in words(kernel["SRC_URI"])
    assert words(image["IMAGE_TYPEDEP:wic"])[-1] == "ext4.ofsverity"
    assert {"-b", "4096", "^metadata_csum_seed,^orphan_file,^has_journal"} <= set(
        words(image["EXTRA_IMAGECMD:ext4"])
    )
    (root,) = [line for line in image["_WKS_TEMPLATE"].splitlines() if line.startswith("part / ")]
    assert f'--source rawcopy --sourceparams="file={folder}/root.img"' in root
    # The file with the root hash, and not the one without.
    assert [entry for entry in words(image["IMAGE_BOOT_FILES"]) if "overlayroot.env" in entry] == [
        f"{folder}/overlayroot.env;overlayroot.env"
    ]
    assert "overlayroot_verity_env" in words(image["do_image_wic[prefuncs]"])
    assert "cryptsetup-native:do_populate_sysroot" in words(image["do_rootfs[depends]"])


def test_tool_that_seals_can_be_built_for_the_host(series: Series) -> None:
    checked_out(series, "verity")
    wanted = {CRYPTSETUP: ["BBCLASSEXTEND", "PACKAGECONFIG"]}
    found = series.expand("nitrogen6x", wanted, options=("verity",))[CRYPTSETUP]
    assert "native" in words(found["BBCLASSEXTEND"])
    assert "veritysetup" in words(found["PACKAGECONFIG"])


def test_nothing_is_verified_unless_asked_for(series: Series) -> None:
    found = series.expand("nitrogen6x", VERIFIED)
    values = [value or "" for name, value in found[IMAGE].items() if name != "OVERLAYROOT_VERITY_DIR"]
    assert not re.search("verity|cryptsetup|has_journal", "\n".join(values))
    assert "overlayroot-verity.cfg" not in found[KERNEL]["SRC_URI"]


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
    assert found[UBOOT]["UBOOT_INITIAL_ENV"] == f"{BOARDS[board][1]}-initial-env"


@on_each_board
def test_other_images_stay_as_they_are(series: Series, board: str) -> None:
    on, off = (series.expand(board, WANTED, settings)[ORDINARY] for settings in ((), OFF))
    assert on == off
    assert "overlayroot" not in "".join(value or "" for value in on.values())


@on_each_card
def test_an_image_feature_protects_any_image(series: Series, board: str) -> None:
    wanted = {ORDINARY: ["IMAGE_BOOT_FILES", "IMAGE_FSTYPES", "IMAGE_INSTALL", "WKS_FULL_PATH"]}
    settings = (
        'IMAGE_CLASSES += "overlayroot-feature"',
        'IMAGE_FEATURES:append:pn-core-image-minimal = " overlayroot"',
    )
    image = series.expand(board, wanted, settings)[ORDINARY]
    assert image["WKS_FULL_PATH"].endswith(f"/overlayroot-{BOARDS[board][2]}.wks")
    assert {"wic.gz", "wic.bmap"} <= set(words(image["IMAGE_FSTYPES"]))
    assert "packagegroup-overlayroot" in words(image["IMAGE_INSTALL"])
    assert "boot.scr-overlayroot;boot.scr" in words(image["IMAGE_BOOT_FILES"])
    # What the boot script reads is that of this image.
    assert any(entry.startswith("core-image-minimal-") for entry in words(image["IMAGE_BOOT_FILES"]))


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


def test_images_that_cannot_be_sealed_are_left_out(series: Series) -> None:
    found = series.expand("nitrogen6x", {IMAGE: ["PN"], INITRAMFS: ["PN"]}, ('OVERLAYROOT_VERITY = "1"',))
    assert "needs veritysetup, which is in cryptsetup of meta-oe" in found[IMAGE]["skipped"]
    assert found[INITRAMFS] == {"PN": "overlayroot-initramfs"}


@pytest.mark.parametrize(
    ("board", "settings", "recipes"),
    [
        ("nitrogen6x", (), {"linux-boundary", "u-boot-boundary"}),
        ("imx6qdlsabresd", (), {"linux-fslc", "u-boot-fslc"}),
        ("imx6qdlsabresd", OTHERS, {"linux-fslc-lts", "u-boot-imx"}),
        *(("imx6qdlsabresd", settings, {kernel, "u-boot-fslc"}) for kernel, settings in NXP_KERNELS.items()),
        ("qemuarm", (), {"linux-yocto", "u-boot"}),
    ],
)
def test_bbappends_change_no_hash_without_the_feature(
    series: Series, board: str, settings: tuple[str, ...], recipes: set[str]
) -> None:
    """yocto-check-layer does not see those for board support layers: it adds only what a layer depends on."""
    off = series.signatures(board, (*OFF, *settings))
    assert {name.partition("_")[0] for name in off} == recipes
    assert not any(off.values()), off
    # With it they do: hashes that are all the same would prove nothing.
    on = series.signatures(board, settings)
    assert on.keys() == off.keys() and all(on.values()), on
