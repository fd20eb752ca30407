// SPDX-License-Identifier: MIT
//! What the init saw before it decides.

use alloc::string::String;
use alloc::vec::Vec;

use crate::superblock::State;
use crate::verity::Tree;

/// Everything that a plan depends on besides the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// MemTotal, bytes.
    pub mem_total: u64,
    /// Release of the running kernel, as `uname -r`.
    pub kernel: String,
    /// Contents of `/proc/filesystems`.
    pub filesystems: Filesystems,
    /// The root device, when it was found.
    pub root: Option<Root>,
    /// It is not the only one that `root=` names: the others are tried before what is left for a broken one.
    pub others: bool,
}

/// The root device and what is on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    /// Device node.
    pub device: String,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// File system found on it (kernel name), if any was recognised.
    pub fstype: Option<&'static str>,
    /// UUID of the file system.
    pub uuid: Option<String>,
    /// Label of the file system.
    pub label: Option<String>,
    /// Whether mounting it would write.
    pub state: State,
    /// What larger thing the device is a member of, by [`crate::superblock::container`]: it is never written.
    pub container: Option<&'static str>,
    /// The block device was read-only before anybody asked: a write-protected card, say.
    pub media_read_only: bool,
    /// The hash tree where `ofs-verity=` says that one is.
    pub tree: Option<Tree>,
}

/// File systems that the kernel knows at the moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filesystems {
    /// Those on a block device, in the kernel's order.
    pub on_block_devices: Vec<String>,
    /// `overlay` or `overlayfs` is there.
    pub overlay: bool,
}

impl Filesystems {
    /// Parses `/proc/filesystems`.
    pub fn parse(text: &str) -> Filesystems {
        let mut found = Filesystems::default();
        for line in text.lines() {
            match line.split_once('\t') {
                Some(("nodev", "overlay" | "overlayfs")) => found.overlay = true,
                Some(("", name)) if !name.is_empty() => found.on_block_devices.push(name.into()),
                _ => {}
            }
        }
        found
    }
}

impl Default for Facts {
    /// A board with 1 GiB of RAM and a kernel that has overlay, whose root was not found.
    fn default() -> Self {
        Facts {
            mem_total: 1 << 30,
            kernel: "6.12.0".into(),
            filesystems: Filesystems {
                on_block_devices: Vec::new(),
                overlay: true,
            },
            root: None,
            others: false,
        }
    }
}

impl Facts {
    /// The same with a root device `name` (kernel name) that holds `fstype` in `state`.
    pub fn with_root(mut self, name: &str, fstype: &'static str, state: State) -> Facts {
        let mut device = String::from("/dev/");
        device.push_str(name);
        self.root = Some(Root {
            device,
            major: 179,
            minor: 2,
            fstype: Some(fstype),
            uuid: None,
            label: None,
            state,
            container: None,
            media_read_only: false,
            tree: None,
        });
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_filesystems() {
        let found =
            Filesystems::parse("nodev\tsysfs\nnodev\ttmpfs\n\text4\n\tvfat\nnodev\toverlay\n");
        assert_eq!(found.on_block_devices, ["ext4", "vfat"]);
        assert!(found.overlay);
        assert!(Filesystems::parse("nodev\toverlayfs").overlay);
        assert!(!Filesystems::parse("\text4\n").overlay);
    }
}
