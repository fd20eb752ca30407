// SPDX-License-Identifier: MIT
//! `log`: the commits that can be undone.

use std::io::{self, Write};

use clap::{ArgMatches, Command};
use serde::Serialize;

use crate::error::{Error, Result};
use crate::exit;
use crate::layers::view::{unshare_mounts, View};
use crate::live::Live;
use crate::output::{Output, Tone};
use crate::privilege::need_root;
use crate::quoting::{self, Quote};
use crate::text::{bytes, time};
use crate::writer::planning::Action;
use crate::writer::record::{Header, Step};
use crate::writer::{area, retention, undo};

/// The command.
pub const ENTRY: super::Entry = super::Entry {
    name: "log",
    define,
    run,
};

fn define() -> Command {
    Command::new("log")
        .about("List the commits of which something is kept, the last one first")
        .after_help(
            "What a commit has replaced stays in /.overlayroot of the real root: that of 32 commits at most, and \
             no more than is free beside it. overlayrootctl undo brings it back, overlayrootctl purge gives it up.",
        )
}

/// What is in the log; field names are those of the JSON.
#[derive(Serialize)]
struct Log {
    /// The last one first.
    commits: Vec<Commit>,
}

/// A commit.
#[derive(Serialize)]
struct Commit {
    number: u32,
    /// Who and when; null when it cannot be read.
    header: Option<Header>,
    /// It came to its end.
    done: bool,
    /// A later one has undone it.
    undone: bool,
    /// Room that it takes, bytes.
    bytes: u64,
    steps: Vec<Entry>,
}

#[derive(Serialize)]
struct Entry {
    #[serde(flatten)]
    step: Step,
    /// What was there before is still kept.
    kept: bool,
}

fn run(_: &ArgMatches, output: &Output) -> Result<u8> {
    need_root("to read what is kept in the real root")?;
    let live = Live::look()?;
    let layers = live.layers()?;
    unshare_mounts(layers)?;
    let view = View::open(layers)?;
    let looking = || Error::system("look at", "the log");
    let commits = area::commits(&view.lower).map_err(looking())?;
    let all = commits.as_ref().map_or(Ok(Vec::new()), retention::all);
    let all = all.map_err(looking())?;
    let undone = undo::undone(&all);
    let mut list = Vec::new();
    for kept in all.into_iter().rev() {
        let record = kept.record.unwrap_or_default();
        let entry = |(at, step)| Entry {
            step,
            kept: kept.parked.contains(&at),
        };
        list.push(Commit {
            number: kept.number,
            undone: undone.contains(&kept.number),
            bytes: kept.bytes,
            done: record.done,
            header: (record.header.format > 0).then_some(record.header),
            steps: record.steps.into_iter().enumerate().map(entry).collect(),
        });
    }
    let log = Log { commits: list };
    output.print(&log, |out| {
        let mut commits = log.commits.iter();
        commits.try_for_each(|commit| print(commit, output, out))
    })?;
    Ok(exit::DONE)
}

fn print(commit: &Commit, output: &Output, out: &mut dyn Write) -> io::Result<()> {
    let number = format!("commit {}", commit.number);
    write!(out, "{}", output.tone(Tone::Strong, &number))?;
    let Some(header) = &commit.header else {
        return writeln!(out, "  its record cannot be read, {}", bytes(commit.bytes));
    };
    let terminal = header.by.terminal.as_deref().unwrap_or("no terminal");
    let who = format!("{} ({terminal})", header.by.user);
    write!(
        out,
        "  {}  {}  {}",
        time(header.time),
        quoting::line(&who),
        bytes(commit.bytes)
    )?;
    if let Some(number) = header.undoes {
        write!(out, "  undoes {number}")?;
    }
    if commit.undone {
        write!(out, "  undone")?;
    }
    if !commit.done {
        write!(out, "  {}", output.tone(Tone::Warning, "not finished"))?;
    }
    writeln!(out, "\n    {}", quoting::line(&header.by.command))?;
    for entry in &commit.steps {
        let word = match entry.step.action {
            Action::Write if entry.step.replaced => "changed",
            Action::Write => "added  ",
            Action::Attributes => "changed",
            Action::Delete => "deleted",
        };
        writeln!(out, "    {word} {}", entry.step.path.quoted())?;
    }
    Ok(())
}
