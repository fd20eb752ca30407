// SPDX-License-Identifier: MIT
//! The boot partition: where it is mounted, or else mounted read-only for as long as it is needed.

use std::ffi::{CStr, OsStr};
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use overlayroot::mountinfo::{self, Mount};
use rustix::fs::{
    flock, makedev, openat, renameat_with, syncfs, FlockOperation, Mode, OFlags, RenameFlags, CWD,
};
use rustix::io::Errno;
use rustix::mount::{mount, mount_remount, unmount, MountFlags, UnmountFlags};
use rustix::process::geteuid;

use super::bootdisk::{is_named, is_seen, Disks};
use super::uenv::{self, Import, UENV};
use crate::error::{Error, Result};
use crate::layers::dir::Dir;
use crate::live::{self, Live};
use crate::quoting::Quote;
use crate::remount::mount_flags;
use crate::signals::held_back;

/// Files by one of which a boot partition of ours is known.
const MARKS: [&str; 4] = [
    "overlayroot.uInitrd",
    "overlayroot.cpio.gz",
    "boot.scr",
    "6x_bootscript",
];
/// What the boot script imports, in its order.
const IMPORTED: [&str; 2] = ["overlayroot.env", UENV];
/// The boot script, under its two names.
const SCRIPTS: [&str; 2] = ["boot.scr", "6x_bootscript"];
/// As much as is read of a file, bytes.
const LARGEST: u64 = 16 << 20;
/// Says which boot partition is on another disk than the root.
const FSTAB: &str = "/etc/fstab";
/// Where it is mounted when it is not mounted already.
const OURS: &str = "/run/overlayrootctl/boot";
/// Who has it locked mounts there, or writes.
const LOCK: &str = "/run/overlayrootctl/lock";
/// How often, and after which pauses, a lock that somebody holds is tried again: 20 seconds.
const TRIES: u32 = 200;
const PAUSE: Duration = Duration::from_millis(100);
const FLAGS: MountFlags = MountFlags::NOSUID
    .union(MountFlags::NODEV)
    .union(MountFlags::NOEXEC);

/// A boot partition.
pub struct BootPartition {
    folder: PathBuf,
    /// Device, when it was mounted here and has to be unmounted.
    mounted: Option<PathBuf>,
    /// Whether it was mounted without its journal, which a reader must not replay.
    journal_left: bool,
    /// Held for as long as it is mounted: another one would mount it and unmount it here, too.
    turn: Option<Turn>,
}

impl BootPartition {
    /// The one in `folder`, or the one of this board: [`super::bootdisk`] says where it may be. Where there may
    /// be two, neither is taken.
    pub fn find(folder: Option<PathBuf>) -> Result<BootPartition> {
        if let Some(folder) = folder {
            let real = fs::canonicalize(&folder).unwrap_or_default();
            if !real.is_dir() {
                return Err(Error::missing(
                    format!("{} is no folder", folder.quoted()),
                    "correct --boot",
                ));
            }
            if !holds(&real, &MARKS) && !holds(&real, &IMPORTED) {
                return Err(Error::missing(
                    format!("{} has no file of a boot partition", folder.quoted()),
                    "mount the boot partition there, or correct --boot",
                ));
            }
            return Ok(BootPartition {
                folder: real,
                mounted: None,
                journal_left: false,
                turn: None,
            });
        }
        let table = live::table()?;
        let mounts = mountinfo::parse(&table);
        let root = Live::parse(&table).map(|live| live.layers.map_or(live.root, |l| l.lower));
        let sysfs = Path::new("/sys");
        let disks = Disks::of(&root.unwrap_or_default(), sysfs);
        let fstab = fstab();
        let marked = |is_it: &dyn Fn(&Mount) -> bool| {
            // What another one of us has mounted is gone in a moment.
            let mut here = mounts
                .iter()
                .filter(|m| m.target != "/" && m.target != OURS);
            let found = here.find(|m| is_it(m) && is_seen(m) && holds(m.target.as_ref(), &MARKS));
            found.map(|m| BootPartition {
                folder: PathBuf::from(&m.target),
                mounted: None,
                journal_left: false,
                turn: None,
            })
        };
        let on_disk = match marked(&|mount| Disks::of(mount, sysfs).share(&disks)) {
            Some(boot) => Ok(boot),
            None => BootPartition::mount_first_of(&disks),
        };
        let elsewhere = marked(&|mount| {
            is_named(&fstab, &mount.target) && !Disks::of(mount, sysfs).share(&disks)
        });
        match (on_disk, elsewhere) {
            (Ok(one), Some(other)) => Err(Error::refused(
                format!("two may be the boot partition: {one}, on the disk of the root, and {other}, which fstab names"),
                "name the one that U-Boot reads with --boot, or take the boot script off the other one",
            )),
            (Ok(boot), None) | (Err(_), Some(boot)) => Ok(boot),
            (Err(error), None) => Err(error),
        }
    }

    /// Mounts the first partition of a disk of the root, if it is a boot partition.
    fn mount_first_of(disks: &Disks) -> Result<BootPartition> {
        let nothing = |why: String| {
            Error::missing(
                format!("no boot partition was found on the disk of the root: {why}"),
                "mount it, and when it is on another disk, at /boot as /etc/fstab says, or name the folder with --boot",
            )
        };
        let device = disks
            .first_partition()
            .map_err(|e| nothing(e.to_string()))?;
        fs::create_dir_all(OURS).map_err(Error::system("make", OURS))?;
        let turn = Turn::take()?;
        let mounts = mountinfo::parse(&live::table()?);
        if mountinfo::at(&mounts, OURS).is_some() {
            // One that was killed has left it, writable perhaps.
            unmount(OURS, UnmountFlags::NOFOLLOW).map_err(Error::system("unmount", OURS))?;
        }
        let vfat = mount_read_only(&device, "vfat", c_str(b"\0"));
        let ext4 = || mount_read_only(&device, "ext4", c_str(b"noload\0"));
        let (mounted, journal_left) = match vfat {
            Ok(()) => (Ok(()), false),
            Err(Errno::BUSY | Errno::PERM) => (vfat, false),
            Err(_) => (ext4(), true),
        };
        match mounted {
            Ok(()) => {}
            // Where it is mounted already there was no mark.
            Err(Errno::BUSY) if is_mounted(&device, &mounts) => {
                return Err(nothing(format!(
                    "{} holds none of {}",
                    device.quoted(),
                    MARKS.join(", ")
                )))
            }
            // It is there, and not known what it says.
            Err(error @ (Errno::BUSY | Errno::PERM)) => {
                return Err(Error::system("mount", device.quoted())(error)
                    .with_remedy("run this as root; or unmount it where it is mounted already"))
            }
            Err(_) => {
                return Err(nothing(format!(
                    "{} is neither vfat nor ext4",
                    device.quoted()
                )))
            }
        }
        let boot = BootPartition {
            folder: OURS.into(),
            mounted: Some(device),
            journal_left,
            turn: Some(turn),
        };
        if !holds(&boot.folder, &MARKS) {
            return Err(nothing(format!(
                "{boot} holds none of {}",
                MARKS.join(", ")
            )));
        }
        Ok(boot)
    }

    /// Content of a file; `None` when there is no such file. A link or a pipe in its place is an error: what is
    /// on a boot partition, anybody with the card may have put there.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let read = || -> io::Result<Vec<u8>> {
            let entry = Dir::open(&self.folder)?.hold(OsStr::new(name))?;
            let mut bytes = Vec::new();
            entry.file()?.take(LARGEST + 1).read_to_end(&mut bytes)?;
            match bytes.len() as u64 > LARGEST {
                true => Err(Errno::FBIG.into()),
                false => Ok(bytes),
            }
        };
        match read() {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::system("read", self.folder.join(name).quoted())(
                error,
            )),
        }
    }

    /// What the boot script imports over the environment, in its order: file and what it does.
    /// One that cannot be read may say anything.
    pub fn imported(&self) -> Result<Vec<(&'static str, Import)>> {
        let mut found = Vec::new();
        for name in IMPORTED {
            if let Some(text) = self.read(name)? {
                found.push((name, uenv::parse(&text)));
            }
        }
        Ok(found)
    }

    /// Whether the boot script has a word in it; `None` when there is no boot script.
    pub fn script_has(&self, word: &str) -> Option<bool> {
        let script = SCRIPTS.iter().find_map(|name| self.read(name).ok()?)?;
        Some(
            script
                .windows(word.len())
                .any(|window| window == word.as_bytes()),
        )
    }

    /// Makes of a file what `edit` makes of its content, as [`BootPartition::replace`] does; nobody else does so
    /// meanwhile.
    pub fn update(&self, name: &str, edit: &dyn Fn(&[u8]) -> Vec<u8>) -> Result<()> {
        let _turn = match (&self.turn, geteuid().is_root()) {
            (None, true) => Some(Turn::take()?),
            _ => None, // it is held; or this is a test, and the folder nobody else's
        };
        let old = self.read(name)?.unwrap_or_default();
        // It has to become read-only again.
        held_back(|| self.replace(name, &edit(&old)))
    }

    /// Replaces a file so that a cut leaves the old one or the new one: written beside it, on the medium
    /// before it takes the name.
    pub fn replace(&self, name: &str, bytes: &[u8]) -> Result<()> {
        if let (Some(device), true) = (&self.mounted, self.journal_left) {
            unmount(&self.folder, UnmountFlags::NOFOLLOW)
                .and_then(|()| mount_read_only(device, "ext4", c_str(b"\0")))
                .map_err(Error::system("mount with its journal", device.quoted()))?;
        }
        let flags = mount_flags(&self.folder)?;
        let writable = flags - MountFlags::RDONLY;
        if flags != writable {
            self.remount(writable, "make writable")?;
        }
        let written = self.write_beside(name, bytes, writable);
        if flags == writable {
            return written;
        }
        let closed = self.remount(flags, "make read-only again");
        written.and(closed)
    }

    fn write_beside(&self, name: &str, bytes: &[u8], writable: MountFlags) -> Result<()> {
        let path = self.folder.join(name);
        let beside = self.folder.join("uEnv.new");
        let failed = |error| Error::system("write", path.quoted())(error);
        let folder = File::open(&self.folder).map_err(failed)?;
        // What a cut has left may name clusters that are free: then vfat becomes read-only as it is removed.
        discard(&beside, &folder).map_err(failed)?;
        if mount_flags(&self.folder)?.contains(MountFlags::RDONLY) {
            self.remount(writable, "make writable again")?;
        }
        let write = || -> io::Result<()> {
            // New: nothing is written through a link.
            let mut file = File::options().write(true).create_new(true).open(&beside)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            on_the_medium(&folder)?;
            let exchanged = path.symlink_metadata().is_ok() && exchange(&beside, &path)?;
            if !exchanged {
                fs::rename(&beside, &path)?;
            }
            on_the_medium(&folder)?;
            discard(&beside, &folder) // the old one, when they were exchanged
        };
        write().map_err(|error| {
            let _ = discard(&beside, &folder);
            failed(error)
        })
    }

    fn remount(&self, flags: MountFlags, operation: &'static str) -> Result<()> {
        mount_remount(&self.folder, flags, "")
            .map_err(Error::system(operation, self.folder.quoted()))
    }
}

/// One at a time. Root's, so that nobody else can hold it.
struct Turn(#[allow(dead_code)] File); // held until it is dropped

impl Turn {
    fn take() -> Result<Turn> {
        fs::create_dir_all(OURS).map_err(Error::system("make", OURS))?;
        let mut options = File::options();
        options.write(true).create(true).truncate(false).mode(0o600);
        let file = options
            .open(LOCK)
            .map_err(Error::system("open", LOCK.quoted()))?;
        for _ in 0..TRIES {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Turn(file)),
                Err(Errno::WOULDBLOCK | Errno::INTR) => std::thread::sleep(PAUSE),
                Err(error) => return Err(Error::system("lock", LOCK.quoted())(error)),
            }
        }
        Err(Error::refused(
            "another overlayrootctl is at the boot partition",
            "wait until it is done, or end it",
        ))
    }
}

/// Mounts a boot partition where nobody looks for it.
fn mount_read_only(device: &Path, fstype: &str, options: &CStr) -> rustix::io::Result<()> {
    mount(device, OURS, fstype, FLAGS | MountFlags::RDONLY, options)
}

/// Whether a device is mounted where it can be looked at.
fn is_mounted(device: &Path, mounts: &[Mount]) -> bool {
    let number = fs::metadata(device).map(|device| device.rdev());
    let is_it = |mount: &Mount| {
        number
            .as_ref()
            .is_ok_and(|n| *n == makedev(mount.major, mount.minor))
    };
    mounts.iter().any(|mount| is_it(mount) && is_seen(mount))
}

/// A constant for the kernel, with its zero byte.
fn c_str(bytes: &'static [u8]) -> &'static CStr {
    CStr::from_bytes_with_nul(bytes).unwrap_or_default()
}

/// Waits until everything of a file system is on the medium, clusters and names included. vfat makes the card
/// flush its cache only at an fsync.
fn on_the_medium(folder: &File) -> io::Result<()> {
    syncfs(folder)?;
    folder.sync_all()
}

/// Removes a file, if it is there: first its name, and when that is on the medium, its clusters. At a cut in
/// between they are lost until somebody repairs the file system; the other way round, the name would be one
/// for clusters that are free.
fn discard(path: &Path, folder: &File) -> io::Result<()> {
    // Nothing is opened: it may be a link or a pipe.
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let held = match openat(CWD, path, flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    fs::remove_file(path)?;
    on_the_medium(folder)?;
    drop(held);
    on_the_medium(folder)
}

/// Exchanges two names; `false` where the kernel cannot (vfat: before Linux 6.0).
///
/// Renaming over a file, vfat frees the clusters of the old one before the name points to the new ones: a
/// cut in between leaves a name for clusters that are free. An exchange frees nothing.
fn exchange(from: &Path, to: &Path) -> io::Result<bool> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::EXCHANGE) {
        Ok(()) => Ok(true),
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

impl fmt::Display for BootPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.mounted
            .as_ref()
            .unwrap_or(&self.folder)
            .quoted()
            .fmt(f)
    }
}

impl Drop for BootPartition {
    fn drop(&mut self) {
        if self.mounted.is_some() {
            let result = match unmount(&self.folder, UnmountFlags::NOFOLLOW) {
                // Somebody looks into it.
                Err(Errno::BUSY) => {
                    let flags = UnmountFlags::DETACH | UnmountFlags::NOFOLLOW;
                    unmount(&self.folder, flags)
                }
                other => other,
            };
            if let Err(error) = result {
                log::warn!("cannot unmount {}: {error}", self.folder.quoted());
            }
        }
    }
}

/// The running system's fstab; nothing when it is no file.
fn fstab() -> Vec<u8> {
    let mut text = Vec::new();
    if fs::metadata(FSTAB).is_ok_and(|m| m.is_file()) {
        let read = File::open(FSTAB).and_then(|file| file.take(LARGEST).read_to_end(&mut text));
        if let Err(error) = read {
            log::debug!("{FSTAB}: {error}");
        }
    }
    text
}

fn holds(folder: &Path, names: &[&str]) -> bool {
    names.iter().any(|name| folder.join(name).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_and_pipes_are_neither_read_nor_written_through() {
        let (folder, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (at, victim) = (
            |name| folder.path().join(name),
            outside.path().join("victim"),
        );
        fs::write(&victim, "overlayfs=no\n").unwrap();
        fs::write(at("boot.scr"), "").unwrap();
        let boot = BootPartition::find(Some(folder.path().into())).unwrap();
        fs::remove_file(at("boot.scr")).unwrap();
        for name in [UENV, "uEnv.new"] {
            std::os::unix::fs::symlink(&victim, at(name)).unwrap();
        }
        // U-Boot may read what the link leads to: it is not known what that says.
        assert!(boot.read(UENV).is_err() && boot.imported().is_err());
        boot.replace(UENV, b"overlayfs=yes\n").unwrap();
        assert_eq!(fs::read(&victim).unwrap(), b"overlayfs=no\n");
        assert_eq!(boot.read(UENV).unwrap().unwrap(), b"overlayfs=yes\n");
        assert!(at(UENV).symlink_metadata().unwrap().is_file() && !at("uEnv.new").exists());
        let mode = rustix::fs::Mode::RUSR;
        rustix::fs::mknodat(CWD, at("boot.scr"), rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert!(boot.read("boot.scr").is_err());
    }

    #[test]
    fn a_file_that_is_not_read_to_its_end_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(UENV);
        fs::write(&path, "overlayfs=no\n").unwrap();
        let boot = BootPartition::find(Some(folder.path().into())).unwrap();
        let large = File::options().write(true).open(&path).unwrap();
        large.set_len(LARGEST + 1).unwrap();
        assert!(boot.read(UENV).is_err());
        large.set_len(LARGEST).unwrap();
        assert_eq!(boot.read(UENV).unwrap().unwrap().len() as u64, LARGEST);
    }

    #[test]
    fn a_folder_that_is_named() {
        assert_eq!(
            BootPartition::find(Some("/none".into()))
                .err()
                .unwrap()
                .remedy(),
            "correct --boot"
        );
        let folder = tempfile::tempdir().unwrap();
        // Nothing is mounted there.
        let found = BootPartition::find(Some(folder.path().into()));
        assert!(found.err().unwrap().remedy().starts_with("mount the"));
        fs::write(folder.path().join(UENV), "overlayfs=no\n").unwrap();
        let boot = BootPartition::find(Some(folder.path().into())).unwrap();
        assert_eq!(boot.script_has("overlayfs_once"), None);
        fs::write(folder.path().join("boot.scr"), "header overlayfs_once").unwrap();
        fs::write(folder.path().join("overlayroot.env"), "# x\nofs_root=a\n").unwrap();
        assert_eq!(boot.script_has("overlayfs_once"), Some(true));
        assert_eq!(boot.script_has("never"), Some(false));
        let imported = boot.imported().unwrap();
        assert_eq!(imported.len(), 2);
        assert_eq!(imported[1].1["overlayfs"].as_deref(), Some("no"));
    }
}
