// SPDX-License-Identifier: MIT
//! The ways in which the root may be mounted: one list, tried from top to bottom until one works.
//!
//! First what the settings ask for; last what is left when the journal or the superblock is broken.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::facts::{Facts, Root};
use crate::options::{is_rw, join};
use crate::settings::{DirtyPolicy, Settings};
use crate::step::RootMount;
use crate::superblock::{State, ASSEMBLE};

/// What the kernel says when it may not replay a journal or clean up, and what it does when it may.
const REPAIRS: &str = "the kernel repairs it now, which writes to the device once";

const FSCK: &str = "check it with fsck from another system";

/// Where copies of the superblock of ext2, ext3 and ext4 are, in units of 1 KiB, as `sb=` counts them: at the
/// beginning of the second block group, for blocks of 4, 2 and 1 KiB (`ext4_group_first_block_no()` with as many
/// blocks in a group as one block has bits).
const COPIES: [&str; 3] = ["sb=131072", "sb=32768", "sb=8193"];

/// Ways to mount the root as it was asked for, where it may be written to.
pub fn writable(root: &Root, settings: &Settings, facts: &Facts) -> Vec<RootMount> {
    let mut ways = Ways::new(root, settings.flags.clone());
    ways.read_only = settings.read_only;
    for fstype in fstypes(root, settings, facts) {
        ways.push(&fstype, "", false, None);
    }
    ways.list
}

/// Ways to mount the root read-only without writing to it, or with the one replay that the policy allows; why
/// there is none, when the policy forbids to boot from it.
pub fn protected(
    root: &Root,
    settings: &Settings,
    facts: &Facts,
    warnings: &mut Vec<String>,
) -> Result<Vec<RootMount>, &'static str> {
    let flags = without_rw(&settings.flags);
    if flags != settings.flags {
        warnings.push("rootflags= asks for rw, which a protected root is not: left out".to_owned());
    }
    let mut ways = Ways::new(root, flags);
    let fstypes = fstypes(root, settings, facts);
    let device = &root.device;
    let mut dirty = settings.dirty;
    if let Some(container) = root.container {
        warnings.push(format!(
            "{device} is a member of {container}: it is not written, and stays locked; {ASSEMBLE}"
        ));
        if dirty == DirtyPolicy::Replay {
            dirty = DirtyPolicy::Frozen;
        }
    }
    let may_write = dirty == DirtyPolicy::Replay && !root.media_read_only;
    match &root.state {
        State::Dirty(why) => match dirty {
            DirtyPolicy::Refuse => return Err(why),
            DirtyPolicy::Replay if may_write => {
                let warning = format!("{device}: {why}: {REPAIRS}");
                for fstype in &fstypes {
                    ways.push(fstype, "", false, Some(&warning));
                }
            }
            _ => {}
        },
        State::ReadOnlyFormat => {
            for fstype in &fstypes {
                ways.push(fstype, "", false, None);
            }
            return Ok(ways.list);
        }
        State::Clean | State::Unknown => {
            for fstype in &fstypes {
                ways.push(fstype, "", true, None);
            }
            if may_write {
                // Tried only when the kernel says that it has to write.
                let warning = format!("{device}: the journal needs recovery: {REPAIRS}");
                for fstype in &fstypes {
                    ways.push(fstype, "", false, Some(&warning));
                }
            }
            if dirty == DirtyPolicy::Refuse {
                return Ok(ways.list);
            }
        }
    }
    let unseen = "nothing is written, changes that only the journal holds are not seen";
    let warning = match (&root.state, dirty) {
        (State::Dirty(why), DirtyPolicy::Frozen) => format!("{device}: {why}; frozen: {unseen}"),
        (State::Dirty(why), _) if root.media_read_only => {
            format!("{device}: {why}, but the device is read-only: mounted without the journal")
        }
        _ => format!(
"{device}: mounted without the journal, which is damaged or may not be replayed: {unseen}; {FSCK}"
        ),
    };
    for fstype in &fstypes {
        for option in without_journal(fstype) {
            ways.push(fstype, option, true, Some(&warning));
        }
    }
    let warning = format!(
        "{device}: mounted by a copy of the superblock, as the first one is damaged; {FSCK}"
    );
    for fstype in fstypes.iter().filter(|name| name.starts_with("ext")) {
        for copy in COPIES {
            let option = without_journal(fstype).first();
            let options = join(option.copied().unwrap_or_default(), copy);
            ways.push(fstype, &options, true, Some(&warning));
        }
    }
    Ok(ways.list)
}

struct Ways<'a> {
    root: &'a Root,
    flags: String,
    read_only: bool,
    list: Vec<RootMount>,
}

impl<'a> Ways<'a> {
    fn new(root: &'a Root, flags: String) -> Self {
        Ways {
            root,
            flags,
            read_only: true,
            list: Vec::new(),
        }
    }

    /// Adds a way; one with options of our own leaves the journal alone, and the device locked.
    fn push(&mut self, fstype: &str, options: &str, lock: bool, warning: Option<&str>) {
        self.list.push(RootMount {
            device: self.root.device.clone(),
            fstype: fstype.to_owned(),
            read_only: self.read_only,
            lock_device: lock && !self.root.media_read_only,
            frozen: !options.is_empty(),
            options: join(&self.flags, options),
            warning: warning.map(ToOwned::to_owned),
        });
    }
}

/// Mount options without `rw`: the kernel takes them after the flags of the mount, and would make the file system
/// behind a read-only mount writable (`vfs_parse_sb_flag()` in `fs/fs_context.c`; it looks at names only).
fn without_rw(flags: &str) -> String {
    let kept = flags.split(',').filter(|option| !is_rw(option));
    kept.fold(String::new(), |kept, option| join(&kept, option))
}

/// Mount options that leave a journal alone; of those for one file system, newer kernels take the first.
fn without_journal(fstype: &str) -> &'static [&'static str] {
    match fstype {
        "ext3" | "ext4" => &["noload"],
        "f2fs" | "xfs" => &["norecovery"],
        "btrfs" => &["rescue=nologreplay", "nologreplay"],
        _ => &[],
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
