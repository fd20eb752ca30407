# SPDX-License-Identifier: MIT
"""Makes a kernel's final .config of a defconfig and fragments, with the kernel's own tools."""

import os
import pathlib
import subprocess
from collections.abc import Sequence

TOP = pathlib.Path(__file__).resolve().parents[2]
DEFCONFIG = "arch/arm/configs/imx_v6_v7_defconfig"
ENVIRONMENT = {"ARCH": "arm", "CROSS_COMPILE": "arm-linux-gnueabihf-"}


def source(version: str) -> pathlib.Path:
    """What of Debian's linux-source is about configuration, unpacked."""
    command = [TOP / "scripts/linux-source", version, "--kconfig"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return pathlib.Path(done.stdout.strip())


def merge(
    source: pathlib.Path, output: pathlib.Path, fragments: Sequence[str | pathlib.Path], *options: str
) -> pathlib.Path:
    """Runs the kernel's merge_config.sh in a folder for its output; the path of the final .config."""
    command = ["scripts/kconfig/merge_config.sh", "-O", output, *options, *fragments]
    done = subprocess.run(
        command,
        cwd=source,
        env=os.environ | ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    return output / ".config"
