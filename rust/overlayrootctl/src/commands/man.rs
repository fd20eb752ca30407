// SPDX-License-Identifier: MIT
//! `man FOLDER`: writes the manual pages. For packaging, hidden: the pages are what people look at.

use std::fs;
use std::path::PathBuf;

use clap::{value_parser, Arg, ArgMatches, Command};
use clap_mangen::Man;

use crate::error::{Error, Result};
use crate::output::Output;
use crate::shown::Show;
use crate::{cli, exit};

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
    let mut program = cli::command();
    program.build();
    let pages = program.get_subcommands().filter(|c| !c.is_hide_set());
    let pages = std::iter::once(program.clone()).chain(pages.cloned().map(|page| {
        let name = format!("overlayrootctl-{}", page.get_name());
        page.name(name)
    }));
    for page in pages {
        let path = folder.join(format!("{}.8", page.get_name()));
        let mut text = Vec::new();
        Man::new(page)
            .section("8")
            .manual("overlayroot")
            .render(&mut text)
            .map_err(Error::system("make", path.shown()))?;
        fs::write(&path, text).map_err(Error::system("write", path.shown()))?;
    }
    Ok(exit::DONE)
}
