// SPDX-License-Identifier: MIT
//! Every call of every plan fails, alone and in pairs, on boards of every kind: what must hold however a
//! boot ends.

use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use overlayroot::errno::Errno;
use overlayroot::report::Report;

use crate::fake::{btrfs, ext4, Fake, Mounted, Node};
use crate::{run, Boot, End};

/// What a call fails with. `EEXIST` and `EBUSY` are left out: they say that it is done already.
const ERRORS: [Errno; 10] = [
    Errno::EIO,
    Errno::ENOMEM,
    Errno::ENOENT,
    Errno::EROFS,
    Errno::ENODEV,
    Errno::EINVAL,
    Errno::ENOSPC,
    Errno::EACCES,
    Errno::ENXIO,
    Errno::EPERM,
];
/// Calls without which each mode can be reached: alone, they cost no rung.
const SURVIVED: [&str; 12] = [
    "mount tmpfs tmpfs /run",
    "set read-only /dev/mmcblk0p2 false",
    "/etc/fstab",
    "report.json",
    "move /",
    "set trusted.overlay.opaque",
    "mount none none /mnt/root-RO",
    "load /m/",
    "mount proc",
    "mount sysfs",
    "open ",
    "listen",
];
/// No boot may take longer than the wait for the root and the delay of the last message, each twice.
const LONGEST: u64 = 2 * (30 + 10) * 1_000_000;

/// A board, and what may be done to its root.
struct Board {
    name: &'static str,
    fake: Fake,
    /// The root may be written to, by the replay of its journal or because it was asked for.
    may: &'static [&'static str],
    /// Rung that is reached when nothing fails: 2 as wanted, 1 plain read-only, 0 none.
    rung: u8,
}

/// How a boot ended.
struct Ended {
    fake: Fake,
    report: Report,
    /// What failed on purpose.
    failed: Vec<String>,
}

impl Ended {
    fn rung(&self) -> u8 {
        match (&self.fake.started, self.report.reached) {
            (None, _) => 0,
            (Some(_), "read-only") => 1,
            (Some(_), _) => 2,
        }
    }

    fn failed_on(&self, text: &str) -> bool {
        self.failed.iter().any(|call| call.contains(text))
    }
}

impl Board {
    fn boot(&self, failures: &[(usize, Errno)]) -> Ended {
        let mut fake = self.fake.clone();
        fake.fail = failures.to_vec();
        let program = "overlayroot-init test";
        let (End::Started(report) | End::Rebooted(report)) = run(&mut fake, Boot { program });
        let failed = failures
            .iter()
            .filter_map(|(number, _)| fake.calls.get(*number).cloned())
            .collect();
        Ended {
            fake,
            report,
            failed,
        }
    }

    /// The promise that a boot breaks, if it breaks one.
    fn broken(&self, ended: &mut Ended) -> Option<&'static str> {
        let told_to_reboot = ended.fake.calls.last().is_some_and(|call| call == "reboot");
        let wants_writable = ended.report.wanted == "writable";
        let rung = ended.rung();
        let kept = [
            ("neither started nor rebooted", rung > 0 || told_to_reboot),
            ("longer than it may take", ended.fake.elapsed() < LONGEST),
            ("higher than without a failure", rung <= self.rung),
            (
                "a rung lost for nothing",
                rung == self.rung
                    || ended.failed.len() != 1
                    || !SURVIVED.iter().any(|call| ended.failed_on(call)),
            ),
            (
                "written to",
                ended
                    .fake
                    .root()
                    .writes
                    .iter()
                    .all(|w| self.may.contains(&&**w)),
            ),
            (
                "unprotected without being told",
                ended.report.reached != "writable" || wants_writable,
            ),
            ("modes that do not go down", goes_down(&ended.report)),
        ];
        let first = kept.iter().find(|(_, kept)| !kept);
        first.map(|(promise, _)| *promise).or_else(|| {
            if rung == 0 {
                broken_at_the_end(ended)
            } else {
                self.broken_in_system(ended)
            }
        })
    }

    /// The same for a system that was started.
    fn broken_in_system(&self, ended: &mut Ended) -> Option<&'static str> {
        let read_only_format = ended.fake.root().fstype == "squashfs";
        let locked = ended.fake.root().locked;
        let warnings = ended.report.warnings.concat();
        let is_root = |m: &&Mounted| {
            m.source.starts_with("/dev/mmcblk0p2") || m.source.contains("/overlayroot-")
        };
        // What cannot be unmounted stays as it is: read-only.
        let stuck = |m: &Mounted| warnings.contains(&["cannot unmount ", &*m.target].concat());
        let roots: Vec<_> = ended.fake.mounts.iter().filter(is_root).collect();
        let Some((root, others)) = roots.split_last() else {
            return Some("no mount of the root");
        };
        if !others.iter().all(|m| stuck(m) && m.read_only) {
            return Some("the root is mounted twice");
        }
        let top = ended.fake.mounted_at("/newroot")?;
        let kept = match ended.report.reached {
            "ram" => top.fstype.starts_with("overlay") && root.read_only && ended.report.protected,
            "read-only" => {
                top == *root
                    && root.read_only
                    && (locked || read_only_format)
                    && ended.report.protected
            }
            _ => top == *root && !ended.report.protected,
        };
        if !kept {
            return Some("mounted in another way than is reported");
        }
        if ended.report.reached == "read-only" && ended.report.failures.is_empty() {
            return Some("degraded silently");
        }
        if ended.rung() == self.rung && ended.report.failures.len() > 2 - usize::from(self.rung) {
            return Some("no lower than without a failure, but a rung has failed");
        }
        let left = ended.fake.mounts.iter().any(|m| {
            let api = ["/dev", "/proc", "/sys"].contains(&&*m.target);
            let excused = if api {
                ended.failed_on(&["unmount ", &*m.target].concat())
            } else {
                warnings.contains(&*m.target)
            };
            !m.target.starts_with("/newroot") && !excused
        });
        if left {
            return Some("left mounted");
        }
        // In /run when the RAM layer is not where users see it.
        let mut targets = ended.fake.mounts.iter().map(|m| &*m.target);
        let ram = targets.find(|t| t.starts_with("/newroot") && t.ends_with("/root-RW"));
        let place = [ram.unwrap_or("/newroot/run/overlayroot"), "/report.json"].concat();
        let reached = ["\"reached\":\"", ended.report.reached, "\""].concat();
        let text = ended.fake.text(&place);
        let written = text.is_some_and(|text| text.contains(&reached));
        let excused = ended.failed_on("report.json") || ended.failed_on("/run") || !self.has_run();
        (!written && !excused).then_some("no report")
    }

    /// A read-only root without /run cannot show a report.
    fn has_run(&self) -> bool {
        self.fake
            .disks
            .iter()
            .any(|disk| disk.tree.contains_key("/run"))
    }

    /// All promises that are broken when these calls fail, in words.
    fn complaints(&self, failures: &[(usize, Errno)]) -> (usize, Option<String>) {
        let mut ended = self.boot(failures);
        let calls = ended.fake.calls.len();
        let complaint = self.broken(&mut ended).map(|promise| {
            let errors: Vec<_> = failures.iter().map(|(_, error)| *error).collect();
            format!("{}: {promise}: {errors:?} at {:?}", self.name, ended.failed)
        });
        (calls, complaint)
    }

    /// Each call fails with each error; then each pair.
    fn campaign(&self) {
        let (calls, complaint) = self.complaints(&[]);
        assert_eq!(complaint, None);
        assert_eq!(self.boot(&[]).rung(), self.rung, "{}", self.name);
        let mut complaints = Vec::new();
        let mut boots = 0;
        for first in 0..calls {
            for error in ERRORS {
                let (length, complaint) = self.complaints(&[(first, error)]);
                complaints.extend(complaint);
                boots += 1;
                // Other errors lead to other ways: two of them for each second call.
                if error == Errno::ENOENT || error == ERRORS[first % 2] {
                    for second in first + 1..length {
                        let other = ERRORS[(first + second) % ERRORS.len()];
                        let pair = [(first, error), (second, other)];
                        complaints.extend(self.complaints(&pair).1);
                        boots += 1;
                    }
                }
            }
        }
        complaints.dedup();
        let some = &complaints[..complaints.len().min(20)];
        assert!(
            complaints.is_empty(),
            "{} of {boots}: {some:#?}",
            complaints.len()
        );
        println!("{}: {calls} calls, {boots} boots", self.name);
    }
}

/// Each mode that failed is another one, and the one that was reached did not fail.
fn goes_down(report: &Report) -> bool {
    let mut modes: Vec<_> = report.failures.iter().map(|failure| failure.mode).collect();
    let wanted_first = modes.first().map_or(true, |first| *first == report.wanted);
    modes.push(report.reached);
    let different = (1..modes.len()).all(|at| modes[at] != modes[at - 1]);
    // A mode that was reached, and whose init could not be started, is not among the failures.
    wanted_first && different && modes.len() <= 3
}

/// What stays mounted when no system is started, unless the new root was entered, or unmounting failed.
fn broken_at_the_end(ended: &Ended) -> Option<&'static str> {
    let entered = ended
        .fake
        .calls
        .iter()
        .any(|call| call.starts_with("switch root"));
    let stuck = ended
        .report
        .warnings
        .iter()
        .any(|w| w.starts_with("cannot unmount"));
    let left = ended
        .fake
        .mounts
        .iter()
        .any(|m| !["/dev", "/proc", "/sys"].contains(&&*m.target));
    if !entered && ended.report.failures.is_empty() {
        return Some("rebooted without a reason");
    }
    (left && !entered && !stuck).then_some("left mounted")
}

fn board(name: &'static str, line: &str, rung: u8, change: impl FnOnce(&mut Fake)) -> Board {
    let mut fake = Fake::board(line);
    change(&mut fake);
    Board {
        name,
        fake,
        may: &[],
        rung,
    }
}

fn make_dirty(fake: &mut Fake) {
    fake.root().data = ext4("ROOT", true);
    fake.root().dirty = true;
}

fn make_squashfs(fake: &mut Fake) {
    fake.root().data = [b"hsqs".as_slice(), &[0; 4096]].concat();
    fake.root().fstype = "squashfs".into();
}

fn without_overlay(fake: &mut Fake) {
    fake.filesystems.retain(|f| f != "overlay");
}

/// A kernel whose overlay is a module on the root, and an initramfs with modules of its own.
fn with_modules(fake: &mut Fake) {
    without_overlay(fake);
    fake.module = Some("overlay".into());
    let mut path = String::new();
    for part in ["lib", "modules", "3.10.53", "kernel", "fs", "overlayfs"] {
        path = [&*path, "/", part].concat();
        fake.root().tree.insert(path.clone(), Node::Dir);
    }
    let module = [&*path, "/overlay.ko"].concat();
    fake.root()
        .tree
        .insert(module, Node::File(Vec::new(), 0o644));
    fake.file("/etc/overlayroot.modules", b"/m/a.ko\n/m/b.ko x=1\n", 0o644);
    fake.file("/m/a.ko", b"", 0o644);
    fake.file("/m/b.ko", b"", 0o644);
}

/// A root where everything that the init touches is a link, and whose init is one.
fn with_links(fake: &mut Fake) {
    let tree: &mut BTreeMap<_, _> = &mut fake.root().tree;
    for (from, to, target) in [
        ("/etc", "/usr/etc", "usr/etc"),
        ("/mnt", "/media", "/media"),
        ("/sbin", "/usr/sbin", "../../usr/sbin"),
    ] {
        let below: Vec<_> = tree
            .keys()
            .filter(|p| p.starts_with(from))
            .cloned()
            .collect();
        for path in below {
            let moved = [to, &path[from.len()..]].concat();
            if let Some(node) = tree.remove(&path) {
                tree.insert(moved, node);
            }
        }
        tree.insert(from.to_owned(), Node::Link(target.to_owned()));
    }
    tree.insert("/usr".into(), Node::Dir);
}

macro_rules! campaigns {
    ($($test:ident: $line:expr, rung $rung:expr, may $may:expr, $change:expr;)*) => {
        $(#[test]
        fn $test() {
            let mut board = board(stringify!($test), $line, $rung, $change);
            board.may = $may;
            board.campaign();
        })*
    };
}

campaigns! {
    clean_by_label: "root=LABEL=ROOT", rung 2, may &[], |_| {};
    clean_by_path: "root=/dev/mmcblk0p2 ofs-size=20", rung 2, may &[], |_| {};
    locked: "root=179:2 ofs-lock=yes", rung 2, may &[], |_| {};
    dirty_replayed: "root=179:2", rung 2, may &["replay"], make_dirty;
    dirty_frozen: "root=179:2 ofs-dirty=frozen", rung 2, may &[], make_dirty;
    dirty_refused: "root=179:2 ofs-dirty=refuse", rung 0, may &[], make_dirty;
    dirty_and_locked: "root=179:2 ofs-lock=yes", rung 2, may &["replay"], make_dirty;
    dirty_without_overlay: "root=179:2", rung 1, may &["replay"], |fake| {
        make_dirty(fake);
        without_overlay(fake);
    };
    dirty_btrfs: "root=179:2", rung 2, may &["replay"], |fake| {
        fake.root().data = btrfs(true);
        fake.root().fstype = "btrfs".into();
        fake.root().dirty = true;
        fake.filesystems.push("btrfs".into());
    };
    dirty_without_a_journal: "root=179:2", rung 2, may &["replay"], |fake| {
        make_dirty(fake);
        fake.root().journal_broken = true;
    };
    clean_without_a_journal: "root=179:2", rung 2, may &[], |fake| fake.root().journal_broken = true;
    writable_without_a_journal: "root=179:2 overlayfs=no", rung 1, may &[], |fake| {
        fake.root().journal_broken = true;
    };
    media_read_only: "root=179:2", rung 2, may &[], |fake| fake.root().locked = true;
    squashfs: "root=179:2", rung 2, may &[], make_squashfs;
    squashfs_wanted_writable: "root=179:2 overlayfs=no", rung 1, may &[], make_squashfs;
    overlay_missing: "root=179:2", rung 1, may &[], without_overlay;
    overlay_missing_and_reboot: "root=179:2 ofs-fail=reboot", rung 0, may &[], without_overlay;
    overlay_of_old_kernels: "root=179:2", rung 2, may &[], |fake| {
        without_overlay(fake);
        fake.filesystems.push("overlayfs".into());
        fake.workdir_unknown = true;
    };
    modules: "root=179:2", rung 2, may &[], with_modules;
    fail_by_reboot: "root=179:2 ofs-fail=reboot", rung 2, may &[], |_| {};
    writable: "root=179:2 overlayfs=no", rung 2, may &["mounted writable"], |_| {};
    writable_and_dirty: "root=179:2 overlayfs=no", rung 2, may &["mounted writable", "replay"], make_dirty;
    writable_by_the_image: "root=179:2 overlayfs=yes", rung 2, may &[], |fake| {
        fake.file("/etc/overlayroot.conf", b"overlayfs=no\nroot=179:2\n", 0o644);
    };
    wrong_flags_and_type: "root=179:2 rootflags=rubbish rootfstype=squashfs", rung 2, may &[], |_| {};
    without_api: "root=179:2", rung 2, may &[], |fake| {
        fake.filesystems.retain(|f| !["devtmpfs", "sysfs"].contains(&&**f));
    };
    late_root: "root=179:2", rung 2, may &[], |fake| fake.root().after = 3;
    links: "root=179:2", rung 2, may &[], with_links;
    bare_root: "root=179:2", rung 2, may &[], |fake| {
        fake.root().tree.retain(|path, _| path == "/" || path.starts_with("/sbin"));
    };
    bare_root_without_overlay: "root=179:2", rung 1, may &[], |fake| {
        without_overlay(fake);
        fake.root().tree.retain(|path, _| path == "/" || path.starts_with("/sbin"));
    };
    mnt_is_a_file: "root=179:2", rung 2, may &[], |fake| {
        fake.root().tree.insert("/mnt".into(), Node::File(Vec::new(), 0o644));
    };
    init_missing: "root=179:2", rung 0, may &[], |fake| {
        fake.root().tree.remove("/sbin/init");
    };
}

/// The check can fail: each promise is broken once.
#[test]
fn promises_can_be_broken() {
    let protected = board("control", "root=LABEL=ROOT", 2, |_| {});
    let broken = |change: &dyn Fn(&mut Ended)| {
        let mut ended = protected.boot(&[]);
        change(&mut ended);
        protected.broken(&mut ended).unwrap_or("none")
    };
    assert_eq!(broken(&|_| {}), "none");
    assert_eq!(
        broken(&|e| e.fake.started = None),
        "neither started nor rebooted"
    );
    assert_eq!(
        broken(&|e| e.fake.root().writes.push("x".into())),
        "written to"
    );
    assert_eq!(
        broken(&|e| e.report.reached = "writable"),
        "unprotected without being told"
    );
    assert_eq!(
        broken(&|e| e.report.reached = "read-only"),
        "mounted in another way than is reported"
    );
    let mounted = |target: &str| Mounted {
        target: target.into(),
        fstype: "tmpfs".into(),
        source: "tmpfs".into(),
        read_only: false,
    };
    assert_eq!(
        broken(&|e| e.fake.mounts.push(mounted("/run"))),
        "left mounted"
    );
    assert_eq!(
        broken(&|e| e.fake.mounts.retain(|m| m.fstype != "ext4")),
        "no mount of the root"
    );
    assert_eq!(
        broken(&|e| e.fake.mounts.iter_mut().for_each(|m| m.read_only = false)),
        "mounted in another way than is reported"
    );
    assert_eq!(
        broken(&|e| {
            e.fake.tree.remove("/newroot/mnt/root-RW/report.json");
        }),
        "no report"
    );
    let degraded = board("control", "root=LABEL=ROOT", 1, without_overlay);
    let mut ended = degraded.boot(&[]);
    assert_eq!(degraded.broken(&mut ended), None);
    ended.fake.root().locked = false;
    assert_eq!(
        degraded.broken(&mut ended),
        Some("mounted in another way than is reported")
    );
    ended.fake.root().locked = true;
    ended.report.failures.clear();
    assert!(degraded.broken(&mut ended).is_some());
    assert_eq!(
        protected.broken(&mut protected.boot(&[(0, Errno::EIO)])),
        None
    );
    // A system that is higher than it would be without a failure.
    let lower = board("control", "root=LABEL=ROOT", 1, |_| {});
    assert_eq!(
        lower.broken(&mut lower.boot(&[])),
        Some("higher than without a failure")
    );
}
