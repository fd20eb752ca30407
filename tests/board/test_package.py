# SPDX-License-Identifier: MIT
"""The Debian packages on a board that has never heard of overlayroot: installed, protected, cut off, removed.

The tests are one story in four boots; each goes on where the one before has ended. It is dpkg that they run:
apt takes minutes under emulation, and has nothing to add where all dependencies are there.
"""

import os
import pathlib
import subprocess
from collections.abc import Iterator

import pytest
from conftest import System, mtools
from labgrid_board import BoardStrategy, Status

TOP = pathlib.Path(__file__).resolve().parents[2]
SUMS = "cd /boot/firmware && find . -type f ! -name '*.deb' -exec sha256sum {} + | sort -k 2"

pytestmark = pytest.mark.lg_feature("card")


def built(*command: str) -> list[str]:
    """What a script of the project has built: the paths that it prints."""
    script = TOP / "scripts" / command[0]
    return subprocess.run(
        [script, *command[1:]], stdout=subprocess.PIPE, text=True, check=True
    ).stdout.split()


@pytest.fixture(scope="module")
def plain(board: BoardStrategy) -> Iterator[BoardStrategy]:
    """The board with a card without overlayroot, and our packages on its boot partition."""
    board.transition(Status.off)
    [image] = built("build-image", "--plain")
    board.emulated.insert(pathlib.Path(image))
    for package in built("build-deb", "armhf"):
        mtools("mcopy", board.emulated.card, package, "::")
    board.emulated.set_environment(
        **dict.fromkeys(("overlayfs", "ofs-size", "ofs_size", "overlayfs_once"), "")
    )
    board.has_init = False
    yield board
    board.cut_power()
    board.has_init = True
    board.emulated.insert(pathlib.Path(board.console.image))


@pytest.fixture(scope="module")
def before() -> dict[str, str]:
    """What the tests remember: sums of the files on the boot partition."""
    return {}


def test_copyright_names_what_is_linked_in() -> None:
    for package in built("build-deb", "armhf"):
        name = pathlib.Path(package).name.partition("_")[0]
        files = subprocess.run(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE, check=True)
        shown = subprocess.run(
            ["tar", "-xO", f"./usr/share/doc/{name}/copyright"],
            input=files.stdout,
            stdout=subprocess.PIPE,
            check=True,
        ).stdout.decode()
        assert shown.startswith((TOP / "COPYING.MIT").read_text())
        assert "\nrustix 1." in shown
        # The crate that is not under MIT's licence.
        assert (", Apache-2.0\n    https://github.com/mitsuhiko/similar\n" in shown) is (
            name == "overlayrootctl"
        )


def assert_plain(system: System) -> None:
    """`/` is the card itself, as if there were no overlayroot."""
    root = system.mount("/")
    assert (root["fstype"], "rw" in root["options"]) == ("ext4", True)
    assert not [word for word in system.command_line() if word.startswith(("overlayfs", "ofs"))]


def assert_protected(system: System) -> None:
    """`/` is RAM over the card, and the tool agrees."""
    assert system.strategy.verdict.startswith("protected: / is RAM over read-only /dev/mmcblk")
    assert system.mount("/")["fstype"] == "overlay"
    assert system.run("overlayrootctl status --check").startswith("OVERLAYROOT OK")


def test_packages_are_the_same_each_time() -> None:
    """What is built again and not the same byte for byte would be replaced."""
    before = {path: pathlib.Path(path).stat().st_mtime_ns for path in built("build-deb", "armhf")}
    assert len(before) == 2
    other = os.environ | {"TZ": "Asia/Tokyo"}
    subprocess.run([TOP / "scripts/build-deb", "armhf"], env=other, umask=0o077, check=True)
    assert {path: pathlib.Path(path).stat().st_mtime_ns for path in before} == before


def test_installing_the_packages_changes_nothing(plain: BoardStrategy, before: dict[str, str]) -> None:
    system = System(plain)
    plain.transition(Status.shell)
    assert_plain(system)
    before["sums"] = system.run(SUMS)
    said = system.run("dpkg --install /boot/firmware/*.deb 2>&1", timeout=600)
    assert "nothing of how this board boots has changed" in said
    assert system.run("overlayroot-boot --dry-run install 2>&1").count("would write") == 4
    assert system.run(SUMS) == before["sums"]
    assert "not overlayroot" in system.run("overlayroot-boot status 2>&1")


def test_one_command_protects(plain: BoardStrategy, before: dict[str, str]) -> None:
    system = System(plain)
    said = system.run("overlayroot-boot install 2>&1")
    assert "the next boot is protected" in said
    kept = {line.split()[1]: line.split()[0] for line in before["sums"].splitlines()}
    now = {line.split()[1]: line.split()[0] for line in system.run(SUMS).splitlines()}
    assert now["./boot.scr.before-overlayroot"] == kept["./boot.scr"] != now["./boot.scr"]
    assert set(now) - set(kept) == {
        "./boot.scr.before-overlayroot",
        "./overlayroot.uInitrd",
        "./overlayroot.env",
    }
    # A kernel package's hook finds nothing to change: the same modules make the same initramfs.
    said = system.run("/etc/kernel/postinst.d/zz-overlayroot $(uname -r) 2>&1")
    assert "initramfs for" in said
    assert "wrote" not in said
    plain.has_init = True
    plain.reboot()
    assert_protected(system)
    # What the old boot script has put on the command line is still there, and each word once.
    words = system.command_line()
    assert words.count("vendor.option=1") == 1
    # The root is for the init only: nothing by which the kernel could mount it.
    assert [word for word in words if word.startswith(("root=", "rootwait"))] == ["root="]
    assert [word for word in words if word.startswith("console=")] == ["console=ttymxc1,115200"]
    assert system.run("systemctl is-enabled overlayroot-check overlayroot-watch").split() == ["enabled"] * 2


def test_a_protected_board_refuses(plain: BoardStrategy) -> None:
    """Kernel hooks and removal: what they would do in RAM is lost, and the boot partition must not differ."""
    system = System(plain)
    before = system.run(SUMS)
    for hook in ("postinst.d/00-overlayroot", "postinst.d/zz-overlayroot", "postrm.d/zz-overlayroot"):
        said = system.run(f"/etc/kernel/{hook} $(uname -r) 2>&1")
        assert "the root is protected" in said
        assert "overlayrootctl edit -- apt" in said
    said = system.run("dpkg --remove overlayroot-init 2>&1; test $? != 0", timeout=600)
    assert "the root is protected" in said
    assert system.run("dpkg-query --show --showformat '${db:Status-Status}' overlayroot-init") == "installed"
    assert system.run(SUMS) == before


def test_plug_pulled(plain: BoardStrategy) -> None:
    system = System(plain)
    system.run("rm -r /etc/apt /usr/share/doc; echo lost > /root/lost; sync")
    plain.cut_power()
    before = plain.root_hash()
    plain.transition(Status.shell)
    assert_protected(system)
    assert system.run("ls /etc/apt > /dev/null; test ! -e /root/lost && echo as before") == "as before"
    plain.cut_power()
    assert plain.root_hash() == before


def test_purge_brings_back_what_was_there(plain: BoardStrategy, before: dict[str, str]) -> None:
    system = System(plain)
    plain.transition(Status.shell)
    said = system.run("overlayrootctl edit -- dpkg --purge overlayroot-init 2>&1", timeout=600)
    assert "the next boot is as it was before" in said
    plain.has_init = False
    plain.reboot()
    assert_plain(system)
    # The tool is still there, and does not call a board a failure that is as its owner wants it.
    shown = system.run("systemctl show --property ConditionResult overlayroot-check")
    assert shown.strip() == "ConditionResult=no"
    assert system.run(SUMS) == before["sums"]
    assert (
        system.run("ls -d /etc/overlayroot /etc/kernel/*/*overlayroot 2>&1; true").count("No such file") == 2
    )
