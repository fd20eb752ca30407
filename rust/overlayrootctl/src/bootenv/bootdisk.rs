// SPDX-License-Identifier: MIT
//! Where the boot partition of this board may be: on the disk of the real root; on another disk only where
//! `/etc/fstab` mounts it, at `/boot` or below. Anything else that has a boot script on it, such as a stick that
//! somebody plugged in, is not ours.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use overlayroot::mountinfo::{is_at_or_below, Mount};
use overlayroot::text::unescape;
use rustix::fs::{major, makedev, minor};

use crate::quoting::Quote;

/// Where boot partitions are mounted.
const BOOT: &str = "/boot";

/// The disks that a file system is on.
#[derive(Debug, PartialEq, Eq)]
pub struct Disks {
    /// Their folders in sysfs; several below device-mapper.
    disks: Vec<PathBuf>,
    /// Folders of the partitions, or of the disks as a whole.
    devices: Vec<PathBuf>,
}

impl Disks {
    /// Those of a mounted file system, by the sysfs that is mounted at `sysfs`; none when it is on no disk.
    pub fn of(mount: &Mount, sysfs: &Path) -> Disks {
        let mut found = Disks {
            disks: Vec::new(),
            devices: Vec::new(),
        };
        let mut number = (mount.major, mount.minor);
        // Mounts of btrfs have numbers of their own. Others may have any text as their source.
        if let ("btrfs", Ok(node)) = (&*mount.fstype, fs::metadata(&mount.source)) {
            if node.file_type().is_block_device() {
                number = (major(node.rdev()), minor(node.rdev()));
            }
        }
        let entry = sysfs
            .join("dev/block")
            .join(format!("{}:{}", number.0, number.1));
        if let Ok(device) = fs::canonicalize(entry) {
            found.add(device);
        }
        found
    }

    fn add(&mut self, device: PathBuf) {
        let below = fs::read_dir(device.join("slaves"));
        let below: Vec<_> = below.into_iter().flatten().flatten().collect();
        for entry in &below {
            if let Ok(device) = fs::canonicalize(entry.path()) {
                self.add(device);
            }
        }
        if below.is_empty() {
            let is_partition = device.join("partition").exists();
            let disk = device.parent().filter(|_| is_partition);
            self.disks.push(disk.unwrap_or(&device).to_owned());
            self.devices.push(device);
        }
    }

    /// Whether it is on one of the disks of `other`.
    pub fn share(&self, other: &Disks) -> bool {
        self.disks.iter().any(|disk| other.disks.contains(disk))
    }

    /// Device node of the first partition of a disk, where this file system is not itself.
    pub fn first_partition(&self) -> io::Result<PathBuf> {
        let missing = |what| io::Error::new(io::ErrorKind::NotFound, what);
        if self.disks.is_empty() {
            return Err(missing("the root is not on a disk"));
        }
        for disk in &self.disks {
            for entry in fs::read_dir(disk)? {
                let path = entry?.path();
                let number = fs::read_to_string(path.join("partition"));
                if number.is_ok_and(|n| n.trim() == "1") && !self.devices.contains(&path) {
                    return node(&path);
                }
            }
        }
        Err(missing("the disk of the root has no other first partition"))
    }
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
            format!("{} is another device", node.quoted()),
        ))
    }
}

/// Whether the path of a mount leads to it, and not to what is mounted over it.
pub fn is_seen(mount: &Mount) -> bool {
    let there = fs::metadata(&mount.target).map(|there| there.dev());
    there.is_ok_and(|device| device == makedev(mount.major, mount.minor))
}

/// Whether an fstab mounts something at `target`, which has to be `/boot` or below.
pub fn is_named(fstab: &[u8], target: &str) -> bool {
    let points = fstab.split(|&b| b == b'\n').filter_map(mount_point);
    is_at_or_below(target, BOOT)
        && points
            .map(unescape)
            .any(|point| point.strip_suffix(b"/").unwrap_or(&point) == target.as_bytes())
}

/// Second field of a line of fstab; `None` for comments.
fn mount_point(line: &[u8]) -> Option<&[u8]> {
    let fields = line.split(u8::is_ascii_whitespace);
    let mut fields = fields.filter(|field| !field.is_empty());
    let device = fields.next()?;
    fields.next().filter(|_| !device.starts_with(b"#"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use overlayroot::mountinfo::parse;
    use std::os::unix::fs::symlink;

    /// A sysfs: partitions of two disks, and a mapped device on the second of the first.
    fn sysfs() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join(path);
        fs::create_dir_all(at("dev/block")).unwrap();
        for (number, path, partition) in [
            ("179:0", "card/mmcblk0", None),
            ("179:1", "card/mmcblk0/mmcblk0p1", Some("1\n")),
            ("179:2", "card/mmcblk0/mmcblk0p2", Some("2\n")),
            ("8:0", "usb/sda", None),
            ("8:1", "usb/sda/sda1", Some("1\n")),
            ("253:0", "virtual/dm-0", None),
        ] {
            let device = at("devices").join(path);
            fs::create_dir_all(device.join("slaves")).unwrap();
            if let Some(partition) = partition {
                fs::remove_dir(device.join("slaves")).unwrap();
                fs::write(device.join("partition"), partition).unwrap();
            }
            fs::write(device.join("dev"), number).unwrap();
            symlink(device, at("dev/block").join(number)).unwrap();
        }
        symlink(
            at("devices/card/mmcblk0/mmcblk0p2"),
            at("devices/virtual/dm-0/slaves/mmcblk0p2"),
        )
        .unwrap();
        folder
    }

    fn disks(sysfs: &Path, number: &str) -> Disks {
        let line = format!("22 21 {number} / /x ro - ext4 nothing ro");
        Disks::of(&parse(&line)[0], sysfs)
    }

    #[test]
    fn partitions_of_one_disk_belong_together() {
        let folder = sysfs();
        let disks = |number| disks(folder.path(), number);
        for root in ["179:2", "253:0", "179:0"] {
            let root = disks(root);
            assert!(root.share(&disks("179:1")) && disks("179:1").share(&root));
            assert!(!root.share(&disks("8:1")) && !root.share(&disks("0:30")));
        }
        // What is on no disk is on no disk of another one.
        assert!(!disks("0:30").share(&disks("0:30")));
        assert_eq!(disks("253:0").devices, disks("179:2").devices);
    }

    #[test]
    fn the_first_partition_of_that_disk() {
        let folder = sysfs();
        let found = |number| {
            let found = disks(folder.path(), number).first_partition();
            found.unwrap_err().to_string()
        };
        // There is no such device here, or it is another one.
        for root in ["179:2", "253:0"] {
            assert!(!found(root).contains("the root"), "{}", found(root));
        }
        assert!(found("8:1").ends_with("no other first partition"));
        assert!(found("0:30").ends_with("not on a disk"));
    }

    #[test]
    fn what_fstab_mounts_below_boot() {
        let fstab = b"# LABEL=x /boot/no vfat ro 0 0\nLABEL=b\t /boot/  vfat ro 0 0\n\
                      UUID=1 /boot/my\\040files vfat ro 0 2\n/dev/sda1 /media/stick auto user 0 0\n/dev/sdb1";
        for (target, named) in [
            ("/boot", true),
            ("/boot/my files", true),
            ("/boot/no", false),
            ("/boot/firmware", false),
            ("/media/stick", false),
            ("/", false),
        ] {
            assert_eq!(is_named(fstab, target), named, "{target}");
        }
    }

    #[test]
    fn what_is_mounted_over_it_is_not_taken_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let device = fs::metadata(folder.path()).unwrap().dev();
        let mut mount = Mount {
            target: folder.path().to_str().unwrap().to_owned(),
            major: major(device),
            minor: minor(device),
            ..Mount::default()
        };
        assert!(is_seen(&mount));
        mount.minor += 1;
        assert!(!is_seen(&mount));
    }
}
