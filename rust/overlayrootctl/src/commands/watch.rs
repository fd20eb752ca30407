// SPDX-License-Identifier: MIT
//! `watch`: warns when the RAM layer fills. Runs until it is stopped; made for a service.

use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use clap::{value_parser, Arg, ArgMatches, Command};

use crate::error::{Error, Result};
use crate::live::Live;
use crate::output::Output;
use crate::ramlayer::{Layer, RAM_LAYER};
use crate::watch::level::{Level, Thresholds};
use crate::watch::notice::Notice;
use crate::watch::writers::{By, Snapshot};
use crate::writable::close_what_was_left_open;

/// The command.
pub const ENTRY: super::Entry = super::Entry {
    name: "watch",
    define,
    run,
};

/// Most writers that are named.
const NAMED: usize = 3;

fn define() -> Command {
    let percent = |name: &'static str, default: &'static str, help: &'static str| {
        Arg::new(name)
            .long(name)
            .value_name("PERCENT")
            .value_parser(value_parser!(u64).range(1..=100))
            .default_value(default)
            .help(help)
    };
    Command::new("watch")
        .about("Warn when the RAM layer fills; runs until it is stopped")
        .long_about(
            "Warns in the kernel log (and with it in the journal) when the RAM layer fills, and names what \
             has grown most; bytes and inodes count alike. A level that was reached is left again when 5 % \
             less are in use, so that small changes make no message. It also makes the real root read-only again \
             when an edit or commit was killed, guardian included.",
        )
        .arg(percent("warning", "80", "When to warn"))
        .arg(percent("critical", "95", "When it is critical"))
        .arg(
            Arg::new("interval")
                .long("interval")
                .value_name("SECONDS")
                .value_parser(value_parser!(u64).range(1..=3600))
                .default_value("10")
                .help("How often to look"),
        )
        .arg(
            Arg::new("hook")
                .long("hook")
                .value_name("COMMAND")
                .help(
                    "Shell command to run at each change of level; OVERLAYROOT_LEVEL (normal, warning, critical), \
                     OVERLAYROOT_PERCENT, OVERLAYROOT_TEXT and OVERLAYROOT_WRITERS (a path a line, quoted as in diff where it is not plain) tell it",
                ),
        )
        .arg(layer_argument())
}

/// `--layer`, also of `size`.
pub fn layer_argument() -> Arg {
    Arg::new("layer")
        .long("layer")
        .value_name("FOLDER")
        .value_parser(value_parser!(PathBuf))
        .default_value(RAM_LAYER)
        .help("Where the RAM layer is mounted")
}

fn run(matches: &ArgMatches, output: &Output) -> Result<u8> {
    let number = |name| matches.get_one::<u64>(name).copied().unwrap_or_default();
    let thresholds = Thresholds {
        warning: number("warning"),
        critical: number("critical"),
    };
    if thresholds.warning > thresholds.critical {
        return Err(Error::Usage {
            what: format!(
                "--warning {} is above --critical {}",
                thresholds.warning, thresholds.critical
            ),
            remedy: "swap them",
        });
    }
    let folder = matches
        .get_one::<PathBuf>("layer")
        .cloned()
        .unwrap_or_default();
    let interval = Duration::from_secs(number("interval"));
    let mut level = Level::Normal;
    Layer::look_at(&folder)?;
    let mut before = Snapshot::take(&folder.join("upper"));
    loop {
        heal();
        let layer = Layer::look_at(&folder)?;
        let percent = layer.percent();
        let next = thresholds.next(level, percent);
        if next != level {
            level = next;
            let now = Snapshot::take(&folder.join("upper"));
            let by = if layer.bytes_are_scarcer() {
                By::Bytes
            } else {
                By::Inodes
            };
            let notice = Notice {
                level,
                percent,
                writers: now.grown_since(&before, by, NAMED),
                layer,
            };
            before = now;
            notice.log();
            if output.json {
                output.print_line(&notice)?;
            }
            if let Some(command) = matches.get_one::<String>("hook") {
                if let Err(error) = notice.run(command) {
                    log::warn!("hook {command}: {error}");
                }
            }
        }
        sleep(interval);
    }
}

/// Closes the real root when one of us was killed with it open.
fn heal() {
    let healed = match Live::look() {
        Ok(Live {
            layers: Some(layers),
            ..
        }) => close_what_was_left_open(&layers),
        _ => Ok(()), // not our business here
    };
    if let Err(error) = healed {
        log::error!("{error}");
    }
}
