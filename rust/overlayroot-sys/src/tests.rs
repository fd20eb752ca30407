// SPDX-License-Identifier: MIT
//! Whole boots on a make-believe board: every mode, every rung. Calls that fail are in `failures.rs`.

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;

use overlayroot::errno::Errno;
use overlayroot::report::Report;

use crate::fake::{ext4, Disk, Fake, Node};
use crate::{run, Boot, End};

const BOOT: Boot = Boot {
    program: "overlayroot-init test",
};

fn boot(fake: &mut Fake) -> Report {
    match run(fake, BOOT) {
        End::Started(report) | End::Rebooted(report) => report,
    }
}

fn board(line: &str) -> (Fake, Report) {
    let mut fake = Fake::board(line);
    let report = boot(&mut fake);
    (fake, report)
}

fn called(fake: &Fake, text: &str) -> bool {
    fake.calls.iter().any(|call| call == text)
}

/// A plain protected boot, checked in every detail.
#[test]
fn protected_boot() {
    let (mut fake, report) = board("root=LABEL=ROOT overlayfs=yes ofs-size=20");
    assert_eq!(
        (report.wanted, report.reached, report.protected),
        ("ram", "ram", true)
    );
    assert_eq!(fake.started.as_deref(), Some("/sbin/init"));
    assert_eq!(report.warnings, Vec::<String>::new());
    assert!(report.failures.is_empty());
    assert!(fake.root().writes.is_empty());
    assert!(!fake.root().locked, "remount,rw of /mnt/root-RO must work");
    let mounts: Vec<_> = fake
        .mounts
        .iter()
        .map(|m| (&*m.target, &*m.fstype, m.read_only))
        .collect();
    assert_eq!(
        mounts,
        [
            ("/newroot/dev", "devtmpfs", false),
            ("/newroot/proc", "proc", false),
            ("/newroot/sys", "sysfs", false),
            ("/newroot/mnt/root-RO", "ext4", true),
            ("/newroot/mnt/root-RW", "tmpfs", false),
            ("/newroot", "overlay", false),
        ]
    );
    let fstab = fake.text("/newroot/etc/fstab").unwrap();
    assert!(fstab.contains("/dev/mmcblk0p2 /mnt/root-RO ext4 ro,noauto,nosuid,nodev 0 0\n"));
    assert!(fstab.contains("\n# /dev/sda1 none swap sw 0 0\n"));
    let json = fake.text("/newroot/mnt/root-RW/report.json").unwrap();
    assert!(json.contains(r#""reached":"ram""#) && json.contains(r#""init":"/sbin/init""#));
    let overlay = report.overlay.unwrap();
    assert_eq!(
        overlay.options,
        "lowerdir=/mnt/root-RO,upperdir=/mnt/root-RW/upper,workdir=/mnt/root-RW/work"
    );
    // The device is locked before it is mounted.
    let at = |text: &str| fake.calls.iter().position(|c| c.starts_with(text)).unwrap();
    assert!(at("set read-only /dev/mmcblk0p2 true") < at("mount ext4"));
}

/// On such a kernel files of the root cannot be deleted, or come back.
#[test]
fn ram_layer_without_attributes_is_reported() {
    let mut fake = Fake::board("root=LABEL=ROOT");
    fake.no_xattr = true;
    let report = boot(&mut fake);
    assert_eq!(report.reached, "ram");
    assert!(report.warnings[0].contains("EOPNOTSUPP): enable CONFIG_TMPFS_XATTR"));
    assert!(!report.upper.unwrap().xattr);
}

#[test]
fn writable_boot_only_when_told() {
    let (mut fake, report) = board("root=/dev/mmcblk0p2 overlayfs=no");
    assert_eq!((report.reached, report.protected), ("writable", false));
    assert_eq!(fake.root().writes, ["mounted writable"]);
    assert!(report.summary().starts_with("NOT PROTECTED"));
    assert!(fake.text("/newroot/run/overlayroot/report.json").is_some());
    assert!(fake
        .text("/newroot/etc/fstab")
        .unwrap()
        .starts_with("/dev/mmcblk0p2"));
}

#[test]
fn old_kernels_spell_it_overlayfs() {
    let mut fake = Fake::board("root=179:2");
    fake.filesystems.retain(|f| f != "overlay");
    fake.filesystems.push("overlayfs".into());
    let report = boot(&mut fake);
    let overlay = report.overlay.unwrap();
    assert_eq!((overlay.fstype, overlay.workdir), ("overlayfs", true));

    let mut fake = Fake::board("root=179:2");
    fake.filesystems.retain(|f| f != "overlay");
    fake.filesystems.push("overlayfs".into());
    fake.workdir_unknown = true;
    let overlay = boot(&mut fake).overlay.unwrap();
    assert_eq!((overlay.fstype, overlay.workdir), ("overlayfs", false));
    assert!(!overlay.options.contains("workdir"));
}

#[test]
fn overlay_module_comes_from_the_lower() {
    let mut fake = Fake::board("root=/dev/mmcblk0p2");
    fake.filesystems.retain(|f| f != "overlay");
    fake.module = Some("overlay".into());
    let tree = &mut fake.root().tree;
    for dir in [
        "/lib",
        "/lib/modules",
        "/lib/modules/3.10.53",
        "/lib/modules/3.10.53/kernel",
    ] {
        tree.insert(dir.into(), Node::Dir);
    }
    tree.insert("/lib/modules/3.10.53/kernel/fs".into(), Node::Dir);
    tree.insert("/lib/modules/3.10.53/kernel/fs/overlayfs".into(), Node::Dir);
    let module = "/lib/modules/3.10.53/kernel/fs/overlayfs/overlay.ko.xz";
    tree.insert(module.into(), Node::File(Vec::new(), 0o644));
    assert_eq!(boot(&mut fake).reached, "ram");
}

/// Opening a pipe waits for somebody at its other end, for ever.
#[test]
fn an_overlay_module_that_is_no_file_is_not_opened() {
    let mut fake = Fake::board("root=/dev/mmcblk0p2");
    fake.filesystems.retain(|f| f != "overlay");
    fake.module = Some("overlay".into());
    let folder = "/lib/modules/3.10.53/kernel/fs/overlayfs";
    let tree = &mut fake.root().tree;
    for (at, _) in folder.match_indices('/').skip(1) {
        tree.insert(folder[..at].into(), Node::Dir);
    }
    tree.insert(folder.into(), Node::Dir);
    tree.insert([folder, "/overlay.ko"].concat(), Node::Char);
    let report = boot(&mut fake);
    assert_eq!(report.reached, "read-only");
    assert!(!fake.calls.iter().any(|call| call.starts_with("load /mnt")));
}

/// What is moved onto the new root would be the root of the system.
#[test]
fn a_mount_point_that_is_the_root_itself_takes_nothing() {
    for (link, target) in [
        ("/mnt/root-RO", "/"),
        ("/mnt/root-RO", "../mnt/.."),
        ("/mnt/root-RW", "/"),
        ("/dev", "."),
    ] {
        let mut fake = Fake::board("root=/dev/mmcblk0p2");
        fake.root()
            .tree
            .insert(link.into(), Node::Link(target.into()));
        let report = boot(&mut fake);
        assert_eq!((report.reached, report.protected), ("ram", true));
        assert_eq!(fake.mounted_at("/newroot").unwrap().fstype, "overlay");
        assert_eq!(fake.started.as_deref(), Some("/sbin/init"));
    }
}

#[test]
fn no_overlay_means_plain_read_only_and_locked() {
    let mut fake = Fake::board("root=/dev/mmcblk0p2");
    fake.filesystems.retain(|f| f != "overlay");
    let report = boot(&mut fake);
    assert_eq!(
        (report.wanted, report.reached, report.protected),
        ("ram", "read-only", true)
    );
    assert_eq!(report.failures[0].errno.as_deref(), Some("ENODEV"));
    assert!(report.failures[0]
        .error
        .contains("enable CONFIG_OVERLAY_FS"));
    assert!(fake.root().locked && fake.root().writes.is_empty());
    assert!(fake.mounted_at("/newroot").unwrap().read_only);
    assert!(fake.mounted_at("/mnt/root-RO").is_none() && fake.mounted_at("/mnt/root-RW").is_none());
    assert!(report.summary().starts_with("DEGRADED"));
}

#[test]
fn dirty_journals() {
    for (line, reached, writes) in [
        ("", "ram", 1),
        ("ofs-dirty=replay", "ram", 1),
        ("ofs-dirty=frozen", "ram", 0),
        ("ofs-dirty=refuse", "none", 0),
    ] {
        let mut fake = Fake::board(&format!("root=/dev/mmcblk0p2 {line}"));
        fake.root().data = ext4("ROOT", true);
        fake.root().dirty = true;
        let report = boot(&mut fake);
        assert_eq!(report.reached, reached, "{line}");
        assert_eq!(fake.root().writes.len(), writes, "{line}");
        assert!(!report.warnings.is_empty() || reached == "none");
        assert_eq!(fake.root().locked, line.contains("frozen"), "{line}");
    }
}

#[test]
fn root_that_comes_late_or_never() {
    let mut fake = Fake::board("root=UUID=11111111-1111-1111-1111-111111111111");
    fake.root().after = 3;
    assert_eq!(boot(&mut fake).reached, "ram");

    let (fake, report) = board("root=LABEL=other ofs-wait=7 ofs-reboot-delay=3");
    assert!(fake.rebooted && fake.started.is_none());
    assert_eq!(
        report.failures[0].error,
        "device LABEL=other absent after 7 s (there are: mmcblk0 mmcblk0p2); \
         check ofs-root=, or raise ofs-wait="
    );
    let (fake, report) = board("quiet");
    assert!(fake.rebooted);
    assert!(report.failures[0].error.contains("add ofs-root="));
}

#[test]
fn same_label_twice() {
    let mut fake = Fake::board("root=LABEL=ROOT");
    let mut other = fake.root().clone();
    other.name = "sda2".into();
    other.numbers = (8, 2);
    fake.disks.push(other);
    let report = boot(&mut fake);
    assert_eq!(report.root.unwrap().device, "/dev/mmcblk0p2");
    assert!(report.warnings[0].contains("make it unique"));
}

/// Version 0.90 of md's metadata, 64 KiB before the end of 128 KiB: there the file system ends.
fn make_member(disk: &mut Disk) {
    disk.data.resize(128 << 10, 0);
    disk.data[1024 + 4..1024 + 8].copy_from_slice(&64u32.to_le_bytes());
    disk.data[64 << 10..(64 << 10) + 4].copy_from_slice(&0xa92b_4efc_u32.to_le_bytes());
}

#[test]
fn members_count_only_where_there_is_no_array() {
    let mut fake = Fake::board("root=LABEL=ROOT");
    let mut other = fake.root().clone();
    make_member(fake.root());
    (other.name, other.numbers) = ("md0".into(), (9, 0));
    fake.disks.push(other.clone());
    let report = boot(&mut fake);
    let root = report.root.unwrap();
    assert_eq!((&*root.device, root.container), ("/dev/md0", None));
    assert_eq!(report.warnings, Vec::<String>::new());

    let mut fake = Fake::board("root=LABEL=ROOT");
    make_member(fake.root());
    make_member(&mut other);
    (other.name, other.numbers) = ("sda2".into(), (8, 2));
    fake.disks.push(other);
    let report = boot(&mut fake);
    assert_eq!(report.root.unwrap().container, Some("a Linux RAID array"));
    assert!(report.warnings[0]
        .ends_with("they are members of an array: assemble it in the initramfs, and name that"));
}

/// Two reads of the card less.
#[test]
fn a_file_system_that_fills_its_device_leaves_no_room_for_metadata_of_an_array() {
    for (blocks, reads) in [(128u32, 2), (127, 4)] {
        let mut fake = Fake::board("root=/dev/mmcblk0p2");
        make_member(fake.root());
        fake.root().data[1024 + 4..1024 + 8].copy_from_slice(&blocks.to_le_bytes());
        let report = boot(&mut fake);
        let of_device = fake.calls.iter().filter(|c| c.starts_with("read block"));
        assert_eq!(of_device.count(), reads);
        assert_eq!(report.root.unwrap().container.is_some(), reads == 4);
    }
}

/// Where several match, the same counts as for one alone.
#[test]
fn a_twin_that_fills_its_device_is_no_member() {
    let mut fake = Fake::board("root=LABEL=ROOT");
    let mut other = fake.root().clone();
    make_member(fake.root());
    fake.root().data[1024 + 4..1024 + 8].copy_from_slice(&128u32.to_le_bytes());
    (other.name, other.numbers) = ("sda2".into(), (8, 2));
    fake.disks.push(other);
    let root = boot(&mut fake).root.unwrap();
    assert_eq!((&*root.device, root.container), ("/dev/mmcblk0p2", None));
}

/// The backup of a GPT is at the end, and both are found by the size of a sector.
#[test]
fn disks_with_large_sectors() {
    let mut fake = Fake::board("root=PARTLABEL=root");
    let disk = &mut fake.disks[0];
    disk.data = std::vec![0; 32 << 12];
    disk.data[446 + 4] = 0xee;
    disk.data[510..512].copy_from_slice(&[0x55, 0xaa]);
    let mut entry = [0u8; 256];
    entry[..32].fill(7);
    entry[128..160].fill(7);
    entry[128 + 56..128 + 64].copy_from_slice(b"r\0o\0o\0t\0");
    disk.data[30 << 12..(30 << 12) + 256].copy_from_slice(&entry);
    let crc = |bytes: &[u8]| {
        !bytes.iter().fold(!0u32, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| match crc & 1 {
                0 => crc >> 1,
                _ => crc >> 1 ^ 0xedb8_8320,
            })
        })
    };
    let mut header = [0u8; 92];
    header[..8].copy_from_slice(b"EFI PART");
    header[12] = 92;
    header[24] = 31;
    header[72] = 30;
    header[80] = 2;
    header[84] = 128;
    header[88..].copy_from_slice(&crc(&entry).to_le_bytes());
    let sum = crc(&header);
    header[16..20].copy_from_slice(&sum.to_le_bytes());
    disk.data[31 << 12..(31 << 12) + 92].copy_from_slice(&header);
    disk.sector = 4096;
    let report = boot(&mut fake);
    assert_eq!(report.root.unwrap().device, "/dev/mmcblk0p2");
    assert!(report.protected);
}

#[test]
fn inits() {
    let (fake, report) = board("root=/dev/mmcblk0p2 init=/nowhere");
    assert_eq!(fake.started.as_deref(), Some("/sbin/init"));
    assert_eq!(
        report.warnings,
        ["init=/nowhere is no executable file; starting /sbin/init"]
    );

    let mut fake = Fake::board("root=/dev/mmcblk0p2");
    fake.root().tree.remove("/sbin/init");
    let report = boot(&mut fake);
    assert!(fake.rebooted && fake.started.is_none());
    assert_eq!(report.failures.len(), 2);
    assert!(fake.mounted_at("/newroot").is_none());
}

#[test]
fn modules_in_order_and_missing_ones() {
    let mut fake = Fake::board("root=/dev/mmcblk0p2");
    fake.file(
        "/etc/overlayroot.modules",
        b"# order\n/m/a.ko x=1\n/m/none.ko\n/m/b.ko\n",
        0o644,
    );
    fake.file("/m/a.ko", b"", 0o644);
    fake.file("/m/b.ko", b"", 0o644);
    let report = boot(&mut fake);
    assert_eq!(report.reached, "ram");
    assert_eq!(
        report.warnings,
        ["cannot load /m/none.ko, continuing: ENOENT"]
    );
    let loads: Vec<_> = fake
        .calls
        .iter()
        .filter(|c| c.starts_with("load "))
        .collect();
    assert_eq!(
        loads,
        ["load /m/a.ko x=1", "load /m/none.ko ", "load /m/b.ko "]
    );
}

#[test]
fn conf_is_the_default_and_named() {
    let mut fake = Fake::board("");
    fake.file(
        "/etc/overlayroot.conf",
        b"root=LABEL=ROOT\nsize=64M\nbogus\n",
        0o644,
    );
    let report = boot(&mut fake);
    assert_eq!(report.upper.unwrap().size_bytes, 64 << 20);
    let size = report
        .settings
        .iter()
        .find(|s| s.name == "ofs-size")
        .unwrap();
    assert_eq!((&*size.value, size.origin), ("64M", "overlayroot.conf"));
    assert_eq!(
        report.warnings,
        ["overlayroot.conf line 3: not `name = value`: bogus"]
    );
}

#[test]
fn missing_api_file_systems_are_survived() {
    let mut fake = Fake::board("root=/dev/mmcblk0p2");
    fake.filesystems
        .retain(|f| !["devtmpfs", "sysfs"].contains(&&**f));
    let report = boot(&mut fake);
    assert_eq!(report.reached, "ram");
    assert!(report.warnings[0].contains("no devtmpfs"));
    assert!(called(&fake, "make node /dev/console"));
}

const HASH: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// A board whose root has a hash tree at 64 KiB.
fn verified_board(line: &str) -> Fake {
    let mut fake = Fake::board(&format!("root=LABEL=ROOT {line}"));
    fake.root_hash = HASH.to_owned();
    fake.root().data.resize(128 << 10, 0);
    let tree = &mut fake.root().data[64 << 10..];
    tree[..16].copy_from_slice(b"verity\0\0\x01\0\0\0\x01\0\0\0");
    tree[32..38].copy_from_slice(b"sha256");
    tree[64..68].copy_from_slice(&1024u32.to_le_bytes());
    tree[68..72].copy_from_slice(&4096u32.to_le_bytes());
    tree[72] = 64;
    fake
}

fn pinned(line: &str) -> Fake {
    verified_board(&format!("ofs-verity={HASH}@65536 {line}"))
}

#[test]
fn verified_root() {
    let mut fake = pinned("");
    let report = boot(&mut fake);
    assert_eq!((report.reached, report.protected), ("ram", true));
    assert!(report.warnings.is_empty(), "{:?}", report.warnings);
    assert!(report.summary().contains("/dev/mmcblk0p2, ext4, verified;"));
    assert_eq!(report.root.unwrap().verity.unwrap().major, 253);
    assert!(fake.root().locked && fake.root().writes.is_empty());
    let (_, table, live) = fake.mapped.clone().unwrap();
    let expected = format!("1 179:2 179:2 1024 4096 64 17 sha256 {HASH} -");
    assert_eq!((table, live), (expected, true));
    let lower = fake.mounted_at("/newroot/mnt/root-RO").unwrap();
    assert_eq!(
        (&*lower.source, lower.read_only),
        ("/dev/mapper/overlayroot", true)
    );
    let fstab = fake.text("/newroot/etc/fstab").unwrap();
    assert!(
        fstab.contains("/dev/mapper/overlayroot /mnt/root-RO ext4 ro,noauto,nosuid,nodev 0 0\n")
    );
}

/// Nothing is ever mounted past dm-verity once it was asked for.
fn check_verified(fake: &Fake, what: &str) {
    let past = fake.calls.iter().find(|call| {
        call.starts_with("mount ext4") && !call.starts_with("mount ext4 /dev/mapper/overlayroot ")
    });
    assert_eq!(past, None, "mounted without verification: {what}");
}

#[test]
fn what_cannot_be_verified_is_not_mounted() {
    let other = HASH.replace('0', "1");
    let boards = [
        ("no root hash", verified_board("ofs-verity=no")),
        (
            "another root hash",
            verified_board(&format!("ofs-verity={other}@65536")),
        ),
        (
            "no tree there",
            verified_board(&format!("ofs-verity={HASH}@32768")),
        ),
        (
            "beyond the end",
            verified_board(&format!("ofs-verity={HASH}@999999488")),
        ),
        ("no dm-verity", {
            let mut fake = pinned("");
            fake.root_hash.clear();
            fake
        }),
        ("and writable", verified_board("ofs-verity=no overlayfs=no")),
    ];
    for (what, mut fake) in boards {
        let report = boot(&mut fake);
        assert_eq!((report.reached, fake.rebooted), ("none", true), "{what}");
        assert!(fake.mapped.is_none(), "{what}: left open");
        check_verified(&fake, what);
    }
}

#[test]
fn verified_roots_are_never_writable() {
    let mut fake = pinned("overlayfs=no");
    let report = boot(&mut fake);
    assert_eq!((report.wanted, report.reached), ("writable", "read-only"));
    assert!(report.failures[0]
        .error
        .contains("a verified root cannot be written"));
    assert!(fake.root().writes.is_empty());
    check_verified(&fake, "writable");
}

/// Without an overlay the device is taken away, and made anew for the plain root.
#[test]
fn verified_rung_below() {
    let mut fake = pinned("");
    fake.filesystems.retain(|f| f != "overlay");
    let report = boot(&mut fake);
    assert_eq!(report.reached, "read-only");
    assert!(called(&fake, "device-mapper DevRemove"));
    assert!(report
        .summary()
        .contains("(/dev/mmcblk0p2, ext4, verified)"));
    check_verified(&fake, "rung below");
}

/// Early in a boot the kernel may not have tested SHA-256 yet.
#[test]
fn digest_that_takes_its_time() {
    let mut fake = pinned("");
    boot(&mut fake);
    let load = fake
        .calls
        .iter()
        .position(|c| c == "device-mapper TableLoad");
    let mut fake = pinned("");
    fake.fail = vec![(load.unwrap(), Errno::ELIBBAD)];
    assert_eq!(boot(&mut fake).reached, "ram");
}

#[test]
fn every_call_of_a_verified_boot_fails() {
    let mut reference = pinned("");
    boot(&mut reference);
    for number in 0..reference.calls.len() {
        for error in [Errno::EIO, Errno::ENOENT, Errno::EBUSY, Errno::EINVAL] {
            let mut fake = pinned("");
            fake.fail = vec![(number, error)];
            let report = boot(&mut fake);
            let call = &reference.calls[number];
            // Without its command line a board knows of no root hash.
            if call == "read /proc/cmdline" {
                continue;
            }
            let what = format!("call {number} ({call}) fails with {error}");
            let ended = fake.started.is_some() || fake.calls.last().is_some_and(|c| c == "reboot");
            assert!(ended && report.reached != "writable", "{what}");
            assert!(fake.root().writes.is_empty(), "{what}");
            check_verified(&fake, &what);
        }
    }
}
