# SPDX-License-Identifier: MIT
"""Scripts and their options: what they do not know is refused before anything is built."""

import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys

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
    assert not list(tmp_path.iterdir())
    # How it is called, and then what it is for: a sentence.
    first, rest = done.stdout.split("\n", 1)
    assert first.startswith("usage: ") and f"scripts/{name}" in first
    said = re.sub(r"\A( .*\n)*\n*", "", rest)
    assert re.match(r"[A-Z][^\n]*\s[^.]*[.:]", said), said


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


@pytest.mark.parametrize(
    ("release", "machine", "suite"),
    [
        ("ID=debian\nVERSION_CODENAME=bookworm\nPRETTY_NAME='Debian 12'", "x86_64", "bookworm"),
        ("ID=debian\nVERSION_CODENAME=trixie\nPRETTY_NAME='Debian 13'", "x86_64", "trixie"),
        ("ID=debian\nVERSION_CODENAME=trixie\nPRETTY_NAME='Debian 13'", "i686", None),
        ("ID=debian\nPRETTY_NAME='Debian testing'", "x86_64", None),
        ("ID=ubuntu\nID_LIKE=debian\nVERSION_CODENAME=noble\nPRETTY_NAME='Ubuntu 24.04'", "x86_64", None),
        ("ID=fedora\nPRETTY_NAME='Fedora 42'", "x86_64", None),
    ],
)
def test_other_hosts_are_told_what_it_takes(
    tmp_path: pathlib.Path, release: str, machine: str, suite: str | None
) -> None:
    (tmp_path / "os-release").write_text(release + "\n")
    script = 'mount --bind "$1" /etc/os-release; . scripts/lib.sh; host_suite'
    command = ["unshare", "--map-root-user", "--mount", "setarch", machine, "bash", "-euc", script]
    environment = os.environ | {"OVERLAYROOT_SUITE": ""}
    done = subprocess.run(
        [*command, "scripts/host", tmp_path / "os-release"],
        cwd=bitbake.TOP,
        env=environment,
        capture_output=True,
        text=True,
    )
    if "unshare failed" in done.stderr or "bind" in done.stderr:
        pytest.skip("no user namespaces here: kernel.unprivileged_userns_clone, or root")
    if suite:
        assert (done.returncode, done.stdout) == (0, f"{suite}\n"), done.stderr
    else:
        name = release.split("PRETTY_NAME=")[1].strip("'\n")
        assert (done.returncode, done.stdout) == (1, "")
        assert f"this takes Debian 12 or 13 on x86-64, and here is {name} on {machine}" in done.stderr
        assert "docker run --rm -it --privileged" in done.stderr


def test_another_release_may_be_named(tmp_path: pathlib.Path) -> None:
    environment = os.environ | {"OVERLAYROOT_SUITE": "trixie"}
    command = ["bash", "-euc", ". scripts/lib.sh; host_suite", "scripts/host"]
    done = subprocess.run(command, cwd=bitbake.TOP, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "trixie\n")


def test_ctrl_c_ends_a_program_with_one_line(tmp_path: pathlib.Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import sys, time\n"
        "try:\n    print('begun', sys.argv[1:], flush=True)\n    time.sleep(60)\n"
        "finally:\n    print('let go', flush=True)\n"
    )
    command = [sys.executable, bitbake.TOP / "tests/lib/interruptible.py", program, "--word"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "begun ['--word']\n"
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=30)
    assert (process.returncode, output, errors) == (130, "let go\n", "\ninterrupted\n")


@pytest.mark.parametrize("name", ["demo", "board", "benchmark", "campaign"])
def test_programs_with_emulators_are_run_so(name: str) -> None:
    text = (bitbake.TOP / "scripts" / name).read_text()
    assert re.search(r'^exec .*/tests/lib/interruptible\.py" "\$top/tests/', text, re.MULTILINE)
