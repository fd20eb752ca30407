// SPDX-License-Identifier: MIT
//! What the running system has changed against the lower: a walk through the upper.
//!
//! The upper says where to look; what is there is read from the merged tree, where the kernel has put
//! renames, metadata-only copies and the rest together already.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use overlayroot::fstab;
use serde::{Deserialize, Serialize};

use super::compare::{differences, At, What};
use super::dir::{Dir, Kind, Stat, Xattrs};
use super::inside::{Current, Inside};
use super::marks::{is_whiteout, Marks};
use super::view::{reading, View};
use crate::error::{Error, Result};
use crate::progress;
use crate::quoting::Quote;

/// Longest path that is looked at, bytes: what the kernel takes (`PATH_MAX`, less the byte that ends it).
const LONGEST: usize = 4095;

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
    /// What is there now.
    #[serde(skip)]
    pub new: Option<Stat>,
    /// What the lower has.
    #[serde(skip)]
    pub old: Option<Stat>,
}

/// A path that was passed over, and why.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct LeftOut {
    /// The path.
    #[serde(with = "crate::jsonpath")]
    pub path: PathBuf,
    /// The end of a sentence that begins with it.
    pub reason: String,
}

/// What a walk came to.
#[derive(Debug, Default)]
pub struct Found {
    /// Sorted by path: directories before what is in them.
    pub changes: Vec<Change>,
    /// What could not be looked at.
    pub left_out: Vec<LeftOut>,
    /// Directories that overlayfs knows to be renamed: where they are, and their place in the lower.
    pub renamed: Vec<(PathBuf, PathBuf)>,
    /// Files that are the lower's and have several names in the running system: identity there, path.
    pub same: HashMap<(u64, u64), PathBuf>,
}

/// How renamed directories are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renames {
    /// As one change, and what differs from where they came from.
    Shown,
    /// As what they are to a lower that knows nothing of renames: everything in them is added.
    Expanded,
}

/// Changes at `path` and below. `None` when there is no such path. What cannot be looked at is named and passed
/// over, so that nobody can keep root from the rest; an error when that is the path itself.
pub fn changes(view: &View, path: &Path, renames: Renames) -> Result<Option<Found>> {
    progress::begin("looking for changes", None);
    let mut walk = Walk {
        view,
        renames,
        found: Found::default(),
        todo: Vec::new(),
    };
    let mut current = Current::take();
    let mut here = walk.open(Place::top()).map_err(reading(path))?;
    let mut parts = path.components().filter_map(|part| match part {
        std::path::Component::Normal(name) => Some(name),
        _ => None,
    });
    let mut there = true;
    if let Some(mut name) = parts.next() {
        for next in parts {
            let below = walk.below(&mut current, here.as_ref(), name);
            let Some(below) = below.map_err(reading(path))? else {
                return Ok(None);
            };
            here = walk.open(below).map_err(reading(path))?;
            name = next;
        }
        let Some(here) = here else { return Ok(None) };
        there = here.merged.stat(name).map_err(reading(path))?.is_some()
            || stat_in(&here.lower, name).map_err(reading(path))?.is_some();
        let failed = walk.entries(&mut current, &here, &[name.to_owned()]);
        match failed.map_err(reading(path))?.pop() {
            None => {}
            Some((_, error)) => return Err(reading(path)(error)),
        }
    } else {
        walk.todo.push(Place::top());
    }
    // Each directory is opened by its path, from the top: any depth takes three descriptors.
    while let Some(place) = walk.todo.pop() {
        let path = place.path.clone();
        if let Err(error) = walk.directory(&mut current, place) {
            walk.leave_out(path, error.to_string());
        }
    }
    walk.found.changes.sort_by(|a, b| order(&a.path, &b.path));
    walk.found.left_out.sort_by(|a, b| order(&a.path, &b.path));
    Ok(there.then_some(walk.found))
}

/// A directory that is to be looked at.
struct Place {
    path: PathBuf,
    /// Where the lower's directory is that it is compared with.
    lower_path: PathBuf,
    /// What is in the lower and not in the upper is gone.
    opaque: bool,
    /// Everything in the merged directory is to be listed.
    whole: bool,
}

impl Place {
    fn top() -> Place {
        Place {
            path: PathBuf::from("/"),
            lower_path: PathBuf::from("/"),
            opaque: false,
            whole: false,
        }
    }
}

/// A directory in each of the trees.
struct Here {
    place: Place,
    merged: Dir,
    /// `None` in a renamed directory where nothing was changed.
    upper: Option<Dir>,
    /// The lower's directory that this one is compared with.
    lower: Option<Dir>,
}

/// What the upper says of each of several entries.
type Marked = Vec<io::Result<Option<Marks>>>;

struct Walk<'a> {
    view: &'a View,
    renames: Renames,
    found: Found,
    todo: Vec<Place>,
}

fn stat_in(dir: &Option<Dir>, name: &OsStr) -> io::Result<Option<Stat>> {
    match dir {
        Some(dir) => dir.stat(name),
        None => Ok(None),
    }
}

/// The order of paths: a directory, what is in it, what comes after it. As that of [`Path`], for paths of which each
/// begins with `/` and has no part too many.
fn order(a: &Path, b: &Path) -> Ordering {
    let (a, b) = (a.as_os_str().as_bytes(), b.as_os_str().as_bytes());
    let differ = a.iter().zip(b).find(|(one, other)| one != other);
    match differ {
        None => a.len().cmp(&b.len()),
        Some((b'/', _)) => Ordering::Less,
        Some((_, b'/')) => Ordering::Greater,
        Some((one, other)) => one.cmp(other),
    }
}

/// A path, and a name behind it.
fn joined(path: &Path, name: &OsStr) -> PathBuf {
    let mut joined = OsString::with_capacity(path.as_os_str().len() + 1 + name.len());
    joined.push(path);
    if joined != "/" {
        joined.push("/");
    }
    joined.push(name);
    joined.into()
}

impl Walk<'_> {
    fn leave_out(&mut self, path: PathBuf, reason: String) {
        self.found.left_out.push(LeftOut { path, reason });
    }

    /// Opens a directory in each tree; `None` when the running system has no such directory.
    fn open(&self, place: Place) -> io::Result<Option<Here>> {
        let Some(merged) = self.view.merged.walk(&place.path)? else {
            return Ok(None);
        };
        Ok(Some(Here {
            merged,
            upper: self.view.upper.walk(&place.path)?,
            lower: self.view.lower.walk(&place.lower_path)?,
            place,
        }))
    }

    /// Everything in a directory.
    fn directory(&mut self, current: &mut Current, place: Place) -> io::Result<()> {
        let Some(here) = self.open(place)? else {
            return Ok(()); // gone meanwhile
        };
        let place = &here.place;
        let read = |dir: &Option<Dir>| dir.as_ref().map_or(Ok(Vec::new()), Dir::names);
        let mut names = read(&here.upper)?;
        if place.whole {
            names.extend(here.merged.names()?);
        }
        if place.opaque {
            names.extend(read(&here.lower)?);
        }
        if place.whole || place.opaque {
            names.sort_unstable();
            names.dedup();
        }
        let room = LONGEST.saturating_sub(joined(&place.path, OsStr::new("")).as_os_str().len());
        let all = names.len();
        names.retain(|name| name.len() <= room);
        if names.len() < all {
            self.leave_out(
                place.path.clone(),
                format!(
                    "has {} entries whose paths are longer than {LONGEST} bytes",
                    all - names.len()
                ),
            );
        }
        for (name, error) in self.entries(current, &here, &names)? {
            self.leave_out(place.path.join(name), error.to_string());
        }
        Ok(())
    }

    /// Marks of entries of a directory.
    fn marks(&self, current: &mut Current, here: &Here, names: &[OsString]) -> io::Result<Marked> {
        let Some(upper) = &here.upper else {
            return Ok(names.iter().map(|_| Ok(None)).collect());
        };
        let upper = current.enter(upper)?;
        let read = |name: &OsString| Marks::read(&upper, name, self.view.marks);
        Ok(names.iter().map(read).collect())
    }

    /// Entries of a directory; what is below them is looked at later. Returns those that cannot be looked at.
    fn entries(
        &mut self,
        current: &mut Current,
        here: &Here,
        names: &[OsString],
    ) -> io::Result<Vec<(OsString, io::Error)>> {
        // One tree after the other: the directory that is the current one changes twice, not twice for each entry.
        let marks = self.marks(current, here, names)?;
        let lower = here.lower.as_ref().map(|lower| current.enter(lower));
        let lower = lower.transpose()?;
        let mut failed = Vec::new();
        for (name, marks) in names.iter().zip(marks) {
            let done = marks.and_then(|marks| self.entry(here, lower.as_ref(), name, marks));
            if let Err(error) = done {
                failed.push((name.clone(), error));
            }
        }
        Ok(failed)
    }

    fn entry(
        &mut self,
        here: &Here,
        lower: Option<&Inside<'_>>,
        name: &OsStr,
        marks: Option<Marks>,
    ) -> io::Result<()> {
        progress::entry();
        let path = joined(&here.place.path, name);
        if self.view.is_own(&path) {
            return Ok(());
        }
        let old = match lower {
            Some(lower) => lower.dir.stat(name)?,
            None => None,
        };
        let (new, old) = match (here.merged.stat(name)?, old) {
            // The lower's own.
            (Some(_), _) if marks.is_none() && !here.place.whole => return Ok(()),
            (Some(new), old) => (new, old),
            (None, Some(old)) => {
                // Either a whiteout, or hidden by an opaque directory.
                if here.place.opaque || (marks.is_some() && self.is_whiteout(here, name)?) {
                    self.add(path, How::Deleted, None, Some(old));
                }
                return Ok(());
            }
            (None, None) => return Ok(()), // a whiteout of nothing, or gone in the meantime
        };
        let marks = marks.map(|marks| marks.of_kind(new.kind));
        let is_dir = new.kind == Kind::Directory;
        let below = is_dir.then(|| self.place_below(here, name, path.clone(), marks.as_ref()));
        self.compare(here, lower, (name, path), marks, new, old)?;
        self.todo.extend(below);
        Ok(())
    }

    fn is_whiteout(&self, here: &Here, name: &OsStr) -> io::Result<bool> {
        let Some(upper) = &here.upper else {
            return Ok(false);
        };
        match upper.stat(name)? {
            Some(stat) => is_whiteout(upper, name, &stat, self.view.marks),
            None => Ok(false),
        }
    }

    /// What happened to an entry that is there, by itself.
    fn compare(
        &mut self,
        here: &Here,
        lower: Option<&Inside<'_>>,
        (name, path): (&OsStr, PathBuf),
        marks: Option<Marks>,
        new: Stat,
        old: Option<Stat>,
    ) -> io::Result<()> {
        let redirect = marks.as_ref().and_then(|m| m.redirect.as_ref());
        let redirect = redirect.map(|from| resolve(here, from));
        if let Some(from) = redirect.filter(|from| *from != path) {
            self.found.renamed.push((path.clone(), from.clone()));
            if self.renames == Renames::Shown {
                self.add(path, How::Renamed { from }, Some(new), old);
                return Ok(());
            }
        }
        let (mut how, mut from_init) = (How::Added, false);
        if let (Some(old), Some(lower)) = (&old, lower) {
            let (new_at, old_at) = (At::new(&here.merged, name), At::new(lower.dir, name));
            let holds = |name: &OsStr, value: &[u8]| self.view.holds(name, value);
            // The upper has said that there are none.
            let has_none = marks
                .as_ref()
                .is_some_and(|m| !m.others && !m.metadata_only);
            let new_xattrs = || match has_none {
                true => Ok(Xattrs::new()),
                false => here.merged.xattrs(name),
            };
            let mut what = differences(
                (new_at, &new, &new_xattrs),
                (old_at, old, &|| lower.xattrs(name)),
                &holds,
            )?;
            from_init =
                path == Path::new("/etc/fstab") && self.is_inits_copy(&mut what, new_at, old_at)?;
            if what.is_empty() {
                if !from_init && new.kind == Kind::File && new.links > 1 {
                    self.found.same.insert(new.id, path);
                }
                return Ok(());
            }
            how = How::Changed { what };
        }
        self.add(path, how, Some(new), old);
        if let Some(change) = self.found.changes.last_mut() {
            change.metadata_only = !from_init && marks.is_some_and(|m| m.metadata_only);
            change.from_init = from_init;
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

    fn add(&mut self, path: PathBuf, how: How, new: Option<Stat>, old: Option<Stat>) {
        let Some(stat) = new.as_ref().or(old.as_ref()) else {
            return; // there is one or the other
        };
        self.found.changes.push(Change {
            path,
            kind: stat.kind,
            how,
            metadata_only: false,
            size: match (stat.kind, &new) {
                (Kind::File, Some(stat)) => stat.size,
                _ => 0,
            },
            from_init: false,
            new,
            old,
        });
    }

    /// The directory `name`; `None` when the running system has no such directory.
    fn below(
        &self,
        current: &mut Current,
        here: Option<&Here>,
        name: &OsStr,
    ) -> io::Result<Option<Place>> {
        let Some(here) = here else { return Ok(None) };
        let is_dir = |stat: Stat| stat.kind == Kind::Directory;
        if !here.merged.stat(name)?.is_some_and(is_dir) {
            return Ok(None);
        }
        let marks = self.marks(current, here, &[name.to_owned()])?.pop();
        let marks = marks.transpose()?.flatten();
        let marks = marks.map(|marks| marks.of_kind(Kind::Directory));
        let path = here.place.path.join(name);
        Ok(Some(self.place_below(here, name, path, marks.as_ref())))
    }

    fn place_below(
        &self,
        here: &Here,
        name: &OsStr,
        path: PathBuf,
        marks: Option<&Marks>,
    ) -> Place {
        let mut below = Place {
            path,
            lower_path: here.place.lower_path.join(name),
            opaque: marks.is_some_and(|m| m.opaque) || (here.place.opaque && here.lower.is_some()),
            // In an unchanged directory nothing is listed, unless all is.
            whole: here.place.whole,
        };
        match (marks.and_then(|m| m.redirect.as_ref()), self.renames) {
            (Some(from), Renames::Shown) => {
                below.lower_path = resolve(here, from);
                below.opaque = false;
            }
            (Some(_), Renames::Expanded) => {
                // The lower's directory of this name, if there is one, is hidden.
                below.whole = true;
                below.opaque = true;
            }
            (None, _) => {}
        }
        below
    }
}

/// Path in the lower that a redirect names.
fn resolve(here: &Here, redirect: &Path) -> PathBuf {
    match redirect.is_absolute() {
        true => redirect.to_owned(),
        false => here.place.lower_path.join(redirect),
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
            let found = changes(&view, Path::new(path), renames).unwrap()?.changes;
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
    fn the_order_is_that_of_paths() {
        let sorted = [
            "/", "/a", "/a/b", "/a/b/c", "/a/b.c", "/a\n", "/a b", "/a.b", "/ab", "/b",
        ];
        for (n, a) in sorted.iter().enumerate() {
            for (m, b) in sorted.iter().enumerate() {
                let (a, b) = (Path::new(a), Path::new(b));
                assert_eq!(order(a, b), n.cmp(&m), "{a:?} {b:?}");
                assert_eq!(order(a, b), a.cmp(b), "{a:?} {b:?}");
            }
        }
        for path in ["/", "/a", "/a/b"] {
            let path = Path::new(path);
            assert_eq!(joined(path, OsStr::new("x")), path.join("x"));
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
