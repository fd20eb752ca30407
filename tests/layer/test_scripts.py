# SPDX-License-Identifier: MIT
"""Scripts and their options: what they do not know is refused before anything is built."""

import os
import pathlib
import re
import shutil
import subprocess

import bitbake
import pytest

SCRIPTS = {path.name for path in (bitbake.TOP / "scripts").iterdir() if path.is_file()} - {"lib.sh"}
# Options behind these are another program's.
PASSED_ON = {"cargo-test": "cargo", "test-layer": "pytest"}
# What `make clean` leaves: downloads, and what takes hours.
KEPT = {"apt", "debian-toolchain", "kas", "lock", "prefix", "venv"} | {"fuzz", "kernel", "test-layer"}


def run(name: str, build: pathlib.Path, *arguments: str | pathlib.Path) -> subprocess.CompletedProcess:
    """Runs a script that has nothing built yet, and may not take long."""
    environment = os.environ | {"OVERLAYROOT_BUILD": str(build)}
    command = [bitbake.TOP / "scripts" / name, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30)


@pytest.mark.parametrize("name", sorted(SCRIPTS - set(PASSED_ON)))
def test_unknown_option(name: str, tmp_path: pathlib.Path) -> None:
    done = run(name, tmp_path, "--bogus")
    assert done.returncode in (1, 2), done
    assert "usage" in done.stdout + done.stderr or "--bogus" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", sorted(SCRIPTS))
def test_help(name: str, tmp_path: pathlib.Path) -> None:
    done = run(name, tmp_path, "--help")
    assert done.returncode == 0, done.stderr
    assert "usage: " in done.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suites", [["bogus"], ["rust", "bogus"], ["--bogus"]])
def test_unknown_suite_is_refused_before_any_is_run(tmp_path: pathlib.Path, suites: list[str]) -> None:
    done = run("test", tmp_path, *suites)
    assert (done.returncode, "no suite" in done.stderr) == (1, True)
    assert not list(tmp_path.iterdir())


def test_table_of_a_damaged_file(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "campaign.json"
    for text, said in [
        (None, f"error: cannot read {file}: No such file or directory\n"),
        ("{", f"error: {file} is damaged: Expecting property name"),
        ("\0\xff", f"error: {file} is damaged: "),
        ("[]", f"error: {file} holds no results of a campaign\n"),
        ('{"runs": [], "total": 3}', f"error: {file} holds no results of a campaign\n"),
    ]:
        if text is not None:
            file.write_bytes(text.encode("latin-1"))
        done = run("campaign", tmp_path / "build", "--table", "--file", file)
        assert (done.returncode, done.stderr.startswith(said)) == (1, True), done.stderr
    assert not (tmp_path / "build").exists()


def test_clean_leaves_what_it_says(tmp_path: pathlib.Path) -> None:
    shutil.copy(bitbake.TOP / "Makefile", tmp_path)
    text = "\n".join((bitbake.TOP / "scripts" / name).read_text() for name in SCRIPTS)
    made = set(re.findall(r"\$build/([a-z-]+[a-z])\b", text)) | {"cargo-ctl-static", "fuzz/cargo"}
    assert {"benchmark", "image", "kernel"} < made
    for name in made:
        (tmp_path / "build" / name).mkdir(parents=True, exist_ok=True)
    subprocess.run(["make", "--directory", tmp_path, "clean"], check=True, capture_output=True)
    left = {path.name for path in (tmp_path / "build").iterdir()}
    assert left - {"cargo-ctl"} == KEPT
    assert not (tmp_path / "build/fuzz/cargo").exists()
