// SPDX-License-Identifier: MIT
//! What the kernel tells of a block device: what was written to it since power-on
//! (`Documentation/block/stat.rst`), and whether it refuses writes.

use std::fs;

use serde::Serialize;

/// Writes to a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Writes {
    /// Requests that were carried out.
    pub requests: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Writes {
    /// Those of a device; `None` when the kernel does not count (no /sys, no such device).
    pub fn of(major: u32, minor: u32) -> Option<Writes> {
        parse(&fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/stat")).ok()?)
    }
}

/// Whether the device refuses writes (`BLKROSET`, or a write-protected card); `None` when it is not known.
pub fn is_read_only(major: u32, minor: u32) -> Option<bool> {
    let flag = fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/ro")).ok()?;
    Some(flag.trim() != "0")
}

/// Fields 5 and 7: write requests, and sectors of 512 bytes.
fn parse(stat: &str) -> Option<Writes> {
    let fields: Vec<&str> = stat.split_ascii_whitespace().collect();
    Some(Writes {
        requests: fields.get(4)?.parse().ok()?,
        bytes: fields.get(6)?.parse::<u64>().ok()?.checked_mul(512)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_old_and_new() {
        let old = "     163       12     4100      80        3        1       24       10        0       80       90\n";
        let writes = Writes {
            requests: 3,
            bytes: 24 * 512,
        };
        assert_eq!(parse(old), Some(writes));
        assert_eq!(parse(&format!("{old} 0 0 0 0 0 0")), Some(writes));
        assert_eq!(parse(""), None);
        assert_eq!(parse("1 2 3 4 x 6 7"), None);
    }
}
