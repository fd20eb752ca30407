# SPDX-License-Identifier: MIT
"""The unpacked QEMU beside one that the host has."""

import os
import subprocess

import pytest
import uml

MODULES = "/usr/lib/x86_64-linux-gnu"
# Such a folder appears for one process, with what another release's modules are: files that cannot be loaded.
FOREIGN = f"""
mount -t tmpfs tmpfs "$1"
mkdir "$1/upper" "$1/work"
mount -t overlay -o lowerdir={MODULES},upperdir="$1/upper",workdir="$1/work" overlay {MODULES}
mkdir -p {MODULES}/qemu
for name in ui-opengl audio-alsa audio-pa audio-pipewire; do echo foreign >{MODULES}/qemu/$name.so; done
shift
exec "$@"
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="another view of /usr needs root")
@pytest.mark.parametrize(
    ("setting", "machine"), [("OVERLAYROOT_QEMU_ARM", "sabrelite"), ("OVERLAYROOT_QEMU", "virt")]
)
def test_modules_of_the_host_are_left_alone(tmp_path, setting: str, machine: str) -> None:
    options = ["-nic", "none", "-display", "none", "-S", "-monitor", "stdio"]
    command = [uml.setting(setting), "-M", machine, *options]
    command = ["unshare", "--mount", "sh", "-euc", FOREIGN, "sh", tmp_path, *command]
    done = subprocess.run(command, input="quit\n", capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "open module" not in done.stderr
