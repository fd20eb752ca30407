// SPDX-License-Identifier: MIT
//! Copies everything that is to be written into the area: until then nothing has changed, and whatever fails
//! changes nothing.

use std::collections::{BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::AtFlags;
use rustix::io::Errno;

use super::area::Area;
use super::folders::Folders;
use super::planning::{Action, Plan, Step};
use super::publishing::{carry_out, Deed, Guard, Operation, Work, Written};
use super::record::{Attributes, Header};
use super::retention;
use crate::error::{Error, Result};
use crate::layers::changes::LeftOut;
use crate::layers::compare::{wanted_xattrs, At};
use crate::layers::copy::{self, Copied};
use crate::layers::dir::{Kind, Stat};
use crate::layers::view::View;
use crate::quoting::Quote;
use crate::{progress, signals};

/// Writes the plan, reads it back and compares. The lower must be writable through the view. What was named
/// itself and cannot be read is an error; what is below is left out.
pub fn write(view: &View, plan: &Plan, named: &[PathBuf], header: Header) -> Result<Written> {
    let mut area = Area::open(&view.lower)?;
    let result = write_with(view, plan, named, header, &mut area);
    area.close(&view.lower);
    result
}

fn write_with(
    view: &View,
    plan: &Plan,
    named: &[PathBuf],
    header: Header,
    area: &mut Area,
) -> Result<Written> {
    if plan.exchanges && !area.can_exchange() {
        return Err(Error::refused(
            "a directory takes the place of a file or the other way round, and this kernel or file system cannot do that in one step",
            "commit without these paths, and change them with overlayrootctl edit",
        ));
    }
    retention::make_room(&view.lower, area, plan.bytes);
    give_up()?; // a signal ends that before there is room
    plan.fits(&view.lower, 0)?;
    let mut staging = Staging {
        view,
        merged: Folders::of(&view.merged),
        lower: Folders::of(&view.lower),
        first_names: HashMap::new(),
    };
    let (mut operations, mut left_out) = (Vec::new(), plan.left_out.clone());
    let mut missing = BTreeSet::new();
    progress::begin("copying", Some(plan.steps.len()));
    for step in &plan.steps {
        give_up()?;
        progress::entry();
        let is_missing = |folder: &Path| missing.contains(folder);
        if !missing.is_empty() && step.path.ancestors().any(is_missing) {
            left_out.push(leave_out(step, "its directory is left out"));
            continue;
        }
        let operation = staging.operation(step, area);
        if operation.is_err() {
            give_up()?;
        }
        match operation {
            Ok(operation) => operations.push(operation),
            Err(error) if is_fatal(&error) || named.contains(&step.path) => {
                return Err(Error::system("copy", step.path.quoted())(error).with_remedy(
                    "nothing was changed; a file that is being written to can be committed when its program is stopped",
                ));
            }
            Err(error) => {
                if step.kind == Kind::Directory {
                    missing.insert(step.path.clone());
                }
                let busy = error.raw_os_error() == Some(Errno::TXTBSY.raw_os_error());
                left_out.push(match busy {
                    true => leave_out(step, "is being written to: stop its program"),
                    false => leave_out(step, &error.to_string()),
                });
            }
        }
    }
    let work = Work {
        lower: &view.lower,
        area,
        operations,
        times: Some(view),
        left_out,
    };
    let written = carry_out(work, header)?;
    retention::trim(&view.lower, area);
    Ok(written)
}

/// Nothing has changed yet: the work can be given up.
pub(super) fn give_up() -> Result<()> {
    signals::give_up(|| "nothing was changed".to_owned(), "")
}

fn leave_out(step: &Step, reason: &str) -> LeftOut {
    LeftOut {
        path: step.path.clone(),
        reason: reason.to_owned(),
    }
}

/// Errors that the next file would meet, too.
fn is_fatal(error: &io::Error) -> bool {
    let fatal = [
        Errno::NOSPC,
        Errno::DQUOT,
        Errno::IO,
        Errno::ROFS,
        Errno::NOMEM,
        Errno::MFILE,
        Errno::NFILE,
    ];
    let number = error.raw_os_error();
    fatal.iter().any(|f| Some(f.raw_os_error()) == number)
}

struct Staging<'a> {
    view: &'a View,
    merged: Folders<'a>,
    lower: Folders<'a>,
    /// The copies of files with several names.
    first_names: HashMap<(u64, u64), (OsString, Copied)>,
}

impl Staging<'_> {
    fn operation(&mut self, step: &Step, area: &mut Area) -> io::Result<Operation> {
        let deed = match step.action {
            Action::Delete => Deed::Take,
            Action::Write => {
                let name = area.fresh();
                let made = self.copy(step, area, &name);
                if made.is_err() {
                    let _ = copy::remove(area.new_files(), &name); // the end of the commit removes it, too
                }
                let (id, copied) = made?;
                Deed::Put {
                    from: area.new_files().clone(),
                    name,
                    id,
                    copied,
                }
            }
            Action::Attributes => self.attributes(step)?,
        };
        Ok(Operation {
            path: step.path.clone(),
            kind: step.kind,
            deed,
            replaces: !step.is_new && step.action != Action::Attributes,
            guard: Guard::Anything,
        })
    }

    fn copy(
        &mut self,
        step: &Step,
        area: &Area,
        name: &OsStr,
    ) -> io::Result<((u64, u64), Option<Copied>)> {
        let (dir, source) = self.merged.place(&step.path)?;
        let held = dir.hold(source)?;
        let stat = held.stat()?;
        is_still(step.kind, &stat)?;
        let new = area.new_files();
        if let Some(id) = step
            .same_as
            .as_ref()
            .and_then(|same| self.link(same, area, name))
        {
            return Ok((id, None));
        }
        let linked = stat.kind != Kind::Directory && stat.links > 1;
        if let Some((first, copied)) = self.first_names.get(&stat.id).filter(|_| linked) {
            rustix::fs::linkat(&**new, first, &**new, name, AtFlags::empty())?;
            return Ok((copied.made, Some(copied.clone())));
        }
        let old = match self.lower.place(&step.path) {
            _ if step.is_new => None,
            Ok((old, _)) => Some(old),
            Err(error) if copy::is_gone(&error) => None,
            Err(error) => return Err(error),
        };
        let old = match &old {
            // Only of the same kind: attributes of a directory make no sense on a file.
            Some(old) if old.stat(source)?.is_some_and(|s| s.kind == stat.kind) => {
                Some(At::new(old, source))
            }
            _ => None,
        };
        let holds = |name: &OsStr, value: &[u8]| self.view.holds(name, value);
        let held = held.opened()?;
        let xattrs = wanted_xattrs(held.xattrs()?, old, &holds)?;
        let copied = copy::copy(&held, &xattrs, new, name)?;
        is_still(step.kind, &copied.stat)?;
        if linked {
            let first = (name.to_owned(), copied.clone());
            self.first_names.insert(stat.id, first);
        }
        Ok((copied.made, Some(copied)))
    }

    /// Another name of a file of the real root; without one, it becomes a copy.
    fn link(&mut self, same: &Path, area: &Area, name: &OsStr) -> Option<(u64, u64)> {
        let (dir, source) = self.lower.place(same).ok()?;
        let id = dir.stat(source).ok()??.id;
        let new = &**area.new_files();
        rustix::fs::linkat(&*dir, source, new, name, AtFlags::empty()).ok()?;
        Some(id)
    }

    fn attributes(&mut self, step: &Step) -> io::Result<Deed> {
        let (merged, name) = self.merged.place(&step.path)?;
        let held = merged.hold(name)?;
        let stat = held.stat()?;
        is_still(step.kind, &stat)?;
        let compared = step.new.as_ref().filter(|_| step.attribute.is_some());
        if compared.is_some_and(|compared| !compared.is_unchanged(&stat)) {
            return Err(Errno::TXTBSY.into());
        }
        let (lower, _) = self.lower.place(&step.path)?;
        let old = lower.hold(name)?;
        let holds = |name: &OsStr, value: &[u8]| self.view.holds(name, value);
        let xattrs = wanted_xattrs(held.xattrs()?, Some(At::new(&lower, name)), &holds)?;
        let there = old.stat()?;
        Ok(Deed::Set {
            one: step.attribute,
            before: Attributes::of(&there, &old.xattrs()?),
            id: there.id,
            stat: Box::new(stat),
            xattrs,
        })
    }
}

/// Another entry may have taken the name since the plan was made.
fn is_still(kind: Kind, stat: &Stat) -> io::Result<()> {
    match stat.kind == kind {
        true => Ok(()),
        false => Err(Errno::BUSY.into()),
    }
}
