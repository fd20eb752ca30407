// SPDX-License-Identifier: MIT
//! What `commit --all` and `export` leave out: the lines of `commit.d`.
//!
//! `exclude PATTERN`, `exclude-files PATTERN` (directories are kept) and `include PATTERN`; the last line that
//! fits counts. A pattern is a path with `*`, `?` and `[…]` for a part of a name and `**` for any number of
//! directories; it stands for what is below, too.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::quoting::Quote;

/// Folders with files `*.conf`; of two with one name, that of the later folder counts.
const FOLDERS: [&str; 2] = ["/usr/lib/overlayroot/commit.d", "/etc/overlayroot/commit.d"];
/// What holds where no file of this name is.
const BUILT_IN: (&str, &str) = (
    "10-defaults.conf",
    include_str!("../files/commit.d/10-defaults.conf"),
);
/// Longest file, bytes.
const LONGEST: u64 = 1 << 20;
const REMEDY: &str =
    "lines are `exclude PATTERN`, `exclude-files PATTERN`, `include PATTERN` or `# comment`; a \
     pattern begins with /";

/// The lines, in their order.
#[derive(Debug, Default)]
pub struct CommitList(Vec<Line>);

#[derive(Debug)]
struct Line {
    what: What,
    /// Parts of the pattern between slashes.
    parts: Vec<Part>,
}

#[derive(Debug)]
enum Part {
    /// A name as it is.
    Name(Vec<u8>),
    /// A name by the rules of glob(7).
    Pattern(Vec<u8>),
    /// Any number of names.
    Any,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Exclude,
    ExcludeFiles,
    Include,
}

impl CommitList {
    /// That of this system. An error when a file cannot be read or a line is wrong.
    pub fn read() -> Result<CommitList> {
        CommitList::read_in(&FOLDERS.map(Path::new))
    }

    fn read_in(folders: &[&Path]) -> Result<CommitList> {
        let (name, text) = BUILT_IN;
        let built_in = (PathBuf::from(name), text.as_bytes().to_vec());
        let mut files = BTreeMap::from([(name.into(), built_in)]);
        for folder in folders {
            let entries = match fs::read_dir(folder) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                other => other.map_err(Error::system("read", folder.quoted()))?,
            };
            for entry in entries {
                let entry = entry.map_err(Error::system("read", folder.quoted()))?;
                let path = entry.path();
                if path.extension() != Some(OsStr::new("conf")) {
                    continue;
                }
                let text = read(&path).map_err(Error::system("read", path.quoted()))?;
                files.insert(entry.file_name(), (path, text));
            }
        }
        let mut list = CommitList::default();
        for (path, text) in files.into_values() {
            list.add(&path, &text)?;
        }
        Ok(list)
    }

    /// Adds the lines of a text; `path` is its name in messages.
    pub fn add(&mut self, path: &Path, text: &[u8]) -> Result<()> {
        for (at, line) in text.split(|b| *b == b'\n').enumerate() {
            let line = trimmed(line);
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            self.0
                .push(Line::parse(line).ok_or_else(|| Error::Malformed {
                    object: format!("{}, line {}", path.quoted(), at + 1),
                    cause: format!(
                        "{} is nothing that can be read here",
                        OsStr::from_bytes(line).quoted()
                    ),
                    remedy: REMEDY,
                })?);
        }
        Ok(())
    }

    /// Whether a path of the running system is left out; `directory`: it is or was one.
    pub fn excludes(&self, path: &Path, directory: bool) -> bool {
        let bytes = path.as_os_str().as_bytes();
        let names: Vec<&[u8]> = bytes
            .split(|b| *b == b'/')
            .filter(|n| !n.is_empty())
            .collect();
        let last = self.0.iter().rfind(|line| match line.what {
            What::ExcludeFiles if directory => false,
            _ => fits(&line.parts, &names),
        });
        last.is_some_and(|line| line.what != What::Include)
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let meta = fs::metadata(path)?;
    match meta.is_file() && meta.len() <= LONGEST {
        true => fs::read(path),
        false => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "no file, or too long",
        )),
    }
}

/// Without white space at both ends.
fn trimmed(mut text: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = text {
        if !first.is_ascii_whitespace() {
            break;
        }
        text = rest;
    }
    while let [rest @ .., last] = text {
        if !last.is_ascii_whitespace() {
            break;
        }
        text = rest;
    }
    text
}

impl Line {
    fn parse(line: &[u8]) -> Option<Line> {
        let at = line.iter().position(u8::is_ascii_whitespace)?;
        let (word, pattern) = line.split_at(at);
        let pattern = trimmed(pattern).strip_prefix(b"/")?;
        let what = match word {
            b"exclude" => What::Exclude,
            b"exclude-files" => What::ExcludeFiles,
            b"include" => What::Include,
            _ => return None,
        };
        let parts = pattern
            .split(|b| *b == b'/')
            .filter(|part| !part.is_empty());
        let is_up = |part: &[u8]| part == b".." || part == b".";
        if parts.clone().any(is_up) {
            return None;
        }
        let parts: Vec<Part> = parts.map(Part::parse).collect();
        (!parts.is_empty()).then_some(Line { what, parts })
    }
}

impl Part {
    fn parse(part: &[u8]) -> Part {
        match part {
            b"**" => Part::Any,
            _ if part.iter().any(|byte| b"*?[".contains(byte)) => Part::Pattern(part.to_vec()),
            _ => Part::Name(part.to_vec()),
        }
    }
}

/// Whether a pattern stands for a path, or for a directory above it.
fn fits(parts: &[Part], names: &[&[u8]]) -> bool {
    match (parts.split_first(), names.split_first()) {
        (None, _) => true, // what is below belongs to it
        (Some((Part::Any, rest)), _) => {
            // At the end it is whatever is below, not the directory itself.
            let least = usize::from(rest.is_empty());
            (least..=names.len()).any(|n| fits(rest, names.get(n..).unwrap_or_default()))
        }
        (Some((Part::Name(part), rest)), Some((name, below))) => part == name && fits(rest, below),
        (Some((Part::Pattern(part), rest)), Some((name, below))) => {
            name_fits(part, name) && fits(rest, below)
        }
        (Some(_), None) => false,
    }
}

/// A part of a pattern and a name, by the rules of glob(7).
fn name_fits(part: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    // Where the last star is, and how much it has taken.
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        let step = match (part.get(p), name.get(n)) {
            (Some(b'*'), _) => {
                star = Some((p, n));
                p += 1;
                continue;
            }
            (Some(b'?'), _) => Some(1),
            (Some(b'['), Some(byte)) => set_fits(part.get(p..).unwrap_or_default(), *byte),
            (Some(one), Some(byte)) => (one == byte).then_some(1),
            _ => None,
        };
        match (step, star) {
            (Some(length), _) => {
                p += length;
                n += 1;
            }
            (None, Some((at, taken))) => {
                star = Some((at, taken + 1));
                p = at + 1;
                n = taken + 1;
            }
            (None, None) => return false,
        }
    }
    part.get(p..).unwrap_or_default().iter().all(|b| *b == b'*')
}

/// `[a-z]`, `[!a-z]`: the length of the set when the byte is in it. Without an end it is a plain bracket.
fn set_fits(set: &[u8], byte: u8) -> Option<usize> {
    let not = matches!(set.get(1), Some(b'!' | b'^'));
    let start = 1 + usize::from(not);
    // The first one may be the bracket itself.
    let end = set.iter().skip(start + 1).position(|b| *b == b']');
    let Some(end) = end.map(|at| at + start + 1) else {
        return (byte == b'[').then_some(1);
    };
    let inside = set.get(start..end).unwrap_or_default();
    let (mut at, mut found) = (0, false);
    while let Some(first) = inside.get(at) {
        match (inside.get(at + 1), inside.get(at + 2)) {
            (Some(b'-'), Some(last)) => {
                found |= (*first..=*last).contains(&byte);
                at += 3;
            }
            _ => {
                found |= *first == byte;
                at += 1;
            }
        }
    }
    (found != not).then_some(end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> CommitList {
        let mut list = CommitList::default();
        list.add(Path::new("/x.conf"), text.as_bytes()).unwrap();
        list
    }

    #[test]
    fn patterns() {
        for (pattern, fitting, others) in [
            (
                "/a/b",
                &["/a/b", "/a/b/c/d"][..],
                &["/a", "/a/bc", "/b", "/"][..],
            ),
            (
                "/a/*.log",
                &["/a/x.log", "/a/.log", "/a/x.log/y"],
                &["/a/b/x.log", "/a/log"],
            ),
            ("/a/**", &["/a/b", "/a/b/c"], &["/a", "/b"]),
            (
                "/a/**/x",
                &["/a/x", "/a/b/x", "/a/b/c/x/y"],
                &["/a", "/a/xx"],
            ),
            ("/**/*.tmp", &["/x.tmp", "/a/b/x.tmp"], &["/tmp"]),
            ("/a?c", &["/abc"], &["/ac", "/abbc"]),
            ("/[a-c]x", &["/ax", "/cx"], &["/dx", "/x", "/-x"]),
            ("/[!a-c]x", &["/dx"], &["/ax"]),
            ("/[]]", &["/]"], &["/[]]"]),
            ("/[a", &["/[a"], &["/a"]),
            ("/a*b*c", &["/abc", "/aXbYbc"], &["/abcd", "/acb"]),
        ] {
            let list = list(&format!("exclude {pattern}"));
            for path in fitting {
                assert!(list.excludes(Path::new(path), false), "{pattern} {path}");
            }
            for path in others {
                assert!(!list.excludes(Path::new(path), false), "{pattern} {path}");
            }
        }
        // Not exponential.
        let many = list(&format!("exclude /{}b", "*a".repeat(60)));
        assert!(!many.excludes(Path::new(&format!("/{}", "a".repeat(250))), false));
    }

    #[test]
    fn the_last_line_counts() {
        let list = list("# x\n\nexclude /var/log\n include\t/var/log/keep \nexclude-files /opt\n");
        let out = |path: &str, directory| list.excludes(Path::new(path), directory);
        assert!(out("/var/log/x", false) && out("/var/log/x", true));
        assert!(!out("/var/log/keep", false) && !out("/var/log/keep/y", false));
        assert!(out("/opt/x", false) && !out("/opt/x", true));
        assert!(!CommitList::default().excludes(Path::new("/var/log/x"), false));
    }

    #[test]
    fn wrong_lines_are_named() {
        for line in [
            "exclude",
            "exclude x",
            "omit /x",
            "exclude /",
            "exclude /a/../b",
            "/x",
        ] {
            let text = format!("# fine\nexclude /a\n{line}\n");
            let error = CommitList::default().add(Path::new("/etc/x.conf"), text.as_bytes());
            let error = error.unwrap_err().to_string();
            assert!(error.starts_with("/etc/x.conf, line 3: "), "{error}");
        }
    }

    #[test]
    fn a_file_of_the_same_name_takes_the_place() {
        let (vendor, own) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let read = || CommitList::read_in(&[vendor.path(), own.path(), Path::new("/none")]);
        let log = Path::new("/var/log/syslog");
        assert!(read().unwrap().excludes(log, false));
        assert!(!read().unwrap().excludes(Path::new("/var/log/nginx"), true));
        assert!(!read().unwrap().excludes(Path::new("/etc/hostname"), false));
        fs::write(vendor.path().join("50-x.conf"), "exclude /x").unwrap();
        fs::write(own.path().join("README"), "no line of ours").unwrap();
        assert!(read().unwrap().excludes(Path::new("/x"), false));
        fs::write(own.path().join("50-x.conf"), "").unwrap();
        fs::write(own.path().join(BUILT_IN.0), "").unwrap();
        assert!(!read().unwrap().excludes(Path::new("/x"), false));
        assert!(!read().unwrap().excludes(log, false));
        fs::write(own.path().join("60.conf"), "exclude x").unwrap();
        assert!(read().is_err());
    }
}
