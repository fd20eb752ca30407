// SPDX-License-Identifier: MIT
//! The marks that overlayfs leaves in the upper layer
//! (`Documentation/filesystems/overlayfs.rst`; the symbolic link is that of the 3.10 patches).

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use super::dir::{Dir, Kind, Stat};

/// How the attributes of a normal mount begin. Only root sets them, not through the overlay.
pub const TRUSTED: &str = "trusted.overlay.";
/// How those of a mount with `userxattr` begin; in any other mount they are attributes like others, which
/// whoever owns the file can set.
pub const USER: &str = "user.overlay.";
/// Target of the link that hides a file, before whiteouts were devices (Linux 3.18).
const OLD_WHITEOUT: &str = "(overlay-whiteout)";

/// An entry of the upper, and how its marks begin.
#[derive(Clone, Copy, Debug)]
pub struct Marked<'a> {
    /// The directory.
    pub dir: &'a Dir,
    /// The name in it.
    pub name: &'a OsStr,
    /// [`TRUSTED`] or [`USER`].
    pub prefix: &'static str,
}

impl Marked<'_> {
    fn mark(&self, what: &str) -> io::Result<Option<Vec<u8>>> {
        self.dir.xattr(self.name, &format!("{}{what}", self.prefix))
    }

    /// Whether the entry says that the lower's one is deleted.
    pub fn is_whiteout(&self, stat: &Stat) -> io::Result<bool> {
        match stat.kind {
            Kind::CharDevice => Ok(stat.device == (0, 0)),
            Kind::Symlink if self.dir.link(self.name)? == OLD_WHITEOUT => {
                Ok(self.mark("whiteout")?.is_some())
            }
            Kind::File if stat.size == 0 => Ok(self.mark("whiteout")?.is_some()),
            _ => Ok(false),
        }
    }

    /// Whether nothing of the lower's directory of that name is seen. (`x` is something else: whiteouts that
    /// are attributes are inside.)
    pub fn is_opaque(&self) -> io::Result<bool> {
        Ok(self.mark("opaque")?.as_deref() == Some(b"y"))
    }

    /// Where in the lower the rest of a renamed entry is: from the top when it begins with `/`, otherwise
    /// beside it.
    pub fn redirect(&self) -> io::Result<Option<PathBuf>> {
        let value = self.mark("redirect")?;
        Ok(value.map(|v| PathBuf::from(OsString::from_vec(v))))
    }

    /// Whether only attributes were changed, so that the contents are still the lower's.
    pub fn is_metadata_only(&self) -> io::Result<bool> {
        Ok(self.mark("metacopy")?.is_some())
    }
}

#[cfg(test)]
mod tests {
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
        let marked = |name: &'static str, prefix| Marked {
            dir: &dir,
            name: OsStr::new(name),
            prefix,
        };
        let whiteout = |name: &'static str, prefix| {
            let stat = dir.stat(OsStr::new(name)).unwrap().unwrap();
            marked(name, prefix).is_whiteout(&stat).unwrap()
        };
        fs::write(at("empty"), "").unwrap();
        assert!(!whiteout("empty", USER));
        symlink(OLD_WHITEOUT, at("unmarked")).unwrap();
        assert!(!whiteout("unmarked", USER));
        set(&at("empty"), "user.overlay.whiteout", b"");
        assert!(whiteout("empty", USER) && !whiteout("empty", TRUSTED));

        fs::create_dir(at("dir")).unwrap();
        let folder_marks = marked("dir", USER);
        assert!(!folder_marks.is_opaque().unwrap());
        set(&at("dir"), "user.overlay.opaque", b"x");
        assert!(!folder_marks.is_opaque().unwrap());
        set(&at("dir"), "user.overlay.opaque", b"y");
        assert!(folder_marks.is_opaque().unwrap());
        set(&at("dir"), "user.overlay.redirect", b"/a/b");
        assert_eq!(folder_marks.redirect().unwrap(), Some("/a/b".into()));
        assert_eq!(marked("dir", TRUSTED).redirect().unwrap(), None);
        assert!(!folder_marks.is_metadata_only().unwrap());

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
        assert!(marked("meta", TRUSTED).is_metadata_only().unwrap());
    }
}
