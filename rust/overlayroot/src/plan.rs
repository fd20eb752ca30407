// SPDX-License-Identifier: MIT
//! Decides: settings and facts become a list of steps, or a reason why a mode cannot be had.

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::facts::{Facts, Root};
use crate::settings::{FailPolicy, Settings, Verity};
use crate::size::Limits;
use crate::step::{RootMount, Step, LOWER, NEW_ROOT, RAM, RUN};
use crate::superblock::{State, ASSEMBLE};
use crate::text;
use crate::text::{decimal, shown};
use crate::{verity, ways};

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

impl Plan {
    /// Adds a step. (One place for all: what pushes into a vector has its own code for each.)
    #[inline(never)]
    fn then(&mut self, step: Step) {
        self.steps.push(step);
    }
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
    /// The device is a member of something larger, which would be damaged: device, and what it is a member of.
    Member(String, &'static str),
    /// The root cannot be verified, and why.
    NotVerified(&'static str),
}

impl PlanError {
    /// For the console and the report.
    pub fn text(&self) -> String {
        match self {
            PlanError::NoRoot => "the root device was not found".to_owned(),
            PlanError::Refused(why) => text!(
                "{} and ofs-dirty=refuse; repair it, or boot with ofs-dirty=replay",
                why
            ),
            PlanError::NotVerified(why) => {
                text!("the root cannot be verified: {}; check ofs-verity=", why)
            }
            PlanError::Member(device, container) => text!(
                "{} is a member of {}: writing to it alone damages that; {}",
                device,
                container,
                ASSEMBLE
            ),
            PlanError::NeverWritable(fstype) => text!(
                "a {} root cannot be written; write a new image instead",
                fstype
            ),
        }
    }
}

shown!(PlanError);

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
            if let Some(container) = root.container {
                return Err(PlanError::Member(root.device.clone(), container));
            }
            let ways = ways::writable(root, settings, facts);
            plan.then(mount_root(NEW_ROOT, ways, settings));
            plan.then(find_init(settings));
            plan_run(&mut plan);
        }
        Mode::ReadOnly => {
            let ways = ways::protected(root, settings, facts, &mut plan.warnings)
                .map_err(PlanError::Refused)?;
            plan.then(mount_root(NEW_ROOT, ways, settings));
            // fstab may ask for a writable root: the device itself refuses.
            plan.then(Step::SetDeviceReadOnly {
                device: root.device.clone(),
                read_only: true,
            });
            plan.then(find_init(settings));
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
        plan.then(Step::SetDeviceReadOnly {
            device: root.device.clone(),
            read_only: true,
        });
    }
    plan.then(Step::OpenVerity {
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
    let ways =
        ways::protected(root, settings, facts, &mut plan.warnings).map_err(PlanError::Refused)?;
    let unlock = ways.iter().any(|way| way.lock_device && !way.frozen);
    plan.then(mount_root(LOWER, ways, settings));
    // `mount -o remount,rw /mnt/root-RO` has to work, unless ofs-lock says that it must not, or it damages an array.
    let lock = settings.lock || root.container.is_some();
    if (lock || unlock) && !root.media_read_only {
        plan.then(Step::SetDeviceReadOnly {
            device: root.device.clone(),
            read_only: lock,
        });
    }
    let (limits, warning) = settings.size.limits(facts.mem_total);
    plan.warnings.extend(warning);
    plan.limits = Some(limits);
    plan.then(Step::MountTmpfs {
        target: RAM,
        options: text!(
            "mode=0755,size={},nr_inodes={}",
            decimal(limits.bytes),
            decimal(limits.inodes)
        ),
    });
    plan.then(Step::MakeUpper {
        lower: LOWER,
        ram: RAM,
    });
    plan.then(Step::MountOverlay {
        target: NEW_ROOT,
        lower: LOWER,
        ram: RAM,
        release: facts.kernel.clone(),
    });
    plan.then(Step::Restrict { target: LOWER });
    plan.then(find_init(settings));
    plan.then(Step::WriteFstab {
        root: NEW_ROOT,
        lower: LOWER,
    });
    plan.then(Step::Move {
        from: LOWER,
        root: NEW_ROOT,
    });
    plan.then(Step::Move {
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
    plan.then(Step::MountTmpfs {
        target: RUN,
        options: "mode=0755,size=10%".to_owned(),
    });
    plan.then(Step::Move {
        from: RUN,
        root: NEW_ROOT,
    });
}

fn mount_root(target: &'static str, ways: Vec<RootMount>, settings: &Settings) -> Step {
    let remedy = match (&settings.fstype, &*settings.flags) {
        (None, "") => "repair the file system",
        (None, _) => "check rootflags=, or repair the file system",
        (Some(_), "") => "check rootfstype=, or repair the file system",
        (Some(_), _) => "check rootfstype= and rootflags=, or repair the file system",
    };
    Step::MountRoot {
        target,
        ways,
        remedy,
    }
}

/// The kernel's own list (`kernel_init()` in `init/main.c`), less its shell.
fn find_init(settings: &Settings) -> Step {
    let mut candidates: Vec<String> = settings.init.iter().cloned().collect();
    for &path in &["/sbin/init", "/etc/init", "/bin/init"] {
        candidates.push(path.to_owned());
    }
    Step::FindInit {
        root: NEW_ROOT,
        candidates,
    }
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
            if let Step::MountRoot { ways, .. } = step {
                let mut said = None;
                for way in ways {
                    writeln!(f, "  {way}")?;
                    let warning = way.warning();
                    if let Some(warning) = warning.as_ref().filter(|_| warning != said) {
                        writeln!(f, "    warning: {warning}")?;
                    }
                    said = warning;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::DirtyPolicy;
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
    fn members_of_arrays_are_never_written() {
        for state in [
            State::Clean,
            State::Unknown,
            State::Dirty("x"),
            State::ReadOnlyFormat,
        ] {
            let mut facts = ext4(state);
            facts.root.as_mut().unwrap().container = Some("a Linux RAID array");
            for mode in [Mode::Ram, Mode::ReadOnly] {
                let plan = plan(mode, &settings(""), &facts).unwrap();
                let text = plan.to_string();
                assert!(text.contains("set /dev/mmcblk0p2 read-only"), "{text}");
                assert!(!text.contains("read-write") && !text.contains("repairs it now"));
                assert!(plan.warnings[0].starts_with("/dev/mmcblk0p2 is a member of a Linux RAID"));
                let locked = |way: &RootMount| way.lock_device || state == State::ReadOnlyFormat;
                assert!(root_ways(&plan).iter().all(locked));
            }
            let error = plan(Mode::Writable, &settings("overlayfs=no"), &facts).unwrap_err();
            let never = matches!(error, PlanError::Member(..)) || state == State::ReadOnlyFormat;
            assert!(never, "{error}");
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
        assert!(!root_ways(&replay)[0].lock_device && !root_ways(&replay)[0].frozen);
        let warning = root_ways(&replay)[0].warning();
        assert!(warning.unwrap().contains("writes to the device once"));
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
    fn recognised_file_system_is_tried_beside_a_wrong_type() {
        let line = "rootfstype=ext3 rootflags=rubbish";
        let plan = plan(Mode::Ram, &settings(line), &ext4(State::Clean)).unwrap();
        let found: Vec<_> = root_ways(&plan).iter().take(2).collect();
        assert_eq!((&*found[0].fstype, &*found[1].fstype), ("ext3", "ext4"));
        assert!(found.iter().all(|way| way.lock_device && !way.frozen));
        assert!(matches!(&plan.steps[0],
            Step::MountRoot { remedy, .. } if remedy.starts_with("check rootfstype= and rootflags=")));
    }

    /// The last ways leave journal and device alone, whatever the state is, unless that is refused.
    #[test]
    fn broken_journals_do_not_stop_the_board() {
        let plan = |line: &str, state| plan(Mode::Ram, &settings(line), &ext4(state));
        for state in [State::Clean, State::Unknown, State::Dirty("x")] {
            for line in ["", "ofs-dirty=frozen"] {
                let plan = plan(line, state).unwrap();
                let last: Vec<_> = root_ways(&plan).iter().filter(|way| way.frozen).collect();
                let options: Vec<_> = last.iter().map(|way| &*way.options).collect();
                assert_eq!(options[..2], ["noload", "noload,sb=131072"]);
                assert!(last
                    .iter()
                    .all(|way| way.lock_device && way.warning().is_some()));
                let first = &root_ways(&plan)[0];
                assert_eq!(first.frozen, !line.is_empty() && state == State::Dirty("x"));
            }
        }
        let refused = plan("ofs-dirty=refuse", State::Clean).unwrap();
        assert!(root_ways(&refused)
            .iter()
            .all(|way| !way.frozen && way.lock_device));
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
