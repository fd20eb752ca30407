// SPDX-License-Identifier: MIT
//! Puts what was made ready into place, in the one order that is safe against cuts, which the types hold:
//!
//! `Staged` (copies and the record are made; nothing has changed) -> `Synced` (they are on the disk) ->
//! `Published` (each entry has taken its place, by one rename) -> `Settled` (that is on the disk) -> verified.
//!
//! No step is a method of another state, so that a sync that is left out does not compile.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{AtFlags, RenameFlags};
use rustix::io::Errno;

use super::area::Area;
use super::folders::Folders;
use super::planning::Action;
use super::record::{self, Attributes, Header, Record};
use super::staging;
use crate::error::{Error, Result};
use crate::layers::changes::LeftOut;
use crate::layers::compare::{At, What};
use crate::layers::copy::{self, Copied};
use crate::layers::dir::{Dir, Kind, Stat, Xattrs};
use crate::layers::view::View;
use crate::progress;
use crate::quoting::Quote;

/// One thing to do, made ready.
#[derive(Debug)]
pub struct Operation {
    /// Path, from the top.
    pub path: PathBuf,
    /// What is or was there.
    pub kind: Kind,
    /// What to do.
    pub deed: Deed,
    /// Something is there, and is put away.
    pub replaces: bool,
    /// What has to be there before.
    pub guard: Guard,
}

/// What to do.
#[derive(Debug)]
pub enum Deed {
    /// Put an entry there, in place of whatever there is.
    Put {
        /// The directory where it is now.
        from: Rc<Dir>,
        /// Its name there.
        name: OsString,
        /// Device and inode.
        id: (u64, u64),
        /// The copy that it is, when it was made just now.
        copied: Option<Copied>,
    },
    /// Give what is there other attributes.
    Set {
        /// Only this one; `None`: all of a directory.
        one: Option<What>,
        /// What has them.
        stat: Box<Stat>,
        /// Its extended attributes.
        xattrs: Xattrs,
        /// Those from before.
        before: Attributes,
        /// Device and inode.
        id: (u64, u64),
    },
    /// Take it away.
    Take,
}

/// What has to be at a path before something is done to it; otherwise it is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// Whatever there is.
    Anything,
    /// Nothing.
    Nothing,
    /// This inode; a directory may have to be empty.
    Inode {
        /// Its number.
        number: u64,
        /// Nothing may be in it.
        empty: bool,
    },
}

/// What is to be done, and where.
#[derive(Debug)]
pub struct Work<'a> {
    /// The real root, writable.
    pub lower: &'a Dir,
    /// The folder in it.
    pub area: &'a Area,
    /// Everything, in this order.
    pub operations: Vec<Operation>,
    /// The running system, which has the times of directories.
    pub times: Option<&'a View>,
    /// What could not be done.
    pub left_out: Vec<LeftOut>,
}

/// What was done.
#[derive(Debug, Default)]
pub struct Written {
    /// Number of its record; `None` when nothing was to be done.
    pub number: Option<u32>,
    /// In this order.
    pub done: Vec<(PathBuf, Action)>,
    /// What could not be done, and why.
    pub left_out: Vec<LeftOut>,
}

/// Copies and the record are made; nothing in the real root has changed.
#[derive(Debug)]
pub struct Staged<'a> {
    work: Work<'a>,
    number: u32,
    folder: Dir,
}

/// The same, safe on the disk.
#[derive(Debug)]
pub struct Synced<'a>(Staged<'a>);

/// Each entry has taken its place.
#[derive(Debug)]
pub struct Published<'a> {
    staged: Staged<'a>,
    /// For each operation: what it was verified by, or `None` when it was left out.
    outcomes: Vec<Option<Option<Copied>>>,
}

/// The same, safe on the disk.
#[derive(Debug)]
pub struct Settled<'a>(Published<'a>);

impl Deed {
    fn action(&self) -> Action {
        match self {
            Deed::Put { .. } => Action::Write,
            Deed::Set { .. } => Action::Attributes,
            Deed::Take => Action::Delete,
        }
    }
}

/// Does all of it; nothing is done, and no record made, when there is nothing to do.
pub fn carry_out(work: Work<'_>, header: Header) -> Result<Written> {
    if work.operations.is_empty() {
        return Ok(Written {
            left_out: work.left_out,
            ..Written::default()
        });
    }
    Staged::new(work, header)?
        .sync()?
        .publish()?
        .sync()?
        .verify()
}

impl<'a> Staged<'a> {
    fn new(work: Work<'a>, header: Header) -> Result<Staged<'a>> {
        let step = |operation: &Operation| record::Step {
            path: operation.path.clone(),
            kind: operation.kind,
            action: operation.deed.action(),
            inode: match &operation.deed {
                Deed::Put { id, .. } | Deed::Set { id, .. } => Some(id.1),
                Deed::Take => None,
            },
            replaced: operation.replaces,
            before: match &operation.deed {
                Deed::Set { before, .. } => Some(before.clone()),
                _ => None,
            },
        };
        let make = || -> io::Result<(u32, Dir)> {
            let (number, folder) = (work.area.next_number()?, work.area.prepare()?);
            let record = Record {
                header: Header {
                    format: record::FORMAT,
                    number,
                    boot: work.area.boot().to_owned(),
                    steps: work.operations.len(),
                    ..header
                },
                steps: work.operations.iter().map(step).collect(),
                done: false,
            };
            record.write(&folder)?;
            Ok((number, folder))
        };
        let (number, folder) = make().map_err(Error::system("write", "the record"))?;
        Ok(Staged {
            work,
            number,
            folder,
        })
    }

    /// All data is on the disk before the first name points to it.
    fn sync(self) -> Result<Synced<'a>> {
        sync(self.work.lower)?;
        Ok(Synced(self))
    }
}

fn sync(lower: &Dir) -> Result<()> {
    progress::wait_for("writing to the disk");
    rustix::fs::syncfs(lower.as_fd()).map_err(Error::system("sync", "the real root"))
}

impl<'a> Synced<'a> {
    fn publish(self) -> Result<Published<'a>> {
        // Until here nothing has changed; from here on it goes on to its end.
        staging::give_up()?;
        let Synced(mut staged) = self;
        staged
            .work
            .area
            .enter(staged.number)
            .map_err(Error::system("keep", "the record"))?;
        let mut folders = Folders::of(staged.work.lower);
        let (mut outcomes, mut touched) = (Vec::new(), BTreeSet::new());
        let operations = std::mem::take(&mut staged.work.operations);
        let mut left_out = Vec::new();
        progress::begin("putting into place", Some(operations.len()));
        let failed = operations.iter().enumerate().find_map(|(at, operation)| {
            progress::entry();
            let path = &operation.path;
            match one(&mut folders, operation, &staged.folder, at) {
                Ok(Ok(copied)) => {
                    outcomes.push(Some(copied));
                    folders.forget(path);
                    let is_dir = operation.kind == Kind::Directory;
                    if is_dir && matches!(operation.deed, Deed::Put { .. }) {
                        touched.insert(path.clone());
                    }
                    // Most are in one directory.
                    let parent = path.parent();
                    if touched.last().map(PathBuf::as_path) != parent {
                        touched.extend(parent.map(Path::to_owned));
                    }
                    None
                }
                Ok(Err(reason)) => {
                    outcomes.push(None);
                    left_out.push(LeftOut {
                        path: path.clone(),
                        reason,
                    });
                    None
                }
                Err(error) => Some((path.clone(), error)),
            }
        });
        // The times of a directory are those of the running system's, which saw the same changes.
        let failed = failed.or_else(|| {
            let view = staged.work.times?;
            touched.into_iter().rev().find_map(|path| {
                let set = set_times(view, staged.work.lower, &path);
                set.err().map(|error| (path, error))
            })
        });
        staged.work.operations = operations;
        staged.work.left_out.extend(left_out);
        if let Some((path, cause)) = failed {
            return Err(Error::Partly {
                object: path.quoted().to_string(),
                cause: cause.to_string(),
                done: staged
                    .work
                    .operations
                    .iter()
                    .zip(&outcomes)
                    .filter(|(_, outcome)| outcome.is_some())
                    .map(|(operation, _)| operation.path.clone())
                    .collect(),
            });
        }
        Ok(Published { staged, outcomes })
    }
}

/// Does one thing. What it replaces gets the name `at` in `parked`. The inner error says why it was left out.
fn one(
    folders: &mut Folders<'_>,
    operation: &Operation,
    parked: &Dir,
    at: usize,
) -> io::Result<std::result::Result<Option<Copied>, String>> {
    let (path, deed) = (&operation.path, &operation.deed);
    log::debug!("{:?} {}", deed.action(), path.quoted());
    let (dir, name) = match folders.place(path) {
        Err(error) if *deed == Deed::Take && copy::is_gone(&error) => return Ok(Ok(None)),
        other => other?,
    };
    let there = dir.stat(name)?;
    if let Some(reason) = operation.guard.objection(&dir, name, there.as_ref())? {
        return Ok(Err(reason.to_owned()));
    }
    let at = at.to_string();
    match deed {
        Deed::Put {
            from,
            name: source,
            copied,
            ..
        } => {
            let (new, old) = (operation.kind, there.map(|stat| stat.kind));
            put((from, source), new, (&dir, name), old, (parked, &at))?;
            Ok(Ok(copied.clone()))
        }
        Deed::Take if there.is_none() => Ok(Ok(None)), // gone already
        Deed::Take => {
            rustix::fs::renameat(&*dir, name, parked, &at)?;
            Ok(Ok(None))
        }
        Deed::Set {
            one: None,
            stat,
            xattrs,
            ..
        } => {
            copy::copy_directory_attributes(stat, xattrs, &dir, name).map(|copied| Ok(Some(copied)))
        }
        Deed::Set {
            one: Some(which),
            stat,
            xattrs,
            ..
        } => copy::copy_one_attribute(*which, stat, xattrs, &dir, name)
            .map(|copied| Ok(Some(copied))),
    }
}

impl PartialEq for Deed {
    fn eq(&self, other: &Deed) -> bool {
        self.action() == other.action()
    }
}

impl Guard {
    fn objection(
        self,
        dir: &Dir,
        name: &OsStr,
        there: Option<&Stat>,
    ) -> io::Result<Option<&'static str>> {
        Ok(match (self, there) {
            (Guard::Anything, _) | (Guard::Nothing, None) => None,
            (Guard::Nothing, Some(_)) => Some("is there again"),
            (Guard::Inode { number, .. }, found) if found.map(|s| s.id.1) != Some(number) => {
                Some("was changed again since")
            }
            (Guard::Inode { empty, .. }, Some(found)) if empty && found.kind == Kind::Directory => {
                let is_empty = dir.dir(name)?.names()?.is_empty();
                (!is_empty).then_some("has other entries now")
            }
            (Guard::Inode { .. }, _) => None,
        })
    }
}

/// Puts an entry of a kind into place. What is there, of the kind `old`, stays among what is parked. A cut leaves
/// either one or the other.
fn put(
    (from, source): (&Dir, &OsStr),
    new: Kind,
    (dir, name): (&Dir, &OsStr),
    old: Option<Kind>,
    (parked, parked_as): (&Dir, &str),
) -> io::Result<()> {
    match (new, old) {
        (_, None) => {}
        (Kind::Directory, Some(_)) | (_, Some(Kind::Directory)) => {
            rustix::fs::renameat_with(from, source, dir, name, RenameFlags::EXCHANGE)?;
            return Ok(rustix::fs::renameat(from, source, parked, parked_as)?);
        }
        (_, Some(_)) => {
            match rustix::fs::linkat(dir, name, parked, parked_as, AtFlags::empty()) {
                // A file system without hard links, or too many of them: it goes without.
                Ok(()) | Err(Errno::PERM | Errno::OPNOTSUPP | Errno::MLINK) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(rustix::fs::renameat(from, source, dir, name)?)
}

/// Gives a directory its times.
fn set_times(view: &View, lower: &Dir, path: &Path) -> io::Result<()> {
    let (Some(real), Some(running)) = (lower.walk(path)?, view.merged.walk(path)?) else {
        return Ok(()); // it was deleted itself
    };
    copy::set_own_times(&running.own_stat()?, &real)
}

impl<'a> Published<'a> {
    fn sync(self) -> Result<Settled<'a>> {
        if let Err(error) = record::mark_done(&self.staged.folder) {
            log::debug!("cannot mark the record: {error}"); // it will be listed as cut off
        }
        sync(self.staged.work.lower)?;
        Ok(Settled(self))
    }
}

impl Settled<'_> {
    /// Reads everything back from the disk and compares it with what was copied.
    fn verify(self) -> Result<Written> {
        let Settled(Published { staged, outcomes }) = self;
        let mut folders = Folders::of(staged.work.lower);
        let mut done = Vec::new();
        progress::begin("reading back", Some(outcomes.len()));
        for (operation, outcome) in staged.work.operations.into_iter().zip(outcomes) {
            progress::entry();
            let Some(copied) = outcome else { continue };
            let path = operation.path;
            let wrong = verify_one(&mut folders, &path, &operation.deed, copied.as_ref())
                .map_err(Error::system("read back", path.quoted()))?;
            if let Some(cause) = wrong {
                return Err(Error::Malformed {
                    object: path.quoted().to_string(),
                    cause,
                    remedy: "the disk may be failing: look at dmesg",
                });
            }
            done.push((path, operation.deed.action()));
        }
        Ok(Written {
            number: Some(staged.number),
            done,
            left_out: staged.work.left_out,
        })
    }
}

fn verify_one(
    folders: &mut Folders<'_>,
    path: &Path,
    deed: &Deed,
    copied: Option<&Copied>,
) -> io::Result<Option<String>> {
    let place = folders.place(path);
    if *deed == Deed::Take {
        let there = place.ok().and_then(|(dir, name)| dir.stat(name).ok()?);
        return Ok(there.map(|_| "it is still in the real root".to_owned()));
    }
    let (dir, name) = place?;
    let Some(copied) = copied else {
        let found = dir.stat(name)?.map(|stat| stat.id);
        let is_it = matches!(deed, Deed::Put { id, .. } if found == Some(*id));
        return Ok((!is_it).then(|| "another entry is there".to_owned()));
    };
    let what = copied.differences(At::new(&dir, name))?;
    let words: Vec<&str> = what.iter().map(|w| w.as_str()).collect();
    Ok((!what.is_empty()).then(|| format!("reads back with another {}", words.join(", "))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn old_and_new_change_places() {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join(path);
        let lower = Dir::open(folder.path()).unwrap();
        let area = Area::make(&lower, "boot-1").unwrap();
        let parked = area.prepare().unwrap();
        let put = |target: &str, number: &str| {
            fs::write(at(".overlayroot/new").join(number), "new").unwrap();
            let (number, target) = (OsStr::new(number), OsStr::new(target));
            let old = lower.stat(target).unwrap().map(|stat| stat.kind);
            let (from, to) = ((&**area.new_files(), number), (&lower, target));
            super::put(from, Kind::File, to, old, (&parked, "parked")).unwrap();
        };
        for (name, before) in [("added", None), ("changed", Some("old"))] {
            if let Some(text) = before {
                fs::write(at(name), text).unwrap();
            }
            put(name, "1");
            assert_eq!(fs::read_to_string(at(name)).unwrap(), "new");
        }
        let old = at(".overlayroot/new/commit/parked");
        assert_eq!(fs::read_to_string(&old).unwrap(), "old");
        fs::remove_file(&old).unwrap();
        fs::create_dir_all(at("folder/deep")).unwrap();
        if area.can_exchange() {
            put("folder", "2");
            assert_eq!(fs::read_to_string(at("folder")).unwrap(), "new");
            assert!(old.join("deep").exists());
        }
    }
}
