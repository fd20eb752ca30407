# SPDX-License-Identifier: MIT
"""The init and the tool for 64-bit ARM, on a kernel and processor of that kind.

tests/uml has the scenarios; here is what differs between processors: entry, system calls, their numbers.
"""

import pathlib

import pytest
import uml
import virt


@pytest.fixture
def root(tmp_path: pathlib.Path) -> pathlib.Path:
    """An ext4 root."""
    return uml.disk(tmp_path / "root.img", change=virt.system)


def boot(root: pathlib.Path, line: str, script: str = "", *, overlay: bool = True) -> uml.Boot:
    """Boots once; the script has busybox and overlayrootctl."""
    names = ("virtio_pci", "virtio_blk", *(("overlay",) if overlay else ()))
    initrd = uml.initramfs(root.with_name("i.cpio.gz"), modules=virt.modules(*names))
    return virt.Machine(root.parent).boot(initrd, [root], line, script=script)


def test_protected(root: pathlib.Path) -> None:
    before = uml.sha256(root)
    booted = boot(
        root,
        "ofs-root=LABEL=ROOT",
        "echo new >/etc/keep; busybox cat /etc/keep; overlayrootctl status --check",
    )
    assert booted.verdict.startswith("protected: / is RAM over read-only /dev/vda, ext4;")
    assert booted.mounts["/"][1] == "overlay"
    device, _, options = booted.mounts["/mnt/root-RO"]
    assert (device, options[0]) == ("/dev/vda", "ro")
    assert booted.report["protected"] and not booted.report["warnings"]
    assert booted.report["kernel"].endswith("arm64")
    new, check = booted.script.splitlines()
    assert new == "new"
    assert check.startswith("OVERLAYROOT OK")
    assert "#LABEL=ROOT" in booted.sections["fstab"].replace("# ", "#")
    assert uml.sha256(root) == before


def test_positive_control(root: pathlib.Path) -> None:
    """The same without protection."""
    before = uml.sha256(root)
    booted = boot(
        root,
        "ofs-root=LABEL=ROOT overlayfs=no",
        "echo new >/etc/keep; busybox sync; overlayrootctl status --check || echo $?",
    )
    assert booted.verdict.startswith("warning: NOT PROTECTED")
    assert not booted.report["protected"]
    assert booted.script.splitlines()[-1] == "1"
    assert uml.sha256(root) != before


def test_commit(root: pathlib.Path) -> None:
    booted = boot(
        root,
        "ofs-root=LABEL=ROOT ofs-lock=yes",
        "echo kept >/etc/keep; echo gone >/etc/other; overlayrootctl commit /etc/keep",
    )
    assert booted.report["protected"]
    booted = boot(root, "ofs-root=LABEL=ROOT", "busybox cat /etc/keep; busybox ls /etc")
    assert booted.report["protected"]
    assert booted.script.splitlines()[0] == "kept"
    assert "other" not in booted.script


def test_kernel_without_overlayfs(root: pathlib.Path) -> None:
    before = uml.sha256(root)
    booted = boot(root, "ofs-root=LABEL=ROOT", "echo new >/etc/keep || echo refused", overlay=False)
    assert booted.report["reached"] == "read-only"
    assert "refused" in booted.script
    assert uml.sha256(root) == before


def test_restart_when_there_is_no_root(root: pathlib.Path) -> None:
    """Waiting and the delay before the restart go by the kernel's clock."""
    before = uml.sha256(root)
    booted = boot(root, "ofs-root=LABEL=NONE ofs-wait=2 ofs-reboot-delay=2")
    assert not booted.sections
    assert booted.seconds >= 4
    assert "no root" in booted.verdict and "rebooting in 2 s" in booted.verdict
    assert uml.sha256(root) == before
