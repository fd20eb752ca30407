# SPDX-License-Identifier: MIT
"""conf/layer.conf: every file of the layer is read, and the dynamic layers have the names of collections."""

import fnmatch
import pathlib

import bitbake
import pytest

# Collections as their own conf/layer.conf calls them, and the recipes that our bbappends there are for, on
# scarthgap and on wrynose. BitBake compares the names as strings, and says nothing.
KNOWN = {
    "freescale-layer": {
        "linux-fslc",
        "linux-fslc-imx",
        "linux-fslc-lts",
        "linux-imx",
        "u-boot-fslc",
        "u-boot-imx",
    },
    "freescale-3rdparty": {"linux-boundary", "u-boot-boundary", "u-boot-script-boundary"},
    "meta-beagle": {"linux-bb.org"},
    "meta-ti-bsp": {"linux-ti-mainline", "linux-ti-staging", "linux-ti-staging-rt"},
    "raspberrypi": {"linux-raspberrypi", "linux-raspberrypi-v7"},
}
CORE = {"linux-yocto", "u-boot"}


@pytest.fixture(scope="module")
def d() -> bitbake.bb.data_smart.DataSmart:
    """The datastore after conf/layer.conf."""
    return bitbake.configuration()


def globs(d: bitbake.bb.data_smart.DataSmart) -> list[tuple[str, str]]:
    """Collection (empty: always) and pattern of the layer's recipes."""
    always = [("", pattern) for pattern in d.getVar("BBFILES").split()]
    entries = d.getVar("BBFILES_DYNAMIC").split()
    return always + [tuple(entry.split(":", 1)) for entry in entries]


def folder_of(pattern: str) -> str:
    """Folder below dynamic-layers that a pattern is about."""
    return pathlib.Path(pattern).relative_to(bitbake.TOP / "dynamic-layers").parts[0]


def test_what_it_says_of_itself(d: bitbake.bb.data_smart.DataSmart) -> None:
    assert d.getVar("BBFILE_COLLECTIONS").split() == ["overlayroot"]
    assert d.getVar("LAYERSERIES_COMPAT_overlayroot").split() == ["scarthgap", "wrynose"]
    assert d.getVar("LAYERDEPENDS_overlayroot") == "core"
    assert d.getVar("LAYERRECOMMENDS_overlayroot") == "rust-bin-layer"
    assert d.getVar("BBPATH").split(":")[-1] == str(bitbake.TOP)
    # wrynose stops at a layer with this folder.
    assert not (bitbake.TOP / "wic").exists()


@pytest.mark.parametrize("path", bitbake.files(".bb", ".bbappend"), ids=lambda path: path.name)
def test_each_recipe_is_read(d: bitbake.bb.data_smart.DataSmart, path: pathlib.Path) -> None:
    assert [pattern for _, pattern in globs(d) if fnmatch.fnmatch(str(path), pattern)]


def test_dynamic_folders_are_collections(d: bitbake.bb.data_smart.DataSmart) -> None:
    named = {(key, folder_of(pattern)) for key, pattern in globs(d) if key}
    assert all(key == folder for key, folder in named)
    there = {path.name for path in (bitbake.TOP / "dynamic-layers").iterdir() if path.is_dir()}
    assert there == {key for key, _ in named}
    assert there <= set(KNOWN)


@pytest.mark.parametrize("path", bitbake.files(".bbappend"), ids=lambda path: path.name)
def test_bbappends_are_for_recipes_that_exist(path: pathlib.Path) -> None:
    parts = path.relative_to(bitbake.TOP).parts
    recipes = KNOWN[parts[1]] if parts[0] == "dynamic-layers" else CORE
    name, _, version = path.stem.partition("_")
    assert (name in recipes, version) == (True, "%")


@pytest.mark.parametrize("path", bitbake.files(".bbappend"), ids=lambda path: path.name)
def test_bbappends_are_one_gated_require(path: pathlib.Path) -> None:
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    assert len(lines) == 1
    required = lines[0].removeprefix("require ${@bb.utils.contains('DISTRO_FEATURES', 'overlayroot', '")
    include, _, rest = required.partition("'")
    assert rest == ", '', d)}"
    assert (bitbake.TOP / include).is_file()
