// SPDX-License-Identifier: MIT
//! `status`: is this board protected, and why; how full the RAM layer is; what the next boot will be.

use std::io::{self, Write};

use clap::{Arg, ArgAction, ArgMatches, Command};
use serde::Serialize;

use crate::blockdev::{self, Writes};
use crate::bootenv::{self, NextBoot};
use crate::bootreport::{BootReport, Setting};
use crate::container;
use crate::error::Result;
use crate::exit;
use crate::layers::dir::Dir;
use crate::live::{self, Live};
use crate::othermounts;
use crate::output::{Output, Tone};
use crate::quoting::{self, Quote};
use crate::ramlayer::Layer;
use crate::rootlock;
use crate::text::bytes;
use crate::usage::{self, Directory};
use crate::verdict::{judge, Level, State, Verdict};
use crate::verity;
use crate::writer::retention::{self, Sum};

/// The command.
pub const ENTRY: super::Entry = super::Entry {
    name: "status",
    define,
    run,
};

/// Percent of the RAM layer in use from which it is worth a warning, and from which it is urgent.
const FULL: [u64; 2] = [80, 95];
/// How many directories are listed.
const BIGGEST: usize = 5;

fn define() -> Command {
    Command::new("status")
        .about("Show whether this board is protected, and how full the RAM layer is")
        .after_help(
            "Exit codes of --check: 0 protected; 1 warning (a writable boot that was asked for, the real \
             root open for writing, the RAM layer 80 % full or unable to hold what was deleted); 2 critical (a board that should be \
             protected is not, the RAM layer 95 % full); 3 unknown. The exit code is 0 otherwise.",
        )
        .arg(
            Arg::new("check")
                .long("check")
                .action(ArgAction::SetTrue)
                .help("One line for monitoring, and an exit code (below)"),
        )
        .arg(
            Arg::new("motd")
                .long("motd")
                .action(ArgAction::SetTrue)
                .conflicts_with("check")
                .help("One line for who logs in"),
        )
}

/// All of it; field names are those of the JSON.
#[derive(Serialize)]
struct Status {
    #[serde(flatten)]
    verdict: Verdict,
    /// Mode that was asked for at this boot.
    wanted: Option<String>,
    /// Mode that the init reached.
    reached: Option<String>,
    root: Root,
    ram: Option<Ram>,
    /// What commits have replaced; null when it cannot be read (as an ordinary user).
    kept: Option<Sum>,
    biggest: Vec<Directory>,
    settings: Vec<Setting>,
    warnings: Vec<String>,
    next_boot: Option<NextBoot>,
    /// Why the next boot is not known.
    next_boot_unknown: Option<String>,
}

/// The RAM layer.
#[derive(Serialize)]
struct Ram {
    #[serde(flatten)]
    layer: Layer,
    /// Whether it holds the attributes in which overlayfs notes what was deleted; null when the report does not say.
    attributes: Option<bool>,
}

/// The real root.
#[derive(Serialize)]
struct Root {
    device: String,
    fstype: String,
    mounted_at: String,
    read_only: bool,
    /// The block device refuses writes (`BLKROSET`); null when the kernel does not say.
    device_locked: Option<bool>,
    /// Before it was mounted: `clean`, `dirty` ...
    state_at_boot: Option<String>,
    state_detail: Option<String>,
    /// Each block is verified as it is read (`ofs-verity=`).
    verity: Option<Verified>,
    /// Since the board was switched on.
    writes: Option<Writes>,
}

/// How the root is verified.
#[derive(Serialize)]
struct Verified {
    /// What is verified.
    device: String,
    /// A block was read that does not fit the root hash; null when the kernel does not say.
    corrupted: Option<bool>,
}

fn run(matches: &ArgMatches, output: &Output) -> Result<u8> {
    let brief = matches.get_flag("check") || matches.get_flag("motd");
    let looked = look(!brief);
    if !matches.get_flag("check") {
        let status = looked?;
        output.print(&status, |out| match brief {
            true => motd(&status, output, out),
            false => text(&status, output, out),
        })?;
        return Ok(exit::DONE);
    }
    match looked {
        Ok(status) => {
            output.print(&status, |out| check_line(&status, out))?;
            Ok(status.verdict.level as u8)
        }
        Err(error) => {
            output.error(&error);
            Ok(Level::Unknown as u8)
        }
    }
}

/// `all`: also what takes a while or a program to find out.
fn look(all: bool) -> Result<Status> {
    let live = Live::look()?;
    let report = BootReport::read()?;
    let user = live.layers.as_ref().map(rootlock::user);
    let mut verdict = judge(&live, report.as_ref(), &user.unwrap_or_default());
    if let (None, Some(kind)) = (&live.layers, container::kind()) {
        verdict.level = Level::Unknown;
        verdict.reason =
            format!("this is {kind}: / is not the root of the board; ask the board itself");
        verdict.disagreements.clear();
    }
    let ram = match &live.layers {
        Some(layers) => Some(Layer::look_at(layers.ram.target.as_ref())?),
        None => None,
    };
    if let Some(layer) = &ram {
        let percent = layer.percent();
        let full = FULL.iter().filter(|limit| percent >= **limit).count();
        if let Some(level) = [Level::Warning, Level::Critical].get(full.wrapping_sub(1)) {
            verdict.level = verdict.level.max(*level);
            verdict.reason += &format!(
                "; the RAM layer is {percent} % full: delete files, or raise it with overlayrootctl size"
            );
        }
    }
    let mounted = live.layers.as_ref().map_or(&live.root, |l| &l.lower);
    let booted = report.as_ref().and_then(|r| r.root.as_ref());
    // The numbers that the init found: those of a btrfs mount are no device's.
    let (major, minor) = booted.map_or((mounted.major, mounted.minor), |r| (r.major, r.minor));
    let verity = booted.filter(|r| r.verity.is_some()).map(|r| Verified {
        device: r.device.clone(),
        corrupted: verity::is_corrupted(),
    });
    if verity.as_ref().is_some_and(|v| v.corrupted == Some(true)) {
        verdict.level = Level::Critical;
        verdict.reason +=
            "; blocks of the real root do not fit its root hash (dmesg): write the image anew";
    }
    let root = Root {
        device: mounted.source.clone(),
        fstype: mounted.fstype.clone(),
        mounted_at: mounted.target.clone(),
        read_only: mounted.is_file_system_read_only(),
        device_locked: blockdev::is_read_only(major, minor),
        state_at_boot: booted.map(|r| r.state.clone()),
        state_detail: booted.and_then(|r| r.state_detail.clone()),
        verity,
        writes: Writes::of(major, minor),
    };
    let biggest = match &live.layers {
        Some(layers) if all => usage::biggest(&layers.upper, BIGGEST),
        _ => Vec::new(),
    };
    let kept = match &live.layers {
        Some(layers) if all => {
            Dir::open(layers.lower_path()).and_then(|lower| retention::sum(&lower))
        }
        _ => Err(io::ErrorKind::NotFound.into()),
    };
    let (next_boot, next_boot_unknown) = match all.then(bootenv::look) {
        Some(Ok(next)) => (Some(next), None),
        Some(Err(error)) => (None, Some(error.reason())),
        None => (None, None),
    };
    let report = report.unwrap_or_default();
    let mut warnings = report.warnings;
    if let Some(layers) = &live.layers {
        warnings.extend(othermounts::warnings(&live::table()?, layers));
    }
    let attributes = report.upper.and_then(|upper| upper.xattr);
    Ok(Status {
        verdict,
        wanted: Some(report.wanted).filter(|w| !w.is_empty()),
        reached: Some(report.reached).filter(|r| !r.is_empty()),
        root,
        ram: ram.map(|layer| Ram { layer, attributes }),
        kept: kept.ok(),
        biggest,
        settings: report.settings,
        warnings,
        next_boot,
        next_boot_unknown,
    })
}

impl Status {
    fn headline(&self) -> (Tone, &'static str) {
        match (self.verdict.state, self.verdict.level) {
            (State::Protected, Level::Ok) => (Tone::Good, "protected"),
            (State::Protected, _) => (Tone::Warning, "protected"),
            (State::Open, _) => (Tone::Warning, "PROTECTED, BUT OPEN"),
            (State::ReadOnly, _) => (Tone::Bad, "DEGRADED"),
            (State::Writable, _) => (Tone::Bad, "NOT PROTECTED"),
        }
    }

    fn writes(&self) -> String {
        match self.root.writes {
            Some(writes) => format!(
                "{} writes since power-on ({})",
                writes.requests,
                bytes(writes.bytes)
            ),
            None => "the kernel does not count writes".to_owned(),
        }
    }
}

fn check_line(status: &Status, out: &mut dyn Write) -> io::Result<()> {
    let level = match status.verdict.level {
        Level::Ok => "OK",
        Level::Warning => "WARNING",
        Level::Critical => "CRITICAL",
        Level::Unknown => "UNKNOWN",
    };
    let mut reasons = vec![status.verdict.reason.clone()];
    reasons.extend(status.verdict.disagreements.iter().cloned());
    // A bar would end the text, for monitoring.
    let reasons = reasons.join("; ").replace('|', "\\174");
    write!(out, "OVERLAYROOT {level} - {}", quoting::line(&reasons))?;
    // What monitoring draws curves of, in its own notation.
    let mut separator = " |";
    if let Some(Ram { layer: ram, .. }) = &status.ram {
        let [warning, critical] = FULL.map(|percent| ram.size_bytes / 100 * percent);
        write!(
            out,
            " | ram={}B;{warning};{critical};0;{} inodes={};;;0;{}",
            ram.used_bytes, ram.size_bytes, ram.used_inodes, ram.size_inodes
        )?;
        separator = "";
    }
    if let Some(writes) = status.root.writes {
        write!(out, "{separator} writes={}c", writes.requests)?;
    }
    writeln!(out)
}

fn motd(status: &Status, output: &Output, out: &mut dyn Write) -> io::Result<()> {
    let (tone, headline) = status.headline();
    write!(
        out,
        "{}: {}",
        output.tone(tone, headline),
        quoting::line(&status.verdict.reason)
    )?;
    match &status.ram {
        Some(Ram { layer: ram, .. }) => writeln!(
            out,
            "; {} of {} used",
            bytes(ram.used_bytes),
            bytes(ram.size_bytes)
        ),
        None => writeln!(out),
    }
}

fn text(status: &Status, output: &Output, out: &mut dyn Write) -> io::Result<()> {
    let (tone, headline) = status.headline();
    writeln!(
        out,
        "{}: {}",
        output.tone(tone, headline),
        quoting::line(&status.verdict.reason)
    )?;
    for disagreement in &status.verdict.disagreements {
        writeln!(
            out,
            "{} {}",
            output.tone(Tone::Bad, "disagreement:"),
            quoting::line(disagreement)
        )?;
    }
    for warning in &status.warnings {
        let tone = output.tone(Tone::Warning, "warning:");
        writeln!(out, "{tone} {}", quoting::line(warning))?;
    }
    let mut line = |name: &str, value: String| writeln!(out, "{name:10} {}", quoting::line(&value));

    let root = &status.root;
    let mut value = format!("{} {} at {}", root.device, root.fstype, root.mounted_at);
    value += if root.read_only {
        ", read-only"
    } else {
        ", WRITABLE"
    };
    if root.device_locked == Some(true) {
        value += ", device locked";
    }
    if let Some(state) = &root.state_at_boot {
        value += &format!(", {state} at boot");
        if let Some(detail) = &root.state_detail {
            value += &format!(" ({detail})");
        }
    }
    line("root", value)?;
    if let Some(verity) = &root.verity {
        let found = match verity.corrupted {
            Some(true) => "BLOCKS HAVE CHANGED",
            Some(false) => "no changed block was read",
            None => "the kernel does not say whether a block has changed",
        };
        line("", format!("{} is verified: {found}", verity.device))?;
    }
    line("", status.writes())?;
    if let Some(kept) = status.kept.filter(|kept| kept.commits > 0) {
        let (size, count) = (bytes(kept.bytes), kept.commits);
        let commits = if count == 1 { "commit" } else { "commits" };
        line(
            "",
            format!("{size} kept of {count} {commits} (overlayrootctl log, purge)"),
        )?;
    }
    if let Some(Ram { layer: ram, .. }) = &status.ram {
        let left = ram.size_bytes.saturating_sub(ram.used_bytes);
        line(
            "RAM layer",
            format!(
                "{} of {} used, {} left",
                bytes(ram.used_bytes),
                bytes(ram.size_bytes),
                bytes(left)
            ),
        )?;
        if ram.size_inodes > 0 {
            let left = ram.size_inodes.saturating_sub(ram.used_inodes);
            line(
                "",
                format!(
                    "{} of {} inodes used, {left} left",
                    ram.used_inodes, ram.size_inodes
                ),
            )?;
        }
    }
    for (at, directory) in status.biggest.iter().enumerate() {
        let name = if at == 0 { "biggest" } else { "" };
        let (size, path) = (bytes(directory.bytes), directory.path.quoted());
        let files = match directory.files {
            1 => "1 file".to_owned(),
            n => format!("{n} files"),
        };
        line(name, format!("{size:>9}  {files:>9}  {path}"))?;
    }
    let said = status
        .settings
        .iter()
        .filter(|s| s.origin != "built-in default");
    for (at, setting) in said.enumerate() {
        let name = if at == 0 { "settings" } else { "" };
        line(
            name,
            format!(
                "{}={} ({})",
                setting.name,
                setting.value.quoted(),
                setting.origin
            ),
        )?;
    }
    match (&status.next_boot, &status.next_boot_unknown) {
        (Some(next), _) => {
            let what = match (next.protected, next.once) {
                (true, _) => "protected",
                (false, true) => "WRITABLE, once",
                (false, false) => "WRITABLE",
            };
            let [mode, size] = [next.origins.overlayfs, next.origins.size];
            let (mode, size) = (mode.text(&next.source), size.text(&next.source));
            let value = next.size.quoted();
            line(
                "next boot",
                match mode == size {
                    true => format!("{what}, ofs-size={value} ({size})"),
                    false => format!("{what} ({mode}), ofs-size={value} ({size})"),
                },
            )?;
            for warning in &next.warnings {
                line("", warning.clone())?;
            }
        }
        (None, Some(why)) => line("next boot", format!("not known: {why}"))?,
        (None, None) => {}
    }
    Ok(())
}
