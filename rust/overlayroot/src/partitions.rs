// SPDX-License-Identifier: MIT
//! `/proc/partitions`: every block device that has a size, without sysfs or udev.

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;

use crate::text::{number, small_number};

/// One block device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Size, units of 1024 bytes.
    pub kib: u64,
    /// Kernel name, such as `mmcblk0p2`; `!` stands for `/`.
    pub name: String,
}

/// Parses the file; lines that are not `major minor blocks name` (the heading) are passed over.
pub fn parse(text: &str) -> Vec<Block> {
    text.lines()
        .filter_map(|line| {
            let mut fields = line.split_ascii_whitespace();
            Some(Block {
                major: small_number(fields.next()?)?,
                minor: small_number(fields.next()?)?,
                kib: number(fields.next()?)?,
                name: fields.next()?.to_owned(),
            })
        })
        .collect()
}

impl Block {
    /// Whether a root could live there: RAM disks and loop devices are empty this early, an eMMC's boot partitions
    /// hold a boot loader, and reading its RPMB partition makes kernels before 4.15 wait for errors.
    pub fn is_candidate(&self) -> bool {
        let of_emmc = self.name.starts_with("mmcblk")
            && (self.name.as_bytes().windows(4).any(|part| part == b"boot")
                || self.name.ends_with("rpmb"));
        !of_emmc
            && !["ram", "zram", "loop"].iter().any(|prefix| {
                self.name
                    .strip_prefix(prefix)
                    .is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit()))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heading_and_devices() {
        let found = parse("major minor  #blocks  name\n\n 179        2     262144 mmcblk0p2\n   1        0       4096 ram0\nx y\n");
        assert_eq!(found.len(), 2);
        assert_eq!(
            (
                found[0].major,
                found[0].minor,
                found[0].kib,
                &*found[0].name
            ),
            (179, 2, 262_144, "mmcblk0p2")
        );
        assert!(found[0].is_candidate() && !found[1].is_candidate());
        for (name, candidate) in [
            ("mmcblk0", true),
            ("mmcblk0gp0", true),
            ("mmcblk0boot0", false),
            ("mmcblk0boot1", false),
            ("mmcblk2rpmb", false),
            ("zram0", false),
            ("loop", false),
            ("ramdisk", true),
        ] {
            let line = format!("1 2 3 {name}");
            assert_eq!(parse(&line)[0].is_candidate(), candidate, "{name}");
        }
    }
}
