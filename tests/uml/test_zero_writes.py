# SPDX-License-Identifier: MIT
"""Not one write request reaches the root device of a protected system: recorded, under heavy load.

The recorders are those of recorder.py. The figures are in docs/zero-writes.md.
"""

import pathlib
import shutil

import campaign_system
import pytest
import recorder
import uml
from conftest import Rig, assert_protected
from recorder import assert_no_write_request, record
from writelog import Flag

MODULES = {"ext4": [], "squashfs": ["squashfs"], "erofs": ["erofs"], "f2fs": ["crc32_generic", "f2fs"]}

# Each line of its output says that a part of the load really happened.
LOAD = """
/bin/dpkg --force-bad-path -i /load.deb >/tmp/dpkg 2>&1 && /bin/dpkg -s load | grep ^Status
for n in $(seq 40); do echo "insert into t values ($n, randomblob(2000));"; done |
    (echo "create table t (n, b);"; cat) | sqlite3 /var/base
sqlite3 /var/base "select count(*), sum(length(b)) from t; pragma integrity_check"
for n in $(seq 800); do echo "line $n"; done >> /var/log; sync
for n in $(seq 30); do dd if=/dev/zero of=/var/storm bs=4k count=1 seek=$n conv=fsync; done 2>/dev/null
stat -c "storm %s" /var/storm
for f in /etc/* /bin/*; do cat $f >/dev/null; touch -a $f; chmod 700 $f; done 2>/dev/null
mount -o remount,rw / && echo remounted; mount -a; mount -o remount,ro /mnt/root-RO; mount -o remount /
mv /etc/keep /etc/moved; rm -r /etc/fstab /home; ln -s x /home
sync; echo 3 > /proc/sys/vm/drop_caches
dd if=/dev/zero of=/full bs=64k 2>&1 | grep -o "No space left"
echo more > /etc/more || echo full
tail /dev/zero || echo "out of memory"
sync; echo 3 > /proc/sys/vm/drop_caches; echo loaded
"""
LOADED = [
    "Status: install ok installed",
    *("40|80000", "ok"),
    "storm 126976",
    "remounted",
    "No space left",
    "full",
    "out of memory",
    "loaded",
]


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A Debian package with some hundred files."""
    folder = tmp_path_factory.mktemp("package")
    (folder / "tree/DEBIAN").mkdir(parents=True)
    control = "Package: load\nVersion: 1\nArchitecture: all\nMaintainer: tests\nDescription: load\n"
    (folder / "tree/DEBIAN/control").write_text(control)
    (folder / "tree/srv/load").mkdir(parents=True)
    for number in range(100):
        (folder / f"tree/srv/load/{number}").write_text(f"{number}\n" * 500)
    uml.run("dpkg-deb", "--root-owner-group", "-b", folder / "tree", folder / "load.deb")
    return folder / "load.deb"


@pytest.fixture
def loaded(rig: Rig, package: pathlib.Path):
    """Makes a root with the programs of the load."""

    def change(folder: pathlib.Path) -> None:
        for name in ("dpkg", "dpkg-deb", "dpkg-query", "dpkg-split", "tar", "sqlite3"):
            uml.host_program(folder, name)
        shutil.copy(recorder.dmlog(rig.cache), folder / "bin/dmlog")
        shutil.copy(package, folder / "load.deb")
        for name in ("var/lib/dpkg/info", "var/lib/dpkg/updates"):
            (folder / name).mkdir(parents=True)
        (folder / "var/lib/dpkg/status").touch()

    return lambda fstype="ext4": rig.root(fstype=fstype, change=change, size=128 if fstype == "f2fs" else 48)


@pytest.mark.parametrize("fstype", MODULES)
def test_no_write_request(rig: Rig, loaded, fstype: str) -> None:
    found = record(
        rig,
        loaded(fstype),
        "ofs-size=24M",
        script=LOAD + recorder.END,
        modules=MODULES[fstype],
        memory=160,
    )
    assert_protected(found.boot, "/dev/dm-0", fstype)
    said = [line for line in found.boot.script.splitlines() if line in LOADED]
    assert said == LOADED, found.boot.script
    assert_no_write_request(found)


def test_plug_pulled_in_the_middle(rig: Rig, loaded) -> None:
    """The emulator is killed while the system writes; the log ends with what the test put there before."""
    script = f"""{recorder.END}
    while :; do
        dd if=/dev/urandom of=/var/x bs=64k count=16 conv=fsync 2>/dev/null; sync
        dmlog round flush
        n=$((n + 1)); [ $n -ne 6 ] || echo "<0>pull now" > /dev/kmsg
    done"""
    found = record(rig, loaded(), script=script, pull_at="pull now")
    assert "end" not in found.boot.sections
    rounds = found.log[len(recorder.EMPTY) :]
    assert found.log[: len(recorder.EMPTY)] == recorder.EMPTY
    assert rounds.count("mark round") >= 5
    # The cut may be between a flush and its mark.
    assert rounds == (["flush", "mark round"] * len(rounds))[: len(rounds)]
    assert not found.changed


def test_positive_control(rig: Rig, loaded) -> None:
    """The same load on the same rig, not protected, fills the log."""
    found = record(rig, loaded(), "overlayfs=no", script=LOAD + recorder.END, memory=160)
    print(found.figures)
    assert found.boot.report["reached"] == "writable"
    assert found.changed
    assert len(found.written) > 100
    assert recorder.flags(found.entries, Flag.FLUSH) > 40
    counted = found.counters["dm-0"]
    assert counted.writes > 100
    assert counted.sectors * 512 > 1 << 20


@pytest.mark.parametrize("line", ["", "overlayfs=no"], ids=["protected", "control"])
def test_whole_card(rig: Rig, loaded, line: str) -> None:
    """Boot and root share a card, and the boot partition is mounted: the card as a whole gets no request."""
    card = rig.folder / "card.img"
    campaign_system.card_of(card, loaded())
    before = uml.sha256(card)
    count = "for d in ubda ubda/ubda1 ubda/ubda2; do echo stat $(basename $d) $(cat /sys/block/$d/stat); done"
    script = f"""mkdir -p /boot; mount -t vfat -o ro /dev/ubda1 /boot && cat /boot/* >/dev/null
    {LOAD}
    {count}"""
    modules = ["fat", "vfat", "nls_cp437", "nls_iso8859-1", "nls_ascii", "overlay"]
    boot = rig.boot(
        f"root=/dev/ubda2 ofs-size=24M {line}",
        [card],
        rig.initramfs(modules=modules),
        script=script,
        memory=160,
    )
    counted = recorder.counters(boot)
    print(counted)
    assert set(counted) == {"ubda", "ubda1", "ubda2"}
    assert {"ok", "storm 126976", "loaded"} <= set(boot.script.splitlines())
    if line:
        assert counted["ubda"].writes > 100 and counted["ubda1"].writes == 0
        assert uml.sha256(card) != before
    else:
        assert_protected(boot, "/dev/ubda2")
        assert all(found == recorder.Counters(0, 0, 0, 0) for found in counted.values())
        assert uml.sha256(card) == before


@pytest.fixture
def dirty(rig: Rig, loaded) -> pathlib.Path:
    """A root that was written to when the power went."""
    disk = loaded()
    script = "echo new > /etc/new; sync; echo newer > /etc/new; sync"
    rig.boot("root=/dev/ubda overlayfs=no", [disk], script=script)
    assert "needs_recovery" in uml.run("dumpe2fs", "-h", disk)
    return disk


def test_replay_is_written_once(rig: Rig, dirty: pathlib.Path) -> None:
    """What the kernel writes when it replays a journal; then nothing any more."""
    first = record(rig, dirty, script=recorder.END)
    print(first.figures)
    assert_protected(first.boot, "/dev/dm-0")
    assert first.boot.report["root"]["state"] == "dirty"
    assert 0 < len(first.written) < 100
    assert sum(entry.length for entry in first.written) < 1 << 20
    assert first.counters["dm-0"].writes > 0
    second = record(rig, dirty, script=recorder.END)
    assert second.boot.report["root"]["state"] == "clean"
    assert_no_write_request(second)


def test_frozen_writes_nothing(rig: Rig, dirty: pathlib.Path) -> None:
    found = record(rig, dirty, "ofs-dirty=frozen", script=f"echo x > /etc/x; mount -a\n{recorder.END}")
    assert found.boot.report["root"]["state"] == "dirty"
    assert_no_write_request(found)


def test_refuse_writes_nothing(rig: Rig, dirty: pathlib.Path) -> None:
    """No system is started that could count; the log and the disk say it."""
    found = record(rig, dirty, "ofs-dirty=refuse ofs-reboot-delay=1")
    assert "ofs-dirty=refuse; repair it" in found.boot.verdict
    assert found.log == ["mark power-on"]
    assert not found.changed


@pytest.mark.parametrize("lock", ["", "ofs-lock=yes"], ids=["unlocked", "locked"])
def test_what_root_can_still_do(rig: Rig, loaded, lock: str) -> None:
    """Discards of free blocks (fstrim) and a writable mount: root asks for them, and ofs-lock refuses."""
    script = f"""fstrim /mnt/root-RO
    mount -o remount,rw /mnt/root-RO && mount -o remount,ro /mnt/root-RO
    {recorder.END}"""
    found = record(rig, loaded(), lock, script=script)
    print(found.figures)
    if lock:
        assert_no_write_request(found)
    else:
        assert recorder.flags(found.entries, Flag.DISCARD) > 0
        assert any(not entry.flags & Flag.DISCARD for entry in found.written)
