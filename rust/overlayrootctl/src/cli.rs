// SPDX-License-Identifier: MIT
//! The command line as a whole. Each command defines its own part, in its own file.

use clap::{Arg, ArgAction, Command};

use crate::{commands, exit, quoting};

/// The program's command line.
pub fn command() -> Command {
    program().subcommands(all())
}

/// The same without what is hidden, and without `help`: what manual pages and completions tell.
pub fn shown() -> Command {
    let shown = all().filter(|c| !c.is_hide_set());
    program().disable_help_subcommand(true).subcommands(shown)
}

fn all() -> impl Iterator<Item = Command> {
    commands::COMMANDS.iter().map(|c| (c.define)())
}

fn program() -> Command {
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

#[cfg(test)]
mod tests {
    #[test]
    fn the_definition_is_consistent() {
        super::command().debug_assert();
    }
}
