// SPDX-License-Identifier: MIT
//! Makes an entry that is the same as another one: contents, owner, mode, times, attributes, holes.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, SeekFrom, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;

use super::compare::At;
use super::dir::{Dir, Kind, Stat, Xattrs};

/// How often a file is copied again that was written to in the meantime.
const ATTEMPTS: u32 = 3;

/// Makes `name` in `to`, which must not exist, and makes it safe on the disk. A directory is made without
/// what is in it, and gets its times when everything is in: [`set_times`].
pub fn copy(from: At<'_>, xattrs: &Xattrs, to: &Dir, name: &OsStr) -> io::Result<()> {
    for _ in 0..ATTEMPTS {
        let before = stat(from)?;
        create(from, &before, to, name)?;
        set_attributes(&before, xattrs, to, name)?;
        if before.kind == Kind::File {
            to.file(name)?.sync_all()?;
        }
        let after = stat(from)?;
        let same =
            |a: &Stat, b: &Stat| (a.size, a.modified, a.kind) == (b.size, b.modified, b.kind);
        if before.kind == Kind::Directory || same(&before, &after) {
            return Ok(());
        }
        rustix::fs::unlinkat(to, name, AtFlags::empty())?;
    }
    Err(Errno::TXTBSY.into())
}

fn stat(at: At<'_>) -> io::Result<Stat> {
    at.dir.stat(at.name)?.ok_or_else(|| Errno::NOENT.into())
}

fn create(from: At<'_>, stat: &Stat, to: &Dir, name: &OsStr) -> io::Result<()> {
    // Nobody else may look at it before it has its owner.
    let mode = Mode::RUSR | Mode::WUSR;
    let node = |kind: FileType| {
        let device = rustix::fs::makedev(stat.device.0, stat.device.1);
        rustix::fs::mknodat(to, name, kind, mode, device)
    };
    match stat.kind {
        Kind::File => {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
            let file = rustix::fs::openat(to, name, flags | OFlags::CLOEXEC, mode)?;
            copy_content(&mut from.dir.file(from.name)?, &mut File::from(file))?;
        }
        Kind::Directory => rustix::fs::mkdirat(to, name, Mode::RWXU)?,
        Kind::Symlink => rustix::fs::symlinkat(from.dir.link(from.name)?, to, name)?,
        Kind::CharDevice => node(FileType::CharacterDevice)?,
        Kind::BlockDevice => node(FileType::BlockDevice)?,
        Kind::Fifo => node(FileType::Fifo)?,
        Kind::Socket => node(FileType::Socket)?,
    }
    Ok(())
}

/// Copies data and leaves holes out.
fn copy_content(from: &mut File, to: &mut File) -> io::Result<()> {
    let length = from.metadata()?.len();
    let mut at = 0;
    while at < length {
        let (start, end) = match rustix::fs::seek(&*from, SeekFrom::Data(at)) {
            Ok(start) => (start, rustix::fs::seek(&*from, SeekFrom::Hole(start))?),
            Err(Errno::NXIO) => break, // nothing but a hole is left
            Err(_) => (at, u64::MAX),  // a file system that does not know
        };
        rustix::fs::seek(&*from, SeekFrom::Start(start))?;
        rustix::fs::seek(&*to, SeekFrom::Start(start))?;
        let copied = io::copy(&mut (&*from).take(end - start), to)?;
        if copied == 0 {
            break;
        }
        at = start + copied;
    }
    // A hole at the end.
    to.set_len(length.max(at))?;
    to.flush()
}

/// Owner, mode, attributes, times of an entry that is no link to elsewhere. Safe for links.
fn set_attributes(stat: &Stat, xattrs: &Xattrs, dir: &Dir, name: &OsStr) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(stat.uid), Gid::from_raw(stat.gid));
    rustix::fs::chownat(dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    if stat.kind != Kind::Symlink {
        // After the owner: a change of owner takes set-user-ID bits away.
        rustix::fs::chmodat(
            dir,
            name,
            Mode::from_raw_mode(stat.mode as _),
            AtFlags::empty(),
        )?;
    }
    set_xattrs(xattrs, dir, name)?;
    set_times(stat, dir, name)
}

fn set_xattrs(wanted: &Xattrs, dir: &Dir, name: &OsStr) -> io::Result<()> {
    let path = dir.path(name);
    let there = dir.xattrs(name)?;
    for attribute in there.keys().filter(|a| !wanted.contains_key(*a)) {
        rustix::fs::lremovexattr(&path, attribute)?;
    }
    for (attribute, value) in wanted {
        if there.get(attribute) != Some(value) {
            rustix::fs::lsetxattr(&path, attribute, value, XattrFlags::empty())?;
        }
    }
    Ok(())
}

/// Times of an entry, link or not.
pub fn set_times(stat: &Stat, dir: &Dir, name: &OsStr) -> io::Result<()> {
    let times = timestamps(stat);
    Ok(rustix::fs::utimensat(
        dir,
        name,
        &times,
        AtFlags::SYMLINK_NOFOLLOW,
    )?)
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
) -> io::Result<()> {
    set_attributes(from, xattrs, dir, name)
}

/// Removes an entry and everything below, on its own file system.
pub fn remove(dir: &Dir, name: &OsStr) -> io::Result<()> {
    let Some(stat) = dir.stat(name)? else {
        return Ok(());
    };
    if stat.kind != Kind::Directory {
        return Ok(rustix::fs::unlinkat(dir, name, AtFlags::empty())?);
    }
    let below = dir.dir(name)?;
    if below.own_stat()?.id.0 != dir.own_stat()?.id.0 {
        return Err(Errno::XDEV.into());
    }
    for entry in below.names()? {
        remove(&below, &entry)?;
    }
    Ok(rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR)?)
}

#[cfg(test)]
mod tests {
    use super::*;
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
            let at = At::new(&source, name);
            copy(at, &source.xattrs(name).unwrap(), &target, name)
        };
        fs::write(from.path().join("file"), "content").unwrap();
        let mode = fs::Permissions::from_mode(0o4750);
        fs::set_permissions(from.path().join("file"), mode).unwrap();
        let attribute = XattrFlags::empty();
        rustix::fs::lsetxattr(from.path().join("file"), "user.a", b"1", attribute).unwrap();
        symlink("file", from.path().join("link")).unwrap();
        fs::create_dir(from.path().join("dir")).unwrap();
        for name in ["file", "link", "dir"] {
            put(name).unwrap();
            let meta = |folder: &tempfile::TempDir| {
                let m = fs::symlink_metadata(folder.path().join(name)).unwrap();
                (m.mode(), m.uid(), m.mtime(), m.mtime_nsec())
            };
            assert_eq!(meta(&from), meta(&to), "{name}");
            let name = OsStr::new(name);
            assert_eq!(source.xattrs(name).unwrap(), target.xattrs(name).unwrap());
        }
        assert_eq!(fs::read(to.path().join("file")).unwrap(), b"content");
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
