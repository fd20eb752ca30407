// SPDX-License-Identifier: MIT
//! The marks that overlayfs leaves in the upper layer
//! (`Documentation/filesystems/overlayfs.rst`; the symbolic link is that of the 3.10 patches).

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use super::dir::{Dir, Kind, Stat};

/// Prefixes of the attributes: that of a normal mount, and that of `userxattr`.
const PREFIXES: [&str; 2] = ["trusted.overlay.", "user.overlay."];
/// Target of the link that hides a file, before whiteouts were devices (Linux 3.18).
const OLD_WHITEOUT: &str = "(overlay-whiteout)";

fn mark(dir: &Dir, name: &OsStr, what: &str) -> io::Result<Option<Vec<u8>>> {
    for prefix in PREFIXES {
        if let Some(value) = dir.xattr(name, &format!("{prefix}{what}"))? {
            return Ok(Some(value));
        }
    }
    Ok(None)
}

/// Whether the entry says that the lower's one is deleted.
pub fn is_whiteout(upper: &Dir, name: &OsStr, stat: &Stat) -> io::Result<bool> {
    match stat.kind {
        Kind::CharDevice => Ok(stat.device == (0, 0)),
        Kind::Symlink if upper.link(name)? == OLD_WHITEOUT => {
            Ok(mark(upper, name, "whiteout")?.is_some())
        }
        Kind::File if stat.size == 0 => Ok(mark(upper, name, "whiteout")?.is_some()),
        _ => Ok(false),
    }
}

/// Whether nothing of the lower's directory of that name is seen. (`x` is something else: whiteouts that
/// are attributes are inside.)
pub fn is_opaque(upper: &Dir, name: &OsStr) -> io::Result<bool> {
    Ok(mark(upper, name, "opaque")?.as_deref() == Some(b"y"))
}

/// Where in the lower the rest of a renamed entry is: from the top when it begins with `/`, otherwise
/// beside it.
pub fn redirect(upper: &Dir, name: &OsStr) -> io::Result<Option<PathBuf>> {
    let value = mark(upper, name, "redirect")?;
    Ok(value.map(|v| PathBuf::from(OsString::from_vec(v))))
}

/// Whether only attributes were changed, so that the contents are still the lower's.
pub fn is_metadata_only(upper: &Dir, name: &OsStr) -> io::Result<bool> {
    Ok(mark(upper, name, "metacopy")?.is_some())
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
        let whiteout = |name: &str| {
            let name = OsStr::new(name);
            is_whiteout(&dir, name, &dir.stat(name).unwrap().unwrap()).unwrap()
        };
        fs::write(at("empty"), "").unwrap();
        assert!(!whiteout("empty"));
        symlink(OLD_WHITEOUT, at("unmarked")).unwrap();
        assert!(!whiteout("unmarked"));
        set(&at("empty"), "user.overlay.whiteout", b"");
        assert!(whiteout("empty"));

        fs::create_dir(at("dir")).unwrap();
        let name = OsStr::new("dir");
        assert!(!is_opaque(&dir, name).unwrap());
        set(&at("dir"), "user.overlay.opaque", b"x");
        assert!(!is_opaque(&dir, name).unwrap());
        set(&at("dir"), "user.overlay.opaque", b"y");
        assert!(is_opaque(&dir, name).unwrap());
        set(&at("dir"), "user.overlay.redirect", b"/a/b");
        assert_eq!(redirect(&dir, name).unwrap(), Some("/a/b".into()));
        assert!(!is_metadata_only(&dir, name).unwrap());

        if !rustix::process::geteuid().is_root() {
            return;
        }
        let mode = Mode::from_raw_mode(0o600);
        mknodat(&dir, "device", FileType::CharacterDevice, mode, 0).unwrap();
        assert!(whiteout("device"));
        let null = rustix::fs::makedev(1, 3);
        mknodat(&dir, "null", FileType::CharacterDevice, mode, null).unwrap();
        assert!(!whiteout("null"));
        set(&at("unmarked"), "trusted.overlay.whiteout", b"y");
        assert!(whiteout("unmarked"));
        fs::write(at("meta"), "x").unwrap();
        set(&at("meta"), "trusted.overlay.metacopy", b"");
        assert!(is_metadata_only(&dir, OsStr::new("meta")).unwrap());
    }
}
