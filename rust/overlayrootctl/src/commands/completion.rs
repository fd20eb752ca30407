// SPDX-License-Identifier: MIT
//! `completion SHELL`: what a shell needs to complete our command lines.

use std::io::Write;

use clap::{value_parser, Arg, ArgMatches, Command};
use clap_complete::Shell;

use crate::error::{Error, Result};
use crate::output::Output;
use crate::{cli, exit};

/// The command.
pub const ENTRY: super::Entry = super::Entry {
    name: "completion",
    define,
    run,
};

fn define() -> Command {
    Command::new("completion")
        .about("Print completions for a shell")
        .long_about(
            "Prints completions for a shell. For bash, in the running shell:\n\n    \
             source <(overlayrootctl completion bash)",
        )
        .arg(
            Arg::new("shell")
                .required(true)
                .value_parser(value_parser!(Shell))
                .help("Shell"),
        )
}

fn run(matches: &ArgMatches, _: &Output) -> Result<u8> {
    if let Some(shell) = matches.get_one::<Shell>("shell") {
        let mut script = Vec::new();
        clap_complete::generate(*shell, &mut cli::command(), "overlayrootctl", &mut script);
        std::io::stdout()
            .write_all(&script)
            .map_err(Error::Output)?;
    }
    Ok(exit::DONE)
}
