// SPDX-License-Identifier: MIT
//! What a commit has done: a file `record` beside what it has replaced.
//!
//! Lines of JSON: the first says who, when and how many; each other one is a step. The entry that step `n` has
//! replaced, from 0, lies beside it as `n`. Fields may come; who reads ignores those that it does not know. Another
//! meaning gets another number as its `format`.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};

use super::planning::Action;
use crate::layers::dir::{Dir, Kind, Stat, Xattrs};

/// What this program writes, and the highest number that it reads.
pub const FORMAT: u32 = 1;
const NAME: &str = "record";
/// An empty file that says that the commit came to its end.
const DONE: &str = "done";

/// Who asked for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct By {
    /// Name of who logged in, before sudo.
    pub user: String,
    /// The terminal: `/dev/ttymxc1`; null without one.
    pub terminal: Option<String>,
    /// The command line.
    pub command: String,
}

/// The first line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Header {
    /// 1.
    pub format: u32,
    /// The number of the commit, from 1.
    pub number: u32,
    /// Seconds since 1970, by a clock that may have been wrong.
    #[serde(default)]
    pub time: i64,
    /// The kernel's `boot_id`.
    #[serde(default)]
    pub boot: String,
    /// Who asked for it.
    #[serde(default)]
    pub by: By,
    /// The commit that this one undoes.
    #[serde(default)]
    pub undoes: Option<u32>,
    /// Number of lines that follow.
    #[serde(default)]
    pub steps: usize,
}

/// One thing that was done.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Step {
    /// Where.
    #[serde(with = "crate::jsonpath")]
    pub path: PathBuf,
    /// What is or was there.
    pub kind: Kind,
    /// What was done.
    pub action: Action,
    /// Number of the inode that is there since; null when it was taken away.
    #[serde(default)]
    pub inode: Option<u64>,
    /// Something else was there before, and lies beside the record while it is kept.
    #[serde(default)]
    pub replaced: bool,
    /// Attributes from before, where only attributes were changed.
    #[serde(default)]
    pub before: Option<Attributes>,
}

/// Attributes of an entry.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Attributes {
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Last access, seconds and nanoseconds.
    pub accessed: (i64, i64),
    /// Last change, seconds and nanoseconds.
    pub modified: (i64, i64),
    /// Name and value of each extended attribute.
    pub xattrs: Vec<(Name, Vec<u8>)>,
}

/// A name, exact as in [`crate::jsonpath`].
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Name(#[serde(with = "crate::jsonpath")] pub PathBuf);

impl Attributes {
    /// Of an entry.
    pub fn of(stat: &Stat, xattrs: &Xattrs) -> Attributes {
        let name = |name: &std::ffi::OsString| Name(name.into());
        Attributes {
            mode: stat.mode,
            uid: stat.uid,
            gid: stat.gid,
            accessed: stat.accessed,
            modified: stat.modified,
            xattrs: xattrs.iter().map(|(n, v)| (name(n), v.clone())).collect(),
        }
    }

    /// What an entry is that has them and is like `now` otherwise.
    pub fn applied_to(&self, now: &Stat) -> (Stat, Xattrs) {
        let stat = Stat {
            mode: self.mode,
            uid: self.uid,
            gid: self.gid,
            accessed: self.accessed,
            modified: self.modified,
            ..now.clone()
        };
        let pair = |(name, value): &(Name, Vec<u8>)| (name.0.clone().into(), value.clone());
        (stat, self.xattrs.iter().map(pair).collect())
    }
}

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// The first line.
    pub header: Header,
    /// The others; none when the format is a newer one.
    pub steps: Vec<Step>,
    /// It came to its end.
    pub done: bool,
}

impl Record {
    /// Writes it into the folder of the commit.
    pub fn write(&self, folder: &Dir) -> io::Result<()> {
        let mut file = BufWriter::new(create(folder, NAME)?);
        let line = |value: serde_json::Result<String>| value.map_err(io::Error::from);
        writeln!(file, "{}", line(serde_json::to_string(&self.header))?)?;
        for step in &self.steps {
            writeln!(file, "{}", line(serde_json::to_string(step))?)?;
        }
        file.flush()
    }

    /// Reads that of a folder.
    pub fn read(folder: &Dir) -> io::Result<Record> {
        let mut lines = BufReader::new(folder.file(OsStr::new(NAME))?).lines();
        let first = lines.next().ok_or(io::ErrorKind::UnexpectedEof)??;
        let header: Header = serde_json::from_str(&first)?;
        let mut steps = Vec::new();
        if header.format <= FORMAT {
            for line in lines {
                steps.push(serde_json::from_str(&line?)?);
            }
            if steps.len() != header.steps {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(Record {
            header,
            steps,
            done: folder.stat(OsStr::new(DONE))?.is_some(),
        })
    }
}

/// Notes that the commit came to its end.
pub fn mark_done(folder: &Dir) -> io::Result<()> {
    create(folder, DONE).map(drop)
}

fn create(folder: &Dir, name: &str) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
    let mode = Mode::RUSR | Mode::WUSR;
    let file = rustix::fs::openat(folder, name, flags | OFlags::CLOEXEC, mode)?;
    Ok(File::from(file))
}

/// The number of the step whose old entry has this name beside the record.
pub fn step_of(name: &OsStr) -> Option<usize> {
    name.to_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn folder(text: &str) -> (tempfile::TempDir, Dir) {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(NAME), text).unwrap();
        let dir = Dir::open(folder.path()).unwrap();
        (folder, dir)
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let dir = Dir::open(folder.path()).unwrap();
        let odd: std::ffi::OsString =
            std::os::unix::ffi::OsStringExt::from_vec(b"/a\xff\n".to_vec());
        let stat = dir.own_stat().unwrap();
        let xattrs = [("user.x".into(), vec![0, 255])].into_iter().collect();
        let record = Record {
            header: Header {
                format: FORMAT,
                number: 3,
                steps: 1,
                ..Header::default()
            },
            steps: vec![Step {
                path: odd.into(),
                kind: Kind::File,
                action: Action::Attributes,
                inode: Some(7),
                replaced: false,
                before: Some(Attributes::of(&stat, &xattrs)),
            }],
            done: false,
        };
        record.write(&dir).unwrap();
        assert_eq!(Record::read(&dir).unwrap(), record);
        let before = record.steps[0].before.as_ref().unwrap();
        assert_eq!(before.applied_to(&stat), (stat.clone(), xattrs));
        mark_done(&dir).unwrap();
        assert!(Record::read(&dir).unwrap().done);
    }

    /// As the first version wrote it: it is read for ever.
    #[test]
    fn format_1() {
        let (_folder, dir) = folder(include_str!("../../tests/record-1.jsonl"));
        let record = Record::read(&dir).unwrap();
        let header = &record.header;
        assert_eq!(
            (header.number, header.time, header.undoes),
            (7, 1_790_000_000, None)
        );
        assert_eq!(header.by.user, "alice");
        assert_eq!(header.by.terminal.as_deref(), Some("/dev/ttymxc1"));
        let found: Vec<_> = record
            .steps
            .iter()
            .map(|s| (s.action, s.inode, s.replaced))
            .collect();
        let wanted = [
            (Action::Write, Some(118), true),
            (Action::Attributes, Some(31), false),
            (Action::Delete, None, true),
        ];
        assert_eq!(found, wanted);
        let before = record.steps[1].before.as_ref().unwrap();
        assert_eq!(
            (before.mode, before.uid, before.modified),
            (0o644, 0, (5, 6))
        );
        assert_eq!(before.xattrs[0].1, b"v");
    }

    #[test]
    fn what_is_newer_or_cut_off_is_no_surprise() {
        let newer = r#"{"format":2,"number":9,"steps":1,"new":[]}"#;
        let (_newer, dir) = folder(&format!("{newer}\n{{\"what\":1}}\n"));
        let record = Record::read(&dir).unwrap();
        assert_eq!((record.header.number, record.steps.len()), (9, 0));
        for text in ["", "{", r#"{"format":1,"number":9,"steps":1}"#] {
            let (_cut, dir) = folder(text);
            assert!(Record::read(&dir).is_err(), "{text}");
        }
    }
}
