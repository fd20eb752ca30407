# SPDX-License-Identifier: MIT
"""What is in the file of the SD image: nothing of the host that made it, and all that a board needs."""

import os
import pathlib
import re
import shlex
import struct
import subprocess

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def image() -> pathlib.Path:
    """The image, as it is written to a card."""
    return pathlib.Path(os.environ["OVERLAYROOT_IMAGE"])


def partition(image: pathlib.Path, number: int) -> tuple[int, int]:
    """Where a partition begins (DOS partition table), and its length, in bytes."""
    with image.open("rb") as file:
        start, length = struct.unpack_from("<II", file.read(512), 446 + 16 * (number - 1) + 8)
    return start * 512, length * 512


def debugfs(image: pathlib.Path, request: str) -> str:
    """What debugfs says of the root file system."""
    start, _ = partition(image, 2)
    command = ["debugfs", "-R", request, f"{image}?offset={start}"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_names_are_resolved_by_the_board_itself(image: pathlib.Path) -> None:
    shown = debugfs(image, "stat /etc/resolv.conf")
    assert 'Fast link dest: "../run/systemd/resolve/stub-resolv.conf"' in shown
    assert "systemd-resolved.service" in debugfs(image, "ls /etc/systemd/system/sysinit.target.wants")
    assert "Type: symlink" in debugfs(
        image, "stat /etc/systemd/system/sysinit.target.wants/systemd-resolved.service"
    )


def test_nothing_of_the_host_is_in_it(image: pathlib.Path) -> None:
    assert debugfs(image, "cat /etc/hostname") == "overlayroot\n"
    assert debugfs(image, "cat /etc/machine-id") == ""
    assert (
        "File not found"
        in subprocess.run(
            ["debugfs", "-R", "stat /var/lib/dbus/machine-id", f"{image}?offset={partition(image, 2)[0]}"],
            check=True,
            capture_output=True,
            text=True,
        ).stderr
    )


def test_updates_come_from_all_of_debian(image: pathlib.Path) -> None:
    lines = [line.split() for line in debugfs(image, "cat /etc/apt/sources.list").splitlines()]
    assert [line[-2:] for line in lines] == [
        ["trixie", "main"],
        ["trixie-updates", "main"],
        ["trixie-security", "main"],
    ]
    main, updates, security = (line[2] for line in lines)
    assert main == updates != security
    assert all(re.match("[a-z]+://", url) for url in (main, security))
    keyring = lines[0][1].removeprefix("[signed-by=").removesuffix("]")
    assert "Inode:" in debugfs(image, f"stat {keyring}")
    assert not re.search(r"\.(list|sources)\b", debugfs(image, "ls /etc/apt/sources.list.d"))


def numbers(image: pathlib.Path | str) -> dict[str, int]:
    """What the superblock says."""
    shown = subprocess.run(["dumpe2fs", "-h", image], check=True, capture_output=True, text=True).stdout
    return {name: int(value) for name, value in re.findall(r"^([^:\n]+): +(\d+)$", shown, re.MULTILINE)}


def test_root_has_large_blocks_and_room(image: pathlib.Path) -> None:
    start, length = partition(image, 2)
    found = numbers(f"{image}?offset={start}")
    assert found["Block size"] == 4096
    assert found["Block count"] * 4096 == length
    # For an update of the kernel, whose modules are there twice for a while.
    assert found["Free blocks"] * 4096 > 128 << 20


def test_root_grows_as_the_document_says(image: pathlib.Path, tmp_path: pathlib.Path) -> None:
    text = (TOP / "docs/flashing.md").read_text()
    section = text.split("## The whole card\n")[1].split("\n## ")[0]
    commands = [line.strip() for line in section.splitlines() if line.startswith("    ")]
    assert len(commands) == 3
    card, root = tmp_path / "card", tmp_path / "root"
    subprocess.run(["cp", "--sparse=always", image, card], check=True)
    os.truncate(card, 1 << 30)
    before = card.read_bytes()[440:444]
    for command in commands:
        # Partitions of a file have no device: the second one is cut out.
        if "/dev/sdX2" in command and not root.exists():
            start, length = partition(card, 2)
            assert start + length > (1 << 30) - (1 << 20)
            cut = [
                "dd",
                f"if={card}",
                f"of={root}",
                "bs=1M",
                "iflag=skip_bytes",
                f"skip={start}",
                "conv=sparse",
            ]
            subprocess.run(cut, check=True, capture_output=True)
            os.truncate(root, length)
        line = command.replace("/dev/sdX2", shlex.quote(str(root))).replace(
            "/dev/sdX", shlex.quote(str(card))
        )
        subprocess.run(line, shell=True, check=True, capture_output=True)  # noqa: S602 - of our own document
    found = numbers(root)
    assert found["Block count"] * found["Block size"] > 900 << 20
    assert card.read_bytes()[440:444] == before
    subprocess.run(["e2fsck", "-fn", root], check=True, capture_output=True)
