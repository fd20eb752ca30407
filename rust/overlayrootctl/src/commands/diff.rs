// SPDX-License-Identifier: MIT
//! `diff`: what was changed against the real root.

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{value_parser, Arg, ArgAction, ArgMatches, Command};
use serde::Serialize;
use similar::TextDiff;

use crate::commitlist::CommitList;
use crate::error::Result;
use crate::exit;
use crate::layers::changes::{changes, no_such_path, Change, How, LeftOut, Renames};
use crate::layers::dir::{Dir, Kind};
use crate::layers::view::{reading, unshare_mounts, View};
use crate::live::Live;
use crate::output::{Output, Tone};
use crate::paths;
use crate::privilege::need_root;
use crate::quoting::{self, Quote};

/// The command.
pub const ENTRY: super::Entry = super::Entry {
    name: "diff",
    define,
    run,
};

/// Longest file whose contents are compared as text, bytes.
const LONGEST: u64 = 1 << 20;

/// After this the difference of two files need not be the smallest.
const PATIENCE: Duration = Duration::from_secs(2);

fn define() -> Command {
    Command::new("diff")
        .about("Show what was added, changed and deleted against the real root")
        .arg(
            Arg::new("path")
                .value_name("PATH")
                .default_value("/")
                .value_parser(value_parser!(PathBuf))
                .help("Only this path and what is below"),
        )
        .arg(
            Arg::new("content")
                .long("content")
                .action(ArgAction::SetTrue)
                .help("Show the differences in text files, too"),
        )
        .arg(
            Arg::new("null")
                .long("null")
                .short('z')
                .action(ArgAction::SetTrue)
                .conflicts_with_all(["content", "json"])
                .help("Print paths only, as they are, each ended by a NUL byte; of what was renamed the old one, too"),
        )
        .after_help(
            "Names that are not plain are quoted, see overlayrootctl(8). In the differences of text files, control \
             characters are shown as in names; an exact patch is in --json.",
        )
}

/// What differs; field names are those of the JSON.
#[derive(Serialize)]
struct Difference<'a> {
    changes: Vec<Entry<'a>>,
    /// What could not be looked at, and why.
    left_out: Vec<LeftOut>,
}

/// A change with the text that differs.
#[derive(Serialize)]
struct Entry<'a> {
    #[serde(flatten)]
    change: &'a Change,
    /// `commit --all` leaves it out (commit.d).
    excluded: bool,
    /// A unified diff; null without `--content`, and where it makes no sense.
    diff: Option<String>,
}

fn run(matches: &ArgMatches, output: &Output) -> Result<u8> {
    need_root("to read the marks of the upper layer")?;
    let path = matches
        .get_one::<PathBuf>("path")
        .map_or(Path::new("/"), |p| p);
    let live = Live::look()?;
    let layers = live.layers()?;
    let path = paths::inside_root(path)?;
    unshare_mounts(layers)?;
    let view = View::open(layers)?;
    let found = changes(&view, &path, Renames::Shown)?.ok_or_else(|| no_such_path(&path))?;
    let code = match found.left_out.is_empty() {
        true => exit::DONE,
        false => exit::FAILED,
    };
    for one in &found.left_out {
        log::warn!("{} is left out: {}", one.path.quoted(), one.reason);
    }
    let (found, left_out) = (found.changes, found.left_out);
    if matches.get_flag("null") {
        // Not with --json: clap sees to that.
        output.print(&(), |out| found.iter().try_for_each(|c| bare(c, out)))?;
        return Ok(code);
    }
    let with_content = matches.get_flag("content");
    let list = CommitList::read()?;
    let mut changes = Vec::with_capacity(found.len());
    for change in &found {
        let excluded = list.excludes(&change.path, change.kind == Kind::Directory);
        let diff = match with_content {
            // Whoever made the change must not keep root from the others.
            true => text_diff(&view, change).unwrap_or_else(|error| Some(format!("  ({error})\n"))),
            false => None,
        };
        changes.push(Entry {
            change,
            excluded,
            diff,
        });
    }
    let difference = Difference { changes, left_out };
    output.print(&difference, |out| {
        for entry in &difference.changes {
            print(entry, output, out)?;
        }
        Ok(())
    })?;
    Ok(code)
}

fn print(entry: &Entry<'_>, output: &Output, out: &mut dyn Write) -> io::Result<()> {
    let change = entry.change;
    let (tone, word) = match &change.how {
        How::Added => (Tone::Good, "added  "),
        How::Changed { .. } => (Tone::Warning, "changed"),
        How::Deleted => (Tone::Bad, "deleted"),
        How::Renamed { .. } => (Tone::Strong, "renamed"),
    };
    // A directory is known by the slash behind its name.
    let name = |path: &Path, out: &mut dyn Write| match change.kind {
        Kind::Directory => write!(out, "{}", path.join("").quoted()),
        _ => write!(out, "{}", path.quoted()),
    };
    write!(out, "{} ", output.tone(tone, word))?;
    name(&change.path, out)?;
    match &change.how {
        How::Changed { what } => {
            for (at, what) in what.iter().enumerate() {
                out.write_all(if at == 0 { b" (" } else { b", " })?;
                out.write_all(what.as_str().as_bytes())?;
            }
            out.write_all(b")")?;
        }
        How::Renamed { from } => {
            out.write_all(b" (from ")?;
            name(from, out)?;
            out.write_all(b")")?;
        }
        How::Added | How::Deleted => {}
    }
    if entry.excluded {
        let word = output.tone(Tone::Warning, "[left out by commit --all]");
        write!(out, " {word}")?;
    }
    writeln!(out)?;
    if let Some(diff) = &entry.diff {
        let diff = quoting::lines(diff);
        out.write_all(diff.as_bytes())?;
        if !diff.ends_with('\n') {
            writeln!(out)?; // a line that ends with a carriage return
        }
    }
    Ok(())
}

/// The paths of a change, for `xargs -0`.
fn bare(change: &Change, out: &mut dyn Write) -> io::Result<()> {
    let from = match &change.how {
        How::Renamed { from } => Some(from),
        _ => None,
    };
    for path in std::iter::once(&change.path).chain(from) {
        out.write_all(path.as_os_str().as_bytes())?;
        out.write_all(&[0])?;
    }
    Ok(())
}

/// The difference between two text files; `None` when there is nothing to compare.
fn text_diff(view: &View, change: &Change) -> Result<Option<String>> {
    let empty = || Some(String::new());
    let (new, old) = match (&change.how, change.kind) {
        (_, kind) if kind != Kind::File => return Ok(None),
        (How::Added, _) => (text(&view.merged, &change.path)?, empty()),
        (How::Deleted, _) => (empty(), text(&view.lower, &change.path)?),
        (How::Renamed { from }, _) => (text(&view.merged, &change.path)?, text(&view.lower, from)?),
        (How::Changed { .. }, _) => (
            text(&view.merged, &change.path)?,
            text(&view.lower, &change.path)?,
        ),
    };
    Ok(match (old, new) {
        (Some(old), Some(new)) if old != new => Some(unified(&old, &new, &change.path)),
        (Some(_), Some(_)) => None,
        _ => Some("  (no text, or too long to compare)\n".to_owned()),
    })
}

fn unified(old: &str, new: &str, path: &Path) -> String {
    let name = path.quoted();
    TextDiff::configure()
        .timeout(PATIENCE)
        .diff_lines(old, new)
        .unified_diff()
        .header(&format!("real root:{name}"), &name.to_string())
        .to_string()
}

/// A file as text; `None` when it is none, or too long.
fn text(tree: &Dir, path: &Path) -> Result<Option<String>> {
    let read = || -> io::Result<Option<String>> {
        let name = path.file_name().unwrap_or(OsStr::new("."));
        let Some(folder) = tree.walk(path.parent().unwrap_or(Path::new("/")))? else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        folder
            .file(name)?
            .take(LONGEST + 1)
            .read_to_end(&mut bytes)?;
        if bytes.len() as u64 > LONGEST || bytes.contains(&0) {
            return Ok(None);
        }
        Ok(String::from_utf8(bytes).ok())
    };
    read().map_err(reading(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    /// As somebody may make them who wants to keep root waiting.
    #[test]
    fn files_that_have_little_in_common_take_no_hours() {
        let text = |step: usize| -> String {
            let line = |at: usize| format!("{}\n", at * step % 997);
            (0..250_000).map(line).collect()
        };
        let began = Instant::now();
        let diff = unified(&text(7), &text(11), Path::new("/a b"));
        assert!(diff.starts_with("--- real root:\"/a b\"\n+++ \"/a b\"\n@@ "));
        assert!(began.elapsed() < Duration::from_secs(600));
    }
}
