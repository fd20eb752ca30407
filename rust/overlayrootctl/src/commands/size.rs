// SPDX-License-Identifier: MIT
//! `size VALUE`: how large the RAM layer is, from the next boot on; `size --now VALUE`: at once.

use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, ArgMatches, Command};
use overlayroot::size::{Limits, Size};

use crate::bootenv::{self, Choice};
use crate::error::{Error, Result};
use crate::exit;
use crate::output::Output;
use crate::privilege::need_root;
use crate::quoting::brief;
use crate::ramlayer::{self, Layer};

/// The command.
pub const ENTRY: super::Entry = super::Entry {
    name: "size",
    define,
    run,
};

fn define() -> Command {
    Choice::define(
        Command::new("size")
            .about("Set the size of the RAM layer for the next boots, or with --now at once")
            .arg(Arg::new("value").required(true).value_name("VALUE").help(
                "20 or 20% (of RAM), 64M, 1G; with a limit on the number of files: 64M,20000",
            ))
            .arg(
                Arg::new("now")
                    .long("now")
                    .action(ArgAction::SetTrue)
                    .conflicts_with_all(["store", "fw-config", "boot"])
                    .help("Resize the RAM layer of the running system; the next boot is as it was set before"),
            )
            .arg(super::watch::layer_argument().requires("now")),
    )
}

fn run(matches: &ArgMatches, output: &Output) -> Result<u8> {
    let text = matches
        .get_one::<String>("value")
        .map_or("", String::as_str);
    let size = Size::parse(text).ok_or_else(|| Error::Usage {
        what: format!("\"{}\" is no size", brief(text)),
        remedy:
            "write 20 or 20% (of RAM), 64M, 1G, or 64M,20000 with a limit on the number of files",
    })?;
    need_root(match matches.get_flag("now") {
        true => "to resize what is mounted",
        false => bootenv::WHY_ROOT,
    })?;
    let (limits, beyond) = size.limits(ramlayer::total_ram()?);
    if let Some(beyond) = beyond {
        // It ends with what the init would take instead.
        let beyond = beyond.replace(": using ", ": the init would use ");
        return Err(Error::refused(beyond, "write a value within these limits"));
    }
    if matches.get_flag("now") {
        let folder = matches.get_one::<PathBuf>("layer").cloned();
        return now(&folder.unwrap_or_default(), limits, output);
    }
    let store = Choice::from_matches(matches).open()?;
    let changes = bootenv::size(&store.view(&[])?, text);
    let says = format!(
        "From the next boot on the RAM layer has {limits}.",
        limits = shown(limits)
    );
    bootenv::carry_out(
        store.as_ref(),
        &changes,
        output,
        &|next| next.size == text,
        &says,
    )
}

fn now(folder: &Path, limits: Limits, output: &Output) -> Result<u8> {
    let before = Layer::look_at(folder)?;
    before.resize(limits)?;
    let after = Layer::look_at(folder)?;
    output.print(
        &serde_json::json!({ "before": before, "after": after }),
        |out| {
            writeln!(out, "The RAM layer has {} now, it had {}.", after, before)?;
            writeln!(
                out,
                "The next boot is as it was set before; to change that: overlayrootctl size VALUE"
            )
        },
    )?;
    Ok(exit::DONE)
}

fn shown(limits: Limits) -> String {
    format!("{} MiB and {} inodes", limits.bytes >> 20, limits.inodes)
}
