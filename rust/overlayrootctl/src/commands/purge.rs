// SPDX-License-Identifier: MIT
//! `purge`: gives up what commits have replaced, and its room.

use clap::{ArgMatches, Command};
use serde::{Deserialize, Serialize};

use super::opening;
use crate::error::{Error, Result};
use crate::exit;
use crate::layers::dir::Dir;
use crate::layers::view::{reading, unshare_mounts, View};
use crate::output::Output;
use crate::text::bytes;
use crate::writable::{with_writable_lower, Done};
use crate::writer::retention::{self, Sum};

/// The command.
pub const ENTRY: super::Entry = super::Entry {
    name: "purge",
    define,
    run,
};

fn define() -> Command {
    let command = Command::new("purge")
        .about("Give up what commits have replaced: it frees room in the real root, and cannot be undone")
        .after_help(
            "What the running system may still use stays until a later boot: files that were there when it was \
             booted, and what a program has open.",
        );
    opening::with_wait(command)
}

/// What was done; field names are those of the JSON.
#[derive(Deserialize, Serialize)]
struct Outcome {
    /// Bytes that were freed.
    freed: u64,
    /// What is still there.
    left: Sum,
}

fn run(matches: &ArgMatches, output: &Output) -> Result<u8> {
    let live = opening::look()?;
    let layers = live.layers()?;
    unshare_mounts(layers)?;
    let looking = || Error::system("look at", "what is kept");
    let before = retention::sum(&View::open(layers)?.lower).map_err(looking())?;
    let mut left = before;
    if before != Sum::default() {
        let ended = with_writable_lower(layers, &opening::job("purge", matches), || {
            let path = layers.lower_path();
            let lower = Dir::open(path).map_err(reading(path))?;
            let left = retention::purge(&lower)?;
            Ok(Done {
                code: exit::DONE,
                report: serde_json::to_vec(&left).unwrap_or_default(),
            })
        })?;
        left = serde_json::from_slice(&ended.report).map_err(|_| Error::Reported {
            message: format!("the writing process ended with {}", ended.code),
            remedy: "look at dmesg (out of memory?), then purge again".to_owned(),
            exit_code: exit::FAILED,
        })?;
    }
    let outcome = Outcome {
        freed: before.bytes.saturating_sub(left.bytes),
        left,
    };
    output.print(&outcome, |out| {
        writeln!(out, "{} freed.", bytes(outcome.freed))?;
        match outcome.left.commits {
            0 => Ok(()),
            commits => writeln!(
                out,
                "{} in {commits} commits stay until a later boot, as the running system may use it.",
                bytes(outcome.left.bytes)
            ),
        }
    })?;
    Ok(exit::DONE)
}
