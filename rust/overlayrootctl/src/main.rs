// SPDX-License-Identifier: MIT
//! The program: log, command line, command, exit code.

use std::ffi::OsStr;
use std::io::Write;
use std::process::ExitCode;

use overlayrootctl::output::{colored, unless_closed, Output};
use overlayrootctl::{commands, exit, quoting};

fn main() -> ExitCode {
    start_log();
    let matches = match commands::command().try_get_matches() {
        Ok(matches) => matches,
        Err(error) => return ExitCode::from(answer(&error)),
    };
    let output = Output::new(matches.get_flag("json"));
    ExitCode::from(match commands::run(&matches, &output) {
        Ok(code) => code,
        Err(error) => {
            output.error(&error);
            error.exit_code()
        }
    })
}

/// What clap has to say: help and version, or what is wrong with the command line. Returns the exit code.
fn answer(said: &clap::Error) -> u8 {
    if said.use_stderr() {
        match std::env::args_os().all(|argument| is_harmless(&argument)) {
            true => {
                let _ = said.print(); // no place is left to say that it failed
            }
            // Its message has the argument in it.
            false => eprintln!("error: {}", said.kind()),
        }
        return exit::USAGE;
    }
    match unless_closed(said.print()) {
        Ok(()) => exit::DONE,
        Err(error) => {
            Output::new(false).error(&error);
            error.exit_code()
        }
    }
}

/// `RUST_LOG=debug` shows what is done; nothing is logged otherwise, but warnings.
fn start_log() {
    let mut builder =
        env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn"));
    if !colored(&std::io::stderr()) {
        builder.write_style(env_logger::WriteStyle::Never);
    }
    builder
        .format(|out, record| {
            let (level, message) = (record.level(), record.args().to_string());
            let style = out.default_level_style(level);
            writeln!(
                out,
                "[{style}{level:<5}{style:#}] {}",
                quoting::line(&message)
            )
        })
        .init();
}

/// Whether a terminal prints all of it, and it is no longer than what a person types.
fn is_harmless(argument: &OsStr) -> bool {
    let text = argument.to_str();
    text.is_some_and(|text| text.len() <= LONGEST_ARGUMENT && quoting::line(text) == text)
}

/// Bytes of an argument that is repeated in a message.
const LONGEST_ARGUMENT: usize = 400;
