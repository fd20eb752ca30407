// SPDX-License-Identifier: MIT
//! `commit`: makes changes permanent in the real root.

use std::io::Write;
use std::path::PathBuf;

use clap::{value_parser, Arg, ArgAction, ArgMatches, Command};
use serde::{Deserialize, Serialize};

use super::opening;
use crate::caller;
use crate::cli;
use crate::error::{Error, Result};
use crate::exit;
use crate::layers::changes::LeftOut;
use crate::layers::view::{unshare_mounts, View};
use crate::live::Layers;
use crate::output::{Output, Tone};
use crate::paths;
use crate::quoting::Quote;
use crate::writable::{with_writable_lower, Done, Job};
use crate::writer::planning::{Action, Plan};
use crate::writer::publishing::Written;
use crate::writer::record::{By, Header};
use crate::writer::{retention, staging};

/// The command.
pub const ENTRY: super::Entry = super::Entry {
    name: "commit",
    define,
    run,
};

/// File systems where a rename and what it names may reach the disk in any order.
const NO_JOURNAL: [&str; 2] = ["ext2", "vfat"];

fn define() -> Command {
    let command = Command::new("commit")
        .about("Make changes permanent in the real root, safe against power cuts")
        .arg(
            Arg::new("paths")
                .value_name("PATH")
                .num_args(1..)
                .required_unless_present("all")
                .conflicts_with("all")
                .value_parser(value_parser!(PathBuf))
                .help("What to keep: files, deleted files, directories with all that is below"),
        )
        .arg(
            Arg::new("all")
                .long("all")
                .action(ArgAction::SetTrue)
                .help("Everything that overlayrootctl diff lists, but for what commit.d leaves out"),
        )
        .arg(cli::dry_run())
        .after_help(
            "A cut at any moment leaves each file as it was or as it is to be. What is replaced or deleted \
             stays in /.overlayroot of the real root for a while: overlayrootctl log, overlayrootctl undo. What \
             cannot be kept is named, the rest is kept, and the exit code is 1.",
        );
    opening::with_wait(command)
}

/// What was done; field names are those of the JSON.
#[derive(Deserialize, Serialize)]
pub(super) struct Outcome {
    /// The number that `log` and `undo` know it by.
    pub number: Option<u32>,
    pub committed: Vec<Committed>,
    /// What makes no sense to keep.
    pub skipped: Vec<LeftOut>,
    /// What should be kept, and could not be.
    pub left_out: Vec<LeftOut>,
    /// What of an entry was not kept.
    pub notes: Vec<LeftOut>,
    /// Nothing was written.
    pub dry_run: bool,
}

#[derive(Deserialize, Serialize)]
pub(super) struct Committed {
    #[serde(with = "crate::jsonpath")]
    pub path: PathBuf,
    pub action: Action,
}

fn run(matches: &ArgMatches, output: &Output) -> Result<u8> {
    let live = opening::look()?;
    let layers = live.layers()?;
    let named = matches.get_many::<PathBuf>("paths").into_iter().flatten();
    let paths = match matches.get_flag("all") {
        true => vec![PathBuf::from("/")],
        false => named
            .map(|p| paths::inside_root(p))
            .collect::<Result<_>>()?,
    };
    let plan = plan(layers, &paths)?;
    let mut outcome = planned(&plan);
    if !matches.get_flag("dry-run") {
        outcome.dry_run = false;
        if !plan.steps.is_empty() {
            let job = opening::job("commit", matches);
            outcome = write(layers, &job, &plan, &paths)?;
        }
    }
    output.print(&outcome, |out| text(&outcome, output, out))?;
    Ok(exit_code(&outcome))
}

/// Plans in a process of its own: its view of the mounts is not that in which we write.
fn plan(layers: &Layers, paths: &[PathBuf]) -> Result<Plan> {
    unshare_mounts(layers)?;
    let view = View::open(layers)?;
    let plan = Plan::make(&view, paths)?;
    if plan.fits(&view.lower, 0).is_err() {
        plan.fits(&view.lower, retention::spare(&view.lower))?;
    }
    Ok(plan)
}

fn write(layers: &Layers, job: &Job, plan: &Plan, paths: &[PathBuf]) -> Result<Outcome> {
    if NO_JOURNAL.contains(&&*layers.lower.fstype) {
        log::warn!(
            "{} is {}, which has no journal: a cut while this runs may damage it",
            layers.lower.source,
            layers.lower.fstype
        );
    }
    let header = header();
    with_outcome(layers, job, || {
        // Opened in the namespace where the lower is writable.
        let view = View::open(layers)?;
        let written = staging::write(&view, plan, paths, header)?;
        Ok(Outcome {
            notes: plan.notes.clone(),
            skipped: plan.skipped.clone(),
            ..done(written, &caller::look(), "commit")
        })
    })
}

/// The first line of a record.
pub(super) fn header() -> Header {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Header {
        time: now.map_or(0, |since| since.as_secs() as i64),
        by: caller::look(),
        ..Header::default()
    }
}

/// Writes in a process of its own, and takes what it reports.
pub(super) fn with_outcome(
    layers: &Layers,
    job: &Job,
    work: impl FnOnce() -> Result<Outcome>,
) -> Result<Outcome> {
    let ended = with_writable_lower(layers, job, || {
        Ok(Done {
            code: exit::DONE,
            report: serde_json::to_vec(&work()?).unwrap_or_default(),
        })
    })?;
    serde_json::from_slice(&ended.report).map_err(|_| Error::Reported {
        message: format!(
            "the writing process ended with {}; each file is as it was or as it is to be",
            ended.code
        ),
        remedy: format!("look at dmesg (out of memory?), then {} again", job.purpose),
        exit_code: exit::FAILED,
    })
}

/// What was written, noted in the kernel's log.
pub(super) fn done(written: Written, by: &By, what: &str) -> Outcome {
    if let Some(number) = written.number {
        let paths = written.done.iter().map(|(path, _)| &**path);
        caller::note(by, &format!("{what} {number}: {}", caller::some(paths)));
    }
    let committed = |(path, action)| Committed { path, action };
    Outcome {
        number: written.number,
        committed: written.done.into_iter().map(committed).collect(),
        skipped: Vec::new(),
        left_out: written.left_out,
        notes: Vec::new(),
        dry_run: false,
    }
}

fn planned(plan: &Plan) -> Outcome {
    let committed = plan.steps.iter().map(|step| Committed {
        path: step.path.clone(),
        action: step.action,
    });
    Outcome {
        number: None,
        committed: committed.collect(),
        skipped: plan.skipped.clone(),
        left_out: plan.left_out.clone(),
        notes: plan.notes.clone(),
        dry_run: true,
    }
}

/// Failed, where something should have been kept and was not.
pub(super) fn exit_code(outcome: &Outcome) -> u8 {
    match outcome.left_out.is_empty() {
        true => exit::DONE,
        false => exit::FAILED,
    }
}

fn text(outcome: &Outcome, output: &Output, out: &mut dyn Write) -> std::io::Result<()> {
    for committed in &outcome.committed {
        let word = match (committed.action, outcome.dry_run) {
            (Action::Write | Action::Attributes, false) => "kept",
            (Action::Delete, false) => "deleted",
            (Action::Write | Action::Attributes, true) => "would keep",
            (Action::Delete, true) => "would delete",
        };
        writeln!(
            out,
            "{} {}",
            output.tone(Tone::Good, word),
            committed.path.quoted()
        )?;
    }
    for (tone, word, list) in [
        (Tone::Strong, "note", &outcome.notes),
        (Tone::Warning, "left out", &outcome.skipped),
        (Tone::Bad, "NOT KEPT", &outcome.left_out),
    ] {
        let word = output.tone(tone, word);
        for one in list {
            writeln!(out, "{word} {}: {}", one.path.quoted(), one.reason)?;
        }
    }
    if outcome.committed.is_empty() {
        writeln!(out, "Nothing is to be kept.")?;
    } else if !outcome.dry_run {
        writeln!(out, "The real root is read-only again.")?;
    }
    Ok(())
}
