// SPDX-License-Identifier: MIT
//! A folder in the real root where copies are made before they take their places, and where what they
//! replace stays until nobody uses it any more.
//!
//! A file without a name that a process (or the overlay above it) still uses would keep the file system
//! from becoming read-only again. So what is replaced or deleted keeps a name here until the next boot;
//! then the next commit or edit removes it. What a cut leaves here harms nobody, and goes the same way.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::AsFd;

use rustix::fs::{AtFlags, Mode, RenameFlags};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::layers::copy;
use crate::layers::dir::{Dir, Kind};

/// Its name, at the top of the real root.
pub const NAME: &str = ".overlayroot";
const NEW: &str = "new";
const OLD: &str = "old-";
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The folder.
#[derive(Debug)]
pub struct Area {
    top: Dir,
    new: Dir,
    old: Dir,
    old_name: OsString,
    count: u32,
}

impl Area {
    /// Makes it in a writable lower, or takes the one that is there and removes what is not needed.
    pub fn open(lower: &Dir) -> Result<Area> {
        let boot = std::fs::read_to_string(BOOT_ID).map_err(Error::system("read", BOOT_ID))?;
        make(lower, boot.trim()).map_err(Error::system("make", format!("/{NAME} in the real root")))
    }

    /// The directory where copies are made.
    pub fn new_files(&self) -> &Dir {
        &self.new
    }

    /// The directory where what was replaced stays.
    pub fn old_files(&self) -> &Dir {
        &self.old
    }

    /// A name that is free for a copy.
    pub fn fresh(&mut self) -> OsString {
        self.count += 1;
        OsString::from(self.count.to_string())
    }

    /// Puts a copy into place. What was there stays in the area. A cut leaves either one or the other.
    pub fn publish(&mut self, copy: &OsStr, dir: &Dir, name: &OsStr) -> io::Result<()> {
        let is_dir = |dir: &Dir, name: &OsStr| {
            dir.stat(name)
                .map(|stat| stat.map(|s| s.kind == Kind::Directory))
        };
        match (is_dir(&self.new, copy)?, is_dir(dir, name)?) {
            (_, None) => {}
            (Some(false), Some(false)) => {
                let parked = self.free_old_name()?;
                match rustix::fs::linkat(dir, name, &self.old, &parked, AtFlags::empty()) {
                    // A file system without hard links, or too many of them: it goes without.
                    Ok(()) | Err(Errno::PERM | Errno::OPNOTSUPP | Errno::MLINK) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            (_, Some(_)) => {
                rustix::fs::renameat_with(&self.new, copy, dir, name, RenameFlags::EXCHANGE)?;
                let parked = self.free_old_name()?;
                return Ok(rustix::fs::renameat(&self.new, copy, &self.old, &parked)?);
            }
        }
        Ok(rustix::fs::renameat(&self.new, copy, dir, name)?)
    }

    /// Takes an entry, with all that is in it, out of its place.
    pub fn retire(&mut self, dir: &Dir, name: &OsStr) -> io::Result<()> {
        let parked = self.free_old_name()?;
        Ok(rustix::fs::renameat(dir, name, &self.old, &parked)?)
    }

    /// Whether a directory can change places with a file in one step (Linux 3.15, not every file system).
    pub fn can_exchange(&self) -> bool {
        let (a, b) = (OsStr::new("exchange-a"), OsStr::new("exchange-b"));
        let make = |name| rustix::fs::mkdirat(&self.new, name, Mode::RWXU);
        let done = make(a).and(make(b)).and_then(|()| {
            rustix::fs::renameat_with(&self.new, a, &self.new, b, RenameFlags::EXCHANGE)
        });
        for name in [a, b] {
            let _ = rustix::fs::unlinkat(&self.new, name, AtFlags::REMOVEDIR); // the next one removes it
        }
        done.is_ok()
    }

    /// A name that is free for what is replaced.
    pub fn free_old_name(&mut self) -> io::Result<OsString> {
        loop {
            let name = self.fresh();
            if self.old.stat(&name)?.is_none() {
                return Ok(name);
            }
        }
    }

    /// Makes it safe on the disk.
    pub fn sync(&self) -> io::Result<()> {
        for dir in [&self.new, &self.old, &self.top] {
            rustix::fs::fsync(dir.as_fd())?;
        }
        Ok(())
    }

    /// Removes copies that did not take their places, and what is empty.
    pub fn close(self, lower: &Dir) {
        for name in self.new.names().unwrap_or_default() {
            let _ = copy::remove(&self.new, &name); // the next one removes it
        }
        // What cannot be removed is not empty, and the next one tries again.
        let _ = rustix::fs::unlinkat(&self.top, NEW, AtFlags::REMOVEDIR);
        let _ = rustix::fs::unlinkat(&self.top, &self.old_name, AtFlags::REMOVEDIR);
        let _ = rustix::fs::unlinkat(lower, NAME, AtFlags::REMOVEDIR);
    }
}

fn make(lower: &Dir, boot: &str) -> io::Result<Area> {
    let top = private_dir(lower, OsStr::new(NAME))?;
    let old_name = OsString::from(format!("{OLD}{boot}"));
    for name in top.names()? {
        if name != old_name {
            copy::remove(&top, &name)?;
        }
    }
    Ok(Area {
        new: private_dir(&top, OsStr::new(NEW))?,
        old: private_dir(&top, &old_name)?,
        old_name,
        top,
        count: 0,
    })
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
    fn old_and_new_change_places() {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join(path);
        let lower = Dir::open(folder.path()).unwrap();
        let mut area = make(&lower, "boot-1").unwrap();
        let write =
            |name: &OsStr, text: &str| fs::write(at(".overlayroot/new").join(name), text).unwrap();

        for (name, before) in [("added", None), ("changed", Some("old"))] {
            if let Some(text) = before {
                fs::write(at(name), text).unwrap();
            }
            let copy = area.fresh();
            write(&copy, "new");
            area.publish(&copy, &lower, OsStr::new(name)).unwrap();
            assert_eq!(fs::read_to_string(at(name)).unwrap(), "new");
        }
        fs::create_dir_all(at("folder/deep")).unwrap();
        if area.can_exchange() {
            let copy = area.fresh();
            write(&copy, "a file now");
            area.publish(&copy, &lower, OsStr::new("folder")).unwrap();
            assert_eq!(fs::read_to_string(at("folder")).unwrap(), "a file now");
        }
        fs::create_dir_all(at("gone/deep")).unwrap();
        area.retire(&lower, OsStr::new("gone")).unwrap();
        assert!(!at("gone").exists());
        area.sync().unwrap();
        area.close(&lower);
        assert!(at(".overlayroot/old-boot-1").exists() && !at(".overlayroot/new").exists());

        // The same boot keeps it, the next one does not.
        make(&lower, "boot-1").unwrap().close(&lower);
        assert!(at(".overlayroot/old-boot-1").exists());
        make(&lower, "boot-2").unwrap().close(&lower);
        assert!(!at(".overlayroot").exists());
    }

    #[test]
    fn somebody_elses_folder_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc", folder.path().join(NAME)).unwrap();
        let lower = Dir::open(folder.path()).unwrap();
        assert!(make(&lower, "b").is_err());
        fs::remove_file(folder.path().join(NAME)).unwrap();
        fs::create_dir(folder.path().join(NAME)).unwrap();
        assert!(make(&lower, "b").is_err(), "readable by others");
    }
}
