// SPDX-License-Identifier: MIT
//! `plan`: what the init would do on this board, as text, without doing it.

use std::fs;
use std::path::PathBuf;

use clap::{value_parser, Arg, ArgMatches, Command};
use overlayroot::config::{self, Entry};
use overlayroot::plan::{plan, Mode};
use overlayroot::settings::Settings;
use overlayroot::{cmdline, ladder};
use overlayroot_sys::observe::observe;
use serde::Serialize;

use crate::bootreport::{BootReport, Setting};
use crate::error::{Error, Result};
use crate::exit;
use crate::output::Output;
use crate::privilege;
use crate::quoting::{self, Quote};
use crate::readonly::ReadOnlySystem;

/// The command.
pub const ENTRY: super::Entry = super::Entry {
    name: "plan",
    define,
    run,
};

const CMDLINE: &str = "/proc/cmdline";

fn define() -> Command {
    Command::new("plan")
        .about("Show what the init would do here at a boot, without doing it")
        .arg(
            Arg::new("cmdline")
                .long("cmdline")
                .value_name("TEXT")
                .help("Command line of that boot [default: that of this boot]"),
        )
        .arg(
            Arg::new("conf")
                .long("conf")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .help("overlayroot.conf of the initramfs [default: what it said at this boot]"),
        )
}

#[derive(Serialize)]
struct Forecast {
    cmdline: String,
    /// Mode that the settings ask for.
    wanted: &'static str,
    /// Mode that can be planned first; null when none can.
    first: Option<&'static str>,
    settings: Vec<Setting>,
    warnings: Vec<String>,
    /// The plan and what follows when it fails, one line each.
    plan: Vec<String>,
}

fn run(matches: &ArgMatches, output: &Output) -> Result<u8> {
    privilege::need_root("to read the superblock of the root device")?;
    let line = match matches.get_one::<String>("cmdline") {
        Some(line) => line.clone(),
        None => fs::read_to_string(CMDLINE).map_err(Error::system("read", CMDLINE))?,
    };
    let mut warnings = Vec::new();
    let entries = match matches.get_one::<PathBuf>("conf") {
        Some(path) => {
            let text = fs::read(path).map_err(Error::system("read", path.quoted()))?;
            let (entries, bad_lines) = config::parse(&text);
            warnings.extend(bad_lines);
            entries
        }
        None => said_by_image(),
    };
    let mut settings = Settings::merge(&entries, &cmdline::words(line.trim_end().as_bytes()));
    warnings.append(&mut settings.warnings);
    // A device that is missing now is reported at once.
    settings.wait = 0;
    let mut board = ReadOnlySystem::new();
    let observation = observe(&mut board, &settings);
    if !board.forbidden.is_empty() {
        let devices: Vec<&str> = board.forbidden.iter().map(String::as_str).collect();
        warnings.push(format!(
            "{} may not be read here, so that the file system is not known and the plan is a guess: \
             run this as root of the board itself, not in a container or a sandbox",
            devices.join(", ")
        ));
    }
    warnings.extend(observation.warnings);
    warnings.extend(observation.no_root);
    let facts = observation.facts;
    if facts.root.as_ref().is_some_and(|r| r.media_read_only) {
        warnings.push(
            "the root device is locked now, so that it looks like a write-protected card: \
             another boot finds it unlocked"
                .to_owned(),
        );
    }
    let wanted = Mode::wanted(&settings);
    let rungs = [Some(wanted), wanted.degrade(settings.fail)];
    let mut rungs = rungs.into_iter().flatten();
    let text = ladder::describe(&settings, &facts);
    let forecast = Forecast {
        wanted: wanted.as_str(),
        first: rungs
            .find(|mode| plan(*mode, &settings, &facts).is_ok())
            .map(Mode::as_str),
        settings: settings
            .said
            .iter()
            .map(|s| Setting {
                name: s.name.to_owned(),
                value: s.value.clone(),
                origin: s.origin.as_str().to_owned(),
            })
            .collect(),
        warnings,
        plan: text.lines().map(str::to_owned).collect(),
        cmdline: line.trim_end().to_owned(),
    };
    output.print(&forecast, |out| {
        for warning in &forecast.warnings {
            writeln!(out, "warning: {}", quoting::line(warning))?;
        }
        write!(out, "{}", quoting::lines(&text))
    })?;
    Ok(if forecast.first.is_some() {
        exit::DONE
    } else {
        exit::FAILED
    })
}

/// `overlayroot.conf` is in the initramfs, which is gone: what it said is in the report.
fn said_by_image() -> Vec<Entry> {
    let report = BootReport::read().unwrap_or_else(|error| {
        log::warn!("{error}: the built-in defaults are taken for those of the image");
        None
    });
    let settings = report.map(|r| r.settings).unwrap_or_default();
    settings
        .into_iter()
        .filter(|s| s.origin == "overlayroot.conf")
        .map(|s| Entry {
            name: s.name,
            value: s.value,
        })
        .collect()
}
