// SPDX-License-Identifier: MIT
//! What to write into the real root, and everything that speaks against it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use rustix::fs::StatVfs;
use serde::{Deserialize, Serialize};

use overlayroot::verity;

use crate::blockdev;
use crate::bootreport::BootReport;
use crate::commitlist::CommitList;
use crate::devicelock;
use crate::error::{Error, Result};
use crate::layers::changes::{changes, no_such_path, Change, How, Renames};
use crate::layers::compare::What;
use crate::layers::dir::{Dir, Kind};
use crate::layers::view::{reading, View};
use crate::live::Layers;
use crate::quoting::Quote;

/// File systems that cannot be written at all.
const NEVER_WRITABLE: [&str; 5] = ["squashfs", "erofs", "cramfs", "romfs", "iso9660"];
/// Bytes that stay free beyond what the files take, for directories and the file system's own needs.
const RESERVE: u64 = 256 << 10;

/// Why something is not kept that could be.
const LEFT_OUT: &str = "a line of commit.d; name it to keep it";

/// One thing to do in the real root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Path, from the top.
    pub path: PathBuf,
    /// What is or was there.
    pub kind: Kind,
    /// What to do.
    pub action: Action,
}

/// What to do with a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Put the running system's entry there, in place of whatever there is.
    Write,
    /// Give a directory that is there the attributes of the running system's.
    Attributes,
    /// Take it away.
    Delete,
}

/// All of it.
#[derive(Debug, Default)]
pub struct Plan {
    /// In this order: directories before what is in them, deletions last.
    pub steps: Vec<Step>,
    /// What is left out, and why.
    pub skipped: Vec<(PathBuf, String)>,
    /// A directory has to change places with something else in one step.
    pub exchanges: bool,
    bytes: u64,
    inodes: u64,
}

/// Refuses where the real root cannot be written, whatever is to be written.
pub fn can_be_opened(layers: &Layers) -> Result<()> {
    let lower = &layers.lower;
    if lower.source == verity::DEVICE {
        return Err(Error::refused(
            format!(
                "{} is verified (ofs-verity=): with one block changed it would not fit its root hash",
                lower.source
            ),
            "build and install a new image",
        ));
    }
    let root = BootReport::read()?.and_then(|report| report.root);
    if let Some(container) = root.and_then(|root| root.container) {
        return Err(Error::refused(
            format!(
                "{} is a member of {container}: writing to it alone damages that",
                lower.source
            ),
            "assemble it in the initramfs, and boot from that",
        ));
    }
    if NEVER_WRITABLE.contains(&&*lower.fstype) {
        return Err(Error::refused(
            format!(
                "{} is {}, which cannot be written",
                lower.source, lower.fstype
            ),
            "build and install a new image",
        ));
    }
    let ignored_journal = ["noload", "norecovery", "nologreplay", "rescue=nologreplay"];
    let mut options = lower.super_options.split(',');
    if options.any(|o| ignored_journal.contains(&o)) {
        return Err(Error::refused(
            format!(
                "{} is mounted without its journal, which holds changes that are not seen",
                lower.source
            ),
            "boot once with ofs-dirty=replay, which repairs it",
        ));
    }
    // The lock of ofs-lock=yes is opened for the work, and closed again.
    if blockdev::is_read_only(lower.major, lower.minor) == Some(true) && !devicelock::is_wanted() {
        return Err(Error::refused(
            format!("the device {} is locked against writing", lower.source),
            "the card is write-protected, or somebody locked it: blockdev --setrw DEVICE",
        ));
    }
    Ok(())
}

impl Plan {
    /// Plans to make the changes at these paths permanent. `all`: what cannot be kept is left out instead
    /// of being refused.
    pub fn make(view: &View, paths: &[PathBuf], all: bool) -> Result<Plan> {
        let mut plan = Plan::default();
        let mut reasons = Vec::new();
        let mut chosen: Vec<Change> = Vec::new();
        for path in paths {
            let found =
                changes(view, path, Renames::Expanded)?.ok_or_else(|| no_such_path(path))?;
            if found.is_empty() {
                plan.skipped.push((path.clone(), "not changed".to_owned()));
                continue;
            }
            plan.add_parents(view, path)?;
            chosen.extend(found);
        }
        // This looks at everything; only deletions have to know.
        let sources = match chosen.iter().any(|change| change.how == How::Deleted) {
            true => rename_sources(view)?,
            false => Vec::new(),
        };
        // What is named is kept, whatever the list says.
        let list = match all {
            true => CommitList::read()?,
            false => CommitList::default(),
        };
        let mut seen: BTreeSet<PathBuf> = plan.steps.iter().map(|s| s.path.clone()).collect();
        for change in chosen {
            if !seen.insert(change.path.clone()) {
                continue; // named twice
            }
            if list.excludes(&change.path, change.kind == Kind::Directory) {
                plan.skipped.push((change.path, LEFT_OUT.to_owned()));
                continue;
            }
            match objection(&change, &sources) {
                None => plan.take(view, change)?,
                Some(why) if all => plan.skipped.push((change.path, why)),
                Some(why) if change.kind == Kind::Socket => plan.skipped.push((change.path, why)),
                Some(why) => reasons.push(format!("{} {why}", change.path.quoted())),
            }
        }
        if !reasons.is_empty() {
            return Err(Error::Refused {
                reasons,
                remedy:
                    "commit other paths, or change the real root itself with overlayrootctl edit"
                        .to_owned(),
            });
        }
        // Both copies of a file that was moved exist for a moment, never none.
        plan.steps.sort_by_key(|step| step.action == Action::Delete);
        Ok(plan)
    }

    /// Directories above a path that the real root does not have yet.
    fn add_parents(&mut self, view: &View, path: &Path) -> Result<()> {
        let mut missing = Vec::new();
        for folder in path.ancestors().skip(1) {
            let (Some(parent), Some(name)) = (folder.parent(), folder.file_name()) else {
                break;
            };
            let stat = match view.lower.walk(parent).map_err(reading(parent))? {
                Some(dir) => dir.stat(name).map_err(reading(folder))?,
                None => None,
            };
            match stat {
                Some(stat) if stat.kind == Kind::Directory => break,
                Some(_) => {
                    return Err(Error::refused(
                        format!("{} is no directory in the real root", folder.quoted()),
                        format!("commit {} as a whole", folder.quoted()),
                    ))
                }
                None => missing.push(folder.to_owned()),
            }
        }
        for folder in missing.into_iter().rev() {
            if !self.steps.iter().any(|s| s.path == folder) {
                self.inodes += 1;
                self.steps.push(Step {
                    path: folder,
                    kind: Kind::Directory,
                    action: Action::Write,
                });
            }
        }
        Ok(())
    }

    fn take(&mut self, view: &View, change: Change) -> Result<()> {
        let action = match &change.how {
            How::Deleted => Action::Delete,
            How::Changed { what }
                if change.kind == Kind::Directory && !what.contains(&What::Type) =>
            {
                Action::Attributes
            }
            How::Changed { what } => {
                let was_dir = is_dir(&view.lower, &change.path)?;
                let is_dir = change.kind == Kind::Directory;
                self.exchanges |= what.contains(&What::Type) && (is_dir || was_dir);
                Action::Write
            }
            How::Added | How::Renamed { .. } => Action::Write,
        };
        if action == Action::Write {
            self.inodes += 1;
            self.bytes += used(&view.merged, &change.path)?;
        }
        self.steps.push(Step {
            path: change.path,
            kind: change.kind,
            action,
        });
        Ok(())
    }

    /// Refuses when the real root has no room for it.
    pub fn fits(&self, lower: &Dir, name: &str) -> Result<()> {
        let free = rustix::fs::fstatvfs(lower).map_err(Error::system("look at", name))?;
        match missing_room(&free, self.bytes + RESERVE, self.inodes) {
            None => Ok(()),
            Some(reason) => Err(Error::refused(
                format!("{name}: {reason}"),
                "delete something there with overlayrootctl edit, or commit less",
            )),
        }
    }
}

#[allow(clippy::unnecessary_cast)] // narrower on 32-bit systems
fn missing_room(free: &StatVfs, bytes: u64, inodes: u64) -> Option<String> {
    let there = (free.f_bavail as u64).saturating_mul(free.f_frsize as u64);
    if bytes > there {
        return Some(format!("{bytes} bytes are needed, {there} are free"));
    }
    // File systems without a table of inodes report none at all.
    let there = free.f_favail as u64;
    let needed = inodes + 4; // our own folder
    (free.f_files > 0 && needed > there)
        .then(|| format!("{needed} inodes are needed, {there} are free"))
}

fn objection(change: &Change, sources: &[(PathBuf, PathBuf)]) -> Option<String> {
    if change.from_init {
        return Some(
            "is the init's copy, with entries that are for RAM only: edit the real one with overlayrootctl edit"
                .to_owned(),
        );
    }
    if change.kind == Kind::Socket && change.how != How::Deleted {
        return Some("is a socket: whoever listens makes it anew".to_owned());
    }
    if change.how == How::Deleted {
        // Overlayfs looks for the contents of a renamed directory there, until the next boot.
        if let Some((now, _)) = sources
            .iter()
            .find(|(_, from)| from.starts_with(&change.path))
        {
            return Some(format!(
                "was renamed to {}, and has to stay until the next boot",
                now.quoted()
            ));
        }
    }
    None
}

/// What was renamed, and where from.
fn rename_sources(view: &View) -> Result<Vec<(PathBuf, PathBuf)>> {
    let all = changes(view, Path::new("/"), Renames::Shown)?.unwrap_or_default();
    Ok(all
        .into_iter()
        .filter_map(|change| match change.how {
            How::Renamed { from } => Some((change.path, from)),
            _ => None,
        })
        .collect())
}

fn stat(tree: &Dir, path: &Path) -> Result<Option<crate::layers::dir::Stat>> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Ok(None);
    };
    match tree.walk(parent).map_err(reading(parent))? {
        Some(dir) => dir.stat(name).map_err(reading(path)),
        None => Ok(None),
    }
}

fn is_dir(tree: &Dir, path: &Path) -> Result<bool> {
    Ok(stat(tree, path)?.is_some_and(|s| s.kind == Kind::Directory))
}

/// Room that an entry takes, bytes: whole blocks of 4 KiB.
fn used(tree: &Dir, path: &Path) -> Result<u64> {
    Ok(stat(tree, path)?.map_or(0, |stat| match stat.kind {
        Kind::File => stat
            .used
            .min(stat.size.next_multiple_of(4096))
            .next_multiple_of(4096),
        Kind::Directory => 4096,
        _ => 0,
    }))
}
