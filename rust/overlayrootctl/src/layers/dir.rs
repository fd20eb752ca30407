// SPDX-License-Identifier: MIT
//! Directories by descriptor. No name is ever followed through a symbolic link, so that nothing done to a
//! tree can leave it: with `openat2`, or component by component on kernels before 5.6, which lack it.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Gid, IFlags, Mode, OFlags, RawDir, ResolveFlags, StatxAttributes,
    StatxFlags, Timestamps, Uid, XattrFlags, CWD,
};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

/// A directory that is open.
#[derive(Debug)]
pub struct Dir(OwnedFd);

/// Type of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Regular file.
    File,
    /// Directory.
    Directory,
    /// Symbolic link.
    Symlink,
    /// Character device.
    CharDevice,
    /// Block device.
    BlockDevice,
    /// Named pipe.
    Fifo,
    /// Socket.
    Socket,
}

/// Attributes of an entry itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Type.
    pub kind: Kind,
    /// Permission bits, 07777.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Major and minor number of a device node.
    pub device: (u32, u32),
    /// The file's identity: device and inode.
    pub id: (u64, u64),
    /// Number of names.
    pub links: u64,
    /// Length, bytes.
    pub size: u64,
    /// Bytes that are taken.
    pub used: u64,
    /// Last access, seconds and nanoseconds.
    pub accessed: (i64, i64),
    /// Last change of the contents, seconds and nanoseconds.
    pub modified: (i64, i64),
    /// Last change of anything, which nobody can set, seconds and nanoseconds.
    pub changed: (i64, i64),
}

/// Extended attributes.
pub type Xattrs = BTreeMap<OsString, Vec<u8>>;

const OPEN_DIR: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

impl Dir {
    /// Opens a directory of the running system.
    pub fn open(path: &Path) -> io::Result<Dir> {
        Ok(Dir(rustix::fs::openat(CWD, path, OPEN_DIR, Mode::empty())?))
    }

    /// Opens a subdirectory.
    pub fn dir(&self, name: &OsStr) -> io::Result<Dir> {
        Ok(Dir(rustix::fs::openat(
            &self.0,
            name,
            OPEN_DIR,
            Mode::empty(),
        )?))
    }

    /// The same directory again.
    pub fn again(&self) -> io::Result<Dir> {
        Ok(Dir(self.0.try_clone()?))
    }

    /// Opens what is below, one component after the other; `None` when one of them is missing or no
    /// directory. `..` is refused.
    ///
    /// The kernel walks by itself where it can (`openat2`, Linux 5.6).
    pub fn walk(&self, path: &Path) -> io::Result<Option<Dir>> {
        let below = path.strip_prefix("/").unwrap_or(path);
        let is_up = |part| part == Component::ParentDir;
        if below.as_os_str().is_empty() || below.components().any(is_up) {
            return self.walk_by_hand(path);
        }
        let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        match rustix::fs::openat2(&self.0, below, OPEN_DIR, Mode::empty(), how) {
            Ok(dir) => Ok(Some(Dir(dir))),
            // It is not there, or a filter of system calls does not let it pass; or something was renamed meanwhile.
            Err(Errno::NOSYS | Errno::PERM | Errno::AGAIN | Errno::NAMETOOLONG) => {
                self.walk_by_hand(path)
            }
            Err(error) if is_absent(&error.into()) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn walk_by_hand(&self, path: &Path) -> io::Result<Option<Dir>> {
        let mut here = self.again()?;
        for part in path.components() {
            match part {
                Component::RootDir | Component::CurDir => {}
                Component::Normal(name) => match here.dir(name) {
                    Ok(next) => here = next,
                    Err(error) if is_absent(&error) => return Ok(None),
                    Err(error) => return Err(error),
                },
                Component::ParentDir | Component::Prefix(_) => {
                    return Err(Errno::INVAL.into());
                }
            }
        }
        Ok(Some(here))
    }

    /// Attributes of an entry; `None` when there is none.
    pub fn stat(&self, name: &OsStr) -> io::Result<Option<Stat>> {
        match rustix::fs::statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Stat::from_raw(&stat).map(Some),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Attributes of the directory itself.
    pub fn own_stat(&self) -> io::Result<Stat> {
        Stat::from_raw(&rustix::fs::fstat(&self.0)?)
    }

    /// Names in it, sorted.
    pub fn names(&self) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        // Opened again: the place in a directory is the descriptor's.
        let again = self.dir(OsStr::new("."))?;
        let mut room = [MaybeUninit::uninit(); 16 << 10];
        let mut entries = RawDir::new(&again, &mut room);
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(OsString::from_vec(name.to_vec()));
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Opens a regular file for reading. A pipe or a device that takes its place does not block.
    pub fn file(&self, name: &OsStr) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.0, name, flags, Mode::empty())?;
        Ok(File::from(file))
    }

    /// Takes hold of an entry: whatever takes its name later, this is what is looked at and changed. Nothing
    /// is opened, so that neither a pipe nor a device notices.
    pub fn hold(&self, name: &OsStr) -> io::Result<Held> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let entry = rustix::fs::openat(&self.0, name, flags, Mode::empty())?;
        Ok(Held {
            entry,
            opened: false,
        })
    }

    /// What chattr(1) has set on an entry, by its letters: of append-only, compressed, immutable and no dump, those
    /// that are set. None where the file system does not say.
    pub fn flags(&self, name: &OsStr) -> String {
        let itself = AtFlags::SYMLINK_NOFOLLOW;
        let found = match rustix::fs::statx(&self.0, name, itself, StatxFlags::empty()) {
            Ok(found) => {
                let has = |flag| found.stx_attributes.contains(flag);
                [
                    (has(StatxAttributes::APPEND), 'a'),
                    (has(StatxAttributes::COMPRESSED), 'c'),
                    (has(StatxAttributes::NODUMP), 'd'),
                    (has(StatxAttributes::IMMUTABLE), 'i'),
                ]
            }
            // Linux before 4.11.
            Err(_) => {
                let flags = self.hold(name).ok().and_then(|held| held.flags());
                let has = |flag| flags.is_some_and(|flags| flags.contains(flag));
                [
                    (has(IFlags::APPEND), 'a'),
                    (has(IFlags::COMPRESSED), 'c'),
                    (has(IFlags::NODUMP), 'd'),
                    (has(IFlags::IMMUTABLE), 'i'),
                ]
            }
        };
        let set = found.iter().filter(|(set, _)| *set);
        set.map(|(_, letter)| *letter).collect()
    }

    /// Target of a symbolic link.
    pub fn link(&self, name: &OsStr) -> io::Result<OsString> {
        let target = rustix::fs::readlinkat(&self.0, name, Vec::new())?;
        Ok(OsString::from_vec(target.into_bytes()))
    }

    /// Extended attributes of an entry; none where the file system has none.
    pub fn xattrs(&self, name: &OsStr) -> io::Result<Xattrs> {
        let path = self.through(name);
        xattrs(
            |list| rustix::fs::llistxattr(&path, list),
            |name, value| rustix::fs::lgetxattr(&path, name, value),
        )
    }

    /// One extended attribute of an entry.
    pub fn xattr(&self, name: &OsStr, attribute: &str) -> io::Result<Option<Vec<u8>>> {
        let path = self.through(name);
        value_of(|value| rustix::fs::lgetxattr(&path, attribute, value))
    }

    /// Path of an entry through the directory that is open, for calls that do not follow the name itself.
    pub(super) fn through(&self, name: &OsStr) -> PathBuf {
        let mut path = PathBuf::from(format!("/proc/self/fd/{}", self.0.as_raw_fd()));
        path.push(name);
        path
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// An entry of any type that is held, not its name.
#[derive(Debug)]
pub struct Held {
    entry: OwnedFd,
    /// It is open for reading or writing, so that its descriptor will do. Otherwise calls that take no descriptor of
    /// the other kind go through `/proc`, which costs three times as much.
    opened: bool,
}

impl Held {
    /// One that was just made and opened.
    pub fn of(file: OwnedFd) -> Held {
        Held {
            entry: file,
            opened: true,
        }
    }

    /// The same, opened for reading when it is a regular file.
    pub fn opened(self) -> io::Result<Held> {
        match self.stat()?.kind {
            Kind::File if !self.opened => Ok(Held::of(File::open(self.path())?.into())),
            _ => Ok(self),
        }
    }

    /// Its attributes now.
    pub fn stat(&self) -> io::Result<Stat> {
        Stat::from_raw(&rustix::fs::fstat(&self.entry)?)
    }

    /// A path that leads to it, and no further when it is a link.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.entry.as_raw_fd()))
    }

    /// Flags by ioctl, on files and directories.
    fn flags(&self) -> Option<IFlags> {
        let kind = self.stat().ok()?.kind;
        if !matches!(kind, Kind::File | Kind::Directory) {
            return None;
        }
        rustix::fs::ioctl_getflags(File::open(self.path()).ok()?).ok()
    }

    /// Opens it for reading; only a regular file is. One that is [`opened`](Held::opened) shares its place with what this
    /// returns.
    pub fn file(&self) -> io::Result<File> {
        match (self.stat()?.kind, self.opened) {
            (Kind::File, false) => File::open(self.path()),
            (Kind::File, true) => Ok(self.entry.try_clone()?.into()),
            _ => Err(Errno::INVAL.into()),
        }
    }

    /// Target of a symbolic link.
    pub fn link(&self) -> io::Result<OsString> {
        let target = rustix::fs::readlinkat(&self.entry, "", Vec::new())?;
        Ok(OsString::from_vec(target.into_bytes()))
    }

    /// Extended attributes; none where the file system has none.
    pub fn xattrs(&self) -> io::Result<Xattrs> {
        if self.opened {
            return xattrs(
                |list| rustix::fs::flistxattr(&self.entry, list),
                |name, value| rustix::fs::fgetxattr(&self.entry, name, value),
            );
        }
        let path = self.path();
        xattrs(
            |list| rustix::fs::listxattr(&path, list),
            |name, value| rustix::fs::getxattr(&path, name, value),
        )
    }

    /// Sets an extended attribute.
    pub fn set_xattr(&self, name: &OsStr, value: &[u8]) -> io::Result<()> {
        let flags = XattrFlags::empty();
        Ok(match self.opened {
            true => rustix::fs::fsetxattr(&self.entry, name, value, flags),
            false => rustix::fs::setxattr(self.path(), name, value, flags),
        }?)
    }

    /// Takes an extended attribute away.
    pub fn remove_xattr(&self, name: &OsStr) -> io::Result<()> {
        Ok(match self.opened {
            true => rustix::fs::fremovexattr(&self.entry, name),
            false => rustix::fs::removexattr(self.path(), name),
        }?)
    }

    /// Sets owner and group. That takes set-user-ID bits away.
    pub fn set_owner(&self, uid: u32, gid: u32) -> io::Result<()> {
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        let itself = AtFlags::EMPTY_PATH;
        Ok(rustix::fs::chownat(
            &self.entry,
            "",
            Some(uid),
            Some(gid),
            itself,
        )?)
    }

    /// Sets the permission bits, 07777; a symbolic link has none.
    pub fn set_mode(&self, mode: u32) -> io::Result<()> {
        let mode = Mode::from_raw_mode(mode as _);
        Ok(match self.opened {
            true => rustix::fs::fchmod(&self.entry, mode),
            false => rustix::fs::chmodat(CWD, self.path(), mode, AtFlags::empty()),
        }?)
    }

    /// Sets the times.
    pub fn set_times(&self, times: &Timestamps) -> io::Result<()> {
        Ok(match self.opened {
            true => rustix::fs::futimens(&self.entry, times),
            false => rustix::fs::utimensat(CWD, self.path(), times, AtFlags::empty()),
        }?)
    }
}

impl AsFd for Held {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.entry.as_fd()
    }
}

/// Names of extended attributes, each ended by a NUL byte, by a function that lists them; none where the file system
/// has none.
pub(super) fn list_of(
    list: impl Fn(&mut [u8]) -> rustix::io::Result<usize>,
) -> io::Result<Vec<u8>> {
    match enough_room(list) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(Vec::new()),
        other => Ok(other?),
    }
}

/// One extended attribute, by a function that reads it; `None` when there is none.
pub(super) fn value_of(
    get: impl Fn(&mut [u8]) -> rustix::io::Result<usize>,
) -> io::Result<Option<Vec<u8>>> {
    match enough_room(get) {
        Ok(value) => Ok(Some(value)),
        Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::NOSYS) => Ok(None),
        Err(error) if is_absent(&error.into()) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// All extended attributes, by a function that lists their names and one that reads a value.
pub(super) fn xattrs(
    list: impl Fn(&mut [u8]) -> rustix::io::Result<usize>,
    get: impl Fn(&OsStr, &mut [u8]) -> rustix::io::Result<usize>,
) -> io::Result<Xattrs> {
    let names = list_of(list)?;
    let mut found = Xattrs::new();
    for name in names
        .split(|&byte| byte == 0)
        .filter(|name| !name.is_empty())
    {
        let name = OsStr::from_bytes(name);
        match enough_room(|value| get(name, value)) {
            Ok(value) => {
                found.insert(name.to_owned(), value);
            }
            // Taken away meanwhile.
            Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::NOSYS) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(found)
}

/// Reads what is short most of the time, and at most 64 KiB (`XATTR_LIST_MAX`, `XATTR_SIZE_MAX`).
fn enough_room(
    read: impl Fn(&mut [u8]) -> rustix::io::Result<usize>,
) -> rustix::io::Result<Vec<u8>> {
    let mut room = [0; 512];
    match read(&mut room) {
        Err(Errno::RANGE) => {}
        other => return other.map(|length| room.get(..length).unwrap_or_default().to_vec()),
    }
    let mut room = vec![0; 64 << 10];
    let length = read(&mut room)?;
    room.truncate(length);
    Ok(room)
}

/// Whether an error of opening means that no such directory is there.
pub fn is_absent(error: &io::Error) -> bool {
    let absent = [Errno::NOENT, Errno::NOTDIR, Errno::LOOP];
    error
        .raw_os_error()
        .is_some_and(|number| absent.iter().any(|e| e.raw_os_error() == number))
}

impl Stat {
    /// Whether nothing was done to an entry since: not to its contents, its attributes or its names.
    pub fn is_unchanged(&self, now: &Stat) -> bool {
        (self.id, self.size, self.modified, self.changed)
            == (now.id, now.size, now.modified, now.changed)
    }

    /// Whether this entry of a disk has the time of another one, as well as its file system can hold it:
    /// ext3, and ext4 with small inodes, know whole seconds only.
    pub fn has_time_of(&self, other: &Stat) -> bool {
        self.modified == other.modified || self.modified == (other.modified.0, 0)
    }

    #[allow(clippy::unnecessary_cast, clippy::useless_conversion)] // the types differ between architectures
    fn from_raw(raw: &rustix::fs::Stat) -> io::Result<Stat> {
        let kind = match FileType::from_raw_mode(raw.st_mode) {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Directory,
            FileType::Symlink => Kind::Symlink,
            FileType::CharacterDevice => Kind::CharDevice,
            FileType::BlockDevice => Kind::BlockDevice,
            FileType::Fifo => Kind::Fifo,
            FileType::Socket => Kind::Socket,
            FileType::Unknown => return Err(Errno::INVAL.into()),
        };
        Ok(Stat {
            kind,
            mode: raw.st_mode & 0o7777,
            uid: raw.st_uid,
            gid: raw.st_gid,
            device: (
                rustix::fs::major(raw.st_rdev as _),
                rustix::fs::minor(raw.st_rdev as _),
            ),
            id: (raw.st_dev as u64, raw.st_ino as u64),
            links: raw.st_nlink as u64,
            size: raw.st_size as u64,
            used: (raw.st_blocks as u64).saturating_mul(512),
            accessed: (raw.st_atime as i64, raw.st_atime_nsec as i64),
            modified: (raw.st_mtime as i64, raw.st_mtime_nsec as i64),
            changed: (raw.st_ctime as i64, raw.st_ctime_nsec as i64),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_are_never_followed() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("a/b")).unwrap();
        symlink("/etc", folder.path().join("a/out")).unwrap();
        symlink("/etc/passwd", folder.path().join("a/file")).unwrap();
        let top = Dir::open(folder.path()).unwrap();
        symlink("b", folder.path().join("a/in")).unwrap();
        // The kernel's way and ours.
        for walk in [Dir::walk, Dir::walk_by_hand] {
            let walk = |path: &str| walk(&top, Path::new(path));
            for path in ["/a/b", "a/b/", "a//./b"] {
                let there = walk(path).unwrap().unwrap().own_stat().unwrap();
                let wanted = fs::metadata(folder.path().join("a/b")).unwrap();
                assert_eq!(there.id.1, std::os::unix::fs::MetadataExt::ino(&wanted));
            }
            for path in ["a/out", "a/in", "a/in/x", "a/none/x", "a/file", "a/file/x"] {
                assert!(walk(path).unwrap().is_none(), "{path}");
            }
            for path in ["a/../..", "..", "/..", "a/b/../b"] {
                assert!(walk(path).is_err(), "{path}");
            }
            assert_eq!(walk("/").unwrap().unwrap().names().unwrap(), ["a"]);
        }
        let a = top.dir(OsStr::new("a")).unwrap();
        assert!(a.file(OsStr::new("file")).is_err());
        assert_eq!(a.link(OsStr::new("file")).unwrap(), "/etc/passwd");
        assert_eq!(
            a.stat(OsStr::new("out")).unwrap().unwrap().kind,
            Kind::Symlink
        );
        assert_eq!(a.stat(OsStr::new("none")).unwrap(), None);
        assert_eq!(a.names().unwrap(), ["b", "file", "in", "out"]);
        assert!(a.xattrs(OsStr::new("file")).is_ok());
        let held = a.hold(OsStr::new("file")).unwrap();
        assert_eq!(held.stat().unwrap().kind, Kind::Symlink);
        assert_eq!(held.link().unwrap(), "/etc/passwd");
        assert!(held.opened().unwrap().file().is_err());
    }

    /// Whether it is held by an open file or by its place: the same is read and set.
    #[test]
    fn what_is_opened_is_the_same_entry() {
        let folder = tempfile::tempdir().unwrap();
        let dir = Dir::open(folder.path()).unwrap();
        fs::write(folder.path().join("a"), "content").unwrap();
        let held = dir.hold(OsStr::new("a")).unwrap();
        // Whatever takes the name.
        fs::rename(folder.path().join("a"), folder.path().join("b")).unwrap();
        symlink("b", folder.path().join("a")).unwrap();
        let opened = dir.hold(OsStr::new("b")).unwrap().opened().unwrap();
        assert!(opened.opened && !held.opened);
        let name = OsStr::new("user.x");
        for (number, one) in [&held, &opened].into_iter().enumerate() {
            let other = [&opened, &held][number];
            let time = rustix::fs::Timespec {
                tv_sec: 7 + number as i64,
                tv_nsec: 0,
            };
            one.set_mode(0o600 + number as u32).unwrap();
            one.set_times(&Timestamps {
                last_access: time,
                last_modification: time,
            })
            .unwrap();
            one.set_xattr(name, &[number as u8]).unwrap();
            let stat = other.stat().unwrap();
            assert_eq!(
                (stat.mode, stat.modified.0),
                (0o600 + number as u32, 7 + number as i64)
            );
            assert_eq!(other.xattrs().unwrap()[name], [number as u8]);
            assert_eq!(one.xattrs().unwrap(), other.xattrs().unwrap());
            one.remove_xattr(name).unwrap();
            assert!(!other.xattrs().unwrap().contains_key(name));
            let mut text = String::new();
            io::Read::read_to_string(&mut other.file().unwrap(), &mut text).unwrap();
            assert_eq!(text, "content");
        }
    }
}
