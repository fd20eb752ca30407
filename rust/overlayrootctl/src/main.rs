// SPDX-License-Identifier: MIT
//! The program: log, command line, command, exit code.

use std::ffi::OsStr;
use std::io::Write;
use std::process::ExitCode;

use overlayrootctl::output::{colored, Output};
use overlayrootctl::{cli, commands, exit, shown};

fn main() -> ExitCode {
    start_log();
    let matches = match cli::command().try_get_matches() {
        Ok(matches) => matches,
        Err(error) => {
            match std::env::args_os().all(|argument| is_harmless(&argument)) {
                true => {
                    let _ = error.print(); // no place is left to say that it failed
                }
                // Its message has the argument in it.
                false => eprintln!("error: {}", error.kind()),
            }
            return ExitCode::from(match error.use_stderr() {
                true => exit::USAGE,
                false => exit::DONE, // --help, --version
            });
        }
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
                shown::line(&message)
            )
        })
        .init();
}

/// Whether a terminal prints all of it.
fn is_harmless(argument: &OsStr) -> bool {
    let text = argument.to_str();
    text.is_some_and(|text| shown::line(text) == text)
}
