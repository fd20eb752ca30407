// SPDX-License-Identifier: MIT
//! `completion SHELL`: what a shell needs to complete our command lines.

use clap::{value_parser, Arg, ArgMatches, Command};
use clap_complete::Shell;

use crate::error::Result;
use crate::exit;
use crate::output::Output;

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
                .value_name("SHELL")
                .required(true)
                .value_parser(value_parser!(Shell))
                .help("Shell"),
        )
}

fn run(matches: &ArgMatches, output: &Output) -> Result<u8> {
    if let Some(shell) = matches.get_one::<Shell>("shell") {
        let mut script = Vec::new();
        clap_complete::generate(*shell, &mut super::shown(), "overlayrootctl", &mut script);
        let script = String::from_utf8_lossy(&script);
        match shell {
            Shell::Bash => output.print_text(&without_placeholders(&script))?,
            _ => output.print_text(&script)?,
        }
    }
    Ok(exit::DONE)
}

/// clap_complete offers `[PATH]...` and `<VALUE>` as words; bash completes file names where there are none.
fn without_placeholders(script: &str) -> String {
    let mut text = String::with_capacity(script.len());
    for line in script.split_inclusive('\n') {
        match line.trim_start().strip_prefix("opts=\"") {
            Some(words) if words.contains(['[', '<']) => {
                let start = &line[..line.len() - words.len()];
                let words = words.trim_end().trim_end_matches('"').split(' ');
                let words: Vec<&str> = words.filter(|w| !w.starts_with(['[', '<'])).collect();
                text.push_str(&format!("{start}{}\"\n", words.join(" ")));
            }
            _ => text.push_str(line),
        }
    }
    text
}
