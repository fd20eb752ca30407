# SPDX-License-Identifier: MIT
"""The module for oe-core's initramfs-framework: the init takes over from a shell script that is PID 1.

The framework here is a few lines that do what the real one does. Its own script is taken, too, where
scripts/test-layer has checked out oe-core.
"""

import os
import pathlib

import pytest
import uml
from conftest import Rig, assert_protected, assert_writable

MODULE = uml.TOP / "recipes-core/overlayroot/files/ofs"
# Programs of the framework's.
APPLETS = "sh mount mkdir touch cat sed cut basename grep sleep".split()
FRAMEWORK = """#!/bin/sh
mkdir -p /proc /sys /dev
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir /rootfs
for file in /init.d/*; do
    name=$(basename "$file" | cut -d - -f 2)
    . "$file"
    if "${name}_enabled"; then "${name}_run"; fi
done
echo "nobody took over" >/dev/console
"""
EARLIER = """other_enabled() { return 0; }
other_run() { echo "an earlier module" >/dev/console; }
"""
UDEVADM = """#!/bin/sh
echo "udevadm $*" >/dev/console
"""
CHECKOUTS = pathlib.Path(os.environ.get("OVERLAYROOT_LAYER_WORK", uml.TOP / "build/test-layer"))
PLACE = "openembedded-core/meta/recipes-core/initrdscripts/initramfs-framework/init"
THERE = [series for series in ("scarthgap", "wrynose") if (CHECKOUTS / series / PLACE).is_file()]


@pytest.fixture(params=["like", *THERE])
def framework(request: pytest.FixtureRequest, rig: Rig) -> pathlib.Path:
    """The script that is /init."""
    text = FRAMEWORK if request.param == "like" else (CHECKOUTS / request.param / PLACE).read_text()
    (rig.folder / "framework").write_text(text)
    (rig.folder / "framework").chmod(0o755)
    return rig.folder / "framework"


def initramfs(rig: Rig, framework: pathlib.Path, **more: str) -> pathlib.Path:
    """An initramfs of the framework's with our module; `more` are programs."""
    files = [f"{uml.BUSYBOX}=bin/{name}" for name in APPLETS]
    files += [f"{MODULE}=init.d/89-ofs", f"{uml.setting('OVERLAYROOT_INIT')}=sbin/overlayroot-init"]
    for target, text in {"init.d/01-other": EARLIER, **more}.items():
        source = rig.folder / pathlib.PurePath(target).name
        source.write_text(text)
        source.chmod(0o755)
        files.append(f"{source}={target}")
    return rig.initramfs(first=framework, files=files)


def test_the_init_takes_over(rig: Rig, framework: pathlib.Path) -> None:
    boot = rig.boot_unchanged("root=/dev/ubda", initrd=initramfs(rig, framework))
    assert_protected(boot)
    assert "an earlier module" in boot.console
    assert "nobody took over" not in boot.console
    # What the framework had mounted is the real system's, once.
    targets = [line.split()[1] for line in boot.sections["mounts"].splitlines()]
    assert [targets.count(name) for name in ("/proc", "/sys", "/dev")] == [1, 1, 1]


def test_settings_reach_it(rig: Rig, framework: pathlib.Path) -> None:
    assert_writable(rig.boot("root=/dev/ubda overlayfs=no", initrd=initramfs(rig, framework)))


def test_udev_is_ended_first(rig: Rig, framework: pathlib.Path) -> None:
    boot = rig.boot("root=/dev/ubda", initrd=initramfs(rig, framework, **{"bin/udevadm": UDEVADM}))
    assert_protected(boot)
    order = ["udevadm settle --timeout=10", "udevadm control --exit", f"overlayroot: {boot.verdict}"]
    places = [boot.console.find(text) for text in order]
    assert -1 not in places and places == sorted(places)
