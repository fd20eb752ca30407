// SPDX-License-Identifier: MIT
//! How long what commits have replaced stays.
//!
//! At most [`MOST`] commits, and no more bytes than are free beside them; the oldest go first. What an earlier
//! boot has left can go at any time. Of this boot, only what a commit of it has made: the overlay reads files that
//! were there before, unseen, and one of them without a name would keep the real root from becoming
//! read-only. For the same reason nothing goes that a program has open.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd};

use nix::libc;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::area::{self, Area};
use super::folders::Folders;
use super::record::{self, Record};
use crate::layers::copy;
use crate::layers::descent::each;
use crate::layers::dir::{Dir, Kind};
use crate::{progress, signals};

/// Commits of which something is kept, at most.
pub const MOST: usize = 32;
/// Records of this boot, at most. One of which nothing is kept still says which inodes this boot has made.
const MOST_RECORDS: usize = 128;

/// What one commit has left.
#[derive(Debug)]
pub struct Kept {
    /// Its number.
    pub number: u32,
    /// What it did; `None` when that cannot be read.
    pub record: Option<Record>,
    /// Room that it takes, bytes.
    pub bytes: u64,
    /// Entries that it replaced and that are still there, by the number of their step.
    pub parked: Vec<usize>,
}

/// What the removal of one commit came to.
#[derive(Clone, Copy, Debug, Default)]
struct Dropped {
    /// Bytes that were freed.
    bytes: u64,
    /// A signal ended it before everything was looked at.
    cut_short: bool,
}

/// All of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Sum {
    /// Commits that have replaced something.
    pub commits: usize,
    /// Files and directories that they replaced.
    pub entries: usize,
    /// Bytes that are taken.
    pub bytes: u64,
}

impl Kept {
    fn folder(&self) -> OsString {
        self.number.to_string().into()
    }
}

/// What all commits have left, the oldest first. `commits` is [`area::commits`].
pub fn all(commits: &Dir) -> io::Result<Vec<Kept>> {
    let mut found = Vec::new();
    for name in commits.names()? {
        let Some(number) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue; // not ours
        };
        let folder = commits.dir(&name)?;
        let mut bytes = 0;
        each(commits, &name, &mut |_, _, stat| {
            bytes += stat.used;
            Ok(())
        })?;
        let names = folder.names()?;
        found.push(Kept {
            number,
            record: Record::read(&folder).ok(),
            bytes,
            parked: names.iter().filter_map(|n| record::step_of(n)).collect(),
        });
    }
    found.sort_by_key(|kept| kept.number);
    Ok(found)
}

/// The sum of what is there; zero when there is nothing.
pub fn sum(lower: &Dir) -> io::Result<Sum> {
    let Some(commits) = area::commits(lower)? else {
        return Ok(Sum::default());
    };
    let all = all(&commits)?;
    Ok(Sum {
        commits: all.iter().filter(|kept| !kept.parked.is_empty()).count(),
        entries: all.iter().map(|kept| kept.parked.len()).sum(),
        bytes: all.iter().map(|kept| kept.bytes).sum(),
    })
}

/// What may go, and what goes.
struct Sweep<'a> {
    commits: &'a Dir,
    boot: &'a str,
    /// Inodes that commits of this boot have made.
    made: HashSet<u64>,
    all: Vec<Kept>,
}

impl<'a> Sweep<'a> {
    fn of(commits: &'a Dir, boot: &'a str) -> io::Result<Sweep<'a>> {
        let all = all(commits)?;
        let records = all.iter().filter_map(|kept| kept.record.as_ref());
        let ours = records.filter(|record| record.header.boot == boot);
        let made = ours.flat_map(|record| record.steps.iter().filter_map(|step| step.inode));
        Ok(Sweep {
            made: made.collect(),
            commits,
            boot,
            all,
        })
    }

    fn is_of_this_boot(&self, kept: &Kept) -> bool {
        let record = kept.record.as_ref();
        record.is_some_and(|record| record.header.boot == self.boot)
    }

    /// Whether nothing can be using an entry, or anything in it.
    fn is_free(&self, kept: &Kept, folder: &Dir, name: &OsStr) -> bool {
        let of_this_boot = self.is_of_this_boot(kept);
        let used = io::Error::from(Errno::BUSY);
        each(folder, name, &mut |dir, name, stat| {
            let unknown = of_this_boot && !self.made.contains(&stat.id.1);
            match unknown || stat.kind == Kind::File && is_open(dir, name, of_this_boot)? {
                true => Err(Errno::BUSY.into()),
                false => Ok(()),
            }
        })
        .map_err(|_| used)
        .is_ok()
    }

    /// Removes what may go of one commit, until this program is asked to end.
    fn drop_one(&self, kept: &Kept) -> io::Result<Dropped> {
        let name = kept.folder();
        let folder = self.commits.dir(&name)?;
        let (mut dropped, mut stays) = (Dropped::default(), false);
        for at in &kept.parked {
            if signals::pending().is_some() {
                dropped.cut_short = true;
                return Ok(dropped);
            }
            let entry = OsString::from(at.to_string());
            if !self.is_free(kept, &folder, &entry) {
                stays = true;
                continue;
            }
            let mut bytes = 0;
            each(&folder, &entry, &mut |_, _, stat| {
                bytes += stat.used;
                Ok(())
            })?;
            copy::remove(&folder, &entry)?;
            dropped.bytes += bytes;
        }
        // A record of this boot may still be needed: `forget`.
        if !stays && !self.is_of_this_boot(kept) {
            copy::remove(self.commits, &name)?;
        }
        Ok(dropped)
    }

    /// Removes records of this boot of which nothing is kept, once nothing that they made can be met again: it is
    /// neither parked nor in its place.
    fn forget(&self, lower: &Dir) -> io::Result<()> {
        let all = all(self.commits)?;
        let mut parked = HashSet::new();
        for kept in &all {
            let folder = self.commits.dir(&kept.folder())?;
            for at in &kept.parked {
                each(&folder, OsStr::new(&at.to_string()), &mut |_, _, stat| {
                    parked.insert(stat.id.1);
                    Ok(())
                })?;
            }
        }
        let mut folders = Folders::of(lower);
        let mut is_needed = |step: &record::Step| {
            let Some(inode) = step.inode else {
                return false;
            };
            let there = folders
                .place(&step.path)
                .and_then(|(dir, name)| dir.stat(name));
            let there = there.ok().flatten();
            parked.contains(&inode) || there.is_some_and(|stat| stat.id.1 == inode)
        };
        let mut records = all.len();
        for kept in all.iter().filter(|kept| kept.parked.is_empty()) {
            let steps = kept.record.as_ref().map(|record| &record.steps);
            let needed = steps.is_some_and(|steps| steps.iter().any(&mut is_needed));
            if !needed || records > MOST_RECORDS {
                copy::remove(self.commits, &kept.folder())?;
                records -= 1;
            }
        }
        Ok(())
    }

    fn drop_or_warn(&self, kept: &Kept) -> Dropped {
        self.drop_one(kept).unwrap_or_else(|error| {
            let number = kept.number;
            log::warn!("cannot remove what commit {number} has replaced, continuing: {error}");
            Dropped::default()
        })
    }

    /// Bytes that could be freed.
    fn spare(&self) -> u64 {
        let mut bytes = 0;
        for kept in &self.all {
            let Ok(folder) = self.commits.dir(&kept.folder()) else {
                continue;
            };
            for at in &kept.parked {
                let entry = OsString::from(at.to_string());
                if self.is_free(kept, &folder, &entry) {
                    // What cannot be looked at is not counted.
                    let _ = each(&folder, &entry, &mut |_, _, stat| {
                        bytes += stat.used;
                        Ok(())
                    });
                }
            }
        }
        bytes
    }
}

/// Whether somebody has a file open. Only then does the kernel refuse a lease for writing (fcntl(2)).
fn is_open(dir: &Dir, name: &OsStr, if_unknown: bool) -> io::Result<bool> {
    let file = dir.file(name)?;
    // SAFETY: the descriptor is open, and this request takes a number.
    let lease = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_WRLCK) };
    if lease == 0 {
        return Ok(false);
    }
    let error = io::Error::last_os_error();
    let open = error.raw_os_error() == Some(Errno::AGAIN.raw_os_error());
    Ok(open || if_unknown)
}

/// Bytes that the real root has free for everybody.
#[allow(clippy::unnecessary_cast)] // narrower on 32-bit systems
fn free(lower: &Dir) -> u64 {
    let free =
        rustix::fs::fstatvfs(lower).map(|v| (v.f_bavail as u64).saturating_mul(v.f_frsize as u64));
    free.unwrap_or(0)
}

/// Bytes that a commit could free in the real root, read-only as it is; 0 where that cannot be known.
pub fn spare(lower: &Dir) -> u64 {
    let look = || -> crate::error::Result<u64> {
        let boot = area::boot_id()?;
        let found = |commits: &Dir| Sweep::of(commits, &boot).map(|sweep| sweep.spare());
        let commits = area::commits(lower);
        let spare = commits.and_then(|commits| commits.as_ref().map_or(Ok(0), found));
        spare.map_err(crate::error::Error::system("look at", "what is kept"))
    };
    look().unwrap_or(0)
}

/// Gives up what is kept, the oldest first, until so many bytes are free.
pub fn make_room(lower: &Dir, area: &Area, bytes: u64) {
    if free(lower) > bytes.saturating_mul(2) {
        return; // far from it
    }
    sweep(lower, area, |sweep| {
        for kept in &sweep.all {
            if free(lower) > bytes.saturating_add(super::planning::RESERVE) {
                break;
            }
            if sweep.drop_or_warn(kept).bytes > 0 {
                let _ = rustix::fs::syncfs(lower.as_fd()); // blocks are free when that is on the disk
            }
        }
    });
}

/// Gives up the oldest, until no more is kept than is good. The last commit stays in any case.
pub fn trim(lower: &Dir, area: &Area) {
    sweep(lower, area, |sweep| {
        let mut bytes: u64 = sweep.all.iter().map(|kept| kept.bytes).sum();
        let last = sweep.all.len().saturating_sub(1);
        let older = sweep.all.iter().take(last);
        let mut count = sweep
            .all
            .iter()
            .filter(|kept| !kept.parked.is_empty())
            .count();
        for kept in older.filter(|kept| !kept.parked.is_empty()) {
            if count <= MOST && bytes <= free(lower) {
                break;
            }
            bytes -= sweep.drop_or_warn(kept).bytes.min(bytes);
            count -= 1;
        }
    });
}

fn sweep(lower: &Dir, area: &Area, work: impl FnOnce(&Sweep<'_>)) {
    let done = Sweep::of(area.commits(), area.boot()).and_then(|sweep| {
        work(&sweep);
        sweep.forget(lower)
    });
    if let Err(error) = done {
        log::warn!("cannot look at what earlier commits have replaced: {error}");
    }
}

/// Gives up everything that may go. Returns what is left.
pub fn purge(lower: &Dir) -> crate::error::Result<Sum> {
    let area = Area::open(lower)?;
    let mut ended = Ok(());
    sweep(lower, &area, |sweep| {
        let all = sweep.all.len();
        progress::begin("giving up commits", Some(all));
        for (count, kept) in sweep.all.iter().enumerate() {
            let whole = usize::from(!sweep.drop_or_warn(kept).cut_short);
            let count = count + whole;
            ended = signals::give_up(|| format!("{count} of {all} commits are given up"), "");
            if ended.is_err() {
                break;
            }
            progress::entry();
        }
    });
    area.close(lower);
    ended?;
    sum(lower).map_err(crate::error::Error::system("look at", "what is kept"))
}

#[cfg(test)]
mod tests {
    use super::super::planning::Action;
    use super::*;
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    /// A commit that replaced one file, of some bytes, and made the inode of another one.
    fn commit(area: &Area, length: usize, made: u64) {
        let folder = area.prepare().unwrap();
        let number = area.next_number().unwrap();
        let path = format!("/proc/self/fd/{}/0", folder.as_fd().as_raw_fd());
        fs::write(path, vec![b'x'; length]).unwrap();
        let record = Record {
            header: record::Header {
                format: 1,
                number,
                boot: area.boot().to_owned(),
                steps: 1,
                ..Default::default()
            },
            steps: vec![record::Step {
                path: "/a".into(),
                kind: Kind::File,
                action: Action::Write,
                inode: Some(made),
                replaced: true,
                before: None,
            }],
            done: true,
        };
        record.write(&folder).unwrap();
        area.enter(number).unwrap();
    }

    fn numbers(area: &Area) -> Vec<u32> {
        all(area.commits())
            .unwrap()
            .iter()
            .map(|kept| kept.number)
            .collect()
    }

    #[test]
    fn only_so_many_commits_stay() {
        let folder = tempfile::tempdir().unwrap();
        let lower = Dir::open(folder.path()).unwrap();
        let earlier = Area::make(&lower, "boot-1").unwrap();
        (0..MOST + 3).for_each(|_| commit(&earlier, 1, 0));
        let area = Area::make(&lower, "boot-2").unwrap();
        trim(&lower, &area);
        assert_eq!(numbers(&area), (4..=MOST as u32 + 3).collect::<Vec<_>>());
    }

    #[test]
    fn of_this_boot_only_what_it_made_itself_can_go() {
        let folder = tempfile::tempdir().unwrap();
        let lower = Dir::open(folder.path()).unwrap();
        let area = Area::make(&lower, "boot-1").unwrap();
        let inode = |number: u32| {
            let path = format!(".overlayroot/commits/{number}/0");
            fs::metadata(folder.path().join(path)).unwrap().ino()
        };
        commit(&area, 10, 1);
        commit(&area, 20, 2);
        commit(&area, 30, inode(2));
        // The first replaced what was there before this boot; the third, what nobody knows.
        let left = {
            sweep(&lower, &area, |sweep| {
                sweep.all.iter().for_each(|kept| {
                    sweep.drop_or_warn(kept);
                })
            });
            numbers(&area)
        };
        assert_eq!(left, [1, 3]);
        // Another boot: what is open stays.
        let held = fs::File::open(folder.path().join(".overlayroot/commits/3/0")).unwrap();
        let next = Area::make(&lower, "boot-2").unwrap();
        let purge = |area: &Area| {
            sweep(&lower, area, |sweep| {
                sweep.all.iter().for_each(|kept| {
                    sweep.drop_or_warn(kept);
                })
            });
            numbers(area)
        };
        assert_eq!(purge(&next), [3]);
        drop(held);
        assert_eq!(purge(&next), [0u32; 0]);
    }
}
