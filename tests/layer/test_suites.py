# SPDX-License-Identifier: MIT
"""scripts/test builds beside the first suites what later ones need, and leaves nothing running."""

import os
import pathlib
import shutil
import signal
import subprocess
import time

import bitbake
import pytest

# Stands in for what the suites call; each says in `log` that it has run.
NOTE = '#!/bin/bash\necho "${0##*/} $*" >>log\n'


@pytest.fixture
def tree(tmp_path: pathlib.Path) -> pathlib.Path:
    """A project of which only scripts/test is the real one."""
    folder = tmp_path / "scripts"
    folder.mkdir()
    for name in ("test", "lib.sh"):
        shutil.copy(bitbake.TOP / "scripts" / name, folder)
    for name in ("host-packages", "lint", "uml-env", "board-env", "build-image", "pytest"):
        write(folder / name, NOTE)
    return tmp_path


def write(script: pathlib.Path, text: str) -> None:
    """Makes a script."""
    script.write_text(text)
    script.chmod(0o755)


def start(tree: pathlib.Path, *suites: str) -> subprocess.Popen:
    """Runs suites."""
    return subprocess.Popen(
        [tree / "scripts/test", *suites],
        env=os.environ | {"OVERLAYROOT_BUILD": str(tree / "build")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def test_what_is_needed_later_is_built_meanwhile(tree: pathlib.Path) -> None:
    # Each waits until the other one has begun: neither ends well if one of them has to come first.
    for name, other in (("lint", "uml-env"), ("uml-env", "lint")):
        wait = f"for i in {{1..300}}; do grep -q ^{other} log && exit; sleep 0.1; done; exit 1\n"
        write(tree / "scripts" / name, NOTE + wait)
    with start(tree, "lint", "uml", "board") as process:
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert said.endswith("3 passed, 0 failed, 0 skipped\n")
    ran = [line.strip() for line in (tree / "log").read_text().splitlines()]
    assert ran[0] == "host-packages lint rust uml deb image board"
    # A suite begins when all is there.
    assert sorted(ran[1:3]) == ["lint", "uml-env"]
    assert [line.split()[0] for line in ran[3:]] == ["board-env", "build-image", "pytest", "pytest"]


def test_what_cannot_be_built_is_the_suites_own_failure(tree: pathlib.Path) -> None:
    write(tree / "scripts/uml-env", "#!/bin/bash\necho no mirror\nexit 1\n")
    write(tree / "scripts/pytest", '#!/bin/bash\nscripts/uml-env || exit 1\necho "$@"\n')
    with start(tree, "lint", "uml") as process:
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "no mirror" in said
    assert said.endswith("1 passed, 1 failed, 0 skipped\n")


def test_ctrl_c_ends_what_is_built_meanwhile(tree: pathlib.Path) -> None:
    write(tree / "scripts/uml-env", "#!/bin/bash\nsleep 300 & echo $! >sleeper; wait\n")
    write(tree / "scripts/lint", "#!/bin/bash\nsleep 300\n")
    with start(tree, "lint", "uml") as process:
        deadline = time.monotonic() + 30
        while not (tree / "sleeper").exists() or not (tree / "sleeper").read_text():
            assert time.monotonic() < deadline
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=30)
    assert process.returncode != 0
    sleeper = pathlib.Path("/proc", (tree / "sleeper").read_text().strip())
    while sleeper.exists() and "(sleep) Z" not in (sleeper / "stat").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.1)
