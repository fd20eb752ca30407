// SPDX-License-Identifier: MIT
//! The command line around the commands: what all of them have in common.

use clap::{Arg, ArgAction, Command};

use crate::{exit, quoting};

/// `--dry-run`, for commands that have it.
pub fn dry_run() -> Arg {
    Arg::new("dry-run")
        .long("dry-run")
        .action(ArgAction::SetTrue)
        .help("Say what would be done, and check whether it can be done")
}

/// The program, without its commands.
pub fn program() -> Command {
    Command::new("overlayrootctl")
        .version(env!("CARGO_PKG_VERSION"))
        .about("See, keep, undo and switch what the overlayroot init does")
        .after_help(format!(
            "Exit codes: {}\nEnvironment: {}\n{}",
            exit::CODES,
            exit::ENVIRONMENT,
            quoting::HELP
        ))
        .subcommand_required(true)
        .arg_required_else_help(true)
        .max_term_width(100)
        .arg(
            Arg::new("json")
                .long("json")
                .global(true)
                .action(ArgAction::SetTrue)
                .help("Print JSON instead of text"),
        )
}
