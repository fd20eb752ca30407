// SPDX-License-Identifier: MIT
//! `revert`: gives paths of the running system the state of the real root.
//!
//! Taking files out of the upper under a mounted overlay is undefined, so that this goes through the
//! overlay: what was added is deleted, what was changed or deleted is copied from the real root. The copy
//! takes RAM until the next boot, which forgets it all in any case.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use clap::{value_parser, Arg, ArgMatches, Command};
use serde::Serialize;

use crate::error::{Error, Result};
use crate::exit;
use crate::layers::changes::{changes, no_such_path, Change, How, LeftOut, Renames};
use crate::layers::compare::What;
use crate::layers::copy;
use crate::layers::descent::{each, Descent};
use crate::layers::dir::{Dir, Held, Kind, Stat, Xattrs};
use crate::layers::view::{unshare_mounts, View};
use crate::live::Live;
use crate::output::{Output, Tone};
use crate::paths;
use crate::privilege::need_root;
use crate::quoting::Quote;
use crate::{progress, ramlayer, signals};

/// The command.
pub const ENTRY: super::Entry = super::Entry {
    name: "revert",
    define,
    run,
};

fn define() -> Command {
    Command::new("revert")
        .about("Give paths of the running system the state of the real root again")
        .arg(
            Arg::new("paths")
                .value_name("PATH")
                .required(true)
                .num_args(1..)
                .value_parser(value_parser!(PathBuf))
                .help("What to revert, directories with all that is below"),
        )
        .after_help(
            "Programs keep the files that they have open: restart them. A copy of what was changed or \
             deleted takes RAM; a reboot reverts everything and takes none.",
        )
}

/// What was done; field names are those of the JSON.
#[derive(Serialize)]
struct Outcome {
    #[serde(serialize_with = "crate::jsonpath::list")]
    reverted: Vec<PathBuf>,
    #[serde(serialize_with = "crate::jsonpath::list")]
    unchanged: Vec<PathBuf>,
    /// What could not be reverted, and why.
    left_out: Vec<LeftOut>,
}

fn run(matches: &ArgMatches, output: &Output) -> Result<u8> {
    need_root("to change files of others")?;
    let live = Live::look()?;
    let layers = live.layers()?;
    let named = matches.get_many::<PathBuf>("paths").into_iter().flatten();
    let paths: Vec<PathBuf> = named
        .map(|p| paths::inside_root(p))
        .collect::<Result<_>>()?;
    if paths.iter().any(|p| p == Path::new("/")) {
        return Err(Error::refused(
            "programs are using the whole of /",
            "reboot: that reverts everything",
        ));
    }
    unshare_mounts(layers)?;
    let view = View::open(layers)?;
    let mut outcome = Outcome {
        reverted: Vec::new(),
        unchanged: Vec::new(),
        left_out: Vec::new(),
    };
    let mut chosen = Vec::new();
    for path in paths {
        let found = changes(&view, &path, Renames::Expanded)?.ok_or_else(|| no_such_path(&path))?;
        if found.changes.is_empty() && found.left_out.is_empty() {
            outcome.unchanged.push(path);
        }
        chosen.extend(found.changes);
        outcome.left_out.extend(found.left_out);
    }
    refuse_what_is_not_safe(&view, &layers.ram.target, &chosen)?;
    signals::held_back(|| revert_all(&view, order(chosen), &mut outcome))?;
    output.print(&outcome, |out| {
        for path in &outcome.reverted {
            writeln!(
                out,
                "{} {}",
                output.tone(Tone::Good, "reverted"),
                path.quoted()
            )?;
        }
        for path in &outcome.unchanged {
            writeln!(out, "not changed {}", path.quoted())?;
        }
        let word = output.tone(Tone::Bad, "NOT REVERTED");
        for one in &outcome.left_out {
            writeln!(out, "{word} {}: {}", one.path.quoted(), one.reason)?;
        }
        Ok(())
    })?;
    Ok(match outcome.left_out.is_empty() {
        true => exit::DONE,
        false => exit::FAILED,
    })
}

fn revert_all(view: &View, changes: Vec<Change>, outcome: &mut Outcome) -> Result<()> {
    let all = changes.len();
    progress::begin("reverting", Some(all));
    for (count, change) in changes.into_iter().enumerate() {
        let give_up = || signals::give_up(|| format!("{count} of {all} changes are reverted"), "");
        give_up()?;
        match revert(view, &change) {
            Ok(()) => outcome.reverted.push(change.path),
            Err(error) => {
                give_up()?;
                outcome.left_out.push(LeftOut {
                    path: change.path,
                    reason: error.to_string(),
                });
            }
        }
        progress::entry();
    }
    Ok(())
}

/// What was added is deleted first, from the inside out: that gives RAM back.
fn order(chosen: Vec<Change>) -> Vec<Change> {
    let (added, mut others): (Vec<_>, Vec<_>) =
        chosen.into_iter().partition(|c| c.how == How::Added);
    let mut list: Vec<Change> = added.into_iter().rev().collect();
    list.append(&mut others);
    list.dedup_by(|a, b| a.path == b.path);
    list
}

fn refuse_what_is_not_safe(view: &View, ram: &str, chosen: &[Change]) -> Result<()> {
    let mut reasons = Vec::new();
    let mut needed = 0;
    for change in chosen {
        if change.from_init {
            reasons.push(format!(
                "{} is the init's copy: the original has entries that are not for this system",
                change.path.quoted()
            ));
        }
        needed +=
            size_in(&view.lower, change).map_err(Error::system("look at", change.path.quoted()))?;
    }
    let free = ramlayer::free(ram)?;
    if needed > free {
        reasons.push(format!(
            "the copies need {needed} bytes of the RAM layer, {free} are free"
        ));
    }
    match reasons.is_empty() {
        true => Ok(()),
        false => Err(Error::Refused {
            reasons,
            remedy: "reboot: that reverts everything".to_owned(),
        }),
    }
}

/// RAM that the original of a change takes.
fn size_in(lower: &Dir, change: &Change) -> io::Result<u64> {
    match &change.how {
        How::Added | How::Renamed { .. } => Ok(0),
        How::Changed { what } if change.kind == Kind::Directory && !what.contains(&What::Type) => {
            Ok(0)
        }
        How::Changed { .. } | How::Deleted => match place(lower, &change.path)? {
            Some((dir, name)) => tree_size(&dir, name),
            None => Ok(0),
        },
    }
}

fn tree_size(dir: &Dir, name: &OsStr) -> io::Result<u64> {
    let mut size = 0;
    each(dir, name, &mut |_, _, stat| {
        size += 4096;
        if stat.kind == Kind::File {
            size += stat.used.min(stat.size);
        }
        Ok(())
    })?;
    Ok(size)
}

fn place<'a>(tree: &Dir, path: &'a Path) -> io::Result<Option<(Dir, &'a OsStr)>> {
    match path.parent().zip(path.file_name()) {
        Some((parent, name)) => Ok(tree.walk(parent)?.map(|dir| (dir, name))),
        None => Ok(None),
    }
}

fn revert(view: &View, change: &Change) -> io::Result<()> {
    let gone = || io::Error::from(rustix::io::Errno::NOENT);
    let (merged, name) = place(&view.merged, &change.path)?.ok_or_else(gone)?;
    match &change.how {
        How::Added | How::Renamed { .. } => return copy::remove(&merged, name),
        How::Changed { what } if change.kind == Kind::Directory && !what.contains(&What::Type) => {
            let (lower, _) = place(&view.lower, &change.path)?.ok_or_else(gone)?;
            let held = lower.hold(name)?;
            let xattrs = xattrs(view, &held)?;
            copy::copy_directory_attributes(&held.stat()?, &xattrs, &merged, name)?;
            return Ok(());
        }
        How::Changed { .. } | How::Deleted => {}
    }
    let (lower, _) = place(&view.lower, &change.path)?.ok_or_else(gone)?;
    // Beside it, so that programs find either the one or the other.
    let temporary = OsString::from(format!(".overlayrootctl-{}", std::process::id()));
    copy::remove(&merged, &temporary)?;
    let copied = copy_tree(view, &lower, name, &merged, &temporary).and_then(|()| {
        let is_dir =
            |dir: &Dir, name: &OsStr| dir.stat(name).map(|s| s.map(|s| s.kind == Kind::Directory));
        // A directory cannot be replaced by something else in one step here.
        match (is_dir(&lower, name)?, is_dir(&merged, name)?) {
            (Some(true), Some(_)) | (_, Some(true)) => copy::remove(&merged, name)?,
            _ => {}
        }
        Ok(rustix::fs::renameat(&merged, &temporary, &merged, name)?)
    });
    if copied.is_err() {
        let _ = copy::remove(&merged, &temporary); // the first error counts
    }
    copied
}

/// Attributes of the original that a copy in RAM can have.
fn xattrs(view: &View, original: &Held) -> io::Result<Xattrs> {
    let mut xattrs = original.xattrs()?;
    xattrs.retain(|name, value| view.holds(name, value));
    Ok(xattrs)
}

fn copy_tree(view: &View, from: &Dir, name: &OsStr, to: &Dir, new: &OsStr) -> io::Result<()> {
    let copy_one = |from: &Dir, name: &OsStr, to: &Dir, new: &OsStr| -> io::Result<Stat> {
        let held = from.hold(name)?;
        copy::copy(&held, &xattrs(view, &held)?, to, new)?;
        held.stat()
    };
    let stat = copy_one(from, name, to, new)?;
    if stat.kind != Kind::Directory {
        return Ok(());
    }
    let (mut source, mut target) = (Descent::at(from)?, Descent::at(to)?);
    source.down(name)?;
    target.down(new)?;
    let mut levels = vec![(stat, source.here().names()?)];
    while let Some((_, names)) = levels.last_mut() {
        if let Some(entry) = names.pop() {
            let stat = copy_one(source.here(), &entry, target.here(), &entry)?;
            if stat.kind == Kind::Directory {
                source.down(&entry)?;
                target.down(&entry)?;
                levels.push((stat, source.here().names()?));
            }
        } else if let Some((stat, _)) = levels.pop() {
            copy::set_own_times(&stat, target.here())?;
            source.up()?;
            target.up()?;
        }
    }
    Ok(())
}
