// SPDX-License-Identifier: MIT
//! How the root of a make-believe board is mounted when its journal or its options are not as they should be.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use overlayroot::report::Report;

use crate::fake::{btrfs, ext4, Fake};
use crate::{run, Boot, End};

fn boot(line: &str, change: impl FnOnce(&mut Fake)) -> (Fake, Report) {
    let mut fake = Fake::board(&format!("root=/dev/mmcblk0p2 {line}"));
    change(&mut fake);
    let program = "overlayroot-init test";
    let (End::Started(report) | End::Rebooted(report)) = run(&mut fake, Boot { program });
    (fake, report)
}

/// Options of each try to mount the root, `rw` or `ro` first.
fn tries(fake: &Fake) -> Vec<String> {
    let tries = fake
        .calls
        .iter()
        .filter(|call| call.contains(" /dev/mmcblk0p2 "));
    let options = tries.filter_map(|call| call.strip_prefix("mount ")?.splitn(4, ' ').nth(3));
    options
        .map(|options| options.trim_end().replace(' ', ","))
        .collect()
}

fn make_dirty(fake: &mut Fake) {
    fake.root().data = ext4("ROOT", true);
    fake.root().dirty = true;
}

fn break_journal(fake: &mut Fake) {
    fake.root().journal_broken = true;
}

#[test]
fn superblock_is_wrong_about_the_journal() {
    let dirty = |fake: &mut Fake| fake.root().dirty = true;
    let (fake, report) = boot("", dirty);
    assert_eq!(report.reached, "ram");
    assert_eq!(tries(&fake), ["ro", "ro"]);
    assert!(
        report.warnings[0].contains("the kernel repairs it now, which writes to the device once")
    );
    assert!(report.warnings[1].contains("EROFS"));

    let (mut fake, report) = boot("ofs-dirty=frozen", dirty);
    assert_eq!(report.reached, "ram");
    assert_eq!(tries(&fake), ["ro", "ro,noload"]);
    assert!(fake.root().writes.is_empty() && fake.root().locked);

    let (mut fake, report) = boot("ofs-dirty=refuse", dirty);
    assert_eq!(report.reached, "none");
    assert!(fake.root().writes.is_empty() && fake.rebooted);
    assert!(report.failures[0]
        .error
        .ends_with("ofs-dirty=replay allows it"));
}

/// btrfs looks at the lock of its device when it is mounted: so a second time, once nothing has to be repaired.
#[test]
fn btrfs_is_locked_once_it_is_repaired() {
    let with_btrfs = |fake: &mut Fake, log_tree| {
        fake.root().data = btrfs(log_tree);
        fake.root().fstype = "btrfs".into();
        fake.root().dirty = log_tree;
        fake.filesystems.push("btrfs".into());
    };
    for (line, locked) in [("", false), ("ofs-lock=yes", true)] {
        let (mut fake, report) = boot(line, |fake| with_btrfs(fake, true));
        assert_eq!(report.reached, "ram");
        let calls = fake.calls.iter().filter(|call| {
            let root = call.contains("mmcblk0p2") || call.contains("unmount");
            root && !call.starts_with("read") && !call.starts_with("block")
        });
        let calls: Vec<_> = calls.map(|call| call.trim_end()).collect();
        let at = calls.iter().position(|c| c.starts_with("mount ")).unwrap();
        let mount = "mount btrfs /dev/mmcblk0p2 /mnt/root-RO ro";
        assert_eq!(
            calls[at..at + 5],
            [
                mount,
                "unmount /mnt/root-RO",
                "set read-only /dev/mmcblk0p2 true",
                mount,
                "set read-only /dev/mmcblk0p2 false"
            ]
        );
        assert_eq!((fake.root().locked, fake.root().writes.len()), (locked, 1));
    }
    // A clean one is locked from the beginning.
    let (fake, _) = boot("", |fake| with_btrfs(fake, false));
    assert_eq!(tries(&fake), ["ro"]);
}

#[test]
fn broken_journal_is_left_alone() {
    // Nothing has to be written: the device is never unlocked.
    let (mut fake, report) = boot("", break_journal);
    assert_eq!(report.reached, "ram");
    assert_eq!(tries(&fake), ["ro", "ro,noload"]);
    assert!(fake.root().locked && fake.root().writes.is_empty());
    assert!(!fake
        .calls
        .iter()
        .any(|call| call == "set read-only /dev/mmcblk0p2 false"));
    let last = report.warnings.last().unwrap();
    assert!(last.contains("mounted without the journal") && last.contains("fsck"));

    // One replay is allowed; it fails, and is not tried again.
    let (mut fake, report) = boot("", |fake| {
        make_dirty(fake);
        break_journal(fake);
    });
    assert_eq!(report.reached, "ram");
    assert_eq!(tries(&fake), ["ro", "ro,noload"]);
    assert_eq!(fake.root().writes, ["replay"]);
    assert!(fake.root().locked);

    let (fake, report) = boot("overlayfs=no", break_journal);
    assert_eq!(report.reached, "read-only");
    assert_eq!(tries(&fake), ["rw", "ro", "ro,noload"]);
}

/// What has failed in one mode is not tried again in a lower one, unless another try may be luckier.
#[test]
fn lower_modes_do_not_repeat_what_cannot_succeed() {
    let (fake, report) = boot("rootfstype=squashfs", |fake| {
        make_dirty(fake);
        fake.root().fstype = "f2fs".into();
    });
    assert_eq!(report.reached, "none");
    assert_eq!(report.failures.len(), 2);
    let mut tries: Vec<_> = fake
        .calls
        .iter()
        .filter(|call| call.starts_with("mount "))
        .collect();
    tries.retain(|call| call.contains(" /dev/mmcblk0p2 "));
    let where_to = |call: &String| call.replace("/newroot", "/mnt/root-RO");
    let mut different: Vec<_> = tries.iter().map(|call| where_to(call)).collect();
    different.sort();
    different.dedup();
    assert_eq!(different.len(), tries.len(), "{tries:?}");
}

#[test]
fn options_that_a_file_system_does_not_take_are_left_out_by_name() {
    for (line, reached) in [("", "ram"), (" overlayfs=no", "writable")] {
        let flags = "rootflags=noatime,subvol=@,rubbish=1,commit=5";
        let (fake, report) = boot(&format!("{flags}{line}"), |_| {});
        assert_eq!(report.reached, reached);
        assert_eq!(
            report.warnings,
            ["ext4 does not take the option rubbish=1: left out; correct rootflags="]
        );
        let access = if line.is_empty() { "ro" } else { "rw" };
        let last = format!("{access},subvol=@,commit=5");
        assert_eq!(tries(&fake).last(), Some(&last));
        // The flag is none of the file system's options, and was there each time.
        let flagged = |call: &&String| call.contains("noatime");
        assert!(!fake.calls.iter().any(|call| flagged(&call)));
    }
}

/// Without it something else would be mounted.
#[test]
fn subvolumes_are_never_left_out() {
    let (fake, report) = boot("rootflags=subvol=rubbish,noatime", |_| {});
    assert_eq!(report.reached, "none");
    assert!(tries(&fake)
        .iter()
        .all(|options| options.contains("subvol=rubbish")));
    assert!(report.failures[0].error.contains("check rootflags="));
}

/// A driver that cannot lock its device: the root is mounted all the same, unless nothing may be written.
#[test]
fn devices_that_cannot_be_locked() {
    for (line, reached) in [("", "ram"), ("ofs-dirty=frozen", "none")] {
        let (mut fake, report) = boot(line, |fake| fake.never_locked = true);
        assert_eq!(report.reached, reached);
        assert!(fake.root().writes.is_empty());
    }
}
