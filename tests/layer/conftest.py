# SPDX-License-Identifier: MIT
"""What several tests of the layer use."""

import pathlib
import subprocess
from collections.abc import Callable

import bb
import pytest


@pytest.fixture
def errors(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Texts with which BitBake was told to end the build."""
    said: list[str] = []

    def fatal(*words: str) -> None:
        said.append(" ".join(words))
        raise bb.BBHandledException(*words)

    monkeypatch.setattr(bb, "fatal", fatal)
    return said


@pytest.fixture(params=["dos", "gpt"])
def image(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> pathlib.Path:
    """An image with a boot partition at 4 MiB that holds one file."""
    path = tmp_path / "x.wic"
    with path.open("wb") as file:
        file.truncate(24 << 20)
    table = f"label: {request.param}\nstart=8192, size=16MiB\n"
    subprocess.run(["sfdisk", "--quiet", path], input=table, text=True, check=True)
    subprocess.run(["mformat", "-i", f"{path}@@4M", "-T", "32768"], check=True)
    (tmp_path / "boot.scr").write_bytes(b"ours")
    subprocess.run(["mcopy", "-i", f"{path}@@4M", tmp_path / "boot.scr", "::"], check=True)
    return path


@pytest.fixture
def put(image: pathlib.Path, tmp_path: pathlib.Path) -> Callable[..., None]:
    """Writes a file to a boot partition (default: the first, at 4 MiB)."""

    def write(name: str, data: bytes, at: str = "4M") -> None:
        (tmp_path / "put").write_bytes(data)
        folder = name.rpartition("/")[0]
        for number in range(len(folder.split("/")) if folder else 0):
            path = "/".join(folder.split("/")[: number + 1])
            subprocess.run(["mmd", "-D", "s", "-i", f"{image}@@{at}", f"::{path}"], check=False)
        subprocess.run(["mcopy", "-o", "-i", f"{image}@@{at}", tmp_path / "put", f"::{name}"], check=True)

    return write
