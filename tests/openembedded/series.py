# SPDX-License-Identifier: MIT
"""Checkouts of a series, and BitBake in them. scripts/test-layer sets everything up."""

import json
import os
import pathlib
import shlex
import subprocess
from collections.abc import Iterable

import pytest

WORK = pathlib.Path(os.environ["OVERLAYROOT_LAYER_WORK"])
LAYER = WORK / "layer"

# Settings of this run, beside the kas files: nothing here needs a network check, which fails behind a mirror,
# nor the C library for tools of the host that wrynose fetches before anything else.
LOCAL = """\
header:
  version: 14
local_conf_header:
  test-layer: |
    CONNECTIVITY_CHECK_URIS = ""
    INHERIT_DISTRO:remove = "uninative"
"""


class Series:
    """A series: its checkouts in a folder of their own, and one BitBake at a time."""

    def __init__(self, name: str, rust: str | None) -> None:
        """`rust`: the kas option for Rust, None for oe-core's."""
        self.name, self.rust = name, rust
        self.expanded: dict[tuple, dict] = {}
        # Why repositories cannot be had, by the options that name them.
        self.unavailable: dict[tuple[str, ...], str] = {}

    def files(self, board: str, *options: str) -> str:
        """Names of kas files, as kas wants them; an option is a name in kas/opt, or a path."""
        named = (option if option.endswith(".yml") else f"kas/opt/{option}.yml" for option in options)
        names = [f"kas/{board}.yml", *named]
        if self.rust:
            names.append(f"kas/opt/{self.rust}.yml")
        return ":".join([*names, f"kas/opt/{self.name}.yml", "local.yml"])

    def kas(
        self, *arguments: str, folder: str = "", machine: str = "", timeout: float = 600
    ) -> subprocess.CompletedProcess:
        """Runs kas; its output is text, standard error included. `machine`: another than the kas file's."""
        work = WORK / (folder or self.name)
        work.mkdir(exist_ok=True)
        return subprocess.run(
            ["kas", *arguments],
            cwd=LAYER,
            env=os.environ | {"KAS_WORK_DIR": str(work)} | ({"KAS_MACHINE": machine} if machine else {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
        )

    def shell(self, files: str, command: str, **options) -> str:
        """Output of a command inside `kas shell`; a failure shows its end."""
        result = self.kas("shell", files, "--command", command, **options)
        assert result.returncode == 0, f"{command}\n{result.stdout[-6000:]}"
        return result.stdout

    def expand(
        self,
        board: str,
        wanted: dict[str, list[str]],
        settings: Iterable[str] = (),
        options: tuple[str, ...] = (),
        machine: str = "",
    ) -> dict:
        """Variables of recipes (see expand.py) for a board; `settings` are lines of configuration.

        `machine` is one for which there is no kas file, with the layers of `board` and `options`.
        """
        key = (board, options, machine, json.dumps(wanted), *settings)
        if key not in self.expanded:
            asked = json.dumps(wanted)
            answer = self._answer(board, options, settings, "expand.py", asked, machine=machine)
            self.expanded[key] = answer
        return self.expanded[key]

    def signatures(self, board: str, settings: Iterable[str] = ()) -> dict[str, list[str]]:
        """Tasks that our bbappends change, by recipe (see signatures.py)."""
        # The same recipe is parsed twice, on purpose with different outcomes.
        settings = (*settings, 'BB_HASH_IGNORE_MISMATCH = "1"')
        return self._answer(board, (), settings, "signatures.py")

    def _answer(
        self,
        board: str,
        options: tuple[str, ...],
        settings: Iterable[str],
        program: str,
        *arguments: str,
        machine: str = "",
    ) -> dict:
        """What a program of this folder prints in `kas shell`; `settings` come after the configuration."""
        extra = WORK / self.name / "settings.conf"
        extra.write_text("".join(line + "\n" for line in settings))
        path = LAYER / "tests/openembedded" / program
        command = shlex.join(["/usr/bin/python3", str(path), *arguments, str(extra)])
        output = self.shell(self.files(board, *options), command, machine=machine)
        (line,) = [line for line in output.splitlines() if line.startswith("answer ")]
        return json.loads(line.removeprefix("answer "))


# One series with each way to Rust.
ALL = {name: Series(name, rust) for name, rust in {"wrynose": "meta-rust-bin", "scarthgap": None}.items()}


def checked_out(series: Series, *options: str) -> Series:
    """Skips where the repositories cannot be had."""
    if options not in series.unavailable:
        (LAYER / "local.yml").write_text(LOCAL)
        result = series.kas("checkout", series.files("nitrogen6x", *options), timeout=1800)
        series.unavailable[options] = ""
        if result.returncode != 0:
            errors = [line for line in result.stdout.splitlines() if "ERROR" in line or "fatal:" in line]
            series.unavailable[options] = errors[-1] if errors else result.stdout[-500:]
    if series.unavailable[options]:
        pytest.skip(
            f"kas cannot check out {series.name} ({series.unavailable[options]}); it needs the repositories "
            "that kas/ names, or GITCONFIG_FILE, KAS_PREMIRRORS or KAS_REPO_REF_DIR with mirrors of them"
        )
    return series
