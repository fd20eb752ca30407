// SPDX-License-Identifier: MIT
//! What is different between two entries.

use std::ffi::OsStr;
use std::io;

use serde::Serialize;

use super::content;
use super::dir::{Dir, Kind, Stat, Xattrs};

/// An entry: a directory and a name in it.
#[derive(Clone, Copy, Debug)]
pub struct At<'a> {
    /// The directory.
    pub dir: &'a Dir,
    /// The name.
    pub name: &'a OsStr,
}

impl<'a> At<'a> {
    /// The entry `name` of `dir`.
    pub fn new(dir: &'a Dir, name: &'a OsStr) -> At<'a> {
        At { dir, name }
    }
}

/// In what they differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum What {
    /// One is a file, the other a link, say.
    Type,
    /// Contents, target of a link, number of a device.
    Content,
    /// Permission bits.
    Mode,
    /// Owner or group.
    Owner,
    /// Time of the last change of the contents.
    Time,
    /// Extended attributes, access control lists among them.
    Attributes,
}

impl What {
    /// The word for people.
    pub fn as_str(self) -> &'static str {
        match self {
            What::Type => "type",
            What::Content => "content",
            What::Mode => "mode",
            What::Owner => "owner",
            What::Time => "time",
            What::Attributes => "attributes",
        }
    }
}

/// Whether the upper layer could hold an attribute of the lower: one that it cannot is lost when a file is
/// copied up, which is no change that anybody made.
pub type Holds<'a> = &'a dyn Fn(&OsStr, &[u8]) -> bool;

/// An entry that is compared: where it is, what it is, and what reads its extended attributes.
pub type Side<'a> = (At<'a>, &'a Stat, &'a dyn Fn() -> io::Result<Xattrs>);

/// What is different in `new`, the running system's entry, from `old`, the lower's.
pub fn differences(
    (new, new_stat, new_xattrs): Side<'_>,
    (old, old_stat, old_xattrs): Side<'_>,
    holds: Holds<'_>,
) -> io::Result<Vec<What>> {
    if new_stat.kind != old_stat.kind {
        return Ok(vec![What::Type]);
    }
    let kind = new_stat.kind;
    let mut what = Vec::new();
    let content = match kind {
        Kind::File => !same_content(new, new_stat, old, old_stat)?,
        Kind::Symlink => new.dir.link(new.name)? != old.dir.link(old.name)?,
        Kind::CharDevice | Kind::BlockDevice => new_stat.device != old_stat.device,
        Kind::Directory | Kind::Fifo | Kind::Socket => false,
    };
    if content {
        what.push(What::Content);
    }
    if kind != Kind::Symlink && new_stat.mode != old_stat.mode {
        what.push(What::Mode);
    }
    if (new_stat.uid, new_stat.gid) != (old_stat.uid, old_stat.gid) {
        what.push(What::Owner);
    }
    // That of a directory changes with each file in it, which is listed itself.
    if kind != Kind::Directory && !old_stat.has_time_of(new_stat) {
        what.push(What::Time);
    }
    let (there, mut expected) = (new_xattrs()?, old_xattrs()?);
    // Less those that a copy in the upper layer has lost.
    expected.retain(|name, value| there.contains_key(name) || holds(name, value));
    if there != expected {
        what.push(What::Attributes);
    }
    Ok(what)
}

/// Attributes that an entry is to have in the lower: its own, and those that the upper layer lost.
pub fn wanted_xattrs(new: Xattrs, old: Option<At<'_>>, holds: Holds<'_>) -> io::Result<Xattrs> {
    let mut wanted = new;
    if let Some(old) = old {
        for (name, value) in old.dir.xattrs(old.name)? {
            if !wanted.contains_key(&name) && !holds(&name, &value) {
                wanted.insert(name, value);
            }
        }
    }
    Ok(wanted)
}

fn same_content(a: At<'_>, a_stat: &Stat, b: At<'_>, b_stat: &Stat) -> io::Result<bool> {
    if a_stat.size != b_stat.size {
        return Ok(false);
    }
    content::is_same(&a.dir.file(a.name)?, &b.dir.file(b.name)?, a_stat.size)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{symlink, PermissionsExt};

    #[test]
    fn each_difference_is_named() {
        let (new, old) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (n, o) = (
            Dir::open(new.path()).unwrap(),
            Dir::open(old.path()).unwrap(),
        );
        let look = |name: &str| {
            let name = OsStr::new(name);
            let stat = |dir: &Dir| dir.stat(name).unwrap().unwrap();
            let (new, old) = (stat(&n), stat(&o));
            differences(
                (At::new(&n, name), &new, &|| n.xattrs(name)),
                (At::new(&o, name), &old, &|| o.xattrs(name)),
                &|name, _| name != "user.lost",
            )
            .unwrap()
        };
        let both = |name: &str, a: &str, b: &str| {
            fs::write(new.path().join(name), a).unwrap();
            fs::write(old.path().join(name), b).unwrap();
            let time = fs::metadata(old.path().join(name))
                .unwrap()
                .modified()
                .unwrap();
            let file = fs::File::options()
                .write(true)
                .open(new.path().join(name))
                .unwrap();
            file.set_modified(time).unwrap();
        };
        both("same", "abc", "abc");
        assert_eq!(look("same"), []);
        both("content", "abc", "abd");
        assert_eq!(look("content"), [What::Content]);
        both("size", "abc", "ab");
        assert_eq!(look("size"), [What::Content]);
        let mode = fs::Permissions::from_mode(0o4711);
        both("mode", "x", "x");
        fs::set_permissions(new.path().join("mode"), mode).unwrap();
        assert_eq!(look("mode"), [What::Mode]);
        both("time", "x", "x");
        let file = fs::File::options()
            .write(true)
            .open(new.path().join("time"))
            .unwrap();
        file.set_modified(std::time::UNIX_EPOCH).unwrap();
        assert_eq!(look("time"), [What::Time]);
        symlink("a", new.path().join("link")).unwrap();
        symlink("b", old.path().join("link")).unwrap();
        assert!(look("link").contains(&What::Content));
        symlink("a", new.path().join("type")).unwrap();
        fs::write(old.path().join("type"), "").unwrap();
        assert_eq!(look("type"), [What::Type]);

        both("attribute", "x", "x");
        let set = |folder: &std::path::Path, name: &str| {
            let path = folder.join("attribute");
            rustix::fs::lsetxattr(path, name, b"1", rustix::fs::XattrFlags::empty()).unwrap();
        };
        set(old.path(), "user.lost");
        assert_eq!(look("attribute"), []);
        set(old.path(), "user.kept");
        assert_eq!(look("attribute"), [What::Attributes]);
        let name = OsStr::new("attribute");
        let new = n.xattrs(name).unwrap();
        let wanted = wanted_xattrs(new, Some(At::new(&o, name)), &|name, _| name != "user.lost");
        assert_eq!(wanted.unwrap().len(), 1);
    }
}
