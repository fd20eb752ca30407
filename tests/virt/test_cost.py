# SPDX-License-Identifier: MIT
"""A boot costs no more than is recorded in cost.json: what the init executes, asks of the kernel, and reads.

Counted, never timed, on Debian's kernel for virtual machines (see tests/bench/rig.py); `make bench` compares.
Whoever makes the init do more or less on purpose records it with
OVERLAYROOT_BLESS=1 scripts/pytest tests/virt -k cost
"""

import json
import os
import pathlib
import sys

import pytest
import uml
import virt

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "bench"))
import contestants
import rig

RECORD = pathlib.Path(__file__).with_name("cost.json")
# Percent. Boots of the same programs agree within 0.1.
MARGIN = 3
MODULES = ("virtio_pci", "virtio_blk", "overlay")
# Name, words of the command line, disk, what / is.
ROWS = (
    ("path", "ofs-root=/dev/vda", "plain", "overlay"),
    ("PARTUUID on MBR", f"ofs-root={contestants.Disks.MBR_ROOT}", "mbr", "overlay"),
    ("PARTUUID on GPT", f"ofs-root={contestants.Disks.GPT_ROOT}", "gpt", "overlay"),
    ("UUID", f"ofs-root=UUID={uml.UUID}", "gpt", "overlay"),
    ("overlayfs=no", "ofs-root=/dev/vda overlayfs=no", "plain", "ext4"),
)


class Bench:
    """A machine, its disks and its initramfs."""

    def __init__(self, folder: pathlib.Path) -> None:
        """Makes them in `folder`."""
        (image,) = (uml.setting("OVERLAYROOT_LINUX") / "boot").glob("vmlinuz-*")
        self.rig = rig.Rig(folder, image)
        self.disks = contestants.Disks(folder)
        self.initramfs = uml.initramfs(folder / "ours.cpio.gz", modules=virt.modules(*MODULES))


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """The same one for all rows."""
    return Bench(tmp_path_factory.mktemp("cost"))


@pytest.mark.parametrize(("name", "line", "disk", "root"), ROWS, ids=[row[0] for row in ROWS])
def test_cost(bench: Bench, name: str, line: str, disk: str, root: str) -> None:
    cost = bench.rig.boot(bench.initramfs, line, bench.disks.path(disk), root)
    now = {
        "instructions": cost.of_programs,
        "system calls": cost.system_calls,
        "disk reads": cost.disk_reads,
        "KiB read": cost.disk_kib,
    }
    record = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    if os.environ.get("OVERLAYROOT_BLESS"):
        RECORD.write_text(json.dumps({**record, name: now}, indent=1) + "\n")
        return
    limits = {what: value * (100 + MARGIN) / 100 for what, value in record[name].items()}
    over = {what: (value, record[name][what]) for what, value in now.items() if value > limits[what]}
    assert not over, f"now, and as recorded in {RECORD.name}: {over}"
