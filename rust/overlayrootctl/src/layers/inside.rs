// SPDX-License-Identifier: MIT
//! Extended attributes of the entries of one directory, by their bare names: from inside it.
//!
//! The calls for them know no directory by descriptor (before Linux 6.13), and a path through `/proc/self/fd` costs
//! three times what the call itself does. From the directory that is held, made the current one of this thread, a name
//! leads where it would lead by the descriptor.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, CWD};
use rustix::thread::{unshare_unsafe, UnshareFlags};

use super::dir::{is_absent, list_of, value_of, xattrs, Dir, Xattrs};

/// The current directory of this thread, apart from that of others. It is what it was when this is dropped.
#[derive(Debug)]
pub struct Current(Option<OwnedFd>);

impl Current {
    /// Takes it.
    pub fn take() -> Current {
        // SAFETY: what is no longer shared is the current directory, the root and the umask of this thread.
        let own = unsafe { unshare_unsafe(UnshareFlags::FS) };
        let here = || {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            rustix::fs::openat(CWD, ".", flags, Mode::empty()).ok()
        };
        Current(own.ok().and_then(|()| here()))
    }

    /// Enters a directory: one at a time.
    pub fn enter<'a>(&'a mut self, dir: &'a Dir) -> io::Result<Inside<'a>> {
        if self.0.is_some() {
            rustix::process::fchdir(dir)?;
        }
        Ok(Inside {
            dir,
            is_current: self.0.is_some(),
        })
    }
}

impl Drop for Current {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = rustix::process::fchdir(before); // it was a directory, and is held
        }
    }
}

/// A directory that was entered.
#[derive(Debug)]
pub struct Inside<'a> {
    /// The directory.
    pub dir: &'a Dir,
    /// It is the current one. Otherwise (a sandbox that lets nobody take one) paths go through `/proc`.
    is_current: bool,
}

impl Inside<'_> {
    /// Names of the extended attributes of an entry, each ended by a NUL byte; `None` when there is no such entry.
    pub fn list(&self, name: &OsStr) -> io::Result<Option<Vec<u8>>> {
        match list_of(|list| self.llistxattr(name, list)) {
            Ok(list) => Ok(Some(list)),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// One extended attribute of an entry.
    pub fn xattr(&self, name: &OsStr, attribute: &OsStr) -> io::Result<Option<Vec<u8>>> {
        value_of(|value| self.lgetxattr(name, attribute, value))
    }

    /// Extended attributes of an entry; none where the file system has none.
    pub fn xattrs(&self, name: &OsStr) -> io::Result<Xattrs> {
        xattrs(
            |list| self.llistxattr(name, list),
            |attribute, value| self.lgetxattr(name, attribute, value),
        )
    }

    fn llistxattr(&self, name: &OsStr, list: &mut [u8]) -> rustix::io::Result<usize> {
        match self.is_current {
            true => rustix::fs::llistxattr(name, list),
            false => rustix::fs::llistxattr(self.dir.through(name), list),
        }
    }

    fn lgetxattr(
        &self,
        name: &OsStr,
        attribute: &OsStr,
        value: &mut [u8],
    ) -> rustix::io::Result<usize> {
        match self.is_current {
            true => rustix::fs::lgetxattr(name, attribute, value),
            false => rustix::fs::lgetxattr(self.dir.through(name), attribute, value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{lsetxattr, XattrFlags};
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    #[test]
    fn names_lead_where_they_lead_by_the_descriptor() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for place in ["a", "b"] {
            fs::create_dir(at(place)).unwrap();
            fs::write(at(place).join("file"), "").unwrap();
        }
        let set = |path: &Path, value: &[u8]| {
            lsetxattr(path, "user.x", value, XattrFlags::empty()).unwrap();
        };
        set(&at("a/file"), b"in a");
        symlink("file", at("a/link")).unwrap();
        let (a, b) = (Dir::open(&at("a")).unwrap(), Dir::open(&at("b")).unwrap());
        // Whatever takes the name of the directory: it is held.
        fs::rename(at("a"), at("moved")).unwrap();
        fs::rename(at("b"), at("a")).unwrap();
        let before = std::env::current_dir().unwrap();
        let (file, name) = (OsStr::new("file"), OsStr::new("user.x"));
        for mut current in [Current::take(), Current(None)] {
            let inside = current.enter(&a).unwrap();
            assert_eq!(inside.xattr(file, name).unwrap().unwrap(), b"in a");
            assert_eq!(inside.list(file).unwrap().unwrap(), b"user.x\0");
            assert_eq!(inside.xattrs(file).unwrap(), a.xattrs(file).unwrap());
            assert_eq!(inside.list(OsStr::new("none")).unwrap(), None);
            assert_eq!(inside.xattr(OsStr::new("link"), name).unwrap(), None);
            let inside = current.enter(&b).unwrap();
            assert_eq!(inside.xattr(file, name).unwrap(), None);
        }
        assert_eq!(std::env::current_dir().unwrap(), before);
    }
}
