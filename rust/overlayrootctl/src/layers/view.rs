// SPDX-License-Identifier: MIT
//! The three trees, each without what else is mounted on it: upper, lower, and what both make together.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, XattrFlags, CWD};
use rustix::io::Errno;
use rustix::mount::{mount_bind, mount_change, MountPropagationFlags};
use rustix::thread::{unshare_unsafe, UnshareFlags};

use super::dir::Dir;
use crate::error::{Error, Result};
use crate::live::Layers;

/// The trees.
#[derive(Debug)]
pub struct View {
    /// What was changed.
    pub upper: Dir,
    /// The real root.
    pub lower: Dir,
    /// The running system's root, without its other mounts.
    pub merged: Dir,
    /// Where the layers themselves are seen in the running system: no changes that anybody made.
    pub own: Vec<PathBuf>,
    /// Folder of the RAM layer that is no part of the upper.
    ram: PathBuf,
}

/// Gives this process a mount table of its own, from which nothing comes back to the system's.
pub fn unshare_mounts() -> Result<()> {
    // SAFETY: a mount namespace takes no resource away from Rust's library.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS) }
        .map_err(Error::system("make a mount namespace", "of this process"))
        .map_err(|e| e.with_remedy("run it as root, in the system itself"))?;
    mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )
    .map_err(Error::system("make private", "/"))
}

impl View {
    /// Opens the trees of the running system. Call [`unshare_mounts`] before.
    pub fn open(layers: &Layers) -> Result<View> {
        let open = |path: &Path| Dir::open(path).map_err(Error::system("open", path.display()));
        let upper = open(&layers.upper)?;
        let lower = open(layers.lower_path())?;
        // The RAM layer's own mount point is there in any case; it is covered in our table only.
        let cover = Path::new(&layers.ram.target);
        mount_bind("/", cover).map_err(Error::system("bind / to", cover.display()))?;
        let merged = open(cover);
        rustix::mount::unmount(cover, rustix::mount::UnmountFlags::DETACH)
            .map_err(Error::system("unmount", cover.display()))?;
        Ok(View {
            upper,
            lower,
            merged: merged?,
            own: vec![PathBuf::from(&layers.lower.target), cover.to_owned()],
            ram: cover.to_owned(),
        })
    }

    /// Trees of folders, for tests: `merged` is made by the test.
    #[cfg(test)]
    pub fn of(upper: &Path, lower: &Path, merged: &Path, ram: &Path) -> View {
        View {
            upper: Dir::open(upper).unwrap(),
            lower: Dir::open(lower).unwrap(),
            merged: Dir::open(merged).unwrap(),
            own: Vec::new(),
            ram: ram.to_owned(),
        }
    }

    /// Whether the upper layer can hold this attribute. (tmpfs takes `user.` attributes from Linux 6.6 on,
    /// and access control lists where the kernel was built with them.)
    pub fn holds(&self, name: &OsStr, value: &[u8]) -> bool {
        !matches!(self.try_attribute(name, value), Err(Errno::OPNOTSUPP))
    }

    fn try_attribute(&self, name: &OsStr, value: &[u8]) -> std::result::Result<(), Errno> {
        // Beside the upper, where overlayfs does not look. O_TMPFILE is as old as Linux 3.11.
        let path = self
            .ram
            .join(format!(".overlayrootctl-{}", std::process::id()));
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let file = rustix::fs::openat(CWD, &path, flags | OFlags::CLOEXEC, Mode::RUSR)?;
        let result = rustix::fs::fsetxattr(&file, name, value, XattrFlags::empty());
        let _ = rustix::fs::unlinkat(CWD, &path, rustix::fs::AtFlags::empty()); // in RAM, empty
        result
    }

    /// Whether the layers themselves are at this path or below.
    pub fn is_own(&self, path: &Path) -> bool {
        self.own.iter().any(|own| path.starts_with(own))
    }
}

/// For `map_err` where a tree was being read.
pub fn reading(path: &Path) -> impl FnOnce(io::Error) -> Error + '_ {
    move |cause| Error::system("read", path.display())(cause)
}
