// SPDX-License-Identifier: MIT
//! The commands: each file defines one, its arguments and what it does.

mod commit;
mod completion;
mod diff;
mod disable;
mod edit;
mod enable;
mod export;
mod import;
mod log;
mod man;
mod opening;
mod plan;
mod purge;
mod revert;
mod size;
mod status;
mod undo;
mod watch;

use clap::{ArgMatches, Command};

use crate::cli;
use crate::error::Result;
use crate::output::Output;

/// A command.
pub struct Entry {
    /// Name, as `define` has it.
    pub name: &'static str,
    /// Its command line.
    pub define: fn() -> Command,
    /// Carries it out; returns the exit code.
    pub run: fn(&ArgMatches, &Output) -> Result<u8>,
}

/// Every command, in the order of the help.
pub const COMMANDS: &[Entry] = &[
    status::ENTRY,
    diff::ENTRY,
    commit::ENTRY,
    log::ENTRY,
    undo::ENTRY,
    purge::ENTRY,
    revert::ENTRY,
    edit::ENTRY,
    export::ENTRY,
    import::ENTRY,
    enable::ENTRY,
    disable::ENTRY,
    size::ENTRY,
    plan::ENTRY,
    watch::ENTRY,
    completion::ENTRY,
    man::ENTRY,
];

/// The program's command line.
pub fn command() -> Command {
    cli::program().subcommands(COMMANDS.iter().map(|c| (c.define)()))
}

/// The same without what is hidden, and without `help`: what manual pages and completions tell.
pub fn shown() -> Command {
    let all = COMMANDS.iter().map(|c| (c.define)());
    let shown = all.filter(|c| !c.is_hide_set());
    cli::program()
        .disable_help_subcommand(true)
        .subcommands(shown)
}

/// Runs the command that was chosen.
pub fn run(matches: &ArgMatches, output: &Output) -> Result<u8> {
    match matches.subcommand() {
        Some((name, matches)) => match COMMANDS.iter().find(|c| c.name == name) {
            Some(command) => (command.run)(matches, output),
            None => Ok(crate::exit::USAGE), // clap lets nothing else through
        },
        None => Ok(crate::exit::USAGE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn names_are_those_of_the_definitions() {
        for command in COMMANDS {
            assert_eq!(command.name, (command.define)().get_name());
        }
    }
}
