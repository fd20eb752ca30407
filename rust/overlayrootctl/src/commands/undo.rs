// SPDX-License-Identifier: MIT
//! `undo`: brings back in the real root what a commit has replaced.

use clap::{value_parser, Arg, ArgMatches, Command};

use super::commit::{self, Outcome};
use super::opening;
use crate::caller;
use crate::error::Result;
use crate::layers::dir::Dir;
use crate::layers::view::{reading, unshare_mounts, View};
use crate::live::Layers;
use crate::output::{Output, Tone};
use crate::quoting::Quote;
use crate::writable::Job;
use crate::writer::planning::Action;
use crate::writer::undo;

/// The command.
pub const ENTRY: super::Entry = super::Entry {
    name: "undo",
    define,
    run,
};

fn define() -> Command {
    let command = Command::new("undo")
        .about("Bring back in the real root what a commit has replaced or deleted, and take away what it added")
        .arg(
            Arg::new("number")
                .value_name("NUMBER")
                .value_parser(value_parser!(u32))
                .help("The commit, as overlayrootctl log has it [default: the last one]"),
        )
        .after_help(
            "As safe against power cuts as commit, and a commit itself, that can be undone. What was changed again \
             since is left out, and the exit code is 1. The running system is not touched: what was committed since it \
             was booted is listed by overlayrootctl diff again; the rest is seen at the next boot.",
        );
    opening::with_wait(command)
}

fn run(matches: &ArgMatches, output: &Output) -> Result<u8> {
    let live = opening::look()?;
    let layers = live.layers()?;
    let number = matches.get_one::<u32>("number").copied();
    unshare_mounts(layers)?;
    // Refused before anything is opened for writing.
    let found = undo::find(&View::open(layers)?.lower, number)?.number;
    let outcome = carry_out(layers, &opening::job("undo", matches), found)?;
    output.print(&outcome, |out| {
        for one in &outcome.committed {
            let word = match one.action {
                Action::Delete => "taken away",
                Action::Write | Action::Attributes => "brought back",
            };
            let word = output.tone(Tone::Good, word);
            writeln!(out, "{word} {}", one.path.quoted())?;
        }
        let word = output.tone(Tone::Bad, "LEFT OUT");
        for one in &outcome.left_out {
            writeln!(out, "{word} {}: {}", one.path.quoted(), one.reason)?;
        }
        match outcome.number {
            Some(number) => writeln!(
                out,
                "Commit {found} is undone, by commit {number}. The real root is read-only again."
            ),
            None => writeln!(out, "Nothing was changed."),
        }
    })?;
    Ok(commit::exit_code(&outcome))
}

fn carry_out(layers: &Layers, job: &Job, number: u32) -> Result<Outcome> {
    let header = commit::header();
    commit::with_outcome(layers, job, || {
        let path = layers.lower_path();
        let lower = Dir::open(path).map_err(reading(path))?;
        let kept = undo::find(&lower, Some(number))?;
        let written = undo::undo(&lower, &kept, header)?;
        let what = format!("undo of commit {number}, as commit");
        Ok(commit::done(written, &caller::look(), &what))
    })
}
