# SPDX-License-Identifier: MIT
"""Boards of other layers: the way in which each boots, or why it is refused, with remedies that work."""

import pathlib
import re

import pytest
from series import Series, checked_out

IMAGE = "recipes-core/images/overlayroot-image-minimal.bb"
WANTED = {"": ["MACHINE"], IMAGE: ["IMAGE_BOOT_FILES", "OVERLAYROOT_BOOT", "OVERLAYROOT_UBOOT"]}
VENDORS = pathlib.Path("tests/openembedded/vendors")
U_BOOT = 'RPI_USE_U_BOOT = "1"'
EFI = 'MACHINE_FEATURES:append = " efi"\nEFI_PROVIDER = "systemd-boot"'
SCRIPT = "our boot script starts"
UNKNOWN = "runs boot.scr of its card before anything else"

# Machine, settings, the file with its layer, the way, the layout.
WAYS = [
    ("raspberrypi4-64", "", "raspberrypi", "rpi", "machine"),
    ("raspberrypi4-64", U_BOOT, "raspberrypi", "script", "machine"),
    ("raspberrypi3", "", "raspberrypi", "rpi", "machine"),
    ("raspberrypi5", "", "raspberrypi", "rpi", "machine"),
    ("beaglebone", "", "ti", "extlinux", "machine"),
    ("beagleplay", "", "ti", "efi", "machine"),
    ("nitrogen8mp", "", "", "script", "spi-nor"),
    ("imx8mp-lpddr4-evk", 'IMX_DEFAULT_BSP = "mainline"', "", "extlinux", "machine"),
    ("qemuarm64", EFI, "", "efi", "efi"),
    ("qemux86-64", EFI, "", "efi", "efi"),
]
# Machine, settings, the file with its layer, why it is refused.
BOARDS = [
    ("stm32mp1", "", "st", UNKNOWN),
    ("stm32mp15-disco", "", "st", UNKNOWN),
    ("ls1046ardb", "", "", "ls1046ardb"),
    ("imx6qdl-variscite-som", "", "", UNKNOWN),
    ("imx8mp-lpddr4-evk", "", "", UNKNOWN),
    ("qemuarm64", "", "", UNKNOWN),
    ("qemux86-64", "", "", SCRIPT),
    ("qemuarm", "", "", UNKNOWN),
]


def expanded(series: Series, machine: str, vendor: str, settings: tuple[str, ...] = ()) -> dict:
    """The image with the layers of a vendor."""
    options = (str(VENDORS / f"{vendor}.yml"),) if vendor else ()
    checked_out(series, *options)
    found = series.expand("nitrogen6x", WANTED, tuple(filter(None, settings)), options, machine)
    assert found[""]["MACHINE"] == machine
    return found[IMAGE]


def reason(series: Series, machine: str, vendor: str, settings: tuple[str, ...] = ()) -> str:
    """Why the image is skipped, or nothing."""
    return expanded(series, machine, vendor, settings).get("skipped", "")


@pytest.mark.parametrize(("machine", "setting", "vendor", "way", "layout"), WAYS)
def test_ways(series: Series, machine: str, setting: str, vendor: str, way: str, layout: str) -> None:
    image = expanded(series, machine, vendor, (setting,))
    assert (image.get("skipped"), image["OVERLAYROOT_BOOT"], image["OVERLAYROOT_UBOOT"]) == (
        None,
        way,
        layout,
    )


@pytest.mark.parametrize(("machine", "setting", "vendor", "why"), BOARDS)
def test_refused(series: Series, machine: str, setting: str, vendor: str, why: str) -> None:
    said = reason(series, machine, vendor, (setting,))
    assert why in said and f'INITRAMFS_IMAGE_BUNDLE:{machine} = "1"' in said


@pytest.mark.parametrize(
    ("machine", "setting", "vendor"),
    [board[:3] for board in BOARDS if board[0] in ("qemuarm64", "qemux86-64")],
)
def test_the_remedy_works_as_written(series: Series, machine: str, setting: str, vendor: str) -> None:
    """What the messages say, until there is none: no kernel without the initramfs is left."""
    settings = [setting]
    for _ in range(5):
        said = reason(series, machine, vendor, tuple(settings))
        if not said:
            break
        lines = re.findall(r'[A-Z_]+(?::[\w-]+)* = "[^"]*"', said)
        lines = [line for line in lines if not line.startswith(("OVERLAYROOT_BOARDS", "OVERLAYROOT_IMAGE"))]
        assert lines and not set(lines) <= set(settings), said
        settings += lines
    image = expanded(series, machine, vendor, tuple(settings))
    assert image["OVERLAYROOT_BOOT"] == "bundle"
    sources = [entry.partition(";")[0] for entry in image["IMAGE_BOOT_FILES"].split()]
    kernels = [name for name in sources if re.match(r"(z|u|fit|bz)?Image", name)]
    assert kernels and all("-initramfs-" in name for name in kernels)


def test_a_layout_that_is_not_understood(series: Series) -> None:
    """QorIQ: boot loaders at places of their own, and a boot partition with ext4. Ours would not start."""
    machine = "ls1046ardb"
    bundle = (
        f'INITRAMFS_IMAGE:{machine} = "overlayroot-initramfs"',
        f'INITRAMFS_IMAGE_BUNDLE:{machine} = "1"',
    )
    kernel = (f'KERNEL_IMAGETYPE:{machine} = "Image"', f'KERNEL_IMAGETYPES:{machine} = ""')
    said = reason(series, machine, "", (*bundle, *kernel))
    assert "ls104x-uboot-bootpart.wks.in, the layout of ls1046ardb, puts atf/bl2_sd.pbl" in said
