// SPDX-License-Identifier: MIT
//! What the commands have in common that open the real root for writing.

use clap::{ArgMatches, Command};

use crate::error::Result;
use crate::live::Live;
use crate::privilege::need_root;
use crate::waiting::Patience;
use crate::writable::{close_what_was_left_open, Job, Signals};
use crate::writer::planning::can_be_opened;

/// Adds `--wait` to a command.
pub(super) fn with_wait(command: Command) -> Command {
    Patience::define(
        command,
        "another overlayrootctl that has the real root open",
    )
}

/// What is mounted; refuses where the real root is not to be written. One that was left open is closed.
pub(super) fn look() -> Result<Live> {
    need_root("to write to the real root")?;
    let live = Live::look()?;
    let layers = live.layers()?;
    can_be_opened(layers)?;
    close_what_was_left_open(layers)?;
    Ok(live)
}

/// What writes to the real root, and parks itself what it replaces.
pub(super) fn job(purpose: &'static str, matches: &ArgMatches) -> Job {
    Job {
        purpose,
        signals: Signals::Wait,
        patience: Patience::from_matches(matches),
        replaces_files_in_use: false,
    }
}
