# SPDX-License-Identifier: MIT
"""The fragments, merged by real kernels' own tools into the defconfig of i.MX boards."""

import pathlib

import kernel_config
import pytest
from overlayroot import kconfig

VERSIONS = ("6.1", "6.12")
FOLDER = kconfig.fragments_folder()


class Tree:
    """The configuration part of a kernel's source, and a folder for what it makes."""

    def __init__(self, version: str, output: pathlib.Path) -> None:
        """Unpacks it, when that was not done before."""
        self.source, self.output = kernel_config.source(version), output

    def lacks(self, *fragments: pathlib.Path) -> list[str]:
        """What the defconfig with these fragments does not have of them."""
        final = kernel_config.merge(self.source, self.output, [kernel_config.DEFCONFIG, *fragments])
        return kconfig.check(final, fragments, source=self.source)


@pytest.fixture(scope="module", params=VERSIONS)
def tree(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """Each kernel."""
    return Tree(request.param, tmp_path_factory.mktemp("linux"))


def named(*names: str) -> list[pathlib.Path]:
    """Paths of fragments."""
    return [FOLDER / name for name in names]


@pytest.mark.parametrize(("rootfs", "verity"), [("ext4", False), ("squashfs", True), ("erofs", False)])
def test_every_symbol_takes(tree: Tree, rootfs: str, verity: bool) -> None:
    fragments = named(*kconfig.fragments(rootfs, verity, False), "overlayroot-imx.cfg")
    assert tree.lacks(*fragments) == []


def test_what_the_kernel_lacks_is_seen(tree: Tree) -> None:
    old, ours = named("overlayroot-3.10.cfg", "overlayroot.cfg")
    assert tree.lacks(old) == [
        "CONFIG_OVERLAYFS_FS=y (overlayroot-3.10.cfg): is not set; this kernel has no such symbol"
    ]
    # The same .config is that of the defconfig alone, which is not enough.
    assert kconfig.check(tree.output / ".config", [ours], source=tree.source) == [
        "CONFIG_OVERLAY_FS=y (overlayroot.cfg): is not set; see its dependencies in fs/overlayfs/Kconfig:2"
    ]


def test_a_later_fragment_is_seen(tree: Tree, tmp_path: pathlib.Path) -> None:
    ours, vendor = FOLDER / "overlayroot.cfg", tmp_path / "vendor.cfg"
    vendor.write_text("CONFIG_OVERLAY_FS=m\n# CONFIG_VFAT_FS is not set\n")
    final = kernel_config.merge(tree.source, tree.output, [kernel_config.DEFCONFIG, ours, vendor])
    assert kconfig.check(final, [ours]) == [
        "CONFIG_OVERLAY_FS=y (overlayroot.cfg): is a module",
        "CONFIG_VFAT_FS=y (overlayroot.cfg): is not set",
    ]
