// SPDX-License-Identifier: MIT
//! What to write into the real root, and everything that speaks against it.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::StatVfs;
use serde::{Deserialize, Serialize};

use overlayroot::verity;

use super::folders::Folders;
use crate::blockdev;
use crate::bootreport::BootReport;
use crate::commitlist::CommitList;
use crate::devicelock;
use crate::error::{Error, Result};
use crate::layers::changes::{changes, no_such_path, Change, How, LeftOut, Renames};
use crate::layers::compare::{wanted_xattrs, At, What};
use crate::layers::dir::{Dir, Kind, Stat, Xattrs};
use crate::layers::view::{reading, View};
use crate::live::Layers;
use crate::quoting::Quote;

/// File systems that cannot be written at all.
const NEVER_WRITABLE: [&str; 5] = ["squashfs", "erofs", "cramfs", "romfs", "iso9660"];
/// Bytes that stay free beyond what the files take, for directories and the file system's own needs.
pub const RESERVE: u64 = 256 << 10;

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
    /// The one attribute of a file that differs; `None`: all of a directory.
    pub attribute: Option<What>,
    /// The running system's entry as it was compared.
    pub new: Option<Stat>,
    /// The real root has no such entry.
    pub is_new: bool,
    /// A file of the real root that has the same contents and attributes, as it is another name of it.
    pub same_as: Option<PathBuf>,
}

/// What to do with a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Put the running system's entry there, in place of whatever there is.
    Write,
    /// Give an entry that is there attributes of the running system's: a directory all of them, a file one.
    Attributes,
    /// Take it away.
    Delete,
}

/// All of it.
#[derive(Debug, Default)]
pub struct Plan {
    /// In this order: directories before what is in them, deletions last.
    pub steps: Vec<Step>,
    /// What is not kept, as it makes no sense to.
    pub skipped: Vec<LeftOut>,
    /// What should be kept and cannot be.
    pub left_out: Vec<LeftOut>,
    /// What of an entry is not kept.
    pub notes: Vec<LeftOut>,
    /// A directory has to change places with something else in one step.
    pub exchanges: bool,
    /// Room that it takes, bytes.
    pub bytes: u64,
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

/// What speaks against a change.
enum Objection {
    /// It makes no sense to keep it.
    Senseless(String),
    /// It cannot be written.
    Impossible(String),
}

impl Plan {
    /// Plans to make the changes at these paths permanent. What was named itself and cannot be kept is refused;
    /// what lies below is left out, and the rest goes on.
    pub fn make(view: &View, paths: &[PathBuf]) -> Result<Plan> {
        let mut plan = Plan::default();
        let named: HashSet<&PathBuf> = paths.iter().collect();
        let mut reasons = Vec::new();
        let mut chosen: Vec<Change> = Vec::new();
        let mut seen: HashSet<PathBuf> = HashSet::new();
        let (mut renamed, mut same) = (Vec::new(), HashMap::new());
        for path in paths {
            if seen.contains(path) {
                continue; // below another one, or named twice
            }
            let found =
                changes(view, path, Renames::Expanded)?.ok_or_else(|| no_such_path(path))?;
            renamed.extend(found.renamed);
            same.extend(found.same);
            plan.left_out.extend(found.left_out);
            if found.changes.is_empty() {
                plan.skip(path.clone(), "not changed".to_owned());
                continue;
            }
            plan.add_parents(view, path)?;
            for change in found.changes {
                if seen.insert(change.path.clone()) {
                    chosen.push(change);
                }
            }
        }
        // Only deletions have to know all of them.
        let everything = paths.iter().any(|path| path == Path::new("/"));
        if !everything && chosen.iter().any(|change| change.how == How::Deleted) {
            let all = changes(view, Path::new("/"), Renames::Expanded)?;
            renamed = all.map(|found| found.renamed).unwrap_or_default();
        }
        // What is named is kept, whatever the list says.
        let list = match everything {
            true => CommitList::read()?,
            false => CommitList::default(),
        };
        let parents: HashSet<PathBuf> = plan.steps.iter().map(|s| s.path.clone()).collect();
        let (mut fixed, mut merged) = (Fixed::new(&view.lower), Folders::of(&view.merged));
        for change in chosen {
            if parents.contains(&change.path) {
                continue;
            }
            if list.excludes(&change.path, change.kind == Kind::Directory) {
                plan.skip(change.path, LEFT_OUT.to_owned());
                continue;
            }
            let named = named.contains(&change.path);
            match objection(&change, &renamed, &mut fixed) {
                None => plan.take(view, change, &same, &mut merged)?,
                Some(Objection::Senseless(why) | Objection::Impossible(why))
                    if named && change.kind != Kind::Socket =>
                {
                    reasons.push(format!("{} {why}", change.path.quoted()));
                }
                Some(Objection::Senseless(why)) => plan.skip(change.path, why),
                Some(Objection::Impossible(reason)) => plan.left_out.push(LeftOut {
                    path: change.path,
                    reason,
                }),
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
        plan.note_lost_links();
        // Both copies of a file that was moved exist for a moment, never none.
        plan.steps.sort_by_key(|step| step.action == Action::Delete);
        Ok(plan)
    }

    fn skip(&mut self, path: PathBuf, reason: String) {
        self.skipped.push(LeftOut { path, reason });
    }

    /// Names of a file that stay names of another one, as only some of them are written.
    fn note_lost_links(&mut self) {
        let mut names: HashMap<(u64, u64), u64> = HashMap::new();
        let linked = |step: &Step| -> Option<Stat> {
            let stat = step.new.clone().filter(|stat| stat.links > 1);
            stat.filter(|stat| step.action == Action::Write && stat.kind != Kind::Directory)
        };
        for stat in self.steps.iter().filter_map(linked) {
            *names.entry(stat.id).or_default() += 1;
        }
        for step in &self.steps {
            let Some(stat) = linked(step) else { continue };
            let written = names.get(&stat.id).copied().unwrap_or_default();
            if step.same_as.is_none() && written < stat.links {
                self.notes.push(LeftOut {
                    path: step.path.clone(),
                    reason: format!(
                        "has {} names in the running system; {written} of them are kept as one file",
                        stat.links
                    ),
                });
            }
        }
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
                    attribute: None,
                    new: None,
                    is_new: true,
                    same_as: None,
                });
            }
        }
        Ok(())
    }

    fn take(
        &mut self,
        view: &View,
        change: Change,
        same: &HashMap<(u64, u64), PathBuf>,
        merged: &mut Folders<'_>,
    ) -> Result<()> {
        let attribute = match &change.how {
            How::Changed { what } => {
                in_place(view, &change, what).map_err(reading(&change.path))?
            }
            _ => None,
        };
        let (is_dir, was_dir) = (is_dir(&change.new), is_dir(&change.old));
        let action = match &change.how {
            How::Deleted => Action::Delete,
            How::Changed { .. } if is_dir && was_dir => Action::Attributes,
            How::Changed { .. } if attribute.is_some() => Action::Attributes,
            How::Changed { .. } => {
                self.exchanges |= is_dir || was_dir;
                Action::Write
            }
            How::Added | How::Renamed { .. } => Action::Write,
        };
        let mut same_as = None;
        if action == Action::Write {
            let id = change.new.as_ref().map(|stat| stat.id);
            same_as = id.and_then(|id| same.get(&id)).cloned();
            self.inodes += 1;
            if same_as.is_none() {
                self.bytes += change.new.as_ref().map_or(0, used);
            }
        }
        if change.how != How::Deleted {
            self.note_flags(merged, &change);
        }
        self.steps.push(Step {
            path: change.path,
            kind: change.kind,
            action,
            attribute,
            is_new: change.old.is_none(),
            new: change.new,
            same_as,
        });
        Ok(())
    }

    /// Flags of chattr(1) are not written: with some of them a file could not take its place.
    fn note_flags(&mut self, merged: &mut Folders<'_>, change: &Change) {
        let letters = flags(merged, &change.path);
        if !letters.is_empty() {
            self.notes.push(LeftOut {
                path: change.path.clone(),
                reason: format!("is kept without its flags of chattr, +{letters}"),
            });
        }
    }

    /// Refuses when the real root has no room for it, even with what can be given up there, bytes.
    pub fn fits(&self, lower: &Dir, spare: u64) -> Result<()> {
        let name = "the real root";
        let free = rustix::fs::fstatvfs(lower).map_err(Error::system("look at", name))?;
        let needed = (self.bytes + RESERVE).saturating_sub(spare);
        match missing_room(&free, needed, self.inodes) {
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

fn objection(
    change: &Change,
    renamed: &[(PathBuf, PathBuf)],
    fixed: &mut Fixed<'_>,
) -> Option<Objection> {
    if change.from_init {
        return Some(Objection::Senseless(
            "is the init's copy, with entries that are for RAM only: edit the real one with overlayrootctl edit"
                .to_owned(),
        ));
    }
    if change.kind == Kind::Socket && change.how != How::Deleted {
        return Some(Objection::Senseless(
            "is a socket: whoever listens makes it anew".to_owned(),
        ));
    }
    if change.how == How::Deleted {
        // Overlayfs looks for the contents of a renamed directory there, until the next boot.
        let source = renamed
            .iter()
            .find(|(_, from)| from.starts_with(&change.path));
        if let Some((now, _)) = source {
            return Some(Objection::Senseless(format!(
                "was renamed to {}, and has to stay until the next boot",
                now.quoted()
            )));
        }
    }
    fixed.objection(change).map(Objection::Impossible)
}

/// Entries of the real root that chattr(1) keeps from being changed.
struct Fixed<'a> {
    lower: Folders<'a>,
    /// The last directory that was looked at.
    folder: Option<(PathBuf, String)>,
}

impl<'a> Fixed<'a> {
    fn new(lower: &'a Dir) -> Fixed<'a> {
        Fixed {
            lower: Folders::of(lower),
            folder: None,
        }
    }

    fn objection(&mut self, change: &Change) -> Option<String> {
        let why = |letters: &str, what: &str| {
            format!(
                "{what} +{letters} in the real root (lsattr), which keeps it from being changed"
            )
        };
        let mut fixed = |path: &Path| {
            let mut letters = flags(&mut self.lower, path);
            letters.retain(|letter| matches!(letter, 'a' | 'i'));
            letters
        };
        if change.old.is_some() {
            let found = fixed(&change.path);
            if !found.is_empty() {
                return Some(why(&found, "is"));
            }
        }
        let parent = change.path.parent()?;
        if self.folder.as_ref().map(|(path, _)| &**path) != Some(parent) {
            self.folder = Some((parent.to_owned(), fixed(parent)));
        }
        let (_, found) = self.folder.as_ref()?;
        (!found.is_empty()).then(|| why(found, "is in a directory that is"))
    }
}

/// Flags of chattr(1), by their letters.
fn flags(tree: &mut Folders<'_>, path: &Path) -> String {
    match tree.place(path) {
        Ok((dir, name)) => dir.flags(name),
        Err(_) => String::new(), // not there, or the top, which nobody fixes
    }
}

/// The attribute of a file that can be written where it is, as the file system does that at once. Several of them,
/// or those of a file with several names, take a copy.
fn in_place(view: &View, change: &Change, what: &[What]) -> io::Result<Option<What>> {
    let (Some(old), [one]) = (&change.old, what) else {
        return Ok(None);
    };
    if old.kind != Kind::File || old.links != 1 {
        return Ok(None);
    }
    let alone = match one {
        What::Type | What::Content => false,
        What::Mode | What::Time => true,
        // A change of owner takes these away.
        What::Owner => old.mode & 0o6000 == 0 && lower_xattrs(view, change)?.is_empty(),
        What::Attributes => {
            let (old, new) = (lower_xattrs(view, change)?, new_xattrs(view, change)?);
            let differ = |name: &&std::ffi::OsString| old.get(*name) != new.get(*name);
            let names: BTreeSet<_> = old.keys().chain(new.keys()).collect();
            names.into_iter().filter(differ).count() == 1
        }
    };
    Ok(alone.then_some(*one))
}

fn lower_xattrs(view: &View, change: &Change) -> io::Result<Xattrs> {
    let (dir, name) = place(&view.lower, &change.path)?;
    dir.xattrs(name)
}

/// Those that the entry is to have.
fn new_xattrs(view: &View, change: &Change) -> io::Result<Xattrs> {
    let (old, name) = place(&view.lower, &change.path)?;
    let (new, _) = place(&view.merged, &change.path)?;
    wanted_xattrs(
        new.xattrs(name)?,
        Some(At::new(&old, name)),
        &|name, value| view.holds(name, value),
    )
}

/// A path's directory and name, in one of the trees.
pub fn place<'a>(tree: &Dir, path: &'a Path) -> io::Result<(Dir, &'a OsStr)> {
    let missing = || io::Error::from(rustix::io::Errno::NOENT);
    let (parent, name) = path.parent().zip(path.file_name()).ok_or_else(missing)?;
    Ok((tree.walk(parent)?.ok_or_else(missing)?, name))
}

fn is_dir(stat: &Option<Stat>) -> bool {
    stat.as_ref().is_some_and(|s| s.kind == Kind::Directory)
}

/// Room that an entry takes, bytes: whole blocks of 4 KiB.
fn used(stat: &Stat) -> u64 {
    match stat.kind {
        Kind::File => stat
            .used
            .min(stat.size.next_multiple_of(4096))
            .next_multiple_of(4096),
        Kind::Directory => 4096,
        _ => 0,
    }
}
