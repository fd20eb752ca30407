// SPDX-License-Identifier: MIT
//! What is mounted beside the layers, and is not as its place in the tree would have one think; pure.

use overlayroot::mountinfo::{self, Mount};

use crate::live::Layers;

/// A warning for each, with the remedy, from the text of `/proc/PID/mountinfo`.
pub fn warnings(table: &str, layers: &Layers) -> Vec<String> {
    let mounts = mountinfo::parse(table);
    mounts.iter().filter_map(|m| warning(m, layers)).collect()
}

fn warning(mount: &Mount, layers: &Layers) -> Option<String> {
    let lower = &layers.lower;
    let same = (mount.major, mount.minor) == (lower.major, lower.minor);
    let name = || format!("{} ({} {})", mount.target, mount.source, mount.fstype);
    let is_read_only = mount.is_file_system_read_only();
    if mount.target == "/usr" && !same && !mount.is_overlay() && !is_read_only {
        return Some(format!(
            "{} is a file system of its own, and nothing protects it: put /usr on the root",
            name()
        ));
    }
    // Of other file systems a second mount shows the same tree again.
    if same && mount.fstype == "btrfs" && mount.root != lower.root && is_read_only {
        return Some(format!(
            "{} is a subvolume of the root's own btrfs, and so read-only as that is: put it on a partition of \
             its own, or take it out of /etc/fstab, which leaves it in RAM",
            name()
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::Live;

    #[test]
    fn only_what_is_not_as_it_seems() {
        let table = "21 1 0:20 / / rw - overlay overlay rw,lowerdir=/mnt/root-RO,upperdir=/mnt/root-RW/upper\n\
             22 21 0:21 /@ /mnt/root-RO ro - btrfs /dev/a2 ro\n\
             23 21 0:19 / /mnt/root-RW rw - tmpfs tmpfs rw\n\
             24 21 0:20 /usr /usr rw - overlay overlay rw,lowerdir=/mnt/root-RO\n\
             25 21 0:21 /@ /again ro - btrfs /dev/a2 ro\n\
             26 21 0:22 / /data rw - btrfs /dev/a3 rw\n";
        let live = Live::parse(table).unwrap();
        let found = |more: &str| warnings(&format!("{table}{more}"), live.layers().unwrap());
        assert_eq!(found(""), [""; 0]);
        assert_eq!(found("27 21 8:1 / /usr ro - squashfs /dev/b ro\n"), [""; 0]);
        let usr = found("27 21 8:1 / /usr ro - ext4 /dev/b rw\n");
        assert!(
            usr[0].starts_with("/usr (/dev/b ext4) is a file system of its own"),
            "{usr:?}"
        );
        let home = found("27 21 0:21 /@home /home rw - btrfs /dev/a2 ro\n");
        assert!(
            home[0].starts_with("/home (/dev/a2 btrfs) is a subvolume"),
            "{home:?}"
        );
    }
}
