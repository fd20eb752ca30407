# SPDX-License-Identifier: MIT
"""`make demo` that is not waited for."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]


@pytest.mark.skipif(not os.environ["LG_ENV"].endswith("qemu-sabrelite.yaml"), reason="needs no real board")
def test_ctrl_c_ends_it_and_the_emulator(tmp_path: pathlib.Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTEST_XDIST_WORKER"}
    environment |= {"LG_BOARD": str(tmp_path), "PYTHONPATH": str(TOP / "tests/lib")}
    with subprocess.Popen(
        [sys.executable, TOP / "tests/lib/interruptible.py", TOP / "tests/demo.py"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        deadline = time.monotonic() + 300
        console = tmp_path / "console.log"
        while not console.exists() or b"U-Boot" not in console.read_bytes():
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.2)
        # As a terminal does it: the signal goes to all of them.
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, "\ninterrupted\n")
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
