// SPDX-License-Identifier: MIT
//! Makes an entry that is the same as another one: contents, owner, mode, times, attributes, holes.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, SeekFrom, Timespec, Timestamps, Uid, XattrFlags, CWD,
};
use rustix::io::Errno;

use super::compare::{At, What};
use super::dir::{Dir, Held, Kind, Stat, Xattrs};

/// How often a file is copied again that was written to in the meantime.
const ATTEMPTS: u32 = 3;

/// Makes `name` in `to`, which must not exist, and makes it safe on the disk. A directory is made without
/// what is in it, and gets its times when everything is in: [`set_times`].
///
/// The entry is held, not its name: contents, owner, mode and attributes are those of one file, whatever
/// takes its name meanwhile. The same goes for what is made. Returns what was copied.
pub fn copy(from: &Held, xattrs: &Xattrs, to: &Dir, name: &OsStr) -> io::Result<Copied> {
    for _ in 0..ATTEMPTS {
        let before = from.stat()?;
        let made = create(from, &before, to, name)?;
        set_attributes(&before, xattrs, &made)?;
        if before.kind == Kind::File {
            made.file()?.sync_all()?;
        }
        if before.kind == Kind::Directory || before.is_unchanged(&from.stat()?) {
            return Ok(Copied {
                digest: digest(&made, before.kind)?,
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
    stat: Stat,
    xattrs: Xattrs,
    digest: u64,
}

impl Copied {
    /// In what an entry differs from the copy that was made; read from the disk, where it can be.
    pub fn differences(&self, at: At<'_>) -> io::Result<Vec<What>> {
        let held = at.dir.hold(at.name)?;
        let found = held.stat()?;
        if found.kind != self.stat.kind {
            return Ok(vec![What::Type]);
        }
        let mut what = Vec::new();
        if found.kind == Kind::File {
            // So that it comes from the disk, not from the cache.
            let _ = rustix::fs::fadvise(held.file()?, 0, None, rustix::fs::Advice::DontNeed);
            // a hint
        }
        let device = |stat: &Stat| match stat.kind {
            Kind::CharDevice | Kind::BlockDevice => stat.device,
            _ => (0, 0),
        };
        if digest(&held, found.kind)? != self.digest || device(&found) != device(&self.stat) {
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

/// Stands for the contents of a file or the target of a link (FNV-1a, 64 bits); finds accidents.
fn digest(entry: &Held, kind: Kind) -> io::Result<u64> {
    let mut hash = 0xcbf2_9ce4_8422_2325;
    let mut add = |bytes: &[u8]| {
        for byte in bytes {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    match kind {
        Kind::File => {
            let mut file = entry.file()?;
            let mut buffer = vec![0; 64 << 10];
            loop {
                match file.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(count) => add(buffer.get(..count).unwrap_or_default()),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Kind::Symlink => add(entry.link()?.as_bytes()),
        _ => {}
    }
    Ok(hash)
}

/// Makes the entry, for root only; it gets its owner and mode later.
fn create(from: &Held, stat: &Stat, to: &Dir, name: &OsStr) -> io::Result<Held> {
    let mode = Mode::RUSR | Mode::WUSR;
    let node = |kind: FileType| {
        let device = rustix::fs::makedev(stat.device.0, stat.device.1);
        rustix::fs::mknodat(to, name, kind, mode, device)
    };
    match stat.kind {
        Kind::File => {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
            let file = rustix::fs::openat(to, name, flags | OFlags::CLOEXEC, mode)?;
            let mut file = File::from(file);
            copy_content(&mut from.file()?, &mut file)?;
            return Ok(Held::of(file.into()));
        }
        Kind::Directory => rustix::fs::mkdirat(to, name, Mode::RWXU)?,
        Kind::Symlink => rustix::fs::symlinkat(from.link()?, to, name)?,
        Kind::CharDevice => node(FileType::CharacterDevice)?,
        Kind::BlockDevice => node(FileType::BlockDevice)?,
        Kind::Fifo => node(FileType::Fifo)?,
        Kind::Socket => node(FileType::Socket)?,
    }
    let made = to.hold(name)?;
    match was_just_made(&made.stat()?, stat.kind) {
        true => Ok(made),
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

/// Owner, mode, attributes, times.
pub fn set_attributes(stat: &Stat, xattrs: &Xattrs, entry: &Held) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(stat.uid), Gid::from_raw(stat.gid));
    let (path, itself) = (entry.path(), AtFlags::empty());
    rustix::fs::chownat(entry, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH)?;
    if stat.kind != Kind::Symlink {
        // After the owner: a change of owner takes set-user-ID bits away.
        rustix::fs::chmodat(CWD, &path, Mode::from_raw_mode(stat.mode as _), itself)?;
    }
    set_xattrs(xattrs, entry)?;
    Ok(rustix::fs::utimensat(
        CWD,
        &path,
        &timestamps(stat),
        itself,
    )?)
}

fn set_xattrs(wanted: &Xattrs, entry: &Held) -> io::Result<()> {
    let path = entry.path();
    let there = entry.xattrs()?;
    for attribute in there.keys().filter(|a| !wanted.contains_key(*a)) {
        rustix::fs::removexattr(&path, attribute)?;
    }
    for (attribute, value) in wanted {
        if there.get(attribute) != Some(value) {
            rustix::fs::setxattr(&path, attribute, value, XattrFlags::empty())?;
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
) -> io::Result<Copied> {
    let held = dir.hold(name)?;
    if held.stat()?.kind != Kind::Directory {
        return Err(Errno::NOTDIR.into());
    }
    set_attributes(from, xattrs, &held)?;
    Ok(Copied {
        digest: digest(&held, Kind::Directory)?,
        stat: from.clone(),
        xattrs: xattrs.clone(),
    })
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
