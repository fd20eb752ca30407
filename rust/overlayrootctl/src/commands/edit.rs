// SPDX-License-Identifier: MIT
//! `edit`: a shell or a command in the real root, writable while it runs.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process;

use clap::{value_parser, Arg, ArgMatches, Command};
use rustix::mount::{mount, mount_bind, mount_bind_recursive, MountFlags};

use super::opening;
use crate::error::{Error, Result};
use crate::exit;
use crate::layers::dir::Dir;
use crate::live::{Layers, Live};
use crate::output::{tell, Output};
use crate::privilege::need_root;
use crate::quoting::{self, Quote};
use crate::waiting::Patience;
use crate::writable::{with_writable_lower, Done, Job, Signals};
use crate::writer::planning::can_be_opened;

/// The command.
pub const ENTRY: super::Entry = super::Entry {
    name: "edit",
    define,
    run,
};

const RESOLVER: &str = "etc/resolv.conf";

fn define() -> Command {
    let command = Command::new("edit")
        .about("Run a shell or a command in the real root, writable while it runs")
        .arg(
            Arg::new("command")
                .value_name("COMMAND")
                .num_args(0..)
                .last(true)
                .value_parser(value_parser!(OsString))
                .help("Command and its arguments [default: a shell]"),
        )
        .after_help(
            "/dev, /proc, /sys, /run and the name servers are those of the running system, /tmp is RAM. \
             Programs that are left behind are ended. The running system sees what was changed at the next \
             boot.\nThe exit code is that of the command, 128 and its number after a signal, or one of \
             overlayrootctl itself: 124 the real root could not be made read-only again; 125 the command was \
             not run, nothing was changed; 126 it cannot be run; 127 it is not in the real root.",
        );
    opening::with_wait(command)
}

fn run(matches: &ArgMatches, _: &Output) -> Result<u8> {
    edit(matches).map_err(|error| Error::Reported {
        message: error.to_string(),
        remedy: error.remedy().to_owned(),
        exit_code: match (&error, error.exit_code()) {
            (Error::StillWritable { .. }, _) => exit::edit::STILL_WRITABLE,
            (_, code @ (exit::edit::CANNOT_RUN | exit::edit::NOT_FOUND)) => code,
            _ => exit::edit::NOT_RUN,
        },
    })
}

fn edit(matches: &ArgMatches) -> Result<u8> {
    need_root("to write to the real root")?;
    let live = Live::look()?;
    let layers = live.layers()?;
    can_be_opened(layers)?;
    let words = matches
        .get_many::<OsString>("command")
        .into_iter()
        .flatten();
    let mut words: Vec<OsString> = words.cloned().collect();
    if words.is_empty() {
        words.push(shell(layers.lower_path()));
        tell(&format!(
            "{} is writable in this shell. Leave it (exit, Ctrl-D) to make it read-only again.",
            quoting::line(&layers.lower.source)
        ));
    }
    let job = Job {
        purpose: "edit",
        signals: Signals::PassOn,
        patience: Patience::from_matches(matches),
        replaces_files_in_use: true,
    };
    let ended = with_writable_lower(layers, &job, || enter(layers, &words))?;
    ended.warn();
    Ok(ended.code)
}

/// The user's shell, if the real root has it.
fn shell(lower: &Path) -> OsString {
    let wanted = std::env::var_os("SHELL").map(PathBuf::from);
    let there = wanted.filter(|s| {
        let inside = s.strip_prefix("/").unwrap_or(s);
        s.is_absolute() && lower.join(inside).exists()
    });
    there.map_or_else(|| OsString::from("/bin/sh"), PathBuf::into_os_string)
}

/// Becomes the command; returns only when that fails.
fn enter(layers: &Layers, words: &[OsString]) -> Result<Done> {
    let lower = layers.lower_path();
    let tree = Dir::open(lower).map_err(Error::system("open", lower.quoted()))?;
    furnish(lower, &tree);
    std::os::unix::fs::chroot(lower)
        .map_err(Error::system("change the root to", lower.quoted()))?;
    std::env::set_current_dir("/").map_err(Error::system("change to", "/"))?;
    let (program, arguments) = words
        .split_first()
        .ok_or_else(|| Error::refused("no command", "name one"))?;
    let error = process::Command::new(program)
        .args(arguments)
        .env("OVERLAYROOT_EDIT", "1")
        .exec();
    Err(Error::Reported {
        message: format!("cannot run {}: {error}", program.quoted()),
        remedy: "it has to be installed in the real root, and on the PATH".to_owned(),
        exit_code: match error.kind() {
            io::ErrorKind::NotFound => exit::edit::NOT_FOUND,
            _ => exit::edit::CANNOT_RUN,
        },
    })
}

/// What programs need besides files. Each may be missing, and is then left out with a warning.
fn furnish(lower: &Path, tree: &Dir) {
    let warn = |what: &str, result: rustix::io::Result<()>| {
        if let Err(error) = result {
            log::warn!("no {what} in the real root, continuing: {error}");
        }
    };
    for name in ["dev", "proc", "sys", "run"] {
        if !matches!(tree.walk(Path::new(name)), Ok(Some(_))) {
            log::warn!("the real root has no directory /{name}, continuing without");
            continue;
        }
        let from = Path::new("/").join(name);
        warn(name, mount_bind_recursive(&from, lower.join(name)));
    }
    if matches!(tree.walk(Path::new("tmp")), Ok(Some(_))) {
        let flags = MountFlags::NOSUID | MountFlags::NODEV;
        warn(
            "/tmp in RAM",
            mount("tmpfs", lower.join("tmp"), "tmpfs", flags, None),
        );
    }
    // A link usually leads to /run, which is there already; and following it could lead anywhere.
    let resolver = lower.join(RESOLVER);
    let is_file = |path: &Path| path.symlink_metadata().is_ok_and(|m| m.is_file());
    let parent_is_real = matches!(tree.walk(Path::new("etc")), Ok(Some(_)));
    let ours = Path::new("/").join(RESOLVER);
    if parent_is_real && is_file(&resolver) && ours.exists() {
        warn("name servers", mount_bind(&ours, &resolver));
    }
}
