// SPDX-License-Identifier: MIT
//! The RAM layer of the running system: how large, how full, and resizing it.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use overlayroot::size::Limits;
use rustix::fs::statfs;
use rustix::io::Errno;
use rustix::mount::mount_remount;
use serde::Serialize;

use crate::error::{Error, Result};
use crate::quoting::Quote;
use crate::remount::mount_flags;

/// Where the init mounts it.
pub const RAM_LAYER: &str = "/mnt/root-RW";
/// `f_type` of tmpfs (include/uapi/linux/magic.h).
const TMPFS: u64 = 0x0102_1994;

/// Its limits and what is used of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Layer {
    /// Where it is mounted.
    #[serde(with = "crate::jsonpath")]
    pub path: PathBuf,
    /// Limit, bytes.
    pub size_bytes: u64,
    /// Used, bytes.
    pub used_bytes: u64,
    /// Limit, inodes; 0 without a limit.
    pub size_inodes: u64,
    /// Used, inodes.
    pub used_inodes: u64,
}

impl Layer {
    /// The one that is mounted at a folder.
    pub fn look_at(path: &Path) -> Result<Layer> {
        let none = || {
            Error::refused(
                format!("there is no RAM layer at {}", path.quoted()),
                "boot with overlayfs=yes (overlayrootctl enable); overlayrootctl status says what is mounted",
            )
        };
        let stat = match statfs(path) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Err(none()),
            Err(error) => return Err(Error::system("look at", path.quoted())(error)),
        };
        #[allow(clippy::unnecessary_cast)] // narrower on 32-bit systems
        let (kind, block) = (stat.f_type as u64, stat.f_bsize as u64);
        if kind & 0xffff_ffff != TMPFS {
            return Err(none());
        }
        Ok(Layer {
            path: path.to_owned(),
            size_bytes: stat.f_blocks * block,
            used_bytes: stat.f_blocks.saturating_sub(stat.f_bfree) * block,
            size_inodes: stat.f_files,
            used_inodes: stat.f_files.saturating_sub(stat.f_ffree),
        })
    }

    /// Percent in use, of bytes or of inodes, whichever is more.
    pub fn percent(&self) -> u64 {
        let [bytes, inodes] = self.percents();
        bytes.max(inodes)
    }

    /// Whether more of the bytes than of the inodes are in use.
    pub fn bytes_are_scarcer(&self) -> bool {
        let [bytes, inodes] = self.percents();
        bytes >= inodes
    }

    fn percents(&self) -> [u64; 2] {
        let percent = |used: u64, size: u64| (used * 100).checked_div(size).unwrap_or(0);
        [
            percent(self.used_bytes, self.size_bytes),
            percent(self.used_inodes, self.size_inodes),
        ]
    }

    /// Gives it other limits at once, and looks whether it took them.
    pub fn resize(&self, limits: Limits) -> Result<()> {
        let mut reasons = Vec::new();
        if limits.bytes < self.used_bytes {
            reasons.push(format!(
                "{} bytes are in use, more than {}",
                self.used_bytes, limits.bytes
            ));
        }
        if limits.inodes < self.used_inodes {
            reasons.push(format!(
                "{} inodes are in use, more than {}",
                self.used_inodes, limits.inodes
            ));
        }
        if !reasons.is_empty() {
            let remedy =
                "take a larger value, or remove files (overlayrootctl status names the largest)";
            return Err(Error::Refused {
                reasons,
                remedy: remedy.to_owned(),
            });
        }
        let flags = mount_flags(&self.path)?;
        let options = format!("size={},nr_inodes={}", limits.bytes, limits.inodes);
        log::debug!("remount {}: {flags:?} {options}", self.path.quoted());
        mount_remount(&self.path, flags, options)
            .map_err(Error::system("resize", self.path.quoted()))?;
        let now = Layer::look_at(&self.path)?;
        if (now.size_bytes, now.size_inodes) != (limits.bytes, limits.inodes) {
            return Err(Error::Malformed {
                object: self.path.quoted().to_string(),
                cause: format!(
                    "asked for {} bytes, {} inodes, but it has {now}",
                    limits.bytes, limits.inodes
                ),
                remedy: "try another value",
            });
        }
        Ok(())
    }
}

/// Bytes that are free in the RAM layer that is mounted at `path`.
pub fn free(path: &str) -> Result<u64> {
    let stat = rustix::fs::statvfs(path).map_err(Error::system("look at", path))?;
    #[allow(clippy::unnecessary_cast)] // narrower on 32-bit systems
    let (blocks, size) = (stat.f_bavail as u64, stat.f_frsize as u64);
    Ok(blocks.saturating_mul(size))
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} MiB ({} used), {} inodes ({} used)",
            self.size_bytes >> 20,
            self.used_bytes.div_ceil(1 << 20),
            self.size_inodes,
            self.used_inodes
        )
    }
}

/// RAM of this machine, bytes: MemTotal, as the init takes it.
pub fn total_ram() -> Result<u64> {
    let text =
        fs::read_to_string("/proc/meminfo").map_err(Error::system("read", "/proc/meminfo"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kib.map(|kib| kib << 10).ok_or_else(|| Error::Malformed {
        object: "/proc/meminfo".into(),
        cause: "it has no MemTotal".into(),
        remedy: "mount /proc",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_is_of_what_is_scarcer() {
        let mut layer = Layer {
            path: "/x".into(),
            size_bytes: 100 << 20,
            used_bytes: 10 << 20,
            size_inodes: 1000,
            used_inodes: 950,
        };
        assert_eq!(layer.percent(), 95);
        assert_eq!(
            layer.to_string(),
            "100 MiB (10 used), 1000 inodes (950 used)"
        );
        layer.size_inodes = 0;
        assert_eq!(layer.percent(), 10);
        let refused = layer
            .resize(Limits {
                bytes: 1 << 20,
                inodes: 5,
            })
            .unwrap_err();
        assert!(refused
            .to_string()
            .ends_with("950 inodes are in use, more than 5"));
    }

    #[test]
    fn only_a_tmpfs_is_a_ram_layer() {
        assert!(Layer::look_at(Path::new("/proc"))
            .unwrap_err()
            .to_string()
            .contains("no RAM layer at /proc"));
        assert!(total_ram().unwrap() > 1 << 20);
    }
}
