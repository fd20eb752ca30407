// SPDX-License-Identifier: MIT
//! Writes a plan into the real root.
//!
//! First everything is copied into the area and made safe on the disk: until then nothing has changed, and
//! whatever fails changes nothing. Then each entry takes its place by one rename.

use std::collections::{BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::fs::AtFlags;

use super::area::Area;
use super::planning::{Action, Plan, Step};
use crate::error::{Error, Result};
use crate::layers::compare::{wanted_xattrs, At};
use crate::layers::copy::{self, Copied};
use crate::layers::dir::{Dir, Kind};
use crate::layers::view::View;
use crate::quoting::Quote;

/// Writes the plan, reads it back and compares. The lower must be writable through `lower`.
pub fn write(view: &View, lower: &Dir, plan: &Plan) -> Result<()> {
    let mut area = Area::open(lower)?;
    if plan.exchanges && !area.can_exchange() {
        area.close(lower);
        return Err(Error::refused(
            "a directory takes the place of a file or the other way round, and this kernel or file system cannot do that in one step",
            "commit without these paths, and change them with overlayrootctl edit",
        ));
    }
    let mut copies = Vec::new();
    let result = stage(view, lower, plan, &mut area, &mut copies)
        .and_then(|()| publish(view, lower, plan, &mut copies, &mut area))
        .and_then(|()| verify(lower, plan, &copies));
    area.close(lower);
    result
}

/// What becomes of a step: the name of its copy in the area, and what the copy is.
#[derive(Default)]
struct Progress {
    name: Option<OsString>,
    copied: Option<Copied>,
}

/// A step's directory and name, in one of the trees.
fn place<'a>(tree: &Dir, path: &'a Path) -> io::Result<(Dir, &'a OsStr)> {
    let missing = || io::Error::from(rustix::io::Errno::NOENT);
    let (parent, name) = path.parent().zip(path.file_name()).ok_or_else(missing)?;
    Ok((tree.walk(parent)?.ok_or_else(missing)?, name))
}

fn stage(
    view: &View,
    lower: &Dir,
    plan: &Plan,
    area: &mut Area,
    copies: &mut Vec<Progress>,
) -> Result<()> {
    let mut first_names = HashMap::new();
    for step in &plan.steps {
        let mut progress = Progress::default();
        if step.action == Action::Write {
            let name = area.fresh();
            let copied = stage_one(view, lower, &step.path, area, &name, &mut first_names)
                .map_err(Error::system("copy", step.path.quoted()))
                .map_err(|e| {
                    e.with_remedy("nothing was changed; a file that is being written to can be committed when its program is stopped")
                })?;
            progress.name = Some(name);
            progress.copied = Some(copied);
        }
        copies.push(progress);
    }
    area.sync()
        .map_err(Error::system("sync", super::area::NAME))?;
    // All data is on the disk before the first name points to it.
    rustix::fs::syncfs(lower.as_fd()).map_err(Error::system("sync", "the real root"))
}

fn stage_one(
    view: &View,
    lower: &Dir,
    path: &Path,
    area: &Area,
    name: &OsStr,
    first_names: &mut HashMap<(u64, u64), (OsString, Copied)>,
) -> io::Result<Copied> {
    let (dir, source) = place(&view.merged, path)?;
    let held = dir.hold(source)?;
    let stat = held.stat()?;
    let linked = stat.kind != Kind::Directory && stat.links > 1;
    if let Some((first, copied)) = first_names.get(&stat.id).filter(|_| linked) {
        let new = area.new_files();
        rustix::fs::linkat(new, first, new, name, AtFlags::empty())?;
        return Ok(copied.clone());
    }
    let old = lower.walk(path.parent().unwrap_or(Path::new("/")))?;
    let old = match &old {
        // Only of the same kind: attributes of a directory make no sense on a file.
        Some(old) if old.stat(source)?.is_some_and(|s| s.kind == stat.kind) => {
            Some(At::new(old, source))
        }
        _ => None,
    };
    let xattrs = wanted_xattrs(held.xattrs()?, old, &|name, value| view.holds(name, value))?;
    let copied = copy::copy(&held, &xattrs, area.new_files(), name)?;
    if linked {
        first_names.insert(stat.id, (name.to_owned(), copied.clone()));
    }
    Ok(copied)
}

fn publish(
    view: &View,
    lower: &Dir,
    plan: &Plan,
    copies: &mut [Progress],
    area: &mut Area,
) -> Result<()> {
    let mut touched = BTreeSet::new();
    let mut done = 0;
    let mut all = || -> std::result::Result<(), (PathBuf, io::Error)> {
        for (step, copy) in plan.steps.iter().zip(copies.iter_mut()) {
            publish_one(view, lower, step, copy, area)
                .map_err(|error| (step.path.clone(), error))?;
            done += 1;
            if step.kind == Kind::Directory && step.action == Action::Write {
                touched.insert(step.path.clone());
            }
            touched.extend(step.path.parent().map(Path::to_owned));
        }
        // The times of a directory are those of the running system's, which saw the same changes.
        for path in touched.iter().rev() {
            settle(view, lower, path).map_err(|error| (path.clone(), error))?;
        }
        Ok(())
    };
    all().map_err(|(path, cause)| Error::Partly {
        object: path.quoted().to_string(),
        cause: cause.to_string(),
        done: plan
            .steps
            .iter()
            .take(done)
            .map(|s| s.path.clone())
            .collect(),
    })
}

fn publish_one(
    view: &View,
    lower: &Dir,
    step: &Step,
    progress: &mut Progress,
    area: &mut Area,
) -> io::Result<()> {
    log::debug!("{:?} {}", step.action, step.path.quoted());
    let (dir, name) = place(lower, &step.path)?;
    match (step.action, &progress.name) {
        (Action::Write, Some(copy)) => area.publish(copy, &dir, name),
        (Action::Delete, _) => area.retire(&dir, name),
        _ => {
            let (merged, _) = place(&view.merged, &step.path)?;
            let held = merged.hold(name)?;
            let (old, holds) = (At::new(&dir, name), |name: &OsStr, value: &[u8]| {
                view.holds(name, value)
            });
            let xattrs = wanted_xattrs(held.xattrs()?, Some(old), &holds)?;
            let stat = held.stat()?;
            progress.copied = Some(copy::copy_directory_attributes(&stat, &xattrs, &dir, name)?);
            Ok(())
        }
    }
}

/// Gives a directory its times and makes it safe on the disk.
fn settle(view: &View, lower: &Dir, path: &Path) -> io::Result<()> {
    let (Some(real), Some(running)) = (lower.walk(path)?, view.merged.walk(path)?) else {
        return Ok(()); // it was deleted itself
    };
    copy::set_own_times(&running.own_stat()?, &real)?;
    Ok(rustix::fs::fsync(real.as_fd())?)
}

/// Reads everything back from the disk and compares it with what was copied.
fn verify(lower: &Dir, plan: &Plan, copies: &[Progress]) -> Result<()> {
    rustix::fs::syncfs(lower.as_fd()).map_err(Error::system("sync", "the real root"))?;
    for (step, progress) in plan.steps.iter().zip(copies) {
        let wrong = verify_one(lower, step, progress)
            .map_err(Error::system("read back", step.path.quoted()))?;
        if let Some(cause) = wrong {
            return Err(Error::Malformed {
                object: step.path.quoted().to_string(),
                cause,
                remedy: "the disk may be failing: look at dmesg",
            });
        }
    }
    Ok(())
}

fn verify_one(lower: &Dir, step: &Step, progress: &Progress) -> io::Result<Option<String>> {
    let (dir, name) = place(lower, &step.path)?;
    let Some(copied) = &progress.copied else {
        let there = dir.stat(name)?.is_some();
        return Ok(there.then(|| "it is still in the real root".to_owned()));
    };
    let what = copied.differences(At::new(&dir, name))?;
    let words: Vec<&str> = what.iter().map(|w| w.as_str()).collect();
    Ok((!what.is_empty()).then(|| format!("reads back with another {}", words.join(", "))))
}
