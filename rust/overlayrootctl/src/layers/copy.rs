// SPDX-License-Identifier: MIT
//! Makes an entry that is the same as another one: contents, owner, mode, times, attributes, holes.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Timespec, Timestamps};
use rustix::io::Errno;

use super::compare::{At, What};
use super::content::{self, Digest};
use super::descent::Descent;
use super::dir::{Dir, Held, Kind, Stat, Xattrs};

/// How often a file is copied again that was written to in the meantime.
const ATTEMPTS: u32 = 3;

/// Makes `name` in `to`, which must not exist. It is safe on the disk after the next sync of the file system, and
/// nothing may lead to it before. A directory is made without what is in it, and gets its times when everything is
/// in: [`set_own_times`].
///
/// The entry is held, not its name: contents, owner, mode and attributes are those of one file, whatever
/// takes its name meanwhile. The same goes for what is made. Returns what was copied.
pub fn copy(from: &Held, xattrs: &Xattrs, to: &Dir, name: &OsStr) -> io::Result<Copied> {
    for _ in 0..ATTEMPTS {
        let before = from.stat()?;
        let (made, digest) = create(from, &before, to, name)?;
        set_attributes(&before, xattrs, &made)?;
        if before.kind == Kind::Directory || before.is_unchanged(&from.stat()?) {
            return Ok(Copied {
                made: made.stat()?.id,
                digest: Some(digest),
                stat: before,
                xattrs: xattrs.clone(),
            });
        }
        rustix::fs::unlinkat(to, name, AtFlags::empty())?;
    }
    Err(Errno::TXTBSY.into())
}

/// What a copy is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// Device and inode of what was made.
    pub made: (u64, u64),
    /// What it was made from.
    pub stat: Stat,
    xattrs: Xattrs,
    /// `None` when contents were not copied.
    digest: Option<Digest>,
}

impl Copied {
    /// In what an entry differs from the copy that was made; read from the disk, where it can be.
    pub fn differences(&self, at: At<'_>) -> io::Result<Vec<What>> {
        let mut held = at.dir.hold(at.name)?;
        if self.digest.is_some() {
            held = held.opened()?;
        }
        let found = held.stat()?;
        if found.kind != self.stat.kind {
            return Ok(vec![What::Type]);
        }
        let device = |stat: &Stat| match stat.kind {
            Kind::CharDevice | Kind::BlockDevice => stat.device,
            _ => (0, 0),
        };
        let mut what = Vec::new();
        let content_differs = match (self.digest, found.kind) {
            (None, _) => false,
            (Some(digest), Kind::File) => {
                let file = held.file()?;
                // So that it comes from the disk, not from the cache: a hint.
                let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
                found.size != self.stat.size || Digest::of(&file, &found)? != digest
            }
            (Some(digest), Kind::Symlink) => digest_of(held.link()?.as_bytes()) != digest,
            (Some(_), _) => false,
        };
        if content_differs || device(&found) != device(&self.stat) {
            what.push(What::Content);
        }
        if found.kind != Kind::Symlink && found.mode != self.stat.mode {
            what.push(What::Mode);
        }
        if (found.uid, found.gid) != (self.stat.uid, self.stat.gid) {
            what.push(What::Owner);
        }
        if found.kind != Kind::Directory && !found.has_time_of(&self.stat) {
            what.push(What::Time);
        }
        if held.xattrs()? != self.xattrs {
            what.push(What::Attributes);
        }
        Ok(what)
    }
}

/// Of the target of a link.
fn digest_of(bytes: &[u8]) -> Digest {
    let mut digest = Digest::default();
    digest.add(0, bytes);
    digest
}

/// Makes the entry, for root only; it gets its owner and mode later.
fn create(from: &Held, stat: &Stat, to: &Dir, name: &OsStr) -> io::Result<(Held, Digest)> {
    let mode = Mode::RUSR | Mode::WUSR;
    let node = |kind: FileType| {
        let device = rustix::fs::makedev(stat.device.0, stat.device.1);
        rustix::fs::mknodat(to, name, kind, mode, device)
    };
    let mut digest = Digest::default();
    match stat.kind {
        Kind::File => {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
            let file = rustix::fs::openat(to, name, flags | OFlags::CLOEXEC, mode)?;
            let file = File::from(file);
            let digest = content::copy(&from.file()?, stat, &file)?;
            return Ok((Held::of(file.into()), digest));
        }
        Kind::Directory => rustix::fs::mkdirat(to, name, Mode::RWXU)?,
        Kind::Symlink => {
            let target = from.link()?;
            digest = digest_of(target.as_bytes());
            rustix::fs::symlinkat(target, to, name)?;
        }
        Kind::CharDevice => node(FileType::CharacterDevice)?,
        Kind::BlockDevice => node(FileType::BlockDevice)?,
        Kind::Fifo => node(FileType::Fifo)?,
        Kind::Socket => node(FileType::Socket)?,
    }
    let made = to.hold(name)?;
    match was_just_made(&made.stat()?, stat.kind) {
        true => Ok((made, digest)),
        false => Err(Errno::BUSY.into()),
    }
}

/// Whether what has the name now can be what was made. The directory may be somebody's who puts another
/// entry there: what is ours has no second name, and nobody else may look into it.
fn was_just_made(there: &Stat, kind: Kind) -> bool {
    there.kind == kind
        && there.uid == rustix::process::geteuid().as_raw()
        && match kind {
            Kind::Directory => there.mode & 0o077 == 0,
            _ => there.links == 1,
        }
}

/// Owner, mode, attributes, times.
pub fn set_attributes(stat: &Stat, xattrs: &Xattrs, entry: &Held) -> io::Result<()> {
    entry.set_owner(stat.uid, stat.gid)?;
    if stat.kind != Kind::Symlink {
        entry.set_mode(stat.mode)?; // after the owner
    }
    set_xattrs(xattrs, entry)?;
    entry.set_times(&timestamps(stat))
}

fn set_xattrs(wanted: &Xattrs, entry: &Held) -> io::Result<()> {
    let there = entry.xattrs()?;
    for attribute in there.keys().filter(|a| !wanted.contains_key(*a)) {
        entry.remove_xattr(attribute)?;
    }
    for (attribute, value) in wanted {
        if there.get(attribute) != Some(value) {
            entry.set_xattr(attribute, value)?;
        }
    }
    Ok(())
}

/// Times of an open directory.
pub fn set_own_times(stat: &Stat, dir: &Dir) -> io::Result<()> {
    Ok(rustix::fs::futimens(dir.as_fd(), &timestamps(stat))?)
}

fn timestamps(stat: &Stat) -> Timestamps {
    let time = |(seconds, nanoseconds): (i64, i64)| Timespec {
        tv_sec: seconds as _,
        tv_nsec: nanoseconds as _,
    };
    Timestamps {
        last_access: time(stat.accessed),
        last_modification: time(stat.modified),
    }
}

/// Gives a directory that is there the attributes of another one.
pub fn copy_directory_attributes(
    from: &Stat,
    xattrs: &Xattrs,
    dir: &Dir,
    name: &OsStr,
) -> io::Result<Copied> {
    let held = dir.hold(name)?;
    if held.stat()?.kind != Kind::Directory {
        return Err(Errno::NOTDIR.into());
    }
    set_attributes(from, xattrs, &held)?;
    attributes_of(from, xattrs, &held)
}

/// Gives an entry that is there, and has no other name, one attribute of another one: the file system does that at
/// once, so that a cut leaves the old one or the new one.
pub fn copy_one_attribute(
    which: What,
    from: &Stat,
    xattrs: &Xattrs,
    dir: &Dir,
    name: &OsStr,
) -> io::Result<Copied> {
    let held = dir.hold(name)?;
    let there = held.stat()?;
    if there.kind != from.kind || there.kind == Kind::Symlink || there.links != 1 {
        return Err(Errno::BUSY.into());
    }
    match which {
        What::Mode => held.set_mode(from.mode)?,
        What::Owner => held.set_owner(from.uid, from.gid)?,
        What::Time => held.set_times(&timestamps(from))?,
        What::Attributes => set_xattrs(xattrs, &held)?,
        What::Type | What::Content => return Err(Errno::INVAL.into()),
    }
    attributes_of(from, xattrs, &held)
}

fn attributes_of(from: &Stat, xattrs: &Xattrs, made: &Held) -> io::Result<Copied> {
    Ok(Copied {
        made: made.stat()?.id,
        digest: None,
        stat: from.clone(),
        xattrs: xattrs.clone(),
    })
}

/// Whether an error says that there is no such entry.
pub fn is_gone(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::NOENT.raw_os_error())
}

/// Removes an entry and everything below, on its own file system and however deep.
pub fn remove(dir: &Dir, name: &OsStr) -> io::Result<()> {
    let Some(stat) = dir.stat(name)? else {
        return Ok(());
    };
    if stat.kind != Kind::Directory {
        return Ok(rustix::fs::unlinkat(dir, name, AtFlags::empty())?);
    }
    let mut place = Descent::at(dir)?;
    place.down(name)?;
    let mut levels = vec![(name.to_owned(), place.here().names()?)];
    while let Some((_, names)) = levels.last_mut() {
        if let Some(entry) = names.pop() {
            let here = place.here();
            match here.stat(&entry)? {
                None => {}
                Some(stat) if stat.kind == Kind::Directory => {
                    place.down(&entry)?;
                    levels.push((entry, place.here().names()?));
                }
                Some(_) => rustix::fs::unlinkat(here, &entry, AtFlags::empty())?,
            }
        } else if let Some((done, _)) = levels.pop() {
            place.up()?;
            rustix::fs::unlinkat(place.here(), &done, AtFlags::REMOVEDIR)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::XattrFlags;
    use std::fs;
    use std::os::unix::fs::{symlink, MetadataExt, PermissionsExt};

    #[test]
    fn copies_are_the_same() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (source, target) = (
            Dir::open(from.path()).unwrap(),
            Dir::open(to.path()).unwrap(),
        );
        let put = |name: &str| {
            let name = OsStr::new(name);
            let held = source.hold(name).unwrap();
            copy(&held, &held.xattrs().unwrap(), &target, name)
        };
        fs::write(from.path().join("file"), "content").unwrap();
        let mode = fs::Permissions::from_mode(0o4750);
        fs::set_permissions(from.path().join("file"), mode).unwrap();
        let attribute = XattrFlags::empty();
        rustix::fs::lsetxattr(from.path().join("file"), "user.a", b"1", attribute).unwrap();
        symlink("file", from.path().join("link")).unwrap();
        fs::create_dir(from.path().join("dir")).unwrap();
        for name in ["file", "link", "dir"] {
            let copied = put(name).unwrap();
            let at = At::new(&target, OsStr::new(name));
            assert_eq!(copied.differences(at).unwrap(), []);
            let meta = |folder: &tempfile::TempDir| {
                let m = fs::symlink_metadata(folder.path().join(name)).unwrap();
                (m.mode(), m.uid(), m.mtime(), m.mtime_nsec())
            };
            assert_eq!(meta(&from), meta(&to), "{name}");
            let name = OsStr::new(name);
            assert_eq!(source.xattrs(name).unwrap(), target.xattrs(name).unwrap());
        }
        assert_eq!(fs::read(to.path().join("file")).unwrap(), b"content");
        let file = OsStr::new("file");
        fs::remove_file(to.path().join("file")).unwrap();
        let copied = put("file").unwrap();
        fs::write(to.path().join("file"), "Content").unwrap();
        let what = copied.differences(At::new(&target, file)).unwrap();
        assert!(
            what.contains(&What::Content) && what.contains(&What::Time),
            "{what:?}"
        );
        assert_eq!(
            put("file").unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );

        let sparse = File::create(from.path().join("sparse")).unwrap();
        sparse.set_len(3 << 20).unwrap();
        std::os::unix::fs::FileExt::write_at(&sparse, b"x", 1 << 20).unwrap();
        put("sparse").unwrap();
        let copied = fs::metadata(to.path().join("sparse")).unwrap();
        assert_eq!(copied.len(), 3 << 20);
        assert!(
            copied.blocks() * 512 < 1 << 20,
            "{} blocks",
            copied.blocks()
        );
        let same = fs::read(from.path().join("sparse")).unwrap()
            == fs::read(to.path().join("sparse")).unwrap();
        assert!(same);
    }

    #[test]
    fn another_entry_is_not_taken_for_what_was_made() {
        let folder = tempfile::tempdir().unwrap();
        let dir = Dir::open(folder.path()).unwrap();
        let look = |name: &str, kind| {
            let stat = dir.stat(OsStr::new(name)).unwrap().unwrap();
            was_just_made(&stat, kind)
        };
        symlink("x", folder.path().join("link")).unwrap();
        assert!(look("link", Kind::Symlink) && !look("link", Kind::Directory));
        fs::hard_link(folder.path().join("link"), folder.path().join("second")).unwrap();
        assert!(!look("link", Kind::Symlink));
        rustix::fs::mkdirat(&dir, "mine", Mode::RWXU).unwrap();
        assert!(look("mine", Kind::Directory));
        let open = fs::Permissions::from_mode(0o755);
        fs::set_permissions(folder.path().join("mine"), open).unwrap();
        assert!(!look("mine", Kind::Directory));
    }

    /// Where the file system of the test has access control lists.
    #[test]
    fn access_control_lists_are_kept() {
        // linux/posix_acl_xattr.h: version 2; user::rw-, user 7:r--, group::r--, mask::rw-, other::---
        let entries: [(u16, u16, u32); 5] =
            [(1, 6, !0), (2, 4, 7), (4, 4, !0), (16, 6, !0), (32, 0, !0)];
        let mut list = 2u32.to_le_bytes().to_vec();
        for (tag, access, id) in entries {
            list.extend([tag.to_le_bytes(), access.to_le_bytes()].concat());
            list.extend(id.to_le_bytes());
        }
        let folder = tempfile::tempdir().unwrap();
        let dir = Dir::open(folder.path()).unwrap();
        fs::write(folder.path().join("a"), "x").unwrap();
        let (a, name) = (OsStr::new("a"), "system.posix_acl_access");
        let path = folder.path().join("a");
        match rustix::fs::lsetxattr(path, name, &list, XattrFlags::empty()) {
            Err(Errno::OPNOTSUPP) => return eprintln!("SKIPPED: no access control lists here"),
            other => other.unwrap(),
        }
        let held = dir.hold(a).unwrap();
        copy(&held, &held.xattrs().unwrap(), &dir, OsStr::new("b")).unwrap();
        assert_eq!(dir.xattr(OsStr::new("b"), name).unwrap().unwrap(), list);
        let mode = |name: &str| fs::metadata(folder.path().join(name)).unwrap().mode();
        assert_eq!(mode("a"), mode("b"));
    }

    #[test]
    fn removing_stays_inside() {
        let folder = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("keep"), "").unwrap();
        fs::create_dir_all(folder.path().join("a/b")).unwrap();
        symlink(outside.path(), folder.path().join("a/b/out")).unwrap();
        let top = Dir::open(folder.path()).unwrap();
        remove(&top, OsStr::new("a")).unwrap();
        assert!(top.names().unwrap().is_empty());
        assert!(outside.path().join("keep").exists());
        remove(&top, OsStr::new("a")).unwrap();
    }
}
