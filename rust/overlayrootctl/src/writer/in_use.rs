// SPDX-License-Identifier: MIT
//! Files of the real root that programs use at the moment, through the overlay.
//!
//! When a command in the real root replaces or deletes such a file, as an update does, the file has no
//! name any more and keeps the file system writable: and nothing in /proc shows that, as programs have the
//! overlay's file open. So each of them gets a second name before the command runs.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use overlayroot::text::unescape;
use rustix::fs::AtFlags;

use super::area::Area;
use crate::layers::dir::{Dir, Kind};

/// The second names.
#[derive(Debug, Default)]
pub struct SecondNames(Vec<SecondName>);

#[derive(Debug)]
struct SecondName {
    path: PathBuf,
    id: (u64, u64),
    parked: OsString,
}

/// Gives every file of the lower that is open or mapped somewhere a second name in the area.
pub fn name_again(area: &mut Area, lower: &Dir) -> SecondNames {
    let mut names = SecondNames::default();
    for path in paths() {
        // What cannot get one is as it would be without.
        let named = name_one(area, lower, &path);
        names.0.extend(named.ok().flatten());
    }
    log::debug!("{} files are in use", names.0.len());
    names
}

fn name_one(area: &mut Area, lower: &Dir, path: &Path) -> std::io::Result<Option<SecondName>> {
    let Some((parent, name)) = path.parent().zip(path.file_name()) else {
        return Ok(None);
    };
    let Some(dir) = lower.walk(parent)? else {
        return Ok(None);
    };
    let stat = dir.stat(name)?.filter(|s| s.kind == Kind::File);
    let Some(stat) = stat else { return Ok(None) };
    let parked = area.free_old_name()?;
    rustix::fs::linkat(&dir, name, area.old_files(), &parked, AtFlags::empty())?;
    Ok(Some(SecondName {
        path: path.to_owned(),
        id: stat.id,
        parked,
    }))
}

impl SecondNames {
    /// Takes the second names away from what is still where it was. The others keep them until the next
    /// boot.
    pub fn take_back(self, area: &Area, lower: &Dir) {
        for second in self.0 {
            let name = second.path.file_name().unwrap_or_default();
            let parent = second.path.parent().unwrap_or(Path::new("/"));
            let now = lower.walk(parent).ok().flatten();
            let now = now.and_then(|dir| dir.stat(name).ok().flatten());
            if now.is_some_and(|stat| stat.id == second.id) {
                // The next boot's first one removes what stays.
                let _ = rustix::fs::unlinkat(area.old_files(), &second.parked, AtFlags::empty());
            }
        }
    }
}

/// Paths that processes have open or mapped, as far as they have a name.
fn paths() -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let is_process = entry
            .file_name()
            .to_str()
            .is_some_and(|n| n.parse::<u32>().is_ok());
        if !is_process {
            continue;
        }
        let folder = entry.path();
        let maps = fs::read(folder.join("maps")).unwrap_or_default();
        found.extend(maps.split(|&b| b == b'\n').filter_map(mapped));
        let open = fs::read_dir(folder.join("fd"))
            .into_iter()
            .flatten()
            .flatten();
        found.extend(open.filter_map(|fd| fs::read_link(fd.path()).ok()));
    }
    found.retain(|path| path.is_absolute());
    found
}

/// The path in a line of `/proc/PID/maps`, where newlines are written as `\\012`.
fn mapped(line: &[u8]) -> Option<PathBuf> {
    let path = line.get(line.iter().position(|&b| b == b'/')?..)?;
    Some(PathBuf::from(OsString::from_vec(unescape(path))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_program_and_open_files_are_found() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let found = paths();
        assert!(found.contains(&std::env::current_exe().unwrap()));
        assert!(found.contains(file.path()));
        let path = |line: &[u8]| mapped(line).map(|p| p.into_os_string().into_vec());
        let found = path(b"7f-80 r-xp 0 08:01 12   /a \xff\\012b");
        assert_eq!(found.unwrap(), b"/a \xff\nb");
        assert_eq!(path(b"7f-80 rw-p 0 00:00 0    [heap]"), None);
    }

    #[test]
    fn only_what_was_replaced_keeps_its_second_name() {
        let folder = tempfile::tempdir().unwrap();
        let lower = Dir::open(folder.path()).unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["replaced", "same"] {
            fs::write(at(name), name).unwrap();
        }
        let mut area = Area::open(&lower).unwrap();
        let mut names = SecondNames::default();
        for name in ["/replaced", "/same", "/none", "/none/below"] {
            let named = name_one(&mut area, &lower, Path::new(name));
            names.0.extend(named.unwrap());
        }
        assert_eq!(names.0.len(), 2);
        fs::write(at("new"), "new").unwrap();
        fs::rename(at("new"), at("replaced")).unwrap();
        names.take_back(&area, &lower);
        let left = area.old_files().names().unwrap();
        assert_eq!(left.len(), 1);
        let mut text = String::new();
        let mut kept = area.old_files().file(&left[0]).unwrap();
        std::io::Read::read_to_string(&mut kept, &mut text).unwrap();
        assert_eq!(text, "replaced");
    }
}
