# SPDX-License-Identifier: MIT
"""A kernel of imx_v6_v7_defconfig and the layer's fragments boots the same initramfs, without modules."""

import pathlib
import subprocess
from collections.abc import Iterator

import pytest
from conftest import System, mtools
from labgrid_board import BoardStrategy, Status

TOP = pathlib.Path(__file__).resolve().parents[2]
REPLACED = ("zImage", "imx6q-sabrelite.dtb", "overlayroot.uInitrd")


@pytest.fixture(scope="module")
def kernel() -> pathlib.Path:
    """Folder of the kernel that `make kernel` has made."""
    done = subprocess.run([TOP / "scripts/build-kernel", "--cached"], stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        pytest.skip("no kernel of the fragments; make kernel builds one (an hour or two)")
    return pathlib.Path(done.stdout.strip())


@pytest.fixture
def swapped(
    kernel: pathlib.Path, card: pathlib.Path, tmp_path: pathlib.Path
) -> Iterator[dict[str, pathlib.Path]]:
    """The card with that kernel, its device tree, and an initramfs that holds no module; then as before."""
    before, after = tmp_path / "before", tmp_path / "after"
    for folder in (before, after):
        folder.mkdir()
    init = subprocess.run(
        [TOP / "scripts/build-init", "armhf"], stdout=subprocess.PIPE, text=True, check=True
    ).stdout.strip()
    pack = [TOP / "scripts/mkinitramfs", "--init", init, "--conf", TOP / "debian/image/overlayroot.conf"]
    subprocess.run([*pack, "--output", after / "overlayroot.uInitrd"], check=True)
    for name in ("zImage", "imx6q-sabrelite.dtb"):
        (after / name).write_bytes((kernel / name).read_bytes())
    mtools("mcopy", card, *(f"::{name}" for name in REPLACED), str(before))
    mtools("mcopy", card, "-o", *(str(after / name) for name in REPLACED), "::")
    yield {name: after / name for name in REPLACED}
    mtools("mcopy", card, "-o", *(str(before / name) for name in REPLACED), "::")


@pytest.mark.lg_feature("card")
def test_fragments_make_a_kernel_that_boots(
    board: BoardStrategy, system: System, swapped: dict[str, pathlib.Path], kernel: pathlib.Path
) -> None:
    try:
        board.boot()
        assert board.verdict.startswith("protected: / is RAM over read-only /dev/mmcblk")
        assert system.run("uname -r").startswith("6.12.")
        assert "armmp" not in system.run("uname -r")
        # Nothing was loaded, neither by the init nor by the system: its modules are for another kernel.
        assert system.run("cat /proc/modules") == ""
        assert system.run("zcat /proc/config.gz | grep OVERLAY_FS=") == "CONFIG_OVERLAY_FS=y"
        root = system.mount("/")
        assert (root["fstype"], "upperdir=/mnt/root-RW/upper" in root["options"]) == ("overlay", True)
        report = system.report()
        assert (report["reached"], report["protected"], report["failures"]) == ("ram", True, [])
        assert report["overlay"]["fstype"] == "overlay"
        assert {"overlayfs=yes", "ofs-size=20"} <= set(system.command_line())
    finally:
        board.cut_power()
        board.transition(Status.off)
