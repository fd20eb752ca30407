# SPDX-License-Identifier: MIT
"""The bbappends of kernel recipes: nothing without the feature; with it fragments, merge and check."""

import pathlib
import subprocess

import bb.build
import bitbake
import kernel_config
import pytest
from overlayroot import kconfig

APPENDS = [path for path in bitbake.files(".bbappend") if path.name.startswith("linux-")]
INCLUDE = "recipes-kernel/linux/overlayroot-kernel.inc"
YOCTO, VENDOR = bitbake.STUBS / "linux-yocto_6.18.bb", bitbake.STUBS / "linux-vendor_6.1.bb"
ON = {"DISTRO_FEATURES": "systemd overlayroot"}


@pytest.mark.parametrize("append", APPENDS, ids=lambda path: path.stem)
def test_nothing_changes_without_the_feature(append: pathlib.Path) -> None:
    plain = bitbake.configuration(DISTRO_FEATURES="systemd")
    without = bitbake.shown(bitbake.recipe(YOCTO, plain))
    assert bitbake.shown(bitbake.recipe(YOCTO, plain, [append])) == without
    # The same comparison does see what the feature brings.
    assert bitbake.shown(bitbake.recipe(YOCTO, bitbake.configuration(**ON), [append])) != without


@pytest.mark.parametrize("append", APPENDS, ids=lambda path: path.stem)
def test_fragments_of_each_recipe(append: pathlib.Path) -> None:
    d = bitbake.recipe(YOCTO, bitbake.configuration(**ON), [append])
    assert d.getVar("SRC_URI").split() == [
        "git://kernel",
        "file://overlayroot.cfg",
        "file://overlayroot-imx.cfg",
    ]
    folder = pathlib.Path(d.getVar("FILESEXTRAPATHS").split(":")[0])
    assert folder == kconfig.fragments_folder()
    order = d.getVar("_task_deps", False)["parents"]
    assert order["do_overlayroot_configcheck"] == ["do_configure"]
    assert "do_overlayroot_configcheck" in order["do_compile"]


@pytest.mark.parametrize(
    ("variables", "names"),
    [
        ({"overrides": "qemuarm"}, ["overlayroot"]),
        ({"overrides": "mx7-generic-bsp"}, ["overlayroot", "overlayroot-imx"]),
        ({"overrides": "", "OVERLAYROOT_ROOTFS": "squashfs"}, ["overlayroot", "overlayroot-squashfs"]),
        ({"overrides": "", "OVERLAYROOT_ROOTFS": "erofs"}, ["overlayroot", "overlayroot-erofs"]),
        ({"overrides": "", "OVERLAYROOT_VERITY": "1"}, ["overlayroot", "overlayroot-verity"]),
        ({"overrides": "", "LINUX_VERSION": "3.10.53"}, ["overlayroot", "overlayroot-3.10"]),
        (
            {"overrides": "", "LINUX_VERSION": "3.14.52", "OVERLAYROOT_KERNEL_OLD": "0"},
            ["overlayroot"],
        ),
    ],
)
def test_settings_choose_fragments(variables: dict[str, str], names: list[str]) -> None:
    d = bitbake.recipe(YOCTO, bitbake.configuration(**ON, **variables), [APPENDS[0]])
    assert d.getVar("OVERLAYROOT_KERNEL_FRAGMENTS").split() == [f"{name}.cfg" for name in names]
    assert all((kconfig.fragments_folder() / f"{name}.cfg").is_file() for name in names)


@pytest.mark.parametrize(("series", "folder"), [("wrynose", "sources/"), ("", "")])
def test_fragments_are_looked_for_where_they_are_unpacked(series: str, folder: str) -> None:
    d = bitbake.recipe(VENDOR, bitbake.configuration(**ON, unpackdir=series), [APPENDS[0]])
    assert f"{d.getVar('WORKDIR')}/{folder}overlayroot.cfg" in d.getVar("overlayroot_kernel_merge")
    assert d.getVar("UNPACKDIR") == (f"{d.getVar('WORKDIR')}/sources" if series else None)


class Build:
    """A kernel recipe's tasks, run for real as far as they go without a compiler."""

    def __init__(self, tmp_path: pathlib.Path, recipe: pathlib.Path, **variables: str) -> None:
        """Source and folders of a build below `tmp_path`."""
        self.source, self.output = tmp_path / "linux", tmp_path / "build"
        unpacked = tmp_path / "sources"
        for folder in (unpacked, self.output):
            folder.mkdir()
        for path in kconfig.fragments_folder().glob("*.cfg"):
            (unpacked / path.name).write_bytes(path.read_bytes())
        self.d = bitbake.recipe(
            recipe, bitbake.configuration(**ON, WORKDIR=str(tmp_path), **variables), [APPENDS[0]]
        )
        self.d.setVar("S", str(self.source))
        self.d.setVar("B", str(self.output))

    def run(self, function: str) -> None:
        """Runs a function; one that fails raises."""
        bb.build.exec_func(function, self.d)


def test_check_ends_the_build(tmp_path: pathlib.Path, errors: list[str]) -> None:
    build = Build(tmp_path, YOCTO)
    lines = [
        f"CONFIG_{request.symbol}=y"
        for name in ("overlayroot.cfg", "overlayroot-imx.cfg")
        for request in kconfig.read_fragment(kconfig.fragments_folder() / name)
    ]
    config = build.output / ".config"
    config.write_text("# Linux/arm 6.1.22 Kernel Configuration\n" + "\n".join(lines))
    build.run("do_overlayroot_configcheck")
    assert errors == []
    config.write_text(config.read_text().replace("CONFIG_OVERLAY_FS=y", "CONFIG_OVERLAY_FS=m"))
    with pytest.raises(bb.BBHandledException):
        build.run("do_overlayroot_configcheck")
    (message,) = errors
    assert "\n  CONFIG_OVERLAY_FS=y (overlayroot.cfg): is a module\n" in message
    assert f"{build.source}/.kernel-meta/cfg/merge_config_build.log" in message
    build.d.setVar("OVERLAYROOT_KERNEL_MODULES", "1")
    build.run("do_overlayroot_configcheck")


def test_plain_kernel_class_gets_the_fragments(tmp_path: pathlib.Path, errors: list[str]) -> None:
    build = Build(tmp_path, VENDOR)
    build.source.symlink_to(kernel_config.source("6.1"))
    for name, value in kernel_config.ENVIRONMENT.items():
        build.d.setVar(name, value)
        build.d.setVarFlag(name, "export", "1")
    command = ["make", "-s", "-C", build.source, f"O={build.output}", "imx_v6_v7_defconfig"]
    subprocess.run(
        [*command, *(f"{name}={value}" for name, value in kernel_config.ENVIRONMENT.items())], check=True
    )
    with pytest.raises(bb.BBHandledException):
        build.run("do_overlayroot_configcheck")
    assert (
        "CONFIG_OVERLAY_FS=y (overlayroot.cfg): is not set; see its dependencies in fs/overlayfs/Kconfig:2"
        in errors[0]
    )
    build.run("overlayroot_kernel_merge")
    build.run("do_overlayroot_configcheck")


def test_kernel_yocto_is_left_to_itself(tmp_path: pathlib.Path) -> None:
    build = Build(tmp_path, YOCTO)
    # There is no source: whoever would merge now would fail.
    build.run("overlayroot_kernel_merge")


def test_configuration_is_deployed_for_the_image(tmp_path: pathlib.Path) -> None:
    build = Build(tmp_path, YOCTO)
    (build.output / ".config").write_text("x")
    deploy = pathlib.Path(build.d.getVar("DEPLOYDIR"))
    deploy.mkdir(parents=True)
    build.run("do_deploy")
    name = pathlib.Path(build.d.getVar("OVERLAYROOT_KERNEL_CONFIG")).name
    assert (deploy / name).read_text() == "x"
