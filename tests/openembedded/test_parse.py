# SPDX-License-Identifier: MIT
"""Every recipe of every layer parses, and the image has a complete list of what has to be built."""

import re

from series import WORK, Series, checked_out

# What the image must be made of.
WANTED = {
    "linux-boundary",
    "overlayroot-boot-script",
    "overlayroot-conf",
    "overlayroot-image-minimal",
    "overlayroot-init",
    "overlayroot-initramfs",
    "packagegroup-overlayroot",
    "u-boot-boundary",
}


def test_everything_parses(series: Series) -> None:
    output = series.shell(series.files("nitrogen6x"), "bitbake -p", timeout=7200)
    parsed = re.search(r"Parsing of (\d+) \.bb files complete .* (\d+) errors\.", output)
    assert parsed and int(parsed[1]) > 1000 and parsed[2] == "0", output[-2000:]
    assert "WARNING" not in output, output[-2000:]


def recipes_of_image(series: Series, *options: str) -> set[str]:
    """Recipes that have to be built for the image."""
    series.shell(series.files("nitrogen6x", *options), "bitbake -g overlayroot-image-minimal", timeout=7200)
    return set((WORK / series.name / "build/pn-buildlist").read_text().split())


def test_verified_image_can_be_built(series: Series) -> None:
    checked_out(series, "verity")
    assert {*WANTED, "cryptsetup-native"} <= recipes_of_image(series, "verity")


def test_image_can_be_built(series: Series) -> None:
    recipes = recipes_of_image(series)
    assert WANTED <= recipes
    assert "cryptsetup-native" not in recipes
    rust = {"cargo-bin-cross-arm"} if series.rust else {"cargo-native", "rust-native", "libstd-rs"}
    assert rust <= recipes
