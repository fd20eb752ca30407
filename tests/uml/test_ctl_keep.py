# SPDX-License-Identifier: MIT
"""The command-line tool: changes that are kept, undone, and made in the real root itself."""

import json
import pathlib

import pytest
import uml
from conftest import Rig
from ctlboard import RUN, Board, changes, outputs, system

# What there is of every kind; run in the first boot.
CHANGE = """
echo new > /etc/new; chmod 640 /etc/new; chown 7:8 /etc/new; touch -d '2002-02-02 02:02:02' /etc/new
sed -i s/two/zwei/ /etc/text
rm /etc/keep
rm -r /etc/gone.d
chmod 4755 /etc/mode
ln -sf /elsewhere /etc/link
rm -r /etc/conf.d; mkdir -m 700 /etc/conf.d; echo A > /etc/conf.d/a
mkdir -p /opt/deep/er; echo deep > /opt/deep/er/file
echo one > /data/one; ln /data/one /data/two
mkfifo -m 600 /data/fifo; mknod -m 622 /data/null c 1 3
dd if=/dev/zero of=/data/sparse bs=1 count=1 seek=3M 2>/dev/null
"""
# What is there afterwards, in words that do not depend on the layer.
LOOK = """
look() {
    cd $1
    ls -ln etc opt/deep/er data | grep -v -e '^total' -e ' fstab$' -e '^d'
    for f in etc/new etc/text etc/conf.d/a opt/deep/er/file data/one data/two; do echo "$f: $(cat $f)"; done
    stat -c '%n %a %u %g %F %t %T' etc/conf.d opt opt/deep data/*
    stat -c '%n %h' data/one data/two
    [ "$(stat -c %b data/sparse)" -lt 64 ] && echo sparse
    [ data/one -ef data/two ] && echo linked
    cd /
}
"""


def test_commit_all_is_what_the_next_boot_has(board: Board) -> None:
    first = board.run(
        f"""{CHANGE}{LOOK}
        ctl dry commit --all --dry-run
        ctl dry_diff diff --json
        ctl commit --json commit --all
        ctl diff diff --json
        ctl again commit --all
        ctl status status --check
        look / > /tmp/look; cat /tmp/look
        echo '<<look'; look /; echo '>>0'
        echo '<<real'; look /mnt/root-RO; echo '>>0'
        """
    )
    assert first["dry"][0] == 0 and "would keep /etc/new" in first["dry"][1]
    assert len(changes(first["dry_diff"])) > 10
    code, text = first["commit"]
    assert code == 0, text
    committed = {c["path"]: c["action"] for c in json.loads(text)["committed"]}
    assert committed["/etc/keep"] == committed["/etc/gone.d"] == committed["/etc/conf.d/b"] == "delete"
    assert committed["/etc/conf.d"] == "attributes"
    assert committed["/opt/deep/er/file"] == "write"
    assert changes(first["diff"]) == {}
    assert "Nothing is to be kept" in first["again"][1]
    assert first["status"][0] == 0
    assert first["look"][1] == first["real"][1]
    assert "sparse" in first["look"][1] and "linked" in first["look"][1]
    # The machine was switched off without unmounting anything: the file system is clean all the same.
    uml.run("e2fsck", "-fn", board.disk)

    second = board.run(
        f"""{LOOK}
        echo '<<look'; look /; echo '>>0'
        ctl diff diff --json
        ls -A /.overlayroot > /etc/there
        ctl next commit /etc/there
        ctl purge purge
        echo '<<area'; ls -A /mnt/root-RO/.overlayroot/commits/*; echo '>>0'
        """
    )
    assert second["look"][1] == first["look"][1]
    assert changes(second["diff"]) == {}
    assert second["next"][0] == 0
    # What the first boot had replaced is given up; of this one there is the record of what was added.
    assert second["area"][1].split() == ["done", "record"]


def test_commit_chosen_paths(board: Board) -> None:
    found = board.run(
        f"""{CHANGE}
        ctl one commit /etc/text /opt/deep/er/file /etc/gone.d
        ctl same commit /etc/busy /etc/fstab
        ctl none commit /etc/nothing
        ctl away commit /proc/version
        ctl diff diff --json
        cat /mnt/root-RO/etc/text /mnt/root-RO/opt/deep/er/file
        """
    )
    assert found["one"][0] == 0, found["one"]
    assert found["same"][0] == 3, found["same"]
    assert found["none"][0] == 3 and "neither in the running system" in found["none"][1]
    assert found["away"][0] == 3 and "another file system" in found["away"][1]
    left = changes(found["diff"])
    assert not {"/etc/text", "/opt/deep/er/file", "/opt", "/etc/gone.d"} & set(left)
    assert "/etc/new" in left and "/etc/keep" in left


def test_commit_of_a_file_in_use(board: Board) -> None:
    """Programs that use what is replaced or deleted do not keep the real root writable."""
    found = board.run(
        """
        exec 4< /etc/text 5< /etc/keep
        (exec 6>> /data/a; sleep 100) &
        sleep 1
        echo changed > /etc/text; rm /etc/keep; echo more >> /data/a
        ctl commit commit /etc/text /etc/keep /data/a
        ctl status status --check
        cat <&5
        """
    )
    assert found["commit"][0] == 0, found["commit"]
    assert "read-only again" in found["commit"][1]
    assert found["status"][0] == 0
    uml.run("e2fsck", "-fn", board.disk)


@pytest.mark.parametrize(
    ("fstype", "options"), [("ext3", ("-I", "128")), ("ext2", ())], ids=["ext3-whole-seconds", "ext2"]
)
def test_commit_on_older_formats(board: Board, fstype: str, options: tuple[str, ...]) -> None:
    board.disk = uml.disk(board.rig.folder / "old.img", fstype, change=system, size=32, options=options)
    found = board.run(f"{CHANGE}\nctl commit commit --all\nctl diff diff --json")
    assert found["commit"][0] == 0, found["commit"]
    assert ("has no journal" in found["commit"][1]) == (fstype == "ext2")
    assert changes(found["diff"]) == {}
    uml.run("e2fsck", "-fn", board.disk)


def test_commit_on_f2fs(board: Board) -> None:
    board.disk = uml.disk(board.rig.folder / "f2fs.img", "f2fs", change=system, size=96)
    initrd = board.rig.initramfs(modules=["overlay", "crc32_generic", "f2fs"])
    found = board.run(f"{CHANGE}\nctl commit commit --all\nctl diff diff --json", initrd=initrd)
    assert found["commit"][0] == 0, found["commit"]
    assert changes(found["diff"]) == {}
    second = board.run("cat /etc/text /etc/new; ls /etc/keep", initrd=initrd)
    assert second == {} and "zwei" in board.boot.script and "new" in board.boot.script
    assert "keep: No such file" in board.boot.script


def test_commit_is_refused_by_btrfs(board: Board) -> None:
    """It was mounted from a locked device, and stays read-only: that is said before anything is written."""
    board.disk = uml.disk(board.rig.folder / "btrfs.img", "btrfs", change=system, size=128)
    found = board.run("echo x > /etc/x\nctl commit commit /etc/x\nctl status status --check")
    assert found["commit"][0] == 3 and "disable --once" in found["commit"][1], found
    assert found["status"][0] == 0


def test_commit_while_a_log_is_written(board: Board) -> None:
    """A file that grows all the time is kept as it was at one moment."""
    found = board.run(
        """
        (n=0; while true; do n=$((n+1)); echo line $n >> /data/log; usleep 30000; done) &
        sleep 1
        ctl commit commit /data
        ctl status status --check
        kill $!
        tail -n 1 /mnt/root-RO/data/log
        """
    )
    assert found["commit"][0] == 0, found["commit"]
    assert found["status"][0] == 0
    assert board.boot.script.splitlines()[-1].startswith("line ")


def test_commit_over_types(board: Board) -> None:
    found = board.run(
        """
        rm -r /etc/gone.d; echo file > /etc/gone.d
        rm /etc/keep; mkdir -p /etc/keep/deep; echo x > /etc/keep/deep/x
        rm /etc/link; mkfifo /etc/link
        ctl commit commit /etc/gone.d /etc/keep /etc/link
        ctl diff diff --json
        ls -l /mnt/root-RO/etc
        """
    )
    assert found["commit"][0] == 0, found["commit"]
    assert changes(found["diff"]) == {}


@pytest.mark.parametrize(
    ("fstype", "reason"), [("squashfs", "is squashfs, which cannot be written"), ("erofs", "is erofs")]
)
def test_commit_is_refused_by_formats(board: Board, fstype: str, reason: str) -> None:
    board.disk = uml.disk(board.rig.folder / "ro.img", fstype, change=system)
    initrd = board.rig.initramfs(modules=["overlay", fstype])
    found = board.run(
        "echo x > /etc/x\nctl commit commit /etc/x\nctl edit edit -- true", "root=/dev/ubda", initrd=initrd
    )
    assert found["commit"][0] == 3 and reason in found["commit"][1], found
    assert found["edit"][0] == 125


@pytest.mark.parametrize(
    ("script", "line", "reason"),
    [
        ("dd if=/dev/zero of=/big bs=1M count=40 2>/dev/null", "", "bytes are needed"),
        ("for i in $(seq 9000); do > /data/f$i; done", "", "inodes are needed"),
        ("echo x > /etc/x; blockdev --setro /dev/ubda", "", "is locked against writing"),
        ("echo 'tmpfs /x tmpfs defaults 0 0' >> /etc/fstab", "", "/etc/fstab is the init's copy"),
    ],
    ids=["bytes", "inodes", "locked", "fstab"],
)
def test_commit_is_refused(board: Board, script: str, line: str, reason: str) -> None:
    """Before anything was written."""
    before = uml.sha256(board.disk)
    paths = "/etc/fstab" if "fstab" in script else "--all"
    found = board.run(f"{script}\nctl commit commit {paths}", f"root=/dev/ubda ofs-size=64M {line}")
    assert found["commit"][0] == 3, found["commit"]
    assert reason in found["commit"][1]
    assert uml.sha256(board.disk) == before


def test_commit_is_refused_without_the_journal(board: Board) -> None:
    """A root that was mounted frozen: what its journal holds would be lost, or worse."""
    board.run("echo new > /etc/journalled; sync", "root=/dev/ubda overlayfs=no")
    found = board.run(
        "echo x > /etc/x\nctl commit commit /etc/x\nctl edit edit -- /bin/busybox true",
        "root=/dev/ubda ofs-dirty=frozen",
    )
    for command, code in (("commit", 3), ("edit", 125)):
        assert found[command][0] == code and "mounted without its journal" in found[command][1], found
        assert "ofs-dirty=replay" in found[command][1]


def test_commit_on_a_writable_boot_is_refused(board: Board) -> None:
    found = board.run("ctl commit commit /etc/x", "root=/dev/ubda overlayfs=no")
    assert found["commit"][0] == 3 and "/ is no overlay" in found["commit"][1]


def test_links_do_not_lead_out(board: Board) -> None:
    """A directory of the running system that is a link in the real root is not followed."""
    found = board.run(
        """
        rm /way; mkdir /way; echo x > /way/text
        ctl part commit /way/text
        ctl whole commit /way
        cat /mnt/root-RO/etc/text
        ls -l /mnt/root-RO/way
        """
    )
    assert found["part"][0] == 3 and "/way is no directory in the real root" in found["part"][1]
    assert found["whole"][0] == 0, found["whole"]
    assert "two" in found["whole"][1] or "two" in board.boot.script


def test_revert(board: Board) -> None:
    found = board.run(
        f"""{CHANGE}
        ctl revert revert --json /etc /data /opt
        ctl diff diff --json
        ctl root revert /
        cat /etc/text /etc/gone.d/deep/file
        """
    )
    code, text = found["revert"]
    assert code == 0, text
    assert "/etc/new" in json.loads(text)["reverted"]
    assert changes(found["diff"]) == {}
    assert found["root"][0] == 3 and "reboot" in found["root"][1]


def test_revert_without_room(board: Board) -> None:
    found = board.run(
        """
        rm /data/a
        dd if=/dev/zero of=/fill bs=4k 2>/dev/null
        ctl revert revert /data/a
        ls /data
        """
    )
    assert found["revert"][0] == 3 and "of the RAM layer" in found["revert"][1], found


# Waits until what was started last sleeps, and has opened what it is to open.
ASLEEP = 'until [ "$(busybox cat /proc/$!/cmdline)" = busyboxsleep1000 ]; do busybox usleep 10000; done'


def test_edit(board: Board) -> None:
    found = board.run(
        f"""
        echo nameserver 192.0.2.1 > /etc/resolv.conf
        ctl edit edit -- /bin/busybox sh -c '
            echo edited > /etc/edited; rm /etc/keep; echo $OVERLAYROOT_EDIT
            echo t > /tmp/t; test -b /dev/ubda && test -d /proc/1 && test -d /sys/block && echo furnished'
        ctl code edit -- /bin/busybox sh -c 'exit 37'
        ctl killed edit -- /bin/busybox sh -c 'kill -9 $$'
        ctl absent edit -- /bin/nothing
        ctl left edit -- /bin/busybox sh -c 'busybox sleep 1000 >> /etc/left & {ASLEEP}'
        ctl status status --check
        ls /mnt/root-RO/tmp
        """
    )
    assert found["edit"] == (0, "1\nfurnished\n")
    assert found["code"][0] == 37
    assert found["killed"][0] == 137
    assert found["absent"][0] == 127 and "cannot run /bin/nothing" in found["absent"][1]
    code, text = found["left"]
    assert code == 0 and "sleep 1000 (process " in text and "was ended" in text, text
    assert found["status"][0] == 0
    uml.run("e2fsck", "-fn", board.disk)
    second = board.run("cat /etc/edited; ls /etc/keep /tmp")
    assert second == {} and "edited" in board.boot.script and "keep: No such file" in board.boot.script


@pytest.mark.parametrize(
    ("trick", "code"),
    [
        ("busybox mount -t tmpfs none /", 0),
        ("busybox mount -t tmpfs none / && busybox mount -o remount,ro /", 0),
        ("busybox mount -o remount,bind,ro /", 0),
        ("busybox umount -l /", 124),
    ],
)
def test_edit_looks_at_the_real_root_and_not_at_what_covers_it(board: Board, trick: str, code: int) -> None:
    found = board.run(
        f"""
        ctl edit edit -- /bin/busybox sh -c 'echo edited > /etc/edited; {trick}'
        ctl status status --check
        """
    )
    assert found["edit"][0] == code, found
    assert ("STILL WRITABLE" in found["edit"][1]) == (code == 124)
    assert found["status"][0] == (0 if code == 0 else 1), found


def test_edit_replaces_what_is_in_use(board: Board) -> None:
    """As an update does: the program that everything here runs, and a file that is open."""
    found = board.run(
        """
        exec 4< /etc/text
        ctl edit edit -- /bin/busybox sh -c '
            cd /bin; cp busybox new; mv new busybox; rm /etc/text; echo new > /etc/text'
        ctl status status --check
        cat <&4
        """
    )
    assert found["edit"][0] == 0, found["edit"]
    assert found["status"][0] == 0
    assert "two" in found["status"][1] or "two" in board.boot.script
    uml.run("e2fsck", "-fn", board.disk)
    second = board.run(
        """
        cat /etc/text
        ctl edit edit -- /bin/busybox true
        ls -A /mnt/root-RO/.overlayroot
        """
    )
    assert second["edit"][0] == 0
    assert board.boot.script.startswith("new") and ".overlayroot: No such file" in board.boot.script


def test_edit_is_locked(board: Board) -> None:
    found = board.run(
        """
        overlayrootctl edit -- /bin/busybox sh -c '
            > /run/begun; until [ -e /run/end ]; do busybox usleep 10000; done' &
        until [ -e /run/begun ]; do usleep 10000; done
        echo x > /etc/x
        ctl commit commit /etc/x
        ctl edit edit -- /bin/true
        > /run/end
        wait
        ctl later commit /etc/x
        """
    )
    assert found["commit"][0] == 3 and "in use by overlayrootctl edit (process " in found["commit"][1]
    assert found["edit"][0] == 125
    assert found["later"][0] == 0, found["later"]


def test_edit_that_cannot_be_ended(board: Board) -> None:
    """Somebody outside holds the real root: it is said loudly, and who."""
    found = board.run(
        f"""
        ctl edit edit -- /bin/busybox sh -c '
            busybox unshare -m busybox sh -c "exec 7>>/etc/held; exec busybox sleep 1000" & {ASLEEP}'
        ctl status status --check
        """
    )
    code, text = found["edit"]
    assert code == 124 and "STILL WRITABLE" in text, text
    assert "sleep 1000 (process " in text and "/etc/held is open for writing" in text
    assert found["status"][0] == 1 and "which is open for writing" in found["status"][1]


def test_plan(board: Board) -> None:
    found = board.run(
        """
        ctl now plan
        ctl other plan --json --cmdline 'root=/dev/ubda overlayfs=no'
        ctl none plan --cmdline 'root=/dev/nothing'
        mount -o remount,bind,nodev /dev
        ctl guess plan
        """
    )
    code, text = found["now"]
    assert code == 0, text
    assert "mount root on /mnt/root-RO: ext4 /dev/ubda ro (device read-only), the first of " in text
    assert "\n  ext4 /dev/ubda ro (device read-only)\n" in text
    assert "mount tmpfs on /mnt/root-RW: mode=0755,size=67108864" in text
    assert (
        "warning: /dev/ubda may not be read here, so that the file system is not known" in found["guess"][1]
    )
    assert "may not be read" not in found["now"][1]
    plan = json.loads(found["other"][1])
    assert (plan["wanted"], plan["first"]) == ("writable", "writable")
    assert found["none"][0] == 1 and "absent after 0 s" in found["none"][1]
    # It is the plan that was carried out at this boot.
    steps = [step["step"] for step in board.boot.report["steps"]]
    planned = text.split("if that fails:")[0].splitlines()[1:]
    # The report says which of several ways it was.
    planned = [line for line in planned if not line.startswith(("mount root on", "mount overlay on", " "))]
    assert len(planned) >= 6 and set(planned) <= set(steps), (planned, steps)


STACK = """
mkdir -p /stack /mnt/root-RO /mnt/root-RW
mount -t ext4 -o ro /dev/ubdb /mnt/root-RO
mount -t tmpfs -o mode=755 ram /mnt/root-RW
mkdir /mnt/root-RW/upper /mnt/root-RW/work
options=lowerdir=/mnt/root-RO,upperdir=/mnt/root-RW/upper,workdir=/mnt/root-RW/work
mount -t overlay -o $options,redirect_dir=on,metacopy=on over /stack
mount --move /mnt/root-RO /stack/mnt/root-RO
mount --move /mnt/root-RW /stack/mnt/root-RW
for d in dev proc sys; do mount --bind /$d /stack/$d; done
"""


def layers(folder: pathlib.Path) -> None:
    """The system of the tool's tests, and where its layers go."""
    system(folder)
    for name in ("mnt/root-RO", "mnt/root-RW", "stack"):
        (folder / name).mkdir()
    (folder / "data/dir/sub").mkdir(parents=True)
    (folder / "data/dir/file").write_text("in a directory\n")
    (folder / "data/dir/sub/deep").write_text("deep\n")


def test_renames_and_metadata_only(rig: Rig) -> None:
    """A kernel that records renames and copies attributes alone."""
    lower = rig.root("lower.img", change=layers, size=32)
    outer = rig.root("outer.img", change=layers, size=32)
    boot = rig.boot(
        "root=/dev/ubda overlayfs=no",
        [outer, lower],
        script=f"""{STACK}
        chroot /stack /bin/busybox sh -c '{RUN}
        mv /data/dir /data/moved; echo more > /data/moved/more; echo changed > /data/moved/file
        chmod 600 /data/a
        ctl diff diff --json
        ctl moved commit /data/moved /data/a
        ctl source commit /data/dir
        ctl all commit --all
        ctl after diff --json
        cat /data/moved/sub/deep
        '""",
        memory=128,
    )
    found = outputs(boot.script)
    listed = changes(found["diff"])
    assert listed["/data/moved"]["change"] == "renamed" and listed["/data/moved"]["from"] == "/data/dir"
    assert listed["/data/moved/file"]["change"] == "changed"
    assert listed["/data/moved/more"]["change"] == "added"
    assert "/data/moved/sub" not in listed
    assert listed["/data/dir"]["change"] == "deleted"
    assert (listed["/data/a"]["what"], listed["/data/a"]["metadata_only"]) == (["mode"], True)
    assert found["moved"][0] == 0, found["moved"]
    assert found["source"][0] == 3 and "was renamed to /data/moved" in found["source"][1]
    assert found["all"][0] == 0 and "left out /data/dir: was renamed" in found["all"][1]
    # The next boot has it all; the old place stays until then.
    script = "cd /data; cat moved/file moved/more moved/sub/deep a; stat -c %a a"
    second = rig.boot("root=/dev/ubda", [lower], script=script)
    assert second.script.splitlines() == ["changed", "more", "deep", "data a", "600"]
    uml.run("e2fsck", "-fn", lower)
