// SPDX-License-Identifier: MIT
//! The ways in which the root may be mounted: one list, tried from top to bottom until one works.
//!
//! First what the settings ask for; last what is left when the journal or the superblock is broken.

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;

use crate::facts::{Facts, Root};
use crate::options::{is_rw, join};
use crate::push_text;
use crate::settings::{DirtyPolicy, Settings};
use crate::step::RootMount;
use crate::superblock::{State, ASSEMBLE};

/// What is said of a journal that the kernel may replay.
const REPAIRS: &str = ": the kernel repairs it now, which writes to the device once";

/// Where copies of the superblock of ext2, ext3 and ext4 are, in units of 1 KiB, as `sb=` counts them: at the
/// beginning of the second block group, for blocks of 4, 2 and 1 KiB (`ext4_group_first_block_no()` with as many
/// blocks in a group as one block has bits).
const COPIES: [&str; 3] = ["sb=131072", "sb=32768", "sb=8193"];

/// Ways to mount the root as it was asked for, where it may be written to.
pub fn writable(root: &Root, settings: &Settings, facts: &Facts) -> Vec<RootMount> {
    let mut ways = Ways::new(root, settings.flags.clone(), fstypes(root, settings, facts));
    ways.read_only = settings.read_only;
    ways.plain(false, "", "");
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
    let mut ways = Ways::new(root, flags, fstypes(root, settings, facts));
    let mut dirty = settings.dirty;
    if let Some(container) = root.container {
        push_text!(
            warnings,
            "{} is a member of {}: it is not written, and stays locked; {}",
            root.device,
            container,
            ASSEMBLE
        );
        if dirty == DirtyPolicy::Replay {
            dirty = DirtyPolicy::Frozen;
        }
    }
    let may_write = dirty == DirtyPolicy::Replay && !root.media_read_only;
    match &root.state {
        State::Dirty(why) if dirty == DirtyPolicy::Refuse => return Err(why),
        State::Dirty(why) if may_write => ways.plain(false, why, REPAIRS),
        State::Dirty(_) => {}
        State::ReadOnlyFormat => ways.plain(false, "", ""),
        State::Clean | State::Unknown => {
            ways.plain(true, "", "");
            if may_write {
                // Tried only when the kernel says that it has to write.
                ways.plain(false, "the journal needs recovery", REPAIRS);
            }
        }
    }
    let asked_for = matches!(root.state, State::Dirty(_)) && !may_write;
    let last = dirty != DirtyPolicy::Refuse && root.state != State::ReadOnlyFormat;
    if asked_for || last && !facts.others {
        ways.without_journal(match (&root.state, dirty) {
            (State::Dirty(why), DirtyPolicy::Frozen) => (
                why,
                "; frozen: nothing is written, changes that only the journal holds are not seen",
            ),
            (State::Dirty(why), _) if root.media_read_only => (
                why,
                ", but the device is read-only: mounted without the journal",
            ),
            _ => (
                "",
                "mounted without the journal, which is damaged or may not be replayed: nothing is written, changes that only the journal holds are not seen; check it with fsck from another system",
            ),
        });
    }
    Ok(ways.list)
}

struct Ways<'a> {
    root: &'a Root,
    flags: String,
    fstypes: Vec<String>,
    read_only: bool,
    list: Vec<RootMount>,
}

impl<'a> Ways<'a> {
    fn new(root: &'a Root, flags: String, fstypes: Vec<String>) -> Self {
        Ways {
            root,
            flags,
            fstypes,
            read_only: true,
            list: Vec::new(),
        }
    }

    /// With each file system, as it was asked for.
    fn plain(&mut self, lock: bool, why: &'static str, warning: &'static str) {
        for at in 0..self.fstypes.len() {
            self.push(at, "", lock, (why, warning));
        }
    }

    /// With each file system, the journal left alone; then by copies of the superblock.
    fn without_journal(&mut self, warning: (&'static str, &'static str)) {
        for at in 0..self.fstypes.len() {
            for option in self.options(at) {
                self.push(at, option, true, warning);
            }
        }
        let damaged = "mounted by a copy of the superblock, as the first one is damaged; check it with fsck from another system";
        let is_ext = |name: &str| name.starts_with("ext");
        // What is recognised by its own first superblock is no old ext4.
        if !self.root.fstype.map_or(true, is_ext) {
            return;
        }
        for at in 0..self.fstypes.len() {
            if self.fstypes.get(at).is_some_and(|name| is_ext(name)) {
                for copy in &COPIES {
                    let option = self.options(at).first().copied().unwrap_or_default();
                    self.push(at, &join(option, copy), true, ("", damaged));
                }
            }
        }
    }

    fn options(&self, at: usize) -> &'static [&'static str] {
        without_journal(self.fstypes.get(at).map_or("", |name| name))
    }

    /// Adds a way; one with options of our own leaves the journal alone, and the device locked.
    fn push(
        &mut self,
        at: usize,
        options: &str,
        lock: bool,
        warning: (&'static str, &'static str),
    ) {
        self.list.push(RootMount {
            device: self.root.device.clone(),
            fstype: self.fstypes.get(at).cloned().unwrap_or_default(),
            read_only: self.read_only,
            lock_device: lock && !self.root.media_read_only,
            frozen: !options.is_empty(),
            options: join(&self.flags, options),
            warning,
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
            facts.filesystems.iter().for_each(|name| add(name));
        }
        None => {}
    }
    fstypes
}
