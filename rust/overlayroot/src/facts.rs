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
    /// File systems that the kernel knows, to be tried in this order on a root that is not recognised.
    pub filesystems: Vec<String>,
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

/// File systems on a block device of `/proc/filesystems`, in the kernel's order.
pub fn on_block_devices(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('\t') {
            names.push(name.into());
        }
    }
    names
}

impl Default for Facts {
    /// A board with 1 GiB of RAM, whose root was not found.
    fn default() -> Self {
        Facts {
            mem_total: 1 << 30,
            kernel: "6.12.0".into(),
            filesystems: Vec::new(),
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
        let text = "nodev\tsysfs\nnodev\ttmpfs\n\text4\n\tvfat\nnodev\toverlay\n";
        assert_eq!(on_block_devices(text), ["ext4", "vfat"]);
    }
}
