// SPDX-License-Identifier: MIT
//! What the running system has changed against the lower: a walk through the upper.
//!
//! The upper says where to look; what is there is read from the merged tree, where the kernel has put
//! renames, metadata-only copies and the rest together already.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use overlayroot::fstab;
use serde::Serialize;

use super::compare::{differences, At, What};
use super::dir::{Dir, Kind, Stat};
use super::marks::Marked;
use super::view::{reading, View};
use crate::error::{Error, Result};
use crate::quoting::Quote;

/// Directories in each other that are followed: each takes stack and three open files.
const DEEPEST: usize = 256;

/// What happened to a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "change", rename_all = "lowercase")]
pub enum How {
    /// The lower has no such entry.
    Added,
    /// It differs from the lower's.
    Changed {
        /// In what.
        what: Vec<What>,
    },
    /// The lower has it, the running system has not.
    Deleted,
    /// It came from another place in the lower; what is below is the same unless listed.
    Renamed {
        /// Path in the lower.
        #[serde(with = "crate::jsonpath")]
        from: PathBuf,
    },
}

/// A path and what happened to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Path in the running system.
    #[serde(with = "crate::jsonpath")]
    pub path: PathBuf,
    /// What is there; what was there when it was deleted.
    pub kind: Kind,
    /// What happened.
    #[serde(flatten)]
    pub how: How,
    /// Contents are the lower's, only attributes were changed.
    pub metadata_only: bool,
    /// Length of a file, bytes.
    pub size: u64,
    /// The copy of /etc/fstab that the init made, edited since.
    #[serde(skip)]
    pub from_init: bool,
}

/// How renamed directories are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renames {
    /// As one change, and what differs from where they came from.
    Shown,
    /// As what they are to a lower that knows nothing of renames: everything in them is added.
    Expanded,
}

/// Changes at `path` and below; an empty list when there are none. `None` when there is no such path.
pub fn changes(view: &View, path: &Path, renames: Renames) -> Result<Option<Vec<Change>>> {
    let mut walk = Walk {
        view,
        renames,
        found: Vec::new(),
    };
    let mut here = walk.top()?;
    let mut parts = path.components().filter_map(|part| match part {
        std::path::Component::Normal(name) => Some(name),
        _ => None,
    });
    let Some(mut name) = parts.next() else {
        walk.all(&here)?;
        return Ok(Some(walk.found));
    };
    for next in parts {
        match walk.descend(&here, name)? {
            Some(below) => here = below,
            None => return Ok(None),
        }
        name = next;
    }
    let there = here.merged.stat(name).map_err(reading(path))?.is_some();
    let was = stat_in(&here.lower, name).map_err(reading(path))?.is_some();
    walk.entry(&here, name)?;
    Ok((there || was).then_some(walk.found))
}

/// A directory in each of the trees.
struct Here {
    path: PathBuf,
    merged: Dir,
    /// `None` in a renamed directory where nothing was changed.
    upper: Option<Dir>,
    /// The lower's directory that this one is compared with.
    lower: Option<Dir>,
    /// Where that is.
    lower_path: PathBuf,
    /// What is in the lower and not in the upper is gone.
    opaque: bool,
    /// Everything in the merged directory is to be listed.
    whole: bool,
}

struct Walk<'a> {
    view: &'a View,
    renames: Renames,
    found: Vec<Change>,
}

fn stat_in(dir: &Option<Dir>, name: &OsStr) -> io::Result<Option<Stat>> {
    match dir {
        Some(dir) => dir.stat(name),
        None => Ok(None),
    }
}

/// What an upper's entry says.
struct Marks {
    stat: Stat,
    whiteout: bool,
    opaque: bool,
    redirect: Option<PathBuf>,
    metadata_only: bool,
}

impl Marks {
    fn read(upper: &Option<Dir>, name: &OsStr, prefix: &'static str) -> io::Result<Option<Marks>> {
        let Some(dir) = upper else { return Ok(None) };
        let Some(stat) = dir.stat(name)? else {
            return Ok(None);
        };
        let (is_dir, is_file) = (stat.kind == Kind::Directory, stat.kind == Kind::File);
        let marked = Marked { dir, name, prefix };
        Ok(Some(Marks {
            whiteout: marked.is_whiteout(&stat)?,
            opaque: is_dir && marked.is_opaque()?,
            redirect: match is_dir || is_file {
                true => marked.redirect()?,
                false => None,
            },
            metadata_only: is_file && marked.is_metadata_only()?,
            stat,
        }))
    }
}

impl Walk<'_> {
    fn top(&self) -> Result<Here> {
        let path = Path::new("/");
        let again = |dir: &Dir| dir.again().map_err(reading(path));
        Ok(Here {
            path: path.to_owned(),
            merged: again(&self.view.merged)?,
            upper: Some(again(&self.view.upper)?),
            lower: Some(again(&self.view.lower)?),
            lower_path: path.to_owned(),
            opaque: false,
            whole: false,
        })
    }

    /// Everything in a directory.
    fn all(&mut self, here: &Here) -> Result<()> {
        let read = |dir: Option<&Dir>| match dir {
            Some(dir) => dir.names().map_err(reading(&here.path)),
            None => Ok(Vec::new()),
        };
        let mut names: BTreeSet<OsString> = read(here.upper.as_ref())?.into_iter().collect();
        if here.whole {
            names.extend(read(Some(&here.merged))?);
        }
        if here.opaque {
            names.extend(read(here.lower.as_ref())?);
        }
        for name in names {
            self.entry(here, &name)?;
        }
        Ok(())
    }

    /// One entry, and what is below it.
    fn entry(&mut self, here: &Here, name: &OsStr) -> Result<()> {
        let path = here.path.join(name);
        if self.view.is_own(&path) {
            return Ok(());
        }
        let at = || reading(&path);
        let marks = Marks::read(&here.upper, name, self.view.marks).map_err(at())?;
        let old = stat_in(&here.lower, name).map_err(at())?;
        let new = here.merged.stat(name).map_err(at())?;
        let (new, old) = match (new, old) {
            (Some(new), old) => {
                if marks.is_none() && !here.whole {
                    return Ok(()); // the lower's own
                }
                (new, old)
            }
            (None, Some(old)) => {
                // Either a whiteout, or hidden by an opaque directory.
                if marks.as_ref().is_some_and(|m| m.whiteout) || here.opaque {
                    self.add(&path, old.kind, How::Deleted, 0);
                }
                return Ok(());
            }
            (None, None) => return Ok(()), // a whiteout of nothing, or gone in the meantime
        };
        self.compare(here, name, &path, &marks, &new, old.as_ref())
            .map_err(at())?;
        if new.kind == Kind::Directory {
            if let Some(below) = self.descend(here, name)? {
                self.all(&below)?;
            }
        }
        Ok(())
    }

    /// What happened to an entry that is there, by itself.
    fn compare(
        &mut self,
        here: &Here,
        name: &OsStr,
        path: &Path,
        marks: &Option<Marks>,
        new: &Stat,
        old: Option<&Stat>,
    ) -> io::Result<()> {
        let redirect = marks.as_ref().and_then(|m| m.redirect.as_ref());
        if let (Some(from), Renames::Shown) = (redirect, self.renames) {
            let from = self.resolve(here, from);
            if from != path {
                self.add(path, new.kind, How::Renamed { from }, new.size);
                return Ok(());
            }
        }
        let how = match (old, &here.lower) {
            (Some(old), Some(lower)) => {
                let (new_at, old_at) = (At::new(&here.merged, name), At::new(lower, name));
                let holds = |name: &OsStr, value: &[u8]| self.view.holds(name, value);
                let mut what = differences((new_at, new), (old_at, old), &holds)?;
                if path == Path::new("/etc/fstab")
                    && self.is_inits_copy(&mut what, new_at, old_at)?
                {
                    if what.is_empty() {
                        return Ok(());
                    }
                    self.add(path, new.kind, How::Changed { what }, new.size);
                    if let Some(change) = self.found.last_mut() {
                        change.from_init = true;
                    }
                    return Ok(());
                }
                if what.is_empty() {
                    return Ok(());
                }
                How::Changed { what }
            }
            _ => How::Added,
        };
        self.add(path, new.kind, how, new.size);
        if let (Some(change), Some(marks)) = (self.found.last_mut(), marks) {
            change.metadata_only = marks.metadata_only;
        }
        Ok(())
    }

    /// The init's copy of fstab is no change while its entries are the original's.
    fn is_inits_copy(&self, what: &mut Vec<What>, new: At<'_>, old: At<'_>) -> io::Result<bool> {
        let read = |at: At<'_>| -> io::Result<Vec<u8>> {
            let mut text = Vec::new();
            io::Read::read_to_end(
                &mut io::Read::take(at.dir.file(at.name)?, 1 << 20),
                &mut text,
            )?;
            Ok(text)
        };
        let is_file = |at: At<'_>| -> io::Result<bool> {
            Ok(at.dir.stat(at.name)?.is_some_and(|s| s.kind == Kind::File))
        };
        if !is_file(new)? || !is_file(old)? {
            return Ok(false);
        }
        let copy = read(new)?;
        if !fstab::is_copy(&copy) {
            return Ok(false);
        }
        what.retain(|w| *w != What::Time);
        if fstab::has_entries_of(&copy, &read(old)?) {
            what.retain(|w| *w != What::Content);
        }
        Ok(true)
    }

    fn add(&mut self, path: &Path, kind: Kind, how: How, size: u64) {
        self.found.push(Change {
            path: path.to_owned(),
            kind,
            how,
            metadata_only: false,
            size: if kind == Kind::File { size } else { 0 },
            from_init: false,
        });
    }

    /// Path in the lower that a redirect names.
    fn resolve(&self, here: &Here, redirect: &Path) -> PathBuf {
        match redirect.is_absolute() {
            true => redirect.to_owned(),
            false => here.lower_path.join(redirect),
        }
    }

    /// The directory `name` in each tree; `None` when the running system has no such directory.
    fn descend(&self, here: &Here, name: &OsStr) -> Result<Option<Here>> {
        let path = here.path.join(name);
        if path.components().count() > DEEPEST {
            let top: PathBuf = path.components().take(4).collect();
            return Err(Error::refused(
                format!("{} is more than {DEEPEST} directories deep", top.quoted()),
                "move what is in it, or name other paths",
            ));
        }
        self.open_below(here, name, &path).map_err(reading(&path))
    }

    fn open_below(&self, here: &Here, name: &OsStr, path: &Path) -> io::Result<Option<Here>> {
        let merged = match here.merged.dir(name) {
            Ok(dir) => dir,
            Err(error) if super::dir::is_absent(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let open = |dir: &Option<Dir>| match dir {
            Some(dir) => dir.walk(Path::new(name)),
            None => Ok(None),
        };
        let marks = Marks::read(&here.upper, name, self.view.marks)?;
        let marks = marks.filter(|m| m.stat.kind == Kind::Directory);
        let upper = open(&here.upper)?;
        let redirect = marks.as_ref().and_then(|m| m.redirect.clone());
        let mut below = Here {
            lower: open(&here.lower)?,
            lower_path: here.lower_path.join(name),
            opaque: marks.as_ref().is_some_and(|m| m.opaque)
                || (here.opaque && here.lower.is_some()),
            // In an unchanged directory nothing is listed, unless all is.
            whole: here.whole,
            path: path.to_owned(),
            merged,
            upper,
        };
        match (redirect, self.renames) {
            (Some(from), Renames::Shown) => {
                let from = self.resolve(here, &from);
                below.lower = self.view.lower.walk(&from)?;
                below.lower_path = from;
                below.opaque = false;
            }
            (Some(_), Renames::Expanded) => {
                // The lower's directory of this name, if there is one, is hidden.
                below.whole = true;
                below.opaque = true;
            }
            (None, _) => {}
        }
        Ok(Some(below))
    }
}

/// A refusal for a path that is not there.
pub fn no_such_path(path: &Path) -> Error {
    Error::refused(
        format!(
            "{} is neither in the running system nor in the real root",
            path.quoted()
        ),
        "overlayrootctl diff lists what was changed",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{lsetxattr, XattrFlags};
    use std::fs;

    /// Upper, lower and what the kernel would make of them, by hand: that the kernel agrees is tested on
    /// User-Mode Linux.
    struct Trees(tempfile::TempDir);

    impl Trees {
        fn new() -> Trees {
            let trees = Trees(tempfile::tempdir().unwrap());
            for tree in ["upper", "lower", "merged", "ram"] {
                fs::create_dir(trees.at(tree)).unwrap();
            }
            trees
        }

        fn at(&self, path: &str) -> PathBuf {
            self.0.path().join(path)
        }

        /// Writes a file into each of the trees, with one time for all.
        fn file(&self, trees: &[&str], path: &str, text: &str) {
            for tree in trees {
                let path = self.at(tree).join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(&path, text).unwrap();
                let file = fs::File::options().write(true).open(&path).unwrap();
                file.set_modified(std::time::UNIX_EPOCH).unwrap();
            }
        }

        fn mark(&self, path: &str, what: &str, value: &str) {
            let name = format!("user.overlay.{what}");
            let path = self.at("upper").join(path);
            lsetxattr(path, &*name, value.as_bytes(), XattrFlags::empty()).unwrap();
        }

        fn changes(&self, path: &str, renames: Renames) -> Option<Vec<String>> {
            let (upper, lower) = (self.at("upper"), self.at("lower"));
            let view = View::of(&upper, &lower, &self.at("merged"), &self.at("ram"));
            let found = changes(&view, Path::new(path), renames).unwrap()?;
            let text = |c: &Change| {
                let how = match &c.how {
                    How::Added => "added".to_owned(),
                    How::Deleted => "deleted".to_owned(),
                    How::Renamed { from } => format!("from {}", from.quoted()),
                    How::Changed { what } => {
                        let words: Vec<&str> = what.iter().map(|w| w.as_str()).collect();
                        words.join("+")
                    }
                };
                format!("{} {how}", c.path.quoted())
            };
            Some(found.iter().map(text).collect())
        }
    }

    #[test]
    fn files() {
        let trees = Trees::new();
        trees.file(&["upper", "merged"], "added", "x");
        trees.file(&["upper", "merged", "lower"], "copied-up", "x");
        trees.file(&["lower", "merged"], "untouched/deep", "x");
        trees.file(&["upper", "merged"], "changed", "new");
        trees.file(&["lower"], "changed", "old");
        trees.file(&["lower"], "gone", "x");
        trees.file(&["upper"], "gone", "");
        trees.mark("gone", "whiteout", "y");
        trees.file(&["upper"], "never-there", "");
        trees.mark("never-there", "whiteout", "y");
        let shown = trees.changes("/", Renames::Shown).unwrap();
        assert_eq!(shown, ["/added added", "/changed content", "/gone deleted"]);
        assert_eq!(
            trees.changes("/gone", Renames::Shown).unwrap(),
            ["/gone deleted"]
        );
        assert_eq!(
            trees.changes("/untouched/deep", Renames::Shown).unwrap(),
            [""; 0]
        );
        assert_eq!(trees.changes("/untouched/none", Renames::Shown), None);
        assert_eq!(trees.changes("/none/none", Renames::Shown), None);
    }

    #[test]
    fn opaque_directories_hide_the_lowers() {
        let trees = Trees::new();
        trees.file(&["lower"], "dir/a", "old");
        trees.file(&["lower"], "dir/sub/b", "b");
        trees.file(&["lower"], "dir/sub/c", "c");
        trees.file(&["upper", "merged"], "dir/a", "new");
        trees.file(&["upper", "merged"], "dir/sub/c", "c");
        trees.mark("dir", "opaque", "y");
        let shown = trees.changes("/dir", Renames::Shown).unwrap();
        assert_eq!(shown, ["/dir/a content", "/dir/sub/b deleted"]);
    }

    #[test]
    fn renamed_directories() {
        let trees = Trees::new();
        trees.file(&["lower"], "old/same", "s");
        trees.file(&["lower"], "old/changed", "1");
        trees.file(&["lower"], "old/gone", "g");
        trees.file(&["merged"], "to/new/same", "s");
        trees.file(&["upper", "merged"], "to/new/changed", "2");
        trees.file(&["upper"], "to/new/gone", "");
        trees.mark("to/new/gone", "whiteout", "y");
        trees.mark("to/new", "redirect", "/old");
        trees.file(&["upper"], "old", "");
        trees.mark("old", "whiteout", "y");
        assert_eq!(
            trees.changes("/", Renames::Shown).unwrap(),
            [
                "/old deleted",
                "/to added",
                "/to/new from /old",
                "/to/new/changed content",
                "/to/new/gone deleted"
            ]
        );
        assert_eq!(
            trees.changes("/", Renames::Expanded).unwrap(),
            [
                "/old deleted",
                "/to added",
                "/to/new added",
                "/to/new/changed added",
                "/to/new/same added"
            ]
        );
    }

    #[test]
    fn the_inits_copy_of_fstab() {
        let trees = Trees::new();
        let original = "LABEL=a / ext4 defaults 0 1\n/dev/b /b ext4 defaults 0 0\n";
        let entry = fstab::LowerEntry {
            device: "/dev/a",
            mount_point: "/mnt/root-RO",
            fstype: "ext4",
            options: "ro",
        };
        let copy = fstab::rewrite(original.as_bytes(), &entry);
        let copy = String::from_utf8(copy).unwrap();
        trees.file(&["lower"], "etc/fstab", original);
        trees.file(&["upper", "merged"], "etc/fstab", &copy);
        assert_eq!(trees.changes("/", Renames::Shown).unwrap(), [""; 0]);
        let edited = format!("{copy}/dev/c /c ext4 defaults 0 0\n");
        trees.file(&["upper", "merged"], "etc/fstab", &edited);
        assert_eq!(
            trees.changes("/", Renames::Shown).unwrap(),
            ["/etc/fstab content"]
        );
    }
}
