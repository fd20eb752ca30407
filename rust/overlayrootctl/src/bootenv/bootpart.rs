// SPDX-License-Identifier: MIT
//! The boot partition: found where it is mounted, or else mounted read-only for as long as it is needed.

use std::ffi::{CStr, OsStr};
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{makedev, openat, renameat_with, syncfs, Mode, OFlags, RenameFlags, CWD};
use rustix::io::Errno;
use rustix::mount::{mount, mount_remount, unmount, MountFlags, UnmountFlags};

use super::uenv::{self, Import, UENV};
use crate::error::{Error, Result};
use crate::layers::dir::Dir;
use crate::live;
use crate::remount::mount_flags;
use crate::shown::Show;

/// Files by one of which a boot partition of ours is known.
const MARKS: [&str; 3] = ["overlayroot.cpio.gz", "boot.scr", "6x_bootscript"];
/// The boot script, under its two names.
const SCRIPTS: [&str; 2] = ["boot.scr", "6x_bootscript"];
/// As much as is read of a file, bytes.
const LARGEST: u64 = 16 << 20;
/// Where it is mounted when it is not mounted already.
const OURS: &str = "/run/overlayrootctl/boot";
const FLAGS: MountFlags = MountFlags::NOSUID
    .union(MountFlags::NODEV)
    .union(MountFlags::NOEXEC);

/// A boot partition.
pub struct BootPartition {
    folder: PathBuf,
    /// Device, when it was mounted here and has to be unmounted.
    mounted: Option<PathBuf>,
}

impl BootPartition {
    /// The one in `folder`, or the one of this board.
    pub fn find(folder: Option<PathBuf>) -> Result<BootPartition> {
        if let Some(folder) = folder {
            let real = fs::canonicalize(&folder).unwrap_or_default();
            if !real.is_dir() {
                return Err(Error::missing(
                    format!("{} is no folder", folder.shown()),
                    "correct --boot",
                ));
            }
            return Ok(BootPartition {
                folder: real,
                mounted: None,
            });
        }
        let table = live::table()?;
        if let Some(folder) = mounted(&table).find(|folder| has_mark(folder)) {
            return Ok(BootPartition {
                folder,
                mounted: None,
            });
        }
        let nothing = |why: String| {
            Error::missing(
                format!("no boot partition was found: {why}"),
                "mount it, or name the folder with --boot",
            )
        };
        let device = first_partition(&table).map_err(|e| nothing(e.to_string()))?;
        fs::create_dir_all(OURS).map_err(Error::system("make", OURS))?;
        let types = ["vfat", "ext4"];
        let mount_as = |fstype: &str| {
            mount(
                &device,
                OURS,
                fstype,
                FLAGS | MountFlags::RDONLY,
                None::<&CStr>,
            )
        };
        let (Ok(()) | Err(Errno::BUSY)) = types
            .into_iter()
            .map(mount_as)
            .find(|result| result.is_ok())
            .unwrap_or_else(|| mount_as("vfat"))
        else {
            return Err(nothing(format!(
                "{} is neither vfat nor ext4, or this is not root",
                device.shown()
            )));
        };
        let boot = BootPartition {
            folder: OURS.into(),
            mounted: Some(device),
        };
        if !has_mark(&boot.folder) {
            return Err(nothing(format!(
                "{boot} holds none of {}",
                MARKS.join(", ")
            )));
        }
        Ok(boot)
    }

    /// Content of a file; `None` when there is no such file. A link or a pipe in its place is an error: a
    /// stick that somebody plugs in may pass for a boot partition.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let read = || -> io::Result<Vec<u8>> {
            let entry = Dir::open(&self.folder)?.hold(OsStr::new(name))?;
            let mut bytes = Vec::new();
            entry.file()?.take(LARGEST).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        match read() {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::system("read", self.folder.join(name).shown())(error)),
        }
    }

    /// What the boot script imports over the environment, in its order: file and what it does.
    pub fn imported(&self) -> Vec<(String, Import)> {
        let file = |name: &str| {
            let text = self.read(name).ok()??;
            Some((format!("{name} on the boot partition"), uenv::parse(&text)))
        };
        ["overlayroot.env", UENV]
            .into_iter()
            .filter_map(file)
            .collect()
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

    /// Replaces a file so that a cut leaves the old one or the new one: written beside it, on the medium
    /// before it takes the name.
    pub fn replace(&self, name: &str, bytes: &[u8]) -> Result<()> {
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
        let failed = |error| Error::system("write", path.shown())(error);
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
            .map_err(Error::system(operation, self.folder.shown()))
    }
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
        self.mounted.as_ref().unwrap_or(&self.folder).shown().fmt(f)
    }
}

impl Drop for BootPartition {
    fn drop(&mut self) {
        if self.mounted.is_some() {
            // Still mounted read-only at worst; the next run takes it from there.
            if let Err(error) = unmount(&self.folder, UnmountFlags::NOFOLLOW) {
                log::warn!("cannot unmount {}: {error}", self.folder.shown());
            }
        }
    }
}

/// Mount points of a mount table, those without blanks and such.
fn mounted(table: &str) -> impl Iterator<Item = PathBuf> + '_ {
    let points = table.lines().filter_map(|line| line.split(' ').nth(4));
    points
        .filter(|point| *point != "/" && !point.contains('\\'))
        .map(PathBuf::from)
}

fn has_mark(folder: &Path) -> bool {
    MARKS.iter().any(|name| folder.join(name).is_file())
}

/// Device node of the first partition of the disk that the real root is on.
fn first_partition(table: &str) -> io::Result<PathBuf> {
    let number = |point: &str| {
        let line = table
            .lines()
            .rev()
            .find(|line| line.split(' ').nth(4) == Some(point))?;
        line.split(' ').nth(2)
    };
    let missing = |what| io::Error::new(io::ErrorKind::NotFound, what);
    let root = number("/mnt/root-RO")
        .or_else(|| number("/"))
        .ok_or_else(|| missing("no root is mounted"))?;
    let partition = fs::canonicalize(Path::new("/sys/dev/block").join(root))
        .map_err(|_| missing("the root is not on a disk"))?;
    let disk = partition
        .parent()
        .ok_or_else(|| missing("the root is not on a partition"))?;
    for entry in fs::read_dir(disk)? {
        let entry = entry?;
        let is_first =
            fs::read_to_string(entry.path().join("partition")).is_ok_and(|n| n.trim() == "1");
        if is_first && entry.path() != partition {
            return node(&entry.path());
        }
    }
    Err(missing("the disk of the root has no other first partition"))
}

/// Device node of a block device in sysfs.
fn node(sysfs: &Path) -> io::Result<PathBuf> {
    let name = sysfs.file_name().unwrap_or_default();
    let node = Path::new("/dev").join(name);
    let number = fs::read_to_string(sysfs.join("dev"))?;
    let (major, minor) = number.trim().split_once(':').unwrap_or_default();
    let wanted = makedev(major.parse().unwrap_or(0), minor.parse().unwrap_or(0));
    if fs::metadata(&node)?.rdev() == wanted {
        Ok(node)
    } else {
        Err(io::Error::new(
            io::ErrorKind::NotFound,
            format!("{} is another device", node.shown()),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points() {
        let table = "22 1 0:21 / / rw - overlay overlay rw\n\
                     30 22 179:1 / /boot/firmware ro - vfat /dev/mmcblk3p1 ro\n\
                     31 22 179:3 / /mnt/a\\040b ro - ext4 /dev/x ro\n";
        let points: Vec<_> = mounted(table).collect();
        assert_eq!(points, [PathBuf::from("/boot/firmware")]);
    }

    #[test]
    fn links_and_pipes_are_neither_read_nor_written_through() {
        let (folder, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (at, victim) = (
            |name| folder.path().join(name),
            outside.path().join("victim"),
        );
        fs::write(&victim, "overlayfs=no\n").unwrap();
        let boot = BootPartition::find(Some(folder.path().into())).unwrap();
        for name in [UENV, "uEnv.new"] {
            std::os::unix::fs::symlink(&victim, at(name)).unwrap();
        }
        assert!(boot.read(UENV).is_err() && boot.imported().is_empty());
        boot.replace(UENV, b"overlayfs=yes\n").unwrap();
        assert_eq!(fs::read(&victim).unwrap(), b"overlayfs=no\n");
        assert_eq!(boot.read(UENV).unwrap().unwrap(), b"overlayfs=yes\n");
        assert!(at(UENV).symlink_metadata().unwrap().is_file() && !at("uEnv.new").exists());
        let mode = rustix::fs::Mode::RUSR;
        rustix::fs::mknodat(CWD, at("boot.scr"), rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert!(boot.read("boot.scr").is_err());
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
        let boot = BootPartition::find(Some(folder.path().into())).unwrap();
        assert_eq!(boot.script_has("overlayfs_once"), None);
        fs::write(folder.path().join("boot.scr"), "header overlayfs_once").unwrap();
        fs::write(folder.path().join("overlayroot.env"), "# x\nofs_root=a\n").unwrap();
        fs::write(folder.path().join(UENV), "overlayfs=no\n").unwrap();
        assert_eq!(boot.script_has("overlayfs_once"), Some(true));
        assert_eq!(boot.script_has("never"), Some(false));
        let imported = boot.imported();
        assert_eq!(imported.len(), 2);
        assert_eq!(imported[1].1["overlayfs"].as_deref(), Some("no"));
    }
}
