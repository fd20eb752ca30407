// SPDX-License-Identifier: MIT
//! The three trees, each without what else is mounted on it: upper, lower, and what both make together.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use overlayroot::mountinfo::{self, Mount};
use rustix::fs::{Mode, OFlags, XattrFlags, CWD};
use rustix::io::Errno;
use rustix::mount::{mount_bind, mount_change, MountPropagationFlags, UnmountFlags};
use rustix::thread::{unshare_unsafe, UnshareFlags};

use super::dir::Dir;
use super::marks;
use crate::error::{Error, Result};
use crate::live::{self, Layers};
use crate::quoting::Quote;

/// A folder of the lower that is no part of the system: where changes are made ready, and where what they replace
/// stays.
pub const AREA: &str = ".overlayroot";

/// The trees.
#[derive(Debug)]
pub struct View {
    /// What was changed.
    pub upper: Dir,
    /// The real root.
    pub lower: Dir,
    /// The running system's root, without its other mounts.
    pub merged: Dir,
    /// Where the layers themselves are seen in the running system, and the tool's own folder: no changes that
    /// anybody made.
    pub own: Vec<PathBuf>,
    /// How the names of overlayfs's marks in the upper begin.
    pub marks: &'static str,
    /// Folder of the RAM layer that is no part of the upper.
    ram: PathBuf,
}

/// Gives this process a mount table of its own, from which nothing comes back to the system's, and in which
/// nothing is mounted on or in the layers: it would be read and written in their place.
pub fn unshare_mounts(layers: &Layers) -> Result<()> {
    // SAFETY: a mount namespace takes no resource away from Rust's library.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS) }
        .map_err(Error::system("make a mount namespace", "of this process"))
        .map_err(|e| e.with_remedy("run it as root, in the system itself"))?;
    mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )
    .map_err(Error::system("make private", "/"))?;
    let mounts = mountinfo::parse(&live::table()?);
    for layer in [&layers.lower, &layers.ram] {
        is_seen(&mounts, layer)?;
    }
    let inside = |mount: &&Mount| {
        [&layers.lower, &layers.ram].into_iter().any(|layer| {
            mount.target != layer.target && mountinfo::is_at_or_below(&mount.target, &layer.target)
        })
    };
    // The last one first: it may be mounted on another one.
    for mount in mounts.iter().rev().filter(inside) {
        log::debug!("{} is passed over", mount.target);
        let flags = UnmountFlags::DETACH | UnmountFlags::NOFOLLOW;
        match rustix::mount::unmount(&*mount.target, flags) {
            // Its mount point was deleted: no path leads there.
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(Error::system("pass over", &mount.target)(error)),
        }
    }
    Ok(())
}

/// Whether the path of a layer still leads to it.
fn is_seen(mounts: &[Mount], layer: &Mount) -> Result<()> {
    let hidden = |why: String| {
        Error::refused(
            format!("{} is not seen: {why}", layer.target),
            "unmount what is there",
        )
    };
    let mut there = mounts.iter().filter(|m| m.target == layer.target);
    let here = match (there.next(), there.next()) {
        (Some(one), None) if (one.major, one.minor) == (layer.major, layer.minor) => one,
        (Some(_), Some(over)) => {
            return Err(hidden(format!(
                "{} ({}) is mounted over it",
                over.source, over.fstype
            )))
        }
        _ => return Err(hidden("it is not mounted any more".to_owned())),
    };
    match mountinfo::cover(mounts, here) {
        None => Ok(()),
        Some(over) => Err(hidden(format!(
            "{} ({}) is mounted at {}",
            over.source, over.fstype, over.target
        ))),
    }
}

impl View {
    /// Opens the trees of the running system. Call [`unshare_mounts`] before.
    pub fn open(layers: &Layers) -> Result<View> {
        let open = |path: &Path| Dir::open(path).map_err(Error::system("open", path.quoted()));
        let upper = open(&layers.upper)?;
        let lower = open(layers.lower_path())?;
        // The RAM layer's own mount point is there in any case; it is covered in our table only.
        let cover = Path::new(&layers.ram.target);
        mount_bind("/", cover).map_err(Error::system("bind / to", cover.quoted()))?;
        let merged = open(cover);
        rustix::mount::unmount(cover, UnmountFlags::DETACH)
            .map_err(Error::system("unmount", cover.quoted()))?;
        Ok(View {
            upper,
            lower,
            merged: merged?,
            own: vec![
                PathBuf::from(&layers.lower.target),
                cover.to_owned(),
                Path::new("/").join(AREA),
            ],
            marks: match layers.user_marks {
                true => marks::USER,
                false => marks::TRUSTED,
            },
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
            own: vec![Path::new("/").join(AREA)],
            marks: marks::USER,
            ram: ram.to_owned(),
        }
    }

    /// Whether the upper layer can hold this attribute. (tmpfs takes `user.` attributes from Linux 6.6 on,
    /// and access control lists where the kernel was built with them.) What cannot be tried, as no inode is left,
    /// counts as lost: so the real root keeps it.
    pub fn holds(&self, name: &OsStr, value: &[u8]) -> bool {
        self.try_attribute(name, value).unwrap_or(false)
    }

    fn try_attribute(&self, name: &OsStr, value: &[u8]) -> std::result::Result<bool, Errno> {
        // Beside the upper, where overlayfs does not look. O_TMPFILE is as old as Linux 3.11.
        let path = self
            .ram
            .join(format!(".overlayrootctl-{}", std::process::id()));
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let file = rustix::fs::openat(CWD, &path, flags | OFlags::CLOEXEC, Mode::RUSR)?;
        let result = rustix::fs::fsetxattr(&file, name, value, XattrFlags::empty());
        let _ = rustix::fs::unlinkat(CWD, &path, rustix::fs::AtFlags::empty()); // in RAM, empty
        let lost = [Errno::OPNOTSUPP, Errno::NOSPC, Errno::NOMEM];
        Ok(result.map_or_else(|error| !lost.contains(&error), |()| true))
    }

    /// Whether the layers themselves are at this path or below.
    pub fn is_own(&self, path: &Path) -> bool {
        let path = path.as_os_str().as_bytes();
        self.own.iter().any(|own| {
            let below = path.strip_prefix(own.as_os_str().as_bytes());
            below.is_some_and(|below| matches!(below.first(), None | Some(b'/')))
        })
    }
}

/// For `map_err` where a tree was being read.
pub fn reading(path: &Path) -> impl FnOnce(io::Error) -> Error + '_ {
    move |cause| Error::system("read", path.quoted())(cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_paths_and_what_is_below() {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path();
        let view = View::of(here, here, here, here);
        for (path, own) in [
            ("/.overlayroot", true),
            ("/.overlayroot/new/1", true),
            ("/.overlayroot2", false),
            ("/.overlay", false),
            ("/a/.overlayroot", false),
            ("/", false),
        ] {
            assert_eq!(view.is_own(Path::new(path)), own, "{path}");
        }
    }

    #[test]
    fn what_cannot_be_tried_is_not_held() {
        let folder = tempfile::tempdir().unwrap();
        let (here, none) = (folder.path(), folder.path().join("none"));
        let (name, value) = (OsStr::new("user.overlayroot"), b"x");
        assert!(!View::of(here, here, here, &none).holds(name, value));
        assert!(View::of(here, here, here, here).holds(name, value));
    }

    #[test]
    fn layers_that_are_hidden_are_refused() {
        let table = "21 1 0:20 / / rw - overlay overlay rw\n22 21 179:2 / /mnt/root-RO ro - ext4 /dev/a ro\n";
        let layer = &mountinfo::parse(table)[1];
        let refusal = |more: &str| {
            let error = is_seen(&mountinfo::parse(&format!("{table}{more}")), layer).err();
            error.map(|e| e.to_string())
        };
        assert_eq!(refusal(""), None);
        assert_eq!(refusal("30 22 0:9 / /mnt/root-RO/x rw - tmpfs x rw"), None);
        let over = refusal("30 22 0:9 / /mnt/root-RO rw - tmpfs x rw").unwrap();
        assert!(
            over.ends_with("/mnt/root-RO is not seen: x (tmpfs) is mounted over it"),
            "{over}"
        );
        let above = refusal("30 21 8:1 / /mnt rw - vfat /dev/b rw").unwrap();
        assert!(
            above.ends_with("/dev/b (vfat) is mounted at /mnt"),
            "{above}"
        );
        assert!(is_seen(&[], layer).is_err());
    }
}
