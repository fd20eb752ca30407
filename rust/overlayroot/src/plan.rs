// SPDX-License-Identifier: MIT
//! Decides: settings and facts become a list of steps, or a reason why a mode cannot be had.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::facts::{Facts, Root};
use crate::settings::{DirtyPolicy, FailPolicy, Settings, Verity};
use crate::size::Limits;
use crate::step::{RootMount, Step};
use crate::superblock::State;
use crate::text::Number;
use crate::verity;

/// The real root, read-only, in the initramfs and in the booted system.
pub const LOWER: &str = "/mnt/root-RO";
/// The RAM layer, in the initramfs and in the booted system.
pub const RAM: &str = "/mnt/root-RW";
/// Where the initramfs builds the new root.
pub const NEW_ROOT: &str = "/newroot";
/// RAM file system that carries the report when there is no RAM layer.
pub const RUN: &str = "/run";

/// A state that a board can be booted into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// RAM over the read-only root.
    Ram,
    /// The root itself, writable.
    Writable,
    /// The root itself, read-only.
    ReadOnly,
}

impl Mode {
    /// Name in the report.
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::Ram => "ram",
            Mode::Writable => "writable",
            Mode::ReadOnly => "read-only",
        }
    }

    /// The mode that the settings ask for.
    pub fn wanted(settings: &Settings) -> Mode {
        if settings.overlay {
            Mode::Ram
        } else {
            Mode::Writable
        }
    }

    /// The next lower mode when this one could not be reached; `None`: nothing is left but to reboot.
    pub fn degrade(self, policy: FailPolicy) -> Option<Mode> {
        match (policy, self) {
            (FailPolicy::Ladder, Mode::Ram | Mode::Writable) => Some(Mode::ReadOnly),
            _ => None,
        }
    }
}

/// What to do to reach a mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Mode that is reached when every step that is not survivable works.
    pub mode: Mode,
    /// Actions, in order.
    pub steps: Vec<Step>,
    /// Limits of the RAM layer, in RAM mode.
    pub limits: Option<Limits>,
    /// What the owner should know about this plan.
    pub warnings: Vec<String>,
}

/// Why a mode cannot be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlanError {
    /// The root device was not found (the observer said why).
    NoRoot,
    /// The journal needs recovery and `ofs-dirty=refuse` forbids to boot then.
    Refused(&'static str),
    /// The file system cannot be written at all.
    NeverWritable(String),
    /// The root cannot be verified, and why.
    NotVerified(&'static str),
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PlanError::NoRoot => f.write_str("the root device was not found"),
            PlanError::Refused(why) => {
                write!(
                    f,
                    "{why} and ofs-dirty=refuse; repair it, or boot with ofs-dirty=replay"
                )
            }
            PlanError::NotVerified(why) => {
                write!(f, "the root cannot be verified: {why}; check ofs-verity=")
            }
            PlanError::NeverWritable(fstype) => {
                write!(
                    f,
                    "a {fstype} root cannot be written; write a new image instead"
                )
            }
        }
    }
}

/// Plans how to reach `mode`.
pub fn plan(mode: Mode, settings: &Settings, facts: &Facts) -> Result<Plan, PlanError> {
    let root = facts.root.as_ref().ok_or(PlanError::NoRoot)?;
    let mut plan = Plan {
        mode,
        steps: Vec::new(),
        limits: None,
        warnings: Vec::new(),
    };
    let verified = verified(&mut plan, root, settings)?;
    let root = verified.as_ref().unwrap_or(root);
    match mode {
        Mode::Ram => plan_ram(&mut plan, root, settings, facts)?,
        Mode::Writable => {
            if root.state == State::ReadOnlyFormat {
                let fstype = root.fstype.unwrap_or_default().to_owned();
                return Err(PlanError::NeverWritable(fstype));
            }
            let access = (settings.read_only, &*settings.flags);
            let ways = ways(root, settings, facts, &[""], &[false], access);
            plan.steps.push(Step::MountRoot {
                target: NEW_ROOT,
                ways,
            });
            plan.steps.push(find_init(settings));
            plan_run(&mut plan);
        }
        Mode::ReadOnly => {
            let ways = protected_ways(&mut plan, root, settings, facts)?;
            plan.steps.push(Step::MountRoot {
                target: NEW_ROOT,
                ways,
            });
            // fstab may ask for a writable root: the device itself refuses.
            plan.steps.push(Step::SetDeviceReadOnly {
                device: root.device.clone(),
                read_only: true,
            });
            plan.steps.push(find_init(settings));
            plan_run(&mut plan);
        }
    }
    Ok(plan)
}

/// The root as it is seen through dm-verity, if it is verified.
fn verified(plan: &mut Plan, root: &Root, settings: &Settings) -> Result<Option<Root>, PlanError> {
    let pin = match &settings.verity {
        Verity::No => return Ok(None),
        Verity::Unusable => return Err(PlanError::NotVerified("no usable root hash")),
        Verity::Against(_) if plan.mode == Mode::Writable => {
            return Err(PlanError::NeverWritable("verified".to_owned()))
        }
        Verity::Against(pin) => pin,
    };
    let no_tree =
        PlanError::NotVerified("no superblock of a hash tree (version 1, sha256) is there");
    let tree = root.tree.as_ref().ok_or(no_tree)?;
    if !root.media_read_only {
        plan.steps.push(Step::SetDeviceReadOnly {
            device: root.device.clone(),
            read_only: true,
        });
    }
    plan.steps.push(Step::OpenVerity {
        device: root.device.clone(),
        sectors: tree.sectors(),
        table: tree.table((root.major, root.minor), pin, settings.verity_error),
    });
    Ok(Some(Root {
        device: verity::DEVICE.to_owned(),
        media_read_only: true,
        ..root.clone()
    }))
}

fn plan_ram(
    plan: &mut Plan,
    root: &Root,
    settings: &Settings,
    facts: &Facts,
) -> Result<(), PlanError> {
    let ways = protected_ways(plan, root, settings, facts)?;
    let locked = ways.iter().any(|way| way.lock_device);
    plan.steps.push(Step::MountRoot {
        target: LOWER,
        ways,
    });
    // `mount -o remount,rw /mnt/root-RO` has to work, unless ofs-lock says that it must not; on an
    // unreplayed journal it must not either.
    let unlock = locked && !matches!(root.state, State::Dirty(_));
    if (settings.lock || unlock) && !root.media_read_only {
        plan.steps.push(Step::SetDeviceReadOnly {
            device: root.device.clone(),
            read_only: settings.lock,
        });
    }
    if !facts.filesystems.overlay {
        plan.steps.push(Step::LoadOverlay {
            lower: LOWER,
            release: facts.kernel.clone(),
        });
    }
    let (limits, warning) = settings.size.limits(facts.mem_total);
    plan.warnings.extend(warning);
    plan.limits = Some(limits);
    plan.steps.push(Step::MountTmpfs {
        target: RAM,
        options: format!(
            "mode=0755,size={},nr_inodes={}",
            Number(limits.bytes),
            Number(limits.inodes)
        ),
    });
    plan.steps.push(Step::MakeUpper {
        lower: LOWER,
        ram: RAM,
    });
    plan.steps.push(Step::MountOverlay {
        target: NEW_ROOT,
        lower: LOWER,
        ram: RAM,
    });
    plan.steps.push(find_init(settings));
    plan.steps.push(Step::WriteFstab {
        root: NEW_ROOT,
        lower: LOWER,
    });
    plan.steps.push(Step::Move {
        from: LOWER,
        root: NEW_ROOT,
    });
    plan.steps.push(Step::Move {
        from: RAM,
        root: NEW_ROOT,
    });
    Ok(())
}

/// What makes a place for the report alone, when a root cannot take the RAM layer at its mount point.
pub fn place_for_report(mode: Mode) -> Plan {
    let mut plan = Plan {
        mode,
        steps: Vec::new(),
        limits: None,
        warnings: Vec::new(),
    };
    plan_run(&mut plan);
    plan
}

/// Without a RAM layer the report goes to /run, where both systemd and sysvinit leave it alone.
fn plan_run(plan: &mut Plan) {
    plan.steps.push(Step::MountTmpfs {
        target: RUN,
        options: "mode=0755,size=10%".to_owned(),
    });
    plan.steps.push(Step::Move {
        from: RUN,
        root: NEW_ROOT,
    });
}

/// The kernel's own list (`kernel_init()` in `init/main.c`), less its shell.
fn find_init(settings: &Settings) -> Step {
    let mut candidates: Vec<String> = settings.init.iter().cloned().collect();
    candidates.extend(["/sbin/init", "/etc/init", "/bin/init"].map(ToOwned::to_owned));
    Step::FindInit {
        root: NEW_ROOT,
        candidates,
    }
}

/// Ways to mount the root read-only without writing to it, or with the one replay that the policy allows.
fn protected_ways(
    plan: &mut Plan,
    root: &Root,
    settings: &Settings,
    facts: &Facts,
) -> Result<Vec<RootMount>, PlanError> {
    let frozen = freeze_options(root.fstype.unwrap_or_default());
    let (options, locks): (&[&str], &[bool]) = match (&root.state, settings.dirty) {
        (State::ReadOnlyFormat, _) => (&[""], &[false]),
        (State::Dirty(why), DirtyPolicy::Refuse) => return Err(PlanError::Refused(why)),
        (State::Dirty(why), DirtyPolicy::Frozen) => {
            plan.warnings.push(format!(
                "{}: {why}; frozen: nothing is written, changes that only the journal holds are not seen",
                root.device
            ));
            (frozen, &[true])
        }
        (State::Dirty(why), DirtyPolicy::Replay) if root.media_read_only => {
            plan.warnings.push(format!(
                "{}: {why}, but the device is read-only: mounted without the journal",
                root.device
            ));
            (frozen, &[true])
        }
        (State::Dirty(why), DirtyPolicy::Replay) => {
            plan.warnings.push(format!(
                "{}: {why}: the kernel repairs it now, which writes to the device once",
                root.device
            ));
            (&[""], &[false])
        }
        // Should the kernel not agree that it is clean, mounting may write, if the policy allows it.
        (State::Clean | State::Unknown, DirtyPolicy::Replay) if !root.media_read_only => {
            (&[""], &[true, false])
        }
        (State::Clean | State::Unknown, _) => (&[""], &[true]),
    };
    let flags = protected_flags(&settings.flags);
    if flags != settings.flags {
        plan.warnings
            .push("rootflags= asks for rw, which a protected root is not: left out".to_owned());
    }
    Ok(ways(root, settings, facts, options, locks, (true, &flags)))
}

/// Mount options without `rw`: the kernel takes them after the flags of the mount, and would make the file system
/// behind a read-only mount writable (`vfs_parse_sb_flag()` in `fs/fs_context.c`; it looks at names only).
fn protected_flags(flags: &str) -> String {
    let mut kept = String::new();
    for option in flags.split(',') {
        if option != "rw" && !option.starts_with("rw=") {
            kept = join(&kept, option);
        }
    }
    kept
}

/// Mount options that leave a dirty journal alone.
fn freeze_options(fstype: &str) -> &'static [&'static str] {
    match fstype {
        "ext3" | "ext4" => &["noload"],
        "f2fs" | "xfs" => &["norecovery"],
        "btrfs" => &["rescue=nologreplay", "nologreplay"],
        _ => &[""],
    }
}

fn ways(
    root: &Root,
    settings: &Settings,
    facts: &Facts,
    options: &[&str],
    locks: &[bool],
    (read_only, flags): (bool, &str),
) -> Vec<RootMount> {
    let fstypes = fstypes(root, settings, facts);
    // Wrong rootflags must not stop the board: the last ways go without.
    let flags: &[&str] = if flags.is_empty() {
        &[""]
    } else {
        &[flags, ""]
    };
    let mut ways = Vec::new();
    for &lock in locks {
        for flags in flags {
            for fstype in &fstypes {
                for extra in options {
                    ways.push(RootMount {
                        device: root.device.clone(),
                        fstype: fstype.clone(),
                        read_only,
                        lock_device: lock && !root.media_read_only,
                        options: join(flags, extra),
                    });
                }
            }
        }
    }
    ways
}

fn join(a: &str, b: &str) -> String {
    match (a, b) {
        (a, "") => a.to_owned(),
        ("", b) => b.to_owned(),
        (a, b) => format!("{a},{b}"),
    }
}

/// File systems to try: as asked for, then as recognised, then whatever the kernel knows.
fn fstypes(root: &Root, settings: &Settings, facts: &Facts) -> Vec<String> {
    let mut fstypes: Vec<String> = Vec::new();
    let mut add = |name: &str| {
        if !name.is_empty() && !fstypes.iter().any(|f| f == name) {
            fstypes.push(name.to_owned());
        }
    };
    settings
        .fstype
        .as_deref()
        .unwrap_or_default()
        .split(',')
        .for_each(&mut add);
    match root.fstype {
        Some(name) => {
            add(name);
            // Kernels without drivers of their own for these use ext4's.
            if matches!(name, "ext2" | "ext3") {
                add("ext4");
            }
        }
        None if settings.fstype.is_none() => {
            facts
                .filesystems
                .on_block_devices
                .iter()
                .for_each(|name| add(name));
        }
        None => {}
    }
    fstypes
}

impl fmt::Display for Plan {
    /// The plan as text: what golden files hold.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "mode: {}", self.mode.as_str())?;
        for warning in &self.warnings {
            writeln!(f, "warning: {warning}")?;
        }
        for step in &self.steps {
            writeln!(f, "{step}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cmdline::words, config::Entry};
    use alloc::string::ToString;
    use proptest::prelude::*;

    fn settings(line: &str) -> Settings {
        Settings::merge(&[] as &[Entry], &words(line.as_bytes()))
    }

    fn ext4(state: State) -> Facts {
        Facts::default().with_root("mmcblk0p2", "ext4", state)
    }

    fn root_ways(plan: &Plan) -> &[RootMount] {
        match plan.steps.first() {
            Some(Step::MountRoot { ways, .. }) => ways,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn clean_root_is_locked_while_it_is_mounted() {
        let plan = plan(Mode::Ram, &settings("ofs-size=20"), &ext4(State::Clean)).unwrap();
        assert!(root_ways(&plan)[0].lock_device && root_ways(&plan)[0].read_only);
        assert!(plan.to_string().contains("set /dev/mmcblk0p2 read-write"));
        assert!(plan.warnings.is_empty());
    }

    /// The kernel takes the file system's options after its own flags: `rw` among them makes a read-only mount
    /// one of a file system that is writable (`vfs_parse_sb_flag()` in fs/fs_context.c).
    #[test]
    fn flags_do_not_make_a_protected_root_writable() {
        for (flags, left) in [
            ("rw", ""),
            ("noatime,rw", "noatime"),
            ("rw=1,noatime,rw,rwx", "noatime,rwx"),
        ] {
            let settings = settings(&format!("rootflags={flags}"));
            for (mode, state) in [
                (Mode::Ram, State::Dirty("x")),
                (Mode::Ram, State::Clean),
                (Mode::ReadOnly, State::Dirty("x")),
            ] {
                let plan = plan(mode, &settings, &ext4(state)).unwrap();
                assert_eq!(root_ways(&plan)[0].options, left);
                assert!(plan.warnings.iter().any(|w| w.contains("rootflags=")));
            }
            let plan = plan(Mode::Writable, &settings, &ext4(State::Clean)).unwrap();
            assert_eq!(root_ways(&plan)[0].options, flags);
            assert!(plan.warnings.is_empty());
        }
    }

    #[test]
    fn locked_for_good() {
        for state in [State::Clean, State::Dirty("x"), State::ReadOnlyFormat] {
            let plan = plan(Mode::Ram, &settings("ofs-lock=yes"), &ext4(state)).unwrap();
            let text = plan.to_string();
            assert!(text.contains("set /dev/mmcblk0p2 read-only"));
            assert!(!text.contains("read-write"));
        }
    }

    #[test]
    fn dirty_policies() {
        let dirty = State::Dirty("journal needs recovery");
        let ram = |line: &str| plan(Mode::Ram, &settings(line), &ext4(dirty));
        let replay = ram("").unwrap();
        assert!(!root_ways(&replay)[0].lock_device && replay.warnings.len() == 1);
        let frozen = ram("ofs-dirty=frozen").unwrap();
        assert_eq!(root_ways(&frozen)[0].options, "noload");
        assert!(root_ways(&frozen).iter().all(|w| w.lock_device));
        assert!(!frozen.to_string().contains("read-write"));
        assert_eq!(
            ram("ofs-dirty=refuse"),
            Err(PlanError::Refused("journal needs recovery"))
        );
    }

    #[test]
    fn dirty_on_write_protected_card_is_frozen() {
        let mut facts = ext4(State::Dirty("journal needs recovery"));
        facts.root.as_mut().unwrap().media_read_only = true;
        let plan = plan(Mode::Ram, &settings(""), &facts).unwrap();
        assert_eq!(root_ways(&plan)[0].options, "noload");
    }

    #[test]
    fn writable_only_where_it_can_be() {
        let facts = Facts::default().with_root("mmcblk0p2", "squashfs", State::ReadOnlyFormat);
        assert!(matches!(
            plan(Mode::Writable, &settings("overlayfs=no"), &facts),
            Err(PlanError::NeverWritable(_))
        ));
        let writable = plan(
            Mode::Writable,
            &settings("overlayfs=no ro"),
            &ext4(State::Clean),
        )
        .unwrap();
        assert!(root_ways(&writable)[0].read_only);
    }

    #[test]
    fn wrong_fstype_and_flags_are_not_fatal() {
        let line = "rootfstype=ext3 rootflags=rubbish";
        let plan = plan(Mode::Ram, &settings(line), &ext4(State::Clean)).unwrap();
        let last = root_ways(&plan).iter().rfind(|w| w.lock_device).unwrap();
        assert_eq!((&*last.fstype, &*last.options), ("ext4", ""));
    }

    #[test]
    fn ladder_goes_strictly_down() {
        use FailPolicy::{Ladder, Reboot};
        assert_eq!(Mode::Ram.degrade(Ladder), Some(Mode::ReadOnly));
        assert_eq!(Mode::Writable.degrade(Ladder), Some(Mode::ReadOnly));
        assert_eq!(Mode::ReadOnly.degrade(Ladder), None);
        assert_eq!(Mode::Ram.degrade(Reboot), None);
    }

    proptest! {
        // Whatever the command line says: protected modes never mount writable, and unless the journal
        // is dirty and may be replayed, the preferred way cannot write.
        #[test]
        fn protected_modes_never_ask_to_write(
            line in "((ro|rw|ofs-dirty=(frozen|replay|refuse)|rootflags=[a-z,]{0,8}|rootfstype=[a-z0-9,]{0,8}) ){0,6}",
            dirty in any::<bool>(), read_only in any::<bool>(), media in any::<bool>(),
        ) {
            let settings = settings(&line);
            let state = if dirty { State::Dirty("x") } else { State::Clean };
            let mut facts = ext4(state);
            facts.root.as_mut().unwrap().media_read_only = media;
            let mode = if read_only { Mode::ReadOnly } else { Mode::Ram };
            if let Ok(plan) = plan(mode, &settings, &facts) {
                let ways = root_ways(&plan);
                prop_assert!(!ways.is_empty());
                prop_assert!(ways.iter().all(|w| w.read_only));
                if !(dirty && settings.dirty == DirtyPolicy::Replay) {
                    prop_assert!(ways[0].lock_device || media);
                }
                if settings.dirty != DirtyPolicy::Replay {
                    prop_assert!(ways.iter().all(|w| w.lock_device || media));
                }
            }
        }
    }
}
