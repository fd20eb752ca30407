// SPDX-License-Identifier: MIT
//! A folder in the real root where copies are made before they take their places, and where what they
//! replace stays.
//!
//! A file without a name that a process (or the overlay above it) still uses would keep the file system
//! from becoming read-only again. So what is replaced or deleted keeps a name here, at least until the next boot:
//!
//! - `commits/NUMBER/`: what a commit has replaced, and its record ([`super::record`]);
//! - `old-BOOT/`: what commands of `edit` have replaced while it was in use; the next boot's first command removes it;
//! - `new/`: copies that have not taken their places. What a cut leaves there harms nobody, and goes the same way.

use std::ffi::{OsStr, OsString};
use std::io;
use std::rc::Rc;

use rustix::fs::{AtFlags, Mode, RenameFlags};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::layers::copy;
use crate::layers::dir::Dir;
use crate::layers::view::AREA;

const NEW: &str = "new";
const OLD: &str = "old-";
const COMMITS: &str = "commits";
/// Where the record of a commit is made ready, in `new/`.
const READY: &str = "commit";
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The folder.
#[derive(Debug)]
pub struct Area {
    top: Dir,
    new: Rc<Dir>,
    old: Dir,
    commits: Dir,
    boot: String,
    count: u32,
}

/// What tells this boot from all others.
pub fn boot_id() -> Result<String> {
    let boot = std::fs::read_to_string(BOOT_ID).map_err(Error::system("read", BOOT_ID))?;
    Ok(boot.trim().to_owned())
}

/// The records of commits, for reading; `None` when there are none.
pub fn commits(lower: &Dir) -> io::Result<Option<Dir>> {
    match lower.walk(AREA.as_ref())? {
        Some(top) => top.walk(COMMITS.as_ref()),
        None => Ok(None),
    }
}

impl Area {
    /// Makes it in a writable lower, or takes the one that is there and removes what is not needed.
    pub fn open(lower: &Dir) -> Result<Area> {
        let boot = boot_id()?;
        Area::make(lower, &boot).map_err(Error::system("make", format!("/{AREA} in the real root")))
    }

    /// The same, for a boot.
    pub fn make(lower: &Dir, boot: &str) -> io::Result<Area> {
        let top = private_dir(lower, OsStr::new(AREA))?;
        let old_name = format!("{OLD}{boot}");
        for name in top.names()? {
            if name != *old_name && name != COMMITS {
                if let Err(error) = copy::remove(&top, &name) {
                    log::warn!("cannot remove all of /{AREA}/{name:?}, continuing: {error}");
                }
            }
        }
        Ok(Area {
            new: Rc::new(private_dir(&top, OsStr::new(NEW))?),
            old: private_dir(&top, OsStr::new(&old_name))?,
            commits: private_dir(&top, OsStr::new(COMMITS))?,
            boot: boot.to_owned(),
            top,
            count: 0,
        })
    }

    /// The directory where copies are made.
    pub fn new_files(&self) -> &Rc<Dir> {
        &self.new
    }

    /// The directory where what was in use stays.
    pub fn old_files(&self) -> &Dir {
        &self.old
    }

    /// The records of commits.
    pub fn commits(&self) -> &Dir {
        &self.commits
    }

    /// What tells this boot from all others.
    pub fn boot(&self) -> &str {
        &self.boot
    }

    /// A name that is free for a copy.
    pub fn fresh(&mut self) -> OsString {
        self.count += 1;
        OsString::from(self.count.to_string())
    }

    /// A folder for a commit, which [`enter`](Area::enter) puts among the others.
    pub fn prepare(&self) -> io::Result<Dir> {
        private_dir(&self.new, OsStr::new(READY))
    }

    /// The number that the next commit gets.
    pub fn next_number(&self) -> io::Result<u32> {
        let names = self.commits.names()?;
        let numbers = names.iter().filter_map(|name| name.to_str()?.parse().ok());
        Ok(numbers.max().unwrap_or(0u32) + 1)
    }

    /// Puts the folder that was prepared among the commits: from now on this commit has begun.
    pub fn enter(&self, number: u32) -> io::Result<()> {
        let name = number.to_string();
        Ok(rustix::fs::renameat(
            &*self.new,
            READY,
            &self.commits,
            name,
        )?)
    }

    /// Whether a directory can change places with a file in one step (Linux 3.15, not every file system).
    pub fn can_exchange(&self) -> bool {
        let (a, b) = (OsStr::new("exchange-a"), OsStr::new("exchange-b"));
        let make = |name| rustix::fs::mkdirat(&*self.new, name, Mode::RWXU);
        let done = make(a).and(make(b)).and_then(|()| {
            rustix::fs::renameat_with(&*self.new, a, &*self.new, b, RenameFlags::EXCHANGE)
        });
        for name in [a, b] {
            let _ = rustix::fs::unlinkat(&*self.new, name, AtFlags::REMOVEDIR); // the next one removes it
        }
        done.is_ok()
    }

    /// A name that is free for what is in use.
    pub fn free_old_name(&mut self) -> io::Result<OsString> {
        loop {
            let name = self.fresh();
            if self.old.stat(&name)?.is_none() {
                return Ok(name);
            }
        }
    }

    /// Removes copies that did not take their places, and what is empty.
    pub fn close(self, lower: &Dir) {
        for name in self.new.names().unwrap_or_default() {
            let _ = copy::remove(&self.new, &name); // the next one removes it
        }
        // What cannot be removed is not empty, and the next one tries again.
        for name in [NEW, COMMITS, &*format!("{OLD}{}", self.boot)] {
            let _ = rustix::fs::unlinkat(&self.top, name, AtFlags::REMOVEDIR);
        }
        let _ = rustix::fs::unlinkat(lower, AREA, AtFlags::REMOVEDIR);
    }
}

/// A directory that only root can look into; somebody else's is refused.
fn private_dir(dir: &Dir, name: &OsStr) -> io::Result<Dir> {
    match rustix::fs::mkdirat(dir, name, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    let made = dir.dir(name)?;
    let stat = made.own_stat()?;
    if stat.uid != rustix::process::geteuid().as_raw() || stat.mode & 0o077 != 0 {
        return Err(Errno::PERM.into());
    }
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn what_was_in_use_stays_for_a_boot_and_commits_stay_longer() {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join(path);
        let lower = Dir::open(folder.path()).unwrap();
        let area = Area::make(&lower, "boot-1").unwrap();
        fs::write(at(".overlayroot/old-boot-1/1"), "").unwrap();
        area.prepare().unwrap();
        assert_eq!(area.next_number().unwrap(), 1);
        area.enter(1).unwrap();
        assert_eq!(area.next_number().unwrap(), 2);
        fs::write(at(".overlayroot/commits/1/x"), "").unwrap();
        fs::write(at(".overlayroot/new/left"), "").unwrap();
        area.close(&lower);
        Area::make(&lower, "boot-1").unwrap().close(&lower);
        assert!(at(".overlayroot/old-boot-1/1").exists() && !at(".overlayroot/new").exists());
        Area::make(&lower, "boot-2").unwrap().close(&lower);
        assert!(!at(".overlayroot/old-boot-1").exists());
        assert!(at(".overlayroot/commits/1/x").exists());
        fs::remove_dir_all(at(".overlayroot/commits/1")).unwrap();
        Area::make(&lower, "boot-2").unwrap().close(&lower);
        assert!(!at(".overlayroot").exists());
    }

    #[test]
    fn somebody_elses_folder_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc", folder.path().join(AREA)).unwrap();
        let lower = Dir::open(folder.path()).unwrap();
        assert!(Area::make(&lower, "b").is_err());
        fs::remove_file(folder.path().join(AREA)).unwrap();
        fs::create_dir(folder.path().join(AREA)).unwrap();
        assert!(Area::make(&lower, "b").is_err(), "readable by others");
    }
}
