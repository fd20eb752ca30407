// SPDX-License-Identifier: MIT
//! The way back: what a commit has replaced takes its place again, and what it added goes. That is a commit like
//! others, as safe against cuts, and can be undone itself.

use std::collections::{BTreeSet, HashSet};
use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::rc::Rc;

use super::area::{self, Area};
use super::folders::Folders;
use super::planning::Action;
use super::publishing::{carry_out, Deed, Guard, Operation, Work, Written};
use super::record::{self, Attributes, Header, Record, Step, FORMAT};
use super::retention::{self, Kept};
use super::staging;
use crate::error::{Error, Result};
use crate::layers::changes::LeftOut;
use crate::layers::compare::What;
use crate::layers::copy;
use crate::layers::dir::{Dir, Kind, Stat, Xattrs};

/// Finds a commit; without a number, the last one that was not undone itself.
pub fn find(lower: &Dir, number: Option<u32>) -> Result<Kept> {
    let refused =
        |reason: String| Error::refused(reason, "overlayrootctl log lists what can be undone");
    let commits = area::commits(lower).map_err(Error::system("look at", "the log"))?;
    let all = commits.as_ref().map_or(Ok(Vec::new()), retention::all);
    let mut all = all.map_err(Error::system("look at", "the log"))?;
    let undone = undone(&all);
    let (what, at) = match number {
        Some(number) => (
            format!("commit {number} is not in the log"),
            all.iter().position(|kept| kept.number == number),
        ),
        None => (
            "there is nothing to undo".to_owned(),
            all.iter().rposition(|kept| {
                let undoes = kept.record.as_ref().and_then(|r| r.header.undoes);
                undoes.is_none() && !undone.contains(&kept.number)
            }),
        ),
    };
    let kept = at
        .map(|at| all.swap_remove(at))
        .ok_or_else(|| refused(what))?;
    let number = kept.number;
    match &kept.record {
        None => Err(refused(format!(
            "the record of commit {number} cannot be read"
        ))),
        Some(record) if record.header.format > FORMAT => Err(refused(format!(
            "commit {number} was made by a newer overlayrootctl"
        ))),
        Some(_) if undone.contains(&number) => {
            Err(refused(format!("commit {number} was undone already")))
        }
        Some(_) => Ok(kept),
    }
}

/// Commits that later ones have undone, and that were not brought back since. An undo that was cut off does not
/// count: the same command completes it.
pub fn undone(all: &[Kept]) -> BTreeSet<u32> {
    let mut undone = BTreeSet::new();
    for kept in all.iter().rev() {
        let record = kept.record.as_ref().filter(|record| record.done);
        let undoes = record.and_then(|record| record.header.undoes);
        // An undo that was undone itself does not count.
        if let Some(number) = undoes.filter(|_| !undone.contains(&kept.number)) {
            undone.insert(number);
        }
    }
    undone
}

/// Undoes a commit in a writable real root.
pub fn undo(lower: &Dir, kept: &Kept, header: Header) -> Result<Written> {
    let Some(record) = &kept.record else {
        return Ok(Written::default()); // `find` has refused it
    };
    let area = Area::open(lower)?;
    let result = undo_with(lower, kept, record, header, &area);
    if let Ok(written) = &result {
        if written.number.is_some() {
            retention::trim(lower, &area);
        }
    }
    area.close(lower);
    result
}

fn undo_with(
    lower: &Dir,
    kept: &Kept,
    record: &Record,
    header: Header,
    area: &Area,
) -> Result<Written> {
    let number = kept.number.to_string();
    let parked = area.commits().dir(number.as_ref());
    let parked = Rc::new(parked.map_err(Error::system("open", "what the commit has replaced"))?);
    let cut_off = CutOff::of(area, kept.number).map_err(Error::system("look at", "the log"))?;
    let done_before = cut_off.results();
    let mut folders = Folders::of(lower);
    let (mut operations, mut left_out) = (Vec::new(), Vec::new());
    // The last one first: what was put into a directory goes before the directory.
    for (at, step) in record.steps.iter().enumerate().rev() {
        staging::give_up()?;
        let way = back(
            &mut folders,
            &parked,
            at,
            step,
            record.header.undoes.is_some(),
        );
        let reason = match way {
            Ok(Ok((kind, deed, guard))) => {
                operations.push(Operation {
                    path: step.path.clone(),
                    kind,
                    replaces: matches!(guard, Guard::Inode { .. })
                        && !matches!(deed, Deed::Set { .. }),
                    deed,
                    guard,
                });
                continue;
            }
            Ok(Err(_)) if done_before.contains(&(&step.path, inode(&mut folders, &step.path))) => {
                continue
            }
            Ok(Err(reason)) => reason.to_owned(),
            Err(error) => error.to_string(),
        };
        left_out.push(LeftOut {
            path: step.path.clone(),
            reason,
        });
    }
    let work = Work {
        lower,
        area,
        operations,
        times: None,
        left_out,
    };
    let header = Header {
        undoes: Some(kept.number),
        ..header
    };
    let written = carry_out(work, header)?;
    match written.number {
        Some(_) => Ok(written),
        // It was cut off after the last entry: only the mark was missing.
        None => Ok(Written {
            number: cut_off.mark_done(lower, area)?,
            ..written
        }),
    }
}

/// Undos of a commit that were cut off, the oldest first.
struct CutOff(Vec<Kept>);

impl CutOff {
    fn of(area: &Area, number: u32) -> io::Result<CutOff> {
        let mut all = retention::all(area.commits())?;
        all.retain(|kept| {
            let record = kept.record.as_ref();
            record.is_some_and(|record| !record.done && record.header.undoes == Some(number))
        });
        Ok(CutOff(all))
    }

    /// The inodes that they were to put into place, by path; none where they were to take something away. An inode that
    /// was to get other attributes says nothing.
    fn results(&self) -> HashSet<(&Path, Option<u64>)> {
        let records = self.0.iter().filter_map(|kept| kept.record.as_ref());
        let steps = records.flat_map(|record| &record.steps);
        let steps = steps.filter(|step| step.action != Action::Attributes);
        steps.map(|step| (&*step.path, step.inode)).collect()
    }

    /// Marks the last one; its number, if there is one.
    fn mark_done(&self, lower: &Dir, area: &Area) -> Result<Option<u32>> {
        let Some(number) = self.0.last().map(|kept| kept.number) else {
            return Ok(None);
        };
        let folder = area.commits().dir(number.to_string().as_ref());
        folder
            .and_then(|folder| record::mark_done(&folder))
            .and_then(|()| Ok(rustix::fs::syncfs(lower)?))
            .map_err(Error::system("mark", "the record"))?;
        Ok(Some(number))
    }
}

/// The number of what is at a path, if anything can be found there.
fn inode(folders: &mut Folders<'_>, path: &Path) -> Option<u64> {
    let (dir, name) = folders.place(path).ok()?;
    Some(dir.stat(name).ok()??.id.1)
}

type Way = std::result::Result<(Kind, Deed, Guard), &'static str>;

/// What undoes a step; the inner error says why nothing does. `whole`: directories were put there with all that is
/// in them.
fn back(
    folders: &mut Folders<'_>,
    parked: &Rc<Dir>,
    at: usize,
    step: &Step,
    whole: bool,
) -> io::Result<Way> {
    let there = match folders.place(&step.path) {
        Ok((dir, name)) => dir.stat(name)?.map(|stat| (dir, name, stat)),
        Err(error) if copy::is_gone(&error) => None,
        Err(error) => return Err(error),
    };
    let is_there = there.as_ref().map(|(_, _, stat)| stat.id.1);
    let name = OsString::from(at.to_string());
    let put = parked.stat(&name)?.map(|stat| {
        let deed = Deed::Put {
            from: parked.clone(),
            name,
            id: stat.id,
            copied: None,
        };
        (stat.kind, deed)
    });
    let guard = |number| Guard::Inode {
        number,
        empty: !whole,
    };
    Ok(match (step.action, step.inode, &step.before) {
        (Action::Delete, _, _) => match (put, is_there) {
            (Some((kind, put)), None) => Ok((kind, put, Guard::Nothing)),
            (None, _) => Err("is not kept any more"),
            (_, Some(_)) => Err("is there again"),
        },
        (_, Some(inode), _) if is_there != Some(inode) => Err("was changed again since"),
        (Action::Write, _, _) if step.replaced && put.is_none() => Err("is not kept any more"),
        (Action::Write, Some(inode), _) => {
            let (kind, deed) = put.unwrap_or((step.kind, Deed::Take));
            Ok((kind, deed, guard(inode)))
        }
        (Action::Attributes, Some(inode), Some(before)) => {
            let Some((dir, name, stat)) = there else {
                return Ok(Err("is not there"));
            };
            let xattrs = dir.xattrs(name)?;
            match set(before, &stat, xattrs) {
                Some(deed) => Ok((stat.kind, deed, guard_of(inode))),
                None => Err("was changed again since"),
            }
        }
        _ => Err("has no record"),
    })
}

fn guard_of(number: u64) -> Guard {
    Guard::Inode {
        number,
        empty: false,
    }
}

/// Sets attributes back: of a directory all of them, of a file the one that was changed.
fn set(before: &Attributes, stat: &Stat, xattrs: Xattrs) -> Option<Deed> {
    let (wanted, wanted_xattrs) = before.applied_to(stat);
    let one = match stat.kind {
        Kind::Directory => None,
        _ => {
            let differ = [
                (What::Mode, wanted.mode != stat.mode),
                (
                    What::Owner,
                    (wanted.uid, wanted.gid) != (stat.uid, stat.gid),
                ),
                (What::Time, wanted.modified != stat.modified),
                (What::Attributes, wanted_xattrs != xattrs),
            ];
            let mut differ = differ.iter().filter(|(_, differs)| *differs);
            let first = differ.next().map(|(what, _)| *what);
            if differ.next().is_some() {
                return None; // not by the commit, which changed one
            }
            Some(first.unwrap_or(What::Time))
        }
    };
    Some(Deed::Set {
        one,
        before: Attributes::of(stat, &xattrs),
        id: stat.id,
        stat: Box::new(wanted),
        xattrs: wanted_xattrs,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::MetadataExt;
    use std::path::PathBuf;

    /// A real root where commit 1 has replaced files.
    struct Rig(tempfile::TempDir);

    impl Rig {
        fn new(names: &[&str]) -> Rig {
            let rig = Rig(tempfile::tempdir().unwrap());
            let area = Area::open(&rig.lower()).unwrap();
            let folder = area.prepare().unwrap();
            let parked = rig.at(".overlayroot/new/commit");
            let step = |(at, name): (usize, &&str)| {
                fs::write(parked.join(at.to_string()), "old").unwrap();
                fs::write(rig.at(name), "new").unwrap();
                Step {
                    path: format!("/{name}").into(),
                    kind: Kind::File,
                    action: Action::Write,
                    inode: Some(fs::metadata(rig.at(name)).unwrap().ino()),
                    replaced: true,
                    before: None,
                }
            };
            let record = Record {
                header: Header {
                    format: FORMAT,
                    number: 1,
                    boot: area.boot().to_owned(),
                    steps: names.len(),
                    ..Header::default()
                },
                steps: names.iter().enumerate().map(step).collect(),
                done: true,
            };
            record.write(&folder).unwrap();
            record::mark_done(&folder).unwrap();
            area.enter(1).unwrap();
            rig
        }

        fn at(&self, path: &str) -> PathBuf {
            self.0.path().join(path)
        }

        fn lower(&self) -> Dir {
            Dir::open(self.0.path()).unwrap()
        }

        /// Undoes the last commit that is not undone: commit 1.
        fn undo(&self) -> Written {
            let kept = find(&self.lower(), None).unwrap();
            assert_eq!(kept.number, 1);
            undo(&self.lower(), &kept, Header::default()).unwrap()
        }

        /// As a cut leaves an undo: `not_yet` has the names that were not brought back, and their steps in both records.
        fn cut_off(&self, number: u32, not_yet: &[(&str, usize, usize)]) {
            let commits = self.at(".overlayroot/commits");
            let undo = commits.join(number.to_string());
            fs::remove_file(undo.join("done")).unwrap();
            for (name, step, step_of_undo) in not_yet {
                fs::rename(self.at(name), commits.join(format!("1/{step}"))).unwrap();
                fs::rename(undo.join(step_of_undo.to_string()), self.at(name)).unwrap();
            }
        }

        fn read(&self, name: &str) -> String {
            fs::read_to_string(self.at(name)).unwrap()
        }
    }

    #[test]
    fn what_was_cut_off_is_completed() {
        let rig = Rig::new(&["a", "b"]);
        assert_eq!(rig.undo().number, Some(2));
        rig.cut_off(2, &[("a", 0, 1)]);
        assert_eq!((&*rig.read("a"), &*rig.read("b")), ("new", "old"));
        let written = rig.undo();
        assert_eq!(written.number, Some(3));
        assert_eq!(written.done, [("/a".into(), Action::Write)]);
        assert!(written.left_out.is_empty(), "{:?}", written.left_out);
        assert_eq!((&*rig.read("a"), &*rig.read("b")), ("old", "old"));
        assert!(find(&rig.lower(), None).is_err() && find(&rig.lower(), Some(1)).is_err());
    }

    #[test]
    fn what_was_cut_off_after_the_last_entry_is_marked() {
        let rig = Rig::new(&["a"]);
        rig.undo();
        rig.cut_off(2, &[]);
        let written = rig.undo();
        assert_eq!(written.number, Some(2));
        assert!(written.done.is_empty() && written.left_out.is_empty());
        assert!(find(&rig.lower(), None).is_err() && find(&rig.lower(), Some(1)).is_err());
        assert_eq!(rig.read("a"), "old");
    }

    #[test]
    fn what_was_changed_since_the_cut_is_left_out() {
        let rig = Rig::new(&["a", "b"]);
        rig.undo();
        rig.cut_off(2, &[("a", 0, 1)]);
        fs::write(rig.at("other"), "other").unwrap();
        fs::rename(rig.at("other"), rig.at("b")).unwrap();
        let written = rig.undo();
        let left_out: Vec<_> = written.left_out.iter().map(|left| &*left.path).collect();
        assert_eq!(left_out, [Path::new("/b")]);
        assert_eq!((&*rig.read("a"), &*rig.read("b")), ("old", "other"));
    }
}
