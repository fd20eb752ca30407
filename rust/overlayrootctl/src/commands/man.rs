// SPDX-License-Identifier: MIT
//! `man FOLDER`: writes the manual pages. For packaging, hidden: the pages are what people look at.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::{value_parser, Arg, ArgMatches, Command};
use clap_mangen::Man;

use crate::error::{Error, Result};
use crate::exit;
use crate::output::Output;
use crate::quoting::{self, Quote};

/// The command.
pub const ENTRY: super::Entry = super::Entry {
    name: "man",
    define,
    run,
};

fn define() -> Command {
    Command::new("man")
        .about("Write the manual pages into a folder")
        .hide(true)
        .arg(
            Arg::new("folder")
                .required(true)
                .value_parser(value_parser!(PathBuf))
                .help("Where overlayrootctl.8 and a page for each command go"),
        )
}

fn run(matches: &ArgMatches, _: &Output) -> Result<u8> {
    let Some(folder) = matches.get_one::<PathBuf>("folder") else {
        return Ok(exit::USAGE); // clap asks for it
    };
    // So that --help and the arguments that all commands take are in each page.
    let mut program = super::shown();
    program.build();
    let pages = program.get_subcommands();
    let pages = std::iter::once(program.clone()).chain(pages.cloned().map(|page| {
        let name = format!("overlayrootctl-{}", page.get_name());
        page.name(name)
    }));
    for page in pages {
        let path = folder.join(format!("{}.8", page.get_name()));
        let mut text = Vec::new();
        render(page, &mut text).map_err(Error::system("make", path.quoted()))?;
        fs::write(&path, text).map_err(Error::system("write", path.quoted()))?;
    }
    Ok(exit::DONE)
}

/// A page. Its synopsis is what `--help` says: clap_mangen's has neither values nor the `--` of `edit`.
fn render(mut page: Command, text: &mut Vec<u8>) -> io::Result<()> {
    let usage = page.render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ").to_owned();
    let notes = page.get_after_help().map(ToString::to_string);
    let whole = page.has_subcommands();
    let man = Man::new(page)
        .section("8")
        .source(concat!("overlayrootctl ", env!("CARGO_PKG_VERSION")))
        .manual("overlayroot");
    man.render_title(text)?;
    man.render_name_section(text)?;
    section(text, "SYNOPSIS", &usage)?;
    man.render_description_section(text)?;
    man.render_options_section(text)?;
    if whole {
        man.render_subcommands_section(text)?;
        section(text, "EXIT STATUS", exit::CODES)?;
        section(text, "ENVIRONMENT", exit::ENVIRONMENT)?;
        return section(text, "NOTES", quoting::HELP);
    }
    if let Some(notes) = notes {
        section(text, "NOTES", &notes)?;
    }
    section(text, "SEE ALSO", "overlayrootctl(8), for the exit status")
}

/// A section of plain text.
fn section(out: &mut Vec<u8>, heading: &str, text: &str) -> io::Result<()> {
    writeln!(out, ".SH \"{heading}\"")?;
    for line in text.lines() {
        let line = line.replace('\\', "\\e").replace('-', "\\-");
        let control = line.starts_with(['.', '\'']);
        writeln!(out, "{}{line}", if control { "\\&" } else { "" })?;
    }
    Ok(())
}
