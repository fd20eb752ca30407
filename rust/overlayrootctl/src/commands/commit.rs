// SPDX-License-Identifier: MIT
//! `commit`: makes changes permanent in the real root.

use std::io::Write;
use std::path::PathBuf;

use clap::{value_parser, Arg, ArgAction, ArgMatches, Command};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::exit;
use crate::layers::view::{unshare_mounts, View};
use crate::live::Live;
use crate::output::{Output, Tone};
use crate::paths;
use crate::privilege::need_root;
use crate::quoting::Quote;
use crate::waiting::Patience;
use crate::writable::{close_what_was_left_open, with_writable_lower, Done, Job, Signals};
use crate::writer::planning::{can_be_opened, Action, Plan};
use crate::writer::writing;

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
        .arg(
            Arg::new("dry-run")
                .long("dry-run")
                .action(ArgAction::SetTrue)
                .help("Say what would be done, and check whether it can be done"),
        )
        .after_help(
            "A cut at any moment leaves each file as it was or as it is to be. What is replaced or deleted \
             stays in /.overlayroot of the real root until the first commit or edit of a later boot.",
        );
    Patience::define(
        command,
        "another overlayrootctl that has the real root open",
    )
}

/// What was done; field names are those of the JSON.
#[derive(Deserialize, Serialize)]
struct Outcome {
    committed: Vec<Committed>,
    skipped: Vec<Skipped>,
    /// Nothing was written.
    dry_run: bool,
}

#[derive(Deserialize, Serialize)]
struct Committed {
    #[serde(with = "crate::jsonpath")]
    path: PathBuf,
    action: Action,
}

#[derive(Deserialize, Serialize)]
struct Skipped {
    #[serde(with = "crate::jsonpath")]
    path: PathBuf,
    reason: String,
}

fn run(matches: &ArgMatches, output: &Output) -> Result<u8> {
    need_root("to write to the real root")?;
    let live = Live::look()?;
    let layers = live.layers()?;
    let all = matches.get_flag("all");
    let named = matches.get_many::<PathBuf>("paths").into_iter().flatten();
    let paths = match all {
        true => vec![PathBuf::from("/")],
        false => named
            .map(|p| paths::inside_root(p))
            .collect::<Result<_>>()?,
    };
    can_be_opened(layers)?;
    close_what_was_left_open(layers)?;
    let plan = plan(layers, &paths, all)?;
    let mut outcome = outcome(&plan, matches.get_flag("dry-run"));
    if !outcome.dry_run && !plan.steps.is_empty() {
        if NO_JOURNAL.contains(&&*layers.lower.fstype) {
            log::warn!(
                "{} is {}, which has no journal: a cut while this runs may damage it",
                layers.lower.source,
                layers.lower.fstype
            );
        }
        let job = Job {
            purpose: "commit",
            signals: Signals::Wait,
            patience: Patience::from_matches(matches),
            replaces_files_in_use: false, // it parks them itself
        };
        let ended = with_writable_lower(layers, &job, || {
            // Opened in the namespace where the lower is writable; changes until now are seen, too.
            let view = View::open(layers)?;
            let plan = Plan::make(&view, &paths, all)?;
            plan.fits(&view.lower, &layers.lower.source)?;
            writing::write(&view, &view.lower, &plan)?;
            Ok(Done {
                code: exit::DONE,
                report: serde_json::to_vec(&self::outcome(&plan, false)).unwrap_or_default(),
            })
        })?;
        outcome = serde_json::from_slice(&ended.report).map_err(|_| Error::Reported {
            message: format!(
                "the writing process ended with {}; each file is as it was or as it is to be",
                ended.code
            ),
            remedy: "look at dmesg (out of memory?), then commit again".to_owned(),
            exit_code: exit::FAILED,
        })?;
    }
    output.print(&outcome, |out| text(&outcome, output, out))?;
    Ok(exit::DONE)
}

/// Plans in a process of its own: its view of the mounts is not that in which we write.
fn plan(layers: &crate::live::Layers, paths: &[PathBuf], all: bool) -> Result<Plan> {
    unshare_mounts(layers)?;
    let view = View::open(layers)?;
    let plan = Plan::make(&view, paths, all)?;
    plan.fits(&view.lower, &layers.lower.source)?;
    Ok(plan)
}

fn outcome(plan: &Plan, dry_run: bool) -> Outcome {
    let committed = plan.steps.iter().map(|step| Committed {
        path: step.path.clone(),
        action: step.action,
    });
    let skipped = plan.skipped.iter().map(|(path, reason)| Skipped {
        path: path.clone(),
        reason: reason.clone(),
    });
    Outcome {
        committed: committed.collect(),
        skipped: skipped.collect(),
        dry_run,
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
    for skipped in &outcome.skipped {
        let word = output.tone(Tone::Warning, "left out");
        writeln!(out, "{word} {}: {}", skipped.path.quoted(), skipped.reason)?;
    }
    if outcome.committed.is_empty() {
        writeln!(out, "Nothing is to be kept.")?;
    } else if !outcome.dry_run {
        writeln!(out, "The real root is read-only again.")?;
    }
    Ok(())
}
