# SPDX-License-Identifier: MIT
"""Mounts and links that would lead the tool, or the init's copy of fstab, out of the real root; names that
would forge what it prints; a stick that would pass for the boot partition."""

import json
import pathlib
import shutil

import campaign_system
import ctlboard
import pytest
import uml
from conftest import Rig, assert_protected
from ctlboard import Board

# Something outside: nothing of it may change, and nothing of it may come in.
OUTSIDE = "mkdir -p /tmp/out/etc; echo theirs > /tmp/out/keep; echo theirs > /tmp/out/etc/keep"
LIST = "echo '<<out'; cd /tmp/out; find . | sort; cat keep etc/keep; cd /; echo '>>0'"
UNTOUCHED = ".\n./etc\n./etc/keep\n./keep\ntheirs\ntheirs\n"


def test_what_is_mounted_in_the_lower_is_passed_over(board: Board) -> None:
    """A bind mount below /mnt/root-RO is neither written nor read in place of what it hides."""
    found = board.run(
        f"""
        {OUTSIDE}
        mkdir /tmp/out2; chmod 700 /tmp/out2; echo mine > /tmp/out2/file
        mount -o bind /tmp/out/etc /mnt/root-RO/etc
        mount -t tmpfs none /mnt/root-RW/upper/data 2>/dev/null
        echo new > /etc/new; echo changed > /etc/keep
        ctl diff diff --json
        ctl commit commit /etc/new /etc/keep
        ctl revert revert /etc/text
        ctl edit edit -- /bin/busybox touch /etc/edited
        {LIST}
        umount /mnt/root-RO/etc
        echo '<<real'; cd /mnt/root-RO/etc; cat new keep; ls edited; cd /; echo '>>0'
        """
    )
    assert found["commit"][0] == 0, found["commit"]
    assert found["edit"][0] == 0, found["edit"]
    assert "/etc/text" not in found["diff"][1]
    assert found["out"][1] == UNTOUCHED
    assert found["real"][1] == "new\nchanged\nedited\n"
    uml.run("e2fsck", "-fn", board.disk)


@pytest.mark.parametrize(
    "mount",
    ["mount -o bind /tmp/fake /mnt", "mount -o bind /tmp/fake/root-RO /mnt/root-RO"],
    ids=["above", "over"],
)
def test_layers_that_are_hidden_are_refused(board: Board, mount: str) -> None:
    """A stick that is mounted at /mnt, with folders of these names on it, passes for no layer."""
    before = uml.sha256(board.disk)
    found = board.run(
        f"""
        {OUTSIDE}
        mkdir -p /tmp/fake/root-RO/etc /tmp/fake/root-RW/upper/etc
        echo theirs > /tmp/fake/root-RO/etc/keep
        echo changed > /etc/keep
        {mount}
        ctl commit commit /etc/keep
        ctl all commit --all
        ctl revert revert /etc/keep
        ctl diff diff
        ctl edit edit -- /bin/busybox touch /etc/edited
        echo '<<now'; cat /etc/keep /tmp/fake/root-RO/etc/keep; ls /tmp/fake/root-RO/etc; echo '>>0'
        """
    )
    for command in ("commit", "all", "revert", "diff", "edit"):
        code, text = found[command]
        assert code == (125 if command == "edit" else 3) and "not seen" in text, (command, code, text)
    assert found["now"][1] == "changed\ntheirs\nkeep\n"
    assert uml.sha256(board.disk) == before


def test_names_and_links_in_the_running_system(board: Board) -> None:
    """Links out of the tree are kept as links; a pipe and odd names are entries like others."""
    found = board.run(
        f"""
        {OUTSIDE}
        rm -r /etc/conf.d; ln -s /tmp/out /etc/conf.d
        mkdir /opt; cd /opt
        ln -s ../../../tmp/out up; mkfifo pipe; touch "$(printf 'a\\nb')" "$(printf 'x%.0s' $(seq 255))"
        ln /etc/keep second; cd /
        ctl commit commit /etc/conf.d /opt
        ctl inside commit /etc/conf.d/keep
        ctl revert revert /opt
        {LIST}
        echo '<<real'; cd /mnt/root-RO
        readlink etc/conf.d; readlink opt/up; stat -c %F opt/pipe; ls opt | wc -l
        cd /; echo '>>0'
        """
    )
    assert found["commit"][0] == 0, found["commit"]
    assert found["out"][1] == UNTOUCHED
    # Links on the way are followed, by who types them: it is a path in the real root.
    assert "kept /tmp/out/keep" in found["inside"][1]
    assert found["real"][1] == "/tmp/out\n../../../tmp/out\nfifo\n5\n"
    uml.run("e2fsck", "-fn", board.disk)


def assert_harmless(text: str) -> None:
    """A terminal prints all of it, and obeys nothing."""
    odd = {character for character in text if not character.isprintable() and character != "\n"}
    assert not odd, (odd, text)


def test_names_are_printed_so_that_they_forge_nothing(board: Board) -> None:
    """Names with line ends, escapes and bytes that are no text: in text, in JSON and for xargs."""
    found = board.run(
        r"""
        mkdir /opt; cd /opt
        touch "$(printf 'a\ndeleted shadow')" "$(printf '\033[2J')" "$(printf 'c\377')" 'd e' f
        mkdir "$(printf 'g\033]0;x\007')"; touch "$(printf 'g\033]0;x\007/h\302\233')"; cd /
        printf 'one\r\n\033[31mtwo\nthree\n' > /etc/text
        ctl text diff /opt
        ctl json --json diff /opt
        ctl content diff --content /etc/text
        ctl patch --json diff --content /etc/text
        overlayrootctl diff -z /opt | { echo '<<null'; busybox od -An -v -tx1; echo '>>0'; }
        ctl status status
        ctl refused commit "$(printf '/opt/none\033[2J\nerror: x')"
        ctl plan plan --cmdline "$(printf 'root=/dev/ubda overlayfs=maybe\033[2J ofs-size=9\r')"
        overlayrootctl diff -z /opt | RUST_LOG=debug xargs -0 overlayrootctl commit > /tmp/out 2>&1
        echo "<<commit"; cat /tmp/out; echo '>>0'
        ctl kept --json commit --dry-run /opt
        echo changed > "$(printf '/opt/c\377')"
        ctl dry commit --dry-run /opt; ctl again --json commit /opt
        echo changed > "$(printf '/opt/c\377')"; ctl revert revert /opt; ctl nothing --json revert /opt/f
        echo '<<real'; ls /mnt/root-RO/opt | wc -l; echo '>>0'
        """
    )
    folder = r'"/opt/g\033]0;x\a'
    shown = [
        *("/opt/", r'"/opt/\033[2J"', r'"/opt/a\ndeleted shadow"', r'"/opt/c\377"', '"/opt/d e"'),
        *("/opt/f", folder + '/"', folder + r'/h\302\233"'),
    ]
    assert sorted(found["text"][1].splitlines()) == sorted(f"added   {name}" for name in shown)
    odd = b"/opt/c\xff"
    paths = {
        bytes(c["path"]) if isinstance(c["path"], list) else c["path"].encode()
        for c in json.loads(found["json"][1])["changes"]
    }
    assert paths == {
        *(b"/opt", b"/opt/\x1b[2J", b"/opt/a\ndeleted shadow", odd, b"/opt/d e", b"/opt/f"),
        *(b"/opt/g\x1b]0;x\x07", b"/opt/g\x1b]0;x\x07/h\xc2\x9b"),
    }
    assert set(bytes.fromhex(found["null"][1]).split(b"\0")) == {*paths, b""}
    assert r"+one\r" in found["content"][1] and r"+\033[31mtwo" in found["content"][1]
    assert "+one\r\n+\x1b[31mtwo\n" in json.loads(found["patch"][1])["changes"][0]["diff"]
    assert folder in found["status"][1]
    assert found["refused"][0] == 3 and r'"/opt/none\033[2J\nerror: x" is neither' in found["refused"][1]
    assert r"maybe\033[2J" in found["plan"][1]
    kept = {
        "kept /opt",
        f'kept {folder}"',
        *(f"kept {name}" for name in shown if not name.endswith(("/", '/"'))),
    }
    assert kept <= set(found["commit"][1].splitlines()), found["commit"]
    assert json.loads(found["kept"][1])["committed"] == []
    assert r'would keep "/opt/c\377"' in found["dry"][1]
    assert json.loads(found["again"][1])["committed"] == [{"path": list(odd), "action": "write"}]
    assert found["revert"][1] == 'reverted "/opt/c\\377"\n'
    nothing = json.loads(found["nothing"][1])
    assert (nothing["reverted"], nothing["unchanged"]) == ([], ["/opt/f"])
    assert found["real"][1] == "6\n"
    for name, (_, text) in found.items():
        if name != "null":
            assert_harmless(text)


# A stick with a boot script, that says something else than the boot partition.
STICK = "a stranger's\noverlayfs=no\n"


def stick(rig: Rig) -> pathlib.Path:
    """Makes one."""
    path = rig.folder / "stick.img"
    with path.open("wb") as file:
        file.truncate(2 << 20)
    uml.run("mkfs.vfat", path)
    for name, text in (("uEnv.txt", STICK), ("boot.scr", "a boot script\n")):
        (rig.folder / name).write_text(text)
        uml.run("mcopy", "-i", path, rig.folder / name, f"::{name}")
    return path


def boot_with_stick(rig: Rig, script: str, *disks: pathlib.Path, root: str) -> dict[str, tuple[int, str]]:
    """Boots with the stick as the last of the disks; it is untouched if `script` does not write to it."""
    initramfs = rig.initramfs(modules=("overlay", "fat", "vfat", "nls_cp437", "nls_iso8859-1", "nls_ascii"))
    boot = rig.boot(f"root={root}", disks, initramfs, script=ctlboard.RUN + script, memory=128)
    return ctlboard.outputs(boot.script)


def test_a_stick_does_not_pass_for_the_boot_partition(rig: Rig, ctl_disk: pathlib.Path) -> None:
    """The disk of the root is what counts, whatever else is mounted; what fstab names makes two of them."""
    card, other = rig.folder / "card.img", stick(rig)
    campaign_system.card_of(card, ctl_disk)
    before = uml.sha256(other)
    found = boot_with_stick(
        rig,
        """
        mkdir -p /media/stick /boot
        mount -t vfat -o ro /dev/ubdb /media/stick
        ctl status status --json
        ctl disable disable --store file --json
        mount -t vfat -o ro /dev/ubda1 /boot; mount -t vfat -o ro /dev/ubdb /boot
        ctl covered enable --store file --json
        umount /boot; ctl mounted enable --store file --json; umount /boot
        echo '/dev/ubdb /boot vfat ro,noauto 0 0' >> /etc/fstab
        mount /boot
        ctl two disable --store file
        ctl ask status
        ctl named disable --store file --boot /run/overlayrootctl/boot
        umount /boot; ctl again disable --store file --json
        """,
        *(card, other),
        root="/dev/ubda2",
    )
    next_boot = json.loads(found["status"][1])["next_boot"]
    assert next_boot["protected"] is True and "(/dev/ubda1)" in next_boot["source"], next_boot
    for name, value, place in (
        *(("disable", "no", "/dev/ubda1"), ("covered", "yes", "/dev/ubda1")),
        *(("mounted", "yes", "/boot"), ("again", "no", "/dev/ubda1")),
    ):
        code, text = found[name]
        assert code == 0, (name, text)
        done = json.loads(text)
        assert f"({place})" in done["store"] and done["next_boot"]["overlayfs"] == value, (name, text)
    code, text = found["two"]
    assert code == 3 and "two may be the boot partition: /dev/ubda1" in text and "--boot" in text
    assert "next boot  not known: " in found["ask"][1] and "two may be" in found["ask"][1]
    assert found["named"][0] == 3 and "no file of a boot partition" in found["named"][1]
    assert uml.sha256(other) == before
    assert campaign_system.OFF in card.read_bytes()


def test_a_boot_partition_on_another_disk(rig: Rig, ctl_disk: pathlib.Path) -> None:
    """It has to be named, by --boot or by fstab; a stick that is only mounted is not taken."""
    root, other = shutil.copy(ctl_disk, rig.folder / "root.img"), stick(rig)
    before = uml.sha256(other)
    script = """
        mkdir -p /boot /media/stick; mount -t vfat -o ro /dev/ubdb /media/stick
        ctl refused enable
        ctl refused-file enable --store file
    """
    found = boot_with_stick(rig, script, root, other, root="/dev/ubda")
    for name in ("refused", "refused-file"):
        code, text = found[name]
        assert code == 3 and "no boot partition was found on the disk of the root" in text, text
        assert "name the folder with --boot" in text
    assert uml.sha256(other) == before
    script += """
        echo '/dev/ubdb /media/stick vfat ro,user,noauto 0 0' >> /etc/fstab
        ctl user enable --store file
        umount /media/stick; echo '/dev/ubdb /boot vfat ro,noauto 0 0' >> /etc/fstab; mount /boot
        ctl fstab enable --store file --json
        umount /boot; mount -t vfat -o ro /dev/ubdb /media/stick
        ctl named disable --boot /media/stick --json
    """
    found = boot_with_stick(rig, script, root, other, root="/dev/ubda")
    assert found["user"][0] == 3, found["user"]
    for name, value, place in (("fstab", "yes", "/boot"), ("named", "no", "/media/stick")):
        code, text = found[name]
        assert code == 0, (name, text)
        done = json.loads(text)
        assert f"({place})" in done["store"] and done["next_boot"]["overlayfs"] == value, (name, text)


def test_one_at_a_time_on_the_boot_partition(rig: Rig, ctl_disk: pathlib.Path) -> None:
    """What one run mounts is not unmounted by another one, under a third that writes."""
    card = rig.folder / "card.img"
    campaign_system.card_of(card, ctl_disk)
    look = "while [ ! -e /done ]; do overlayrootctl status --json >/dev/null 2>>/said; done"
    script = f"""
        {look} & {look} &
        for i in 1 2 3 4 5 6 7 8 9 10 11 12; do
            for word in enable disable; do
                overlayrootctl $word --store file >/dev/null 2>>/said || echo "failed $word"
            done
        done
        touch /done; wait
        cat /said
        grep /run/overlayrootctl/boot /proc/mounts
        ls -A /run/overlayrootctl/boot
        mkdir /b; mount -t vfat -o ro /dev/ubda1 /b; grep overlayfs /b/uEnv.txt
    """
    found = boot_with_stick(rig, script, card, stick(rig), root="/dev/ubda2")
    assert found == {}
    assert rig.machine.last.script.splitlines() == ["overlayfs=no"]


def test_a_signal_does_not_leave_the_boot_partition_writable(rig: Rig, ctl_disk: pathlib.Path) -> None:
    """It waits until the file is replaced, as with Ctrl-C at whatever moment."""
    card = rig.folder / "card.img"
    campaign_system.card_of(card, ctl_disk)
    script = """
        mkdir /boot; mount -t vfat -o ro /dev/ubda1 /boot
        i=0; word=enable
        while [ $i -lt 60 ]; do
            overlayrootctl $word --store file >/dev/null 2>&1 &
            usleep $((i * 2000)); kill -TERM $!; wait $!
            echo "ended $? writable $(grep -c ' /boot vfat rw' /proc/mounts)"
            if [ $word = enable ]; then word=disable; else word=enable; fi
            i=$((i + 1))
        done
    """
    found = boot_with_stick(rig, script, card, stick(rig), root="/dev/ubda2")
    assert found == {}
    ends = [line for line in rig.machine.last.script.splitlines() if line.startswith("ended")]
    # Killed before it began and as it was done, or not at all.
    assert len(ends) == 60 and {"ended 143 writable 0", "ended 0 writable 0"} == set(ends), ends


def test_a_first_partition_that_is_something_else(rig: Rig, ctl_disk: pathlib.Path) -> None:
    """Data, mounted for writing: there is no boot partition, and U-Boot's environment is all that counts."""
    table = "label: dos\nstart=2048, size=16384, type=83\nstart=18432, type=83\n"
    card = uml.partitioned(rig.folder / "card.img", table, 2, ctl_disk)
    script = f"""{ctlboard.RUN}
        mke2fs -q /dev/ubda1 2>/dev/null || busybox mke2fs /dev/ubda1 >/dev/null
        mkdir /d; mount -t ext4 /dev/ubda1 /d; touch /d/x
        ctl file disable --store file
        mount -t tmpfs none /d
        ctl covered disable --store file
    """
    found = ctlboard.outputs(rig.boot("root=/dev/ubda2", [card], script=script).script)
    assert found["file"][0] == 3 and "/dev/ubda1 holds none of overlayroot.uInitrd" in found["file"][1], found
    assert (
        found["covered"][0] == 1 and "cannot mount /dev/ubda1: Device or resource busy" in found["covered"][1]
    )


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("fstab", "/mnt/root-RO/etc/keep"),
        ("fstab", "../../../../../etc/keep"),
        ("fstab", "/proc/sys/kernel/hostname"),
        ("fstab", "/dev/ubda"),
        ("fstab", "."),
        ("fstab", "fstab"),
    ],
)
def test_the_copy_of_fstab_stays_inside(rig: Rig, name: str, target: str) -> None:
    """Wherever /etc/fstab leads, the board boots protected, and its disk stays as it was."""

    def change(folder: pathlib.Path) -> None:
        (folder / "etc" / name).unlink()
        (folder / "etc" / name).symlink_to(target)

    disk = rig.root("linked.img", change=change)
    boot = rig.boot_unchanged("root=/dev/ubda", disk, script="cat /proc/sys/kernel/hostname")
    assert_protected(boot)
    assert "overlayroot" not in boot.script


def test_reading_does_not_replay_the_journal_of_a_boot_partition(rig: Rig, ctl_disk: pathlib.Path) -> None:
    """One with ext4, cut while it was written: `status` leaves it alone, `disable` repairs it."""
    table = "label: dos\nstart=2048, size=16384, type=83\nstart=18432, type=83\n"
    card = uml.partitioned(rig.folder / "card.img", table, 2, ctl_disk)
    boot_image = rig.folder / "boot.img"
    with boot_image.open("wb") as file:
        file.truncate(8 << 20)
    uml.run("mke2fs", "-q", "-t", "ext4", boot_image)
    with card.open("r+b") as file:
        file.seek(1 << 20)
        file.write(boot_image.read_bytes())
    write = "mkdir /b; mount -t ext4 /dev/ubda1 /b; echo a script > /b/boot.scr; sync; echo x > /b/new; sync"
    rig.boot("root=/dev/ubda2 overlayfs=no", [card], script=write)
    rig.boot("root=/dev/ubda2", [card], script="true")  # replays the journal of the root
    assert campaign_system.needs_replay(card, 1 << 20)
    before = uml.sha256(card)
    read = f"{ctlboard.RUN} ctl status --json status"
    found = ctlboard.outputs(rig.boot("root=/dev/ubda2", [card], script=read).script)
    assert json.loads(found["status"][1])["next_boot"]["protected"] is True
    assert uml.sha256(card) == before
    change = f"{ctlboard.RUN} ctl disable disable --store file; ctl after --json status"
    found = ctlboard.outputs(rig.boot("root=/dev/ubda2", [card], script=change).script)
    assert found["disable"][0] == 0, found["disable"]
    assert json.loads(found["after"][1])["next_boot"]["protected"] is False
    assert not campaign_system.needs_replay(card, 1 << 20)


# What an ordinary user can make: a deep tree, names that are longer than a path can be, and a file
# that is never at rest.
IN_THE_WAY = """
chmod 777 /data; cat > /tmp/user <<'USER'
cd /data; for n in $(seq 300); do mkdir d; cd d; done; echo deep > file
cd /data; name=$(printf 'x%.0s' $(seq 200)); for n in $(seq 22); do mkdir $name; cd $name; done
cd /data; mkdir busy; while true; do echo line >> busy/log; done
USER
busybox sh /tmp/user 2>/dev/null &
until [ -e /data/busy/log ]; do usleep 10000; done
"""


def test_a_user_does_not_keep_root_from_committing(board: Board) -> None:
    """What cannot be kept is named, the rest is kept, and the exit code says so."""
    found = board.run(
        f"""
        echo changed > /etc/keep
        {IN_THE_WAY}
        ctl diff diff
        ctl commit commit --all
        ctl named commit /data/busy/log
        ctl revert revert /data
        kill $!
        echo '<<look'; cat /mnt/root-RO/etc/keep
        cd /mnt/root-RO/data; while [ -d d ]; do cd d; done; cat file; cd /; echo '>>0'
        ctl status status --check
        """,
        timeout=1200,
    )
    long = "has 1 entries whose paths are longer than 4095 bytes"
    code, text = found["diff"]
    assert code == 1 and long in text and "changed /etc/keep" in text
    code, text = found["commit"]
    assert code == 1, text
    assert long in text and "kept /etc/keep" in text
    assert found["status"][0] == 0
    assert found["look"][1] == "changed\ndeep\n"
    uml.run("e2fsck", "-fn", board.disk)
