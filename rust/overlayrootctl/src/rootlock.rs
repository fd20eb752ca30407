// SPDX-License-Identifier: MIT
//! Who has the real root open: one program of ours at a time, and everybody can see it.
//!
//! The file beside the upper layer is locked while the real root is open, and says by whom. When it is not
//! locked and still says so, that one was killed before the real root was read-only again.

use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use rustix::fs::{FlockOperation, Mode, OFlags, CWD};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::live::Layers;
use crate::quoting::Quote;
use crate::waiting::Patience;

/// The kernel's table of locks, which everybody may read.
const LOCKS: &str = "/proc/locks";

/// The lock, held until it is dropped.
#[derive(Debug)]
pub struct Lock(File);

/// Who has the real root open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum User {
    /// No program of ours.
    #[default]
    Nobody,
    /// One that runs.
    Running {
        /// Its name and number.
        who: String,
        /// For how long; `None` when it cannot be seen.
        since: Option<Duration>,
    },
    /// One that was killed before it could make it read-only again.
    Left {
        /// Its name and number.
        who: String,
    },
}

impl Lock {
    /// Takes it for a command, `purpose`; waits for whoever holds it as long as `patience` has it.
    pub fn take(layers: &Layers, purpose: &str, patience: Patience) -> Result<Lock> {
        let path = path(layers);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(CWD, &path, flags, Mode::RUSR | Mode::WUSR)
            .map_err(Error::system("open", path.quoted()))?;
        let mut file = File::from(file);
        let lock = || match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(true),
            Err(Errno::WOULDBLOCK | Errno::INTR) => Ok(false),
            Err(error) => Err(Error::system("lock", path.quoted())(error)),
        };
        if !patience.until(&format!("overlayrootctl {}", said(&file)), lock)? {
            return Err(Error::refused(
                format!("the real root is in use by overlayrootctl {}", said(&file)),
                "wait until it is done (--wait), or end it",
            ));
        }
        let note = format!("{purpose} (process {})\n", std::process::id());
        let written = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(note.as_bytes()));
        if let Err(error) = written {
            // A full RAM layer, say: the lock holds without the note.
            log::debug!("cannot write {}: {error}", path.quoted());
        }
        Ok(Lock(file))
    }

    /// Notes that the real root is read-only again.
    pub fn closed(&self) {
        // Then it is looked at, and made read-only once more.
        let _ = self.0.set_len(0);
    }
}

/// Beside the upper: always there, always writable, root's, and gone with the next boot.
fn path(layers: &Layers) -> PathBuf {
    PathBuf::from(&layers.ram.target).join("overlayrootctl.lock")
}

/// What the file says, or that it is not for us to read.
fn said(mut file: &File) -> String {
    let mut who = String::new();
    let read = file
        .rewind()
        .and_then(|()| file.take(200).read_to_string(&mut who));
    match read {
        Ok(_) if !who.trim_end().is_empty() => who.trim_end().to_owned(),
        _ => "of somebody".to_owned(),
    }
}

/// Who has the real root open. An ordinary user learns it, too, but for the name of the command.
pub fn user(layers: &Layers) -> User {
    let path = path(layers);
    let Ok(there) = fs::symlink_metadata(&path) else {
        return User::Nobody; // nobody has taken it since the boot; or it cannot be seen
    };
    let locks = fs::read_to_string(LOCKS).unwrap_or_default();
    let holder = holder(&locks, there.dev(), there.ino());
    let note = File::open(&path).map(|file| said(&file)).ok();
    match (holder, there.len()) {
        (Some(process), _) => User::Running {
            who: note.unwrap_or_else(|| format!("(process {process})")),
            since: age(process),
        },
        (None, 0) => User::Nobody,
        (None, _) => User::Left {
            who: note.unwrap_or_default(),
        },
    }
}

/// The process that has locked a file, by a text like
/// `1: FLOCK  ADVISORY  WRITE 712 00:13:2 0 EOF` (`fs/locks.c` of Linux); who waits has `->` in it.
fn holder(locks: &str, device: u64, inode: u64) -> Option<i32> {
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let wanted = format!("{major:02x}:{minor:02x}:{inode}");
    locks.lines().find_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let kind = fields.next()?;
        let mut fields = fields.skip(2);
        let (process, file) = (fields.next()?, fields.next()?);
        (kind == "FLOCK" && file == wanted).then(|| process.parse().ok())?
    })
}

/// How long a process has been running: field 22 of `/proc/PID/stat`, in ticks since the boot.
fn age(process: i32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name, in parentheses, may hold anything.
    let fields = stat.get(stat.rfind(')')? + 1..)?;
    let start: u64 = fields.split_ascii_whitespace().nth(19)?.parse().ok()?;
    let start = start / rustix::param::clock_ticks_per_second();
    let uptime = fs::read_to_string("/proc/uptime").ok()?;
    let uptime: u64 = uptime.split('.').next()?.parse().ok()?;
    Some(Duration::from_secs(uptime.saturating_sub(start)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_is_in_the_table_of_locks() {
        let device = rustix::fs::makedev(0, 0x1d);
        let locks = "1: POSIX  ADVISORY  WRITE 5 00:1d:12 0 EOF\n\
                     2: FLOCK  ADVISORY  WRITE 712 00:1d:12 0 EOF\n\
                     2: -> FLOCK  ADVISORY  WRITE 713 00:1d:13 0 EOF\n\
                     3: FLOCK  ADVISORY  READ 9 00:1d:14 0 EOF\n";
        assert_eq!(holder(locks, device, 12), Some(712));
        assert_eq!(holder(locks, device, 13), None);
        assert_eq!(holder(locks, device, 14), Some(9));
        assert_eq!(holder("", device, 12), None);
        assert_eq!(holder("1:\n2: FLOCK\n", device, 12), None);
    }

    #[test]
    fn a_lock_that_is_held_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let file = File::create(&path).unwrap();
        let there = file.metadata().unwrap();
        let look = || {
            holder(
                &fs::read_to_string(LOCKS).unwrap(),
                there.dev(),
                there.ino(),
            )
        };
        assert_eq!(look(), None);
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).unwrap();
        let own = std::process::id() as i32;
        assert_eq!(look(), Some(own));
        assert!(age(own).unwrap() < Duration::from_secs(3600));
        assert_eq!(age(-1), None);
    }
}
