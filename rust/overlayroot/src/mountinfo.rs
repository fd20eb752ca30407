// SPDX-License-Identifier: MIT
//! `/proc/PID/mountinfo` (`Documentation/filesystems/proc.rst`, section 3.5).

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;

use crate::text::{self, lossy};

/// One mount.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mount {
    /// Number of the mount.
    pub id: u32,
    /// Number of the mount that it is mounted on.
    pub parent: u32,
    /// Major number of the device.
    pub major: u32,
    /// Minor number of the device.
    pub minor: u32,
    /// What of the file system is mounted: `/` unless it is a bind mount of a part.
    pub root: String,
    /// Mount point.
    pub target: String,
    /// Options of this mount, comma separated.
    pub options: String,
    /// File system.
    pub fstype: String,
    /// Device, or whatever name was given.
    pub source: String,
    /// Options of the file system itself, for all of its mounts.
    pub super_options: String,
}

impl Mount {
    /// Whether the file system itself refuses writes, through whichever mount.
    pub fn is_file_system_read_only(&self) -> bool {
        has(&self.super_options, "ro")
    }

    /// Whether writes through this mount are refused.
    pub fn is_read_only(&self) -> bool {
        has(&self.options, "ro") || self.is_file_system_read_only()
    }

    /// Whether it is an overlay, by either of its names.
    pub fn is_overlay(&self) -> bool {
        matches!(&*self.fstype, "overlay" | "overlayfs")
    }

    /// Value of an option of the file system, such as `upperdir`.
    pub fn option(&self, name: &str) -> Option<&str> {
        let mut options = self.super_options.split(',');
        options.find_map(|o| o.strip_prefix(name)?.strip_prefix('='))
    }
}

/// Parses the table; lines that do not have its form are left out.
pub fn parse(text: &str) -> Vec<Mount> {
    text.split('\n').filter_map(line).collect()
}

fn line(line: &str) -> Option<Mount> {
    let (left, right) = line.split_once(" - ")?;
    let mut left = left.split(' ');
    let id = left.next()?.parse().ok()?;
    let parent = left.next()?.parse().ok()?;
    let (major, minor) = left.next()?.split_once(':')?;
    let root = unescape(left.next()?);
    let target = unescape(left.next()?);
    let options = left.next()?.to_owned();
    let mut right = right.split(' ');
    Some(Mount {
        id,
        parent,
        major: major.parse().ok()?,
        minor: minor.parse().ok()?,
        root,
        target,
        options,
        fstype: unescape(right.next()?),
        source: unescape(right.next()?),
        super_options: unescape(right.next().unwrap_or_default()),
    })
}

/// The mount that is seen at `target`: the last of those that were put there.
pub fn at<'a>(mounts: &'a [Mount], target: &str) -> Option<&'a Mount> {
    mounts.iter().rev().find(|m| m.target == target)
}

/// What is mounted over the path of a mount, so that the path leads somewhere else.
pub fn cover<'a>(mounts: &'a [Mount], of: &Mount) -> Option<&'a Mount> {
    let carries = |mount: &Mount| {
        let mut here = of;
        // As many steps as there are mounts: a circle would be no table.
        for _ in mounts {
            if here.id == mount.id {
                return true;
            }
            match mounts.iter().find(|m| m.id == here.parent) {
                Some(parent) => here = parent,
                None => return false,
            }
        }
        false
    };
    // What is mounted over `/` itself, no path leads to.
    mounts.iter().find(|mount| {
        mount.target != "/" && is_at_or_below(&of.target, &mount.target) && !carries(mount)
    })
}

/// Whether a path is `top` or in it.
pub fn is_at_or_below(path: &str, top: &str) -> bool {
    let rest = path.strip_prefix(top);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || top == "/")
}

fn has(options: &str, name: &str) -> bool {
    options.split(',').any(|o| o == name)
}

/// Blank, tab, newline and backslash are written as three octal digits.
fn unescape(text: &str) -> String {
    lossy(&text::unescape(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A board's, shortened.
    const BOARD: &str = "\
21 1 0:20 / / rw,relatime - overlay overlay rw,lowerdir=/mnt/root-RO,upperdir=/mnt/root-RW/upper,workdir=/mnt/root-RW/work
22 21 179:2 / /mnt/root-RO ro,relatime - ext4 /dev/mmcblk3p2 ro
23 21 0:19 / /mnt/root-RW rw,relatime shared:3 master:1 - tmpfs tmpfs rw,size=203480k,nr_inodes=50869
24 21 8:1 /a\\040b /media/a\\134b\\011c rw - vfat /dev/sda1 rw
25 21 0:30 / /tmp rw - tmpfs tmpfs rw
26 21 0:31 / /tmp rw - tmpfs tmpfs rw
not a line
";

    #[test]
    fn a_boards_mounts() {
        let mounts = parse(BOARD);
        assert_eq!(mounts.len(), 6);
        let root = at(&mounts, "/").unwrap();
        assert!(root.is_overlay() && !root.is_read_only());
        assert_eq!(root.option("upperdir"), Some("/mnt/root-RW/upper"));
        assert_eq!(root.option("upper"), None);
        let lower = at(&mounts, "/mnt/root-RO").unwrap();
        assert!(lower.is_file_system_read_only());
        assert_eq!((lower.major, lower.minor), (179, 2));
        assert_eq!(at(&mounts, "/mnt/root-RW").unwrap().fstype, "tmpfs");
        assert_eq!(mounts[3].root, "/a b");
        assert_eq!(mounts[3].target, "/media/a\\b\tc");
        assert_eq!(at(&mounts, "/tmp").unwrap().id, 26);
        assert_eq!(at(&mounts, "/nowhere"), None);
    }

    #[test]
    fn a_read_only_mount_of_a_writable_file_system() {
        let mounts = parse("22 21 179:2 / /mnt/root-RO ro - ext4 /dev/mmcblk3p2 rw,errors=ro");
        assert!(mounts[0].is_read_only() && !mounts[0].is_file_system_read_only());
    }

    #[test]
    fn what_hides_a_mount() {
        let table = "21 1 0:20 / / rw - overlay overlay rw\n22 21 179:2 / /mnt/root-RO ro - ext4 /dev/a ro\n";
        let hidden_by = |more: &str| {
            let mounts = parse(&format!("{table}{more}"));
            cover(&mounts, &mounts[1]).map(|m| m.id)
        };
        assert_eq!(hidden_by(""), None);
        assert_eq!(hidden_by("30 21 8:1 / /mnt rw - vfat /dev/b rw"), Some(30));
        assert_eq!(
            hidden_by("30 22 8:1 / /mnt/root-RO rw - vfat /dev/b rw"),
            Some(30)
        );
        assert_eq!(
            hidden_by("30 22 8:1 / /mnt/root-RO/x rw - vfat /dev/b rw"),
            None
        );
        assert_eq!(
            hidden_by("30 21 8:1 / /mnt/root-ROx rw - vfat /dev/b rw"),
            None
        );
        assert_eq!(hidden_by("30 21 8:1 / / rw - vfat /dev/b rw"), None);
        // /mnt may be a mount of its own, with the layers on it.
        let mounts = parse("21 1 0:20 / / rw - overlay overlay rw\n30 21 8:1 / /mnt rw - vfat /dev/b rw\n22 30 179:2 / /mnt/root-RO ro - ext4 /dev/a ro\n");
        assert_eq!(cover(&mounts, &mounts[2]), None);
    }

    proptest! {
        #[test]
        fn any_text_is_taken(text in "([0-9: /\\\\a-z,=-]{0,60}\n?){0,4}") {
            for mount in parse(&text) {
                prop_assert!(mount.target.len() <= text.len());
            }
        }
    }
}
