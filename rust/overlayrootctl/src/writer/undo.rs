// SPDX-License-Identifier: MIT
//! The way back: what a commit has replaced takes its place again, and what it added goes. That is a commit like
//! others, as safe against cuts, and can be undone itself.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::rc::Rc;

use super::area::{self, Area};
use super::folders::Folders;
use super::planning::Action;
use super::publishing::{carry_out, Deed, Guard, Operation, Work, Written};
use super::record::{Attributes, Header, Record, Step, FORMAT};
use super::retention::{self, Kept};
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

/// Commits that later ones have undone, and that were not brought back since.
pub fn undone(all: &[Kept]) -> BTreeSet<u32> {
    let mut undone = BTreeSet::new();
    for kept in all.iter().rev() {
        let undoes = kept.record.as_ref().and_then(|record| record.header.undoes);
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
    let mut folders = Folders::of(lower);
    let (mut operations, mut left_out) = (Vec::new(), Vec::new());
    // The last one first: what was put into a directory goes before the directory.
    for (at, step) in record.steps.iter().enumerate().rev() {
        let way = back(
            &mut folders,
            &parked,
            at,
            step,
            record.header.undoes.is_some(),
        );
        match way {
            Ok(Ok((kind, deed, guard))) => operations.push(Operation {
                path: step.path.clone(),
                kind,
                replaces: matches!(guard, Guard::Inode { .. }) && !matches!(deed, Deed::Set { .. }),
                deed,
                guard,
            }),
            Ok(Err(reason)) => left_out.push(LeftOut {
                path: step.path.clone(),
                reason: reason.to_owned(),
            }),
            Err(error) => left_out.push(LeftOut {
                path: step.path.clone(),
                reason: error.to_string(),
            }),
        }
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
    carry_out(work, header)
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
