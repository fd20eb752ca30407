# SPDX-License-Identifier: MIT
"""What several tests use: the series, the quick build, its card in the emulated board."""

import pathlib
import shutil
from collections.abc import Iterator

import pytest
from labgrid_board import BoardStrategy
from quick import DEPLOY, ENVIRONMENT, INITRAMFS, NAME, build, emulated_board
from series import ALL, Series, checked_out


@pytest.fixture(scope="session", params=ALL)
def series(request: pytest.FixtureRequest) -> Series:
    """Each series, checked out at the commits of the lock files."""
    return checked_out(ALL[request.param])


@pytest.fixture(scope="session")
def scarthgap() -> Series:
    """The series of the quick build."""
    return checked_out(ALL["scarthgap"])


@pytest.fixture(scope="session")
def deployed(scarthgap: Series, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """What the quick build has deployed, copied: a build that fails takes things out of the real folder."""
    result = build(scarthgap, "overlayroot-image-minimal")
    assert result.returncode == 0, result.stdout[-6000:]
    assert "WARNING" not in result.stdout, result.stdout[-6000:]
    folder = tmp_path_factory.mktemp("deployed")
    for name in (f"{NAME}.wic.gz", f"{NAME}.wic.bmap", INITRAMFS, ENVIRONMENT):
        shutil.copy(DEPLOY / name, folder)
    return folder


@pytest.fixture(scope="session")
def card(deployed: pathlib.Path) -> pathlib.Path:
    """The card of the quick build."""
    return deployed / f"{NAME}.wic.gz"


@pytest.fixture
def board(card: pathlib.Path, tmp_path: pathlib.Path) -> Iterator[BoardStrategy]:
    """The emulated board with that card, switched off."""
    with emulated_board(card, tmp_path) as board:
        yield board


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """yocto-check-layer comes last: it takes longer than all the others, which are grouped by series."""
    items.sort(key=lambda item: item.path.name == "test_check_layer.py")
