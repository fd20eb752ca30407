# SPDX-License-Identifier: MIT
"""The kas files: boards, series and options make what kas accepts, and say what they should. No network."""

import pathlib
import re

import bitbake
import jsonschema
import kas.kas
import kconfiglib
import pytest
import yaml
from kas.configschema import CONFIGSCHEMA
from kas.kasusererror import KasUserError
from kas.plugins.menu import Menu

TOP = pathlib.Path(__file__).parents[2]
SERIES = {"wrynose": "2.18", "scarthgap": "2.8"}
BOARDS = sorted(path.stem for path in TOP.glob("kas/*.yml"))
# It goes with one board and one series only.
QUICK = "debian-toolchain"
OPTIONS = sorted(
    path.stem
    for path in TOP.glob("kas/opt/*.yml")
    if path.stem not in {QUICK, *SERIES} and not path.name.endswith(".lock.yml")
)


def dump(
    monkeypatch: pytest.MonkeyPatch, folder: pathlib.Path, *files: str, capsys: pytest.CaptureFixture
) -> dict:
    """What `kas dump` prints; repositories are not fetched."""
    monkeypatch.chdir(TOP)
    monkeypatch.setenv("KAS_WORK_DIR", str(folder))
    skips = ("repo_setup_loop", "finish_setup_repos", "repos_checkout")
    kas.kas.kas(["dump", *(f"--skip={step}" for step in skips), ":".join(files)])
    return yaml.safe_load(capsys.readouterr().out)


def combinations() -> list[tuple[str, ...]]:
    """Every board alone and with all options; one with each of them."""
    every = [(board, *options) for board in BOARDS for options in ((), tuple(OPTIONS))]
    return every + [("nitrogen6x", option) for option in OPTIONS]


@pytest.mark.parametrize("series", [None, *SERIES])
@pytest.mark.parametrize("names", combinations(), ids=":".join)
def test_combination(names: tuple[str, ...], series: str | None, monkeypatch, tmp_path, capsys) -> None:
    board, *options = names
    files = [f"kas/{board}.yml", *(f"kas/opt/{name}.yml" for name in options)]
    if series:
        files.append(f"kas/opt/{series}.yml")
    config = dump(monkeypatch, tmp_path, *files, capsys=capsys)
    jsonschema.validate(config, CONFIGSCHEMA)
    series = series or "wrynose"
    assert config["machine"] == board
    assert config["defaults"]["repos"]["branch"] == series
    assert config["repos"]["bitbake"]["branch"] == SERIES[series]
    assert 'DISTRO_FEATURES:append = " overlayroot"' in config["local_conf_header"]["overlayroot"]
    locked = config["overrides"]["repos"]
    lock = yaml.safe_load((TOP / f"kas/opt/{series}.lock.yml").read_text())["overrides"]["repos"]
    for name, repo in config["repos"].items():
        if repo is None:  # this layer
            continue
        assert re.fullmatch("[0-9a-f]{40}", locked[name]["commit"]), f"{name} is not locked"
        assert locked[name] == lock.get(name, locked[name]), f"{name} is locked to another series"
    own = {"raspberrypi": "meta-raspberrypi", "beagle": "meta-ti", "qemu": "bitbake"}
    layer = next((layer for name, layer in own.items() if board.startswith(name)), "meta-freescale")
    assert layer in config["repos"]
    assert ("meta-freescale" in config["repos"]) == (layer == "meta-freescale")
    if "meta-rust-bin" in options:
        assert "LAYERSERIES_COMPAT_rust-bin-layer" in config["bblayers_conf_header"]["meta-rust-bin"]


@pytest.mark.parametrize("board", ["nitrogen6x", "nitrogen6x-lite", "nitrogen6sx", "nitrogen7"])
def test_mainline_kernel_has_its_device_trees_in_folders(board: str, monkeypatch, tmp_path, capsys) -> None:
    """What these machines say of linux-boundary's, linux-fslc has no rule for."""
    config = dump(monkeypatch, tmp_path, f"kas/{board}.yml", "kas/opt/mainline-bsp.yml", capsys=capsys)
    path = tmp_path / "local.conf"
    path.write_text(config["local_conf_header"]["mainline-bsp"])
    d = bitbake.configuration(overrides=f"mx6-generic-bsp:{board}", KERNEL_DEVICETREE="imx6q-nitrogen6x.dtb")
    d = bitbake.bb.parse.handle(str(path), d, True)
    trees = d.getVar("KERNEL_DEVICETREE").split()
    assert all(
        re.fullmatch(r"nxp/imx/imx[67]\w+-nit\w+\.dtb|nxp/imx/imx6q-sabrelite\.dtb", tree) for tree in trees
    )
    assert len(trees) == (7 if board == "nitrogen6x" else 1)


def test_quick_build(monkeypatch, tmp_path, capsys) -> None:
    config = dump(monkeypatch, tmp_path, "kas/nitrogen6x.yml", f"kas/opt/{QUICK}.yml", capsys=capsys)
    jsonschema.validate(config, CONFIGSCHEMA)
    assert config["defaults"]["repos"]["branch"] == "scarthgap"
    required = re.search(r"require \$\{OVERLAYROOT_LAYERDIR\}/(\S+)", config["local_conf_header"][QUICK])
    assert (TOP / required[1]).is_file()


def choices(kconf: kconfiglib.Kconfig) -> list[list[kconfiglib.Symbol]]:
    return [choice.syms for choice in kconf.unique_choices]


def test_menu_offers_every_file() -> None:
    kconf = kconfiglib.Kconfig(str(TOP / "Kconfig"), warn_to_stderr=False)
    assert kconf.warnings == []
    offered = {
        default.str_value
        for symbol in kconf.unique_defined_syms
        if symbol.name.startswith("KAS_INCLUDE_")
        for default, _ in symbol.defaults
    }
    there = {f"kas/{name}.yml" for name in BOARDS}
    there |= {f"kas/opt/{name}.yml" for name in [*OPTIONS, *SERIES, QUICK]}
    assert offered == there


def test_menu_makes_configurations_that_kas_takes(monkeypatch, tmp_path, capsys) -> None:
    """Each entry of each choice, and each switch, through the code of `kas menu`."""
    kconf = kconfiglib.Kconfig(str(TOP / "Kconfig"), warn_to_stderr=False)
    entries = [symbol for group in choices(kconf) for symbol in group]
    entries += [
        symbol
        for symbol in kconf.unique_defined_syms
        if symbol.type == kconfiglib.BOOL and symbol.choice is None
    ]
    for entry in entries:
        kconf.unset_values()
        if entry.name == "QUICK":
            kconf.syms["SERIES_SCARTHGAP"].set_value("y")
        entry.set_value("y")
        assert entry.str_value == "y", entry.name
        menu = Menu()
        menu.kconf, menu.orig_config = kconf, {}
        folder = tmp_path / entry.name
        folder.mkdir()
        menu.save_config(str(folder / ".config.yaml"), str(TOP))
        config = dump(monkeypatch, folder, str(folder / ".config.yaml"), capsys=capsys)
        jsonschema.validate(config, CONFIGSCHEMA)
        assert config["machine"] in BOARDS
        assert config["target"] in (["overlayroot-image-minimal"], ["overlayroot-initramfs"])
        # A text variable of the menu would become a BitBake variable.
        assert "__menu_config_vars" not in config["local_conf_header"]


def test_a_wrong_file_is_refused(monkeypatch, tmp_path, capsys) -> None:
    """The check itself can fail."""
    wrong = tmp_path / "wrong.yml"
    wrong.write_text("header:\n  version: 14\nmachin: nitrogen6x\n")
    with pytest.raises(KasUserError):
        dump(monkeypatch, tmp_path, str(wrong), capsys=capsys)
    assert "'machin' was unexpected" in capsys.readouterr().err
