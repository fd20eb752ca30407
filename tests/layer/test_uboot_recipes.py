# SPDX-License-Identifier: MIT
"""The bbappends of U-Boot recipes: nothing without the feature; with it names, and our variables built in."""

import pathlib

import bb.build
import bb.process
import bitbake
import pytest

APPENDS = [path for path in bitbake.files(".bbappend") if path.name.startswith("u-boot")]
(BOUNDARY,) = [path for path in APPENDS if "boundary" in path.name]
(MAINLINE,) = [path for path in APPENDS if path.name == "u-boot_%.bbappend"]
RECIPE = bitbake.STUBS / "u-boot_2025.01.bb"
ON = {"DISTRO_FEATURES": "overlayroot"}
each_append = pytest.mark.parametrize("append", APPENDS, ids=lambda path: path.stem)


@each_append
def test_nothing_changes_without_the_feature(append: pathlib.Path) -> None:
    plain = bitbake.configuration(DISTRO_FEATURES="systemd")
    without = bitbake.shown(bitbake.recipe(RECIPE, plain))
    assert bitbake.shown(bitbake.recipe(RECIPE, plain, [append])) == without
    # The same comparison does see what the feature brings.
    assert bitbake.shown(bitbake.recipe(RECIPE, bitbake.configuration(**ON), [append])) != without


@each_append
def test_initial_environment_is_where_libubootenv_looks(append: pathlib.Path) -> None:
    d = bitbake.recipe(RECIPE, bitbake.configuration(**ON), [append])
    assert d.getVar("UBOOT_INITIAL_ENV") == "u-boot-initial-env"
    assert d.getVar("SRC_URI").split() == ["git://u-boot"]


@each_append
def test_fragment_of_each_recipe(append: pathlib.Path) -> None:
    d = bitbake.recipe(RECIPE, bitbake.configuration(**ON, OVERLAYROOT_UBOOT_ENV="1"), [append])
    name = "overlayroot-env-boundary.cfg" if append == BOUNDARY else "overlayroot-env.cfg"
    assert d.getVar("SRC_URI").split() == ["git://u-boot", f"file://{name}"]
    assert (pathlib.Path(d.getVar("FILESEXTRAPATHS").split(":")[0]) / name).is_file()


class Build:
    """A U-Boot recipe whose tasks are run for real, but for the compiler."""

    def __init__(self, tmp_path: pathlib.Path, append: pathlib.Path, setting: str = "1") -> None:
        """Source and folders of a build below `tmp_path`; `setting` is OVERLAYROOT_UBOOT_ENV."""
        variables = {"OVERLAYROOT_UBOOT_ENV": setting, "OVERLAYROOT_SIZE": "64M", "WORKDIR": str(tmp_path)}
        self.d = bitbake.recipe(RECIPE, bitbake.configuration(**ON, **variables), [append])
        self.unpacked = tmp_path / "sources"
        self.board = tmp_path / "git/board/boundary/nitrogen6x"
        self.defconfig = tmp_path / "git/configs/mine_defconfig"
        self.output = tmp_path / "build"
        for folder in (self.unpacked, self.board, self.defconfig.parent, self.output):
            folder.mkdir(parents=True)
        (self.output / ".config").write_text('CONFIG_SYS_VENDOR="boundary"\nCONFIG_SYS_BOARD="nitrogen6x"\n')

    def run(self, task: str) -> None:
        """Runs what we have put behind a task; a function that fails raises."""
        for function in self.d.getVarFlag(task, "postfuncs").split():
            bb.build.exec_func(function, self.d)


def test_environment_file_has_our_variables(tmp_path: pathlib.Path) -> None:
    build = Build(tmp_path, MAINLINE)
    build.run("do_configure")
    assert (build.board / "overlayroot.env").read_text() == "overlayfs=yes\nofs-size=64M\n"


def test_environment_file_keeps_the_board_s_own(tmp_path: pathlib.Path) -> None:
    build = Build(tmp_path, MAINLINE)
    own = build.board / "nitrogen6x.env"
    own.write_text("fdt_file=mine.dtb\n")
    build.run("do_configure")
    build.run("do_configure")
    text = (build.board / "overlayroot.env").read_text()
    assert text == f'#include "{own}"\noverlayfs=yes\nofs-size=64M\n'


def test_environment_file_for_each_configuration(tmp_path: pathlib.Path) -> None:
    build = Build(tmp_path, MAINLINE)
    config = build.output / "other_defconfig/.config"
    config.parent.mkdir()
    config.write_text('CONFIG_SYS_BOARD="wandboard"\n')
    folder = tmp_path / "git/board/wandboard"
    folder.mkdir()
    build.run("do_configure")
    assert (folder / "overlayroot.env").is_file()
    assert (build.board / "overlayroot.env").is_file()


def test_another_environment_file_ends_the_build(tmp_path: pathlib.Path) -> None:
    build = Build(tmp_path, MAINLINE)
    build.defconfig.write_text('CONFIG_ENV_SOURCE_FILE=""\n')
    build.run("do_configure")
    build.defconfig.write_text('CONFIG_ENV_SOURCE_FILE="mine"\n')
    with pytest.raises(bb.process.ExecutionError, match=r"exit code 1$"):
        build.run("do_configure")


def test_boundary_takes_an_option(tmp_path: pathlib.Path) -> None:
    build = Build(tmp_path, BOUNDARY)
    fragment = build.unpacked / "overlayroot-env-boundary.cfg"
    source = pathlib.Path(build.d.getVar("FILESEXTRAPATHS").split(":")[0]) / fragment.name
    fragment.write_bytes(source.read_bytes())
    build.run("do_unpack")
    assert r'CONFIG_EXTRA_ENV_SETTINGS_DEFCONFIG="overlayfs=yes\0ofs-size=64M\0"' in fragment.read_text()
    build.run("do_configure")
    assert not (build.board / "overlayroot.env").exists()


@pytest.mark.parametrize("append", [MAINLINE, BOUNDARY], ids=lambda path: path.stem)
def test_environment_without_our_variables_ends_the_build(
    tmp_path: pathlib.Path, append: pathlib.Path
) -> None:
    build = Build(tmp_path, append)
    initial = build.output / "u-boot-initial-env"
    initial.write_text("bootcmd=run distro_bootcmd\nofs-size=64M\noverlayfs=yes\n")
    build.run("do_compile")
    initial.write_text("bootcmd=run distro_bootcmd\n")
    with pytest.raises(bb.process.ExecutionError, match=r"exit code 1$"):
        build.run("do_compile")


def test_no_task_does_anything_unless_asked(tmp_path: pathlib.Path) -> None:
    build = Build(tmp_path, MAINLINE, setting="0")
    (build.output / "u-boot-initial-env").write_text("bootcmd=run distro_bootcmd\n")
    for task in ("do_unpack", "do_configure", "do_compile"):
        build.run(task)
    assert not (build.board / "overlayroot.env").exists()
