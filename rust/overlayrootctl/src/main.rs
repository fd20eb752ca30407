// SPDX-License-Identifier: MIT
//! The program: log, command line, command, exit code.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::process::ExitCode;

use clap::error::ErrorKind;
use overlayrootctl::output::{colored, tell, unless_closed, Output};
use overlayrootctl::{commands, exit, progress, quoting};

fn main() -> ExitCode {
    start_log();
    let matches = match commands::command().try_get_matches() {
        Ok(matches) => matches,
        Err(error) => return ExitCode::from(answer(&error)),
    };
    let command = matches.subcommand_name().unwrap_or_default();
    let output = Output::new(matches.get_flag("json"), command);
    if output.json {
        progress::switch_off();
    }
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
    let typed = Typed::look();
    let output = Output::new(typed.json, &typed.command);
    if said.use_stderr() {
        let harmless = std::env::args_os().all(|argument| is_harmless(&argument));
        // clap's message has the argument in it.
        let what = match harmless {
            true => said.to_string(),
            false => format!("error: {}", said.kind()),
        };
        match harmless {
            true => drop(said.print()), // no place is left to say that it failed
            false => tell(&what),
        }
        let code = exit::usage(&typed.command);
        let mut remedy = "overlayrootctl --help shows what can be written";
        if typed.command == "edit" && said.kind() == ErrorKind::UnknownArgument {
            remedy = "write -- before the command: overlayrootctl edit -- COMMAND ...";
            tell(&format!("remedy: {remedy}"));
        }
        let first = what.split("\n\n").next().unwrap_or_default();
        let first: Vec<&str> = first.split_whitespace().skip(1).collect(); // without "error:"
        output.error_object(&first.join(" "), remedy, code);
        return code;
    }
    match unless_closed(said.print()) {
        Ok(()) => exit::DONE,
        Err(error) => {
            output.error(&error);
            error.exit_code()
        }
    }
}

/// What is known of a command line that is wrong.
struct Typed {
    command: String,
    json: bool,
}

impl Typed {
    fn look() -> Typed {
        // What is behind `--` is a command of somebody else's.
        let words: Vec<OsString> = std::env::args_os()
            .skip(1)
            .take_while(|word| word != "--")
            .collect();
        let names: Vec<&str> = commands::COMMANDS.iter().map(|c| c.name).collect();
        let mut texts = words.iter().filter_map(|word| word.to_str());
        let command = texts.find(|word| names.contains(word));
        Typed {
            command: command.unwrap_or_default().to_owned(),
            json: words.iter().any(|word| word == "--json"),
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
            progress::erase();
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
