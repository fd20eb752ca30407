# SPDX-License-Identifier: MIT
"""Boards of other layers that would not start what this layer makes: refused, with remedies that work."""

import pathlib
import re

import pytest
from series import Series, checked_out

IMAGE = "recipes-core/images/overlayroot-image-minimal.bb"
WANTED = {"": ["MACHINE"], IMAGE: ["IMAGE_BOOT_FILES", "OVERLAYROOT_BOOT"]}
VENDORS = pathlib.Path("tests/openembedded/vendors")
U_BOOT = 'RPI_USE_U_BOOT = "1"'
EULA = 'ACCEPT_EULA_stm32mp1 = "1"'
SCRIPT = "starts kernels of 32-bit ARM"
UNKNOWN = "runs boot.scr of its card before anything else"

# Machine, settings, the file with its layer, why it is refused.
BOARDS = [
    ("raspberrypi4-64", "", "raspberrypi", SCRIPT),
    ("raspberrypi4-64", U_BOOT, "raspberrypi", SCRIPT),
    ("raspberrypi3", "", "raspberrypi", "its firmware starts what config.txt names"),
    ("raspberrypi3", U_BOOT, "raspberrypi", "its firmware starts what config.txt names"),
    ("stm32mp1", "", "st", UNKNOWN),
    ("stm32mp15-disco", "", "st", UNKNOWN),
    ("beaglebone", "", "ti", 'UBOOT_EXTLINUX = "1"'),
    ("nitrogen8mp", "", "", SCRIPT),
    ("ls1046ardb", "", "", SCRIPT),
    ("imx6qdl-variscite-som", "", "", "starts zImage, and the kernel of imx6qdl-variscite-som is uImage"),
    ("qemuarm64", "", "", SCRIPT),
    ("qemux86-64", "", "", SCRIPT),
    ("qemuarm", "", "", UNKNOWN),
]


def reason(series: Series, machine: str, vendor: str, settings: tuple[str, ...] = ()) -> str:
    """Why the image is skipped, or nothing."""
    options = (str(VENDORS / f"{vendor}.yml"),) if vendor else ()
    checked_out(series, *options)
    found = series.expand("nitrogen6x", WANTED, tuple(filter(None, settings)), options, machine)
    assert found[""]["MACHINE"] == machine
    return found[IMAGE].get("skipped", "")


@pytest.mark.parametrize(("machine", "setting", "vendor", "why"), BOARDS)
def test_refused(series: Series, machine: str, setting: str, vendor: str, why: str) -> None:
    said = reason(series, machine, vendor, (setting,))
    assert why in said and f'INITRAMFS_IMAGE_BUNDLE:{machine} = "1"' in said


@pytest.mark.parametrize(
    ("machine", "setting", "vendor"),
    [
        board[:3]
        for board in BOARDS
        if board[0] in ("raspberrypi4-64", "beaglebone", "nitrogen8mp", "ls1046ardb")
    ],
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
    options = (str(VENDORS / f"{vendor}.yml"),) if vendor else ()
    image = series.expand("nitrogen6x", WANTED, tuple(filter(None, settings)), options, machine)[IMAGE]
    assert image["OVERLAYROOT_BOOT"] == "bundle"
    sources = [entry.partition(";")[0] for entry in image["IMAGE_BOOT_FILES"].split()]
    kernels = [name for name in sources if re.match(r"(z|u|fit|bz)?Image", name)]
    assert kernels and all("-initramfs-" in name for name in kernels)
