// SPDX-License-Identifier: MIT
//! The marks that overlayfs leaves in the upper layer
//! (`Documentation/filesystems/overlayfs.rst`; the symbolic link is that of the 3.10 patches).

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use super::dir::{Dir, Kind, Stat};
use super::inside::Inside;

/// How the attributes of a normal mount begin. Only root sets them, not through the overlay.
pub const TRUSTED: &str = "trusted.overlay.";
/// How those of a mount with `userxattr` begin; in any other mount they are attributes like others, which
/// whoever owns the file can set.
pub const USER: &str = "user.overlay.";
/// Target of the link that hides a file, before whiteouts were devices (Linux 3.18).
const OLD_WHITEOUT: &str = "(overlay-whiteout)";

/// What an upper's entry says by its attributes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// Nothing of the lower's directory of that name is seen. (`x` is something else: whiteouts that are attributes are
    /// inside.)
    pub opaque: bool,
    /// Where in the lower the rest of a renamed entry is: from the top when it begins with `/`, otherwise beside it.
    pub redirect: Option<PathBuf>,
    /// Only attributes were changed, so that the contents are still the lower's.
    pub metadata_only: bool,
    /// It has attributes that are no marks, which are seen through the overlay.
    pub others: bool,
}

impl Marks {
    /// Reads them; `None` when there is no such entry. `prefix` is [`TRUSTED`] or [`USER`].
    pub fn read(
        upper: &Inside<'_>,
        name: &OsStr,
        prefix: &'static str,
    ) -> io::Result<Option<Marks>> {
        let Some(list) = upper.list(name)? else {
            return Ok(None);
        };
        let mut marks = Marks::default();
        let attributes = list.split(|byte| *byte == 0).filter(|a| !a.is_empty());
        for attribute in attributes {
            let value = || upper.xattr(name, OsStr::from_bytes(attribute));
            match attribute.strip_prefix(prefix.as_bytes()) {
                Some(b"opaque") => marks.opaque = value()?.as_deref() == Some(b"y"),
                Some(b"redirect") => {
                    marks.redirect = value()?.map(|v| PathBuf::from(OsString::from_vec(v)));
                }
                Some(b"metacopy") => marks.metadata_only = true,
                // The marks of another overlay above this one (Linux 6.7).
                Some(mark) if !mark.starts_with(b"overlay.") => {}
                _ => marks.others = true,
            }
        }
        Ok(Some(marks))
    }

    /// What counts where an entry of a kind is seen: a directory is opaque, a file has its contents elsewhere.
    pub fn of_kind(mut self, kind: Kind) -> Marks {
        let is_dir = kind == Kind::Directory;
        self.metadata_only &= kind == Kind::File;
        self.opaque &= is_dir;
        // A file has one only while its contents are still the lower's.
        if !is_dir && !self.metadata_only {
            self.redirect = None;
        }
        self
    }
}

/// Whether an entry of the upper says that the lower's one is deleted.
pub fn is_whiteout(dir: &Dir, name: &OsStr, stat: &Stat, prefix: &'static str) -> io::Result<bool> {
    let is_marked = || -> io::Result<bool> {
        let mark = dir.xattr(name, &format!("{prefix}whiteout"))?;
        Ok(mark.is_some())
    };
    match stat.kind {
        Kind::CharDevice => Ok(stat.device == (0, 0)),
        Kind::Symlink if dir.link(name)? == OLD_WHITEOUT => is_marked(),
        Kind::File if stat.size == 0 => is_marked(),
        _ => Ok(false),
    }
}

#[cfg(test)]
mod tests {
    use super::super::inside::Current;
    use super::*;
    use rustix::fs::{lsetxattr, mknodat, FileType, Mode, XattrFlags};
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    fn set(path: &Path, name: &str, value: &[u8]) {
        lsetxattr(path, name, value, XattrFlags::empty()).unwrap();
    }

    /// As root, every form; `user.` attributes for who is not.
    #[test]
    fn every_form() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let dir = Dir::open(folder.path()).unwrap();
        let mut current = Current::take();
        let mut marks = |name: &str, prefix| {
            let inside = current.enter(&dir).unwrap();
            let found = Marks::read(&inside, OsStr::new(name), prefix).unwrap();
            let kind = dir.stat(OsStr::new(name)).unwrap()?.kind;
            Some(found?.of_kind(kind))
        };
        let whiteout = |name: &str, prefix| {
            let stat = dir.stat(OsStr::new(name)).unwrap().unwrap();
            is_whiteout(&dir, OsStr::new(name), &stat, prefix).unwrap()
        };
        fs::write(at("empty"), "").unwrap();
        assert!(!whiteout("empty", USER));
        symlink(OLD_WHITEOUT, at("unmarked")).unwrap();
        assert!(!whiteout("unmarked", USER));
        set(&at("empty"), "user.overlay.whiteout", b"");
        assert!(whiteout("empty", USER) && !whiteout("empty", TRUSTED));

        let none = Marks::default();
        let others = Marks {
            others: true,
            ..Marks::default()
        };
        fs::create_dir(at("dir")).unwrap();
        assert_eq!(marks("none", USER), None);
        assert_eq!(marks("dir", USER).unwrap(), none);
        set(&at("dir"), "user.overlay.opaque", b"x");
        assert_eq!(marks("dir", USER).unwrap(), none);
        set(&at("dir"), "user.overlay.opaque", b"y");
        assert!(marks("dir", USER).unwrap().opaque);
        set(&at("dir"), "user.overlay.redirect", b"/a/b");
        let redirect = marks("dir", USER).unwrap().redirect;
        assert_eq!(redirect, Some("/a/b".into()));
        // In an overlay whose marks are others they are attributes that anybody may set.
        assert_eq!(marks("dir", TRUSTED).unwrap(), others);

        // Of a file neither counts, as long as it has its own contents.
        fs::write(at("file"), "x").unwrap();
        set(&at("file"), "user.overlay.opaque", b"y");
        set(&at("file"), "user.overlay.redirect", b"/a/b");
        assert_eq!(marks("file", USER).unwrap(), none);
        set(&at("file"), "user.overlay.metacopy", b"");
        let found = marks("file", USER).unwrap();
        assert!(found.metadata_only && found.redirect.is_some() && !found.others);
        for name in ["user.a", "user.overlay.overlay.opaque"] {
            fs::write(at(name), "x").unwrap();
            set(&at(name), name, b"1");
            assert_eq!(marks(name, USER).unwrap(), others, "{name}");
        }

        if !rustix::process::geteuid().is_root() {
            return;
        }
        let mode = Mode::from_raw_mode(0o600);
        mknodat(&dir, "device", FileType::CharacterDevice, mode, 0).unwrap();
        assert!(whiteout("device", TRUSTED));
        let null = rustix::fs::makedev(1, 3);
        mknodat(&dir, "null", FileType::CharacterDevice, mode, null).unwrap();
        assert!(!whiteout("null", TRUSTED));
        set(&at("unmarked"), "trusted.overlay.whiteout", b"y");
        assert!(whiteout("unmarked", TRUSTED));
        fs::write(at("meta"), "x").unwrap();
        set(&at("meta"), "trusted.overlay.metacopy", b"");
        assert!(marks("meta", TRUSTED).unwrap().metadata_only);
    }
}
