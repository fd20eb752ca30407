// SPDX-License-Identifier: MIT
//! The steps of a plan. Each has a text, used in plans, in the report and on the console alike.

use alloc::string::String;
use alloc::vec::Vec;

use crate::text;
use crate::text::{decimal, shown};

/// The real root, read-only, in the initramfs and in the booted system.
pub const LOWER: &str = "/mnt/root-RO";
/// The RAM layer, in the initramfs and in the booted system.
pub const RAM: &str = "/mnt/root-RW";
/// Where the initramfs builds the new root.
pub const NEW_ROOT: &str = "/newroot";
/// RAM file system that carries the report when there is no RAM layer.
pub const RUN: &str = "/run";

/// One way to mount the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootMount {
    /// Device node.
    pub device: String,
    /// File system, the kernel's name.
    pub fstype: String,
    /// Mount read-only.
    pub read_only: bool,
    /// Set the block device itself read-only first (`BLKROSET`), so that mounting cannot write.
    pub lock_device: bool,
    /// The journal is left alone: what it holds is not seen, and the device stays locked.
    pub frozen: bool,
    /// Mount options as fstab(5) has them, comma separated.
    pub options: String,
    /// What the owner should know: said before this is tried where it may write, else when it has worked. Such
    /// a way is not tried again in a lower mode. In two parts; both are empty for a way without one.
    pub warning: (&'static str, &'static str),
}

impl RootMount {
    /// Whether the kernel may write to the device while it mounts.
    pub fn repairs(&self) -> bool {
        !self.frozen && !self.warning.1.is_empty()
    }

    /// What the owner should know of this way.
    pub fn warning(&self) -> Option<String> {
        let (why, what) = self.warning;
        (!what.is_empty()).then(|| text!("{}: {}{}", self.device, why, what))
    }
}

/// One action. Paths are those of the initramfs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Mount the root file system: the first way that works.
    MountRoot {
        /// Mount point, made when missing.
        target: &'static str,
        /// Ways, the preferred one first.
        ways: Vec<RootMount>,
        /// What to look at when none works.
        remedy: &'static str,
    },
    /// Set or clear the read-only flag of a block device.
    SetDeviceReadOnly {
        /// Device node.
        device: String,
        /// Value of the flag.
        read_only: bool,
    },
    /// Make a device whose blocks are verified as they are read ([`crate::verity::DEVICE`]).
    OpenVerity {
        /// Device node of what is verified.
        device: String,
        /// Sectors of 512 bytes.
        sectors: u64,
        /// Parameters of the kernel's target.
        table: String,
    },
    /// Mount a RAM file system.
    MountTmpfs {
        /// Mount point, made when missing.
        target: &'static str,
        /// Mount options.
        options: String,
    },
    /// Make `upper` and `work` in the RAM layer; `upper` takes owner and mode of the lower's top directory.
    MakeUpper {
        /// Lower layer.
        lower: &'static str,
        /// RAM layer.
        ram: &'static str,
    },
    /// Stack the layers, with whichever spelling the kernel takes: `overlay`, then `overlayfs` with
    /// and without a work directory. A kernel that knows none of it is given the module that the root carries.
    MountOverlay {
        /// Mount point, made when missing.
        target: &'static str,
        /// Lower layer.
        lower: &'static str,
        /// RAM layer.
        ram: &'static str,
        /// Kernel release, which names the folder of its modules.
        release: String,
    },
    /// Allow neither set-user-ID programs nor devices on a mount. After the layers are stacked: the overlays of
    /// kernels before 4.2 open files of the lower by this mount as it was then.
    Restrict {
        /// Mount point.
        target: &'static str,
    },
    /// Look for a program to start in the new root.
    FindInit {
        /// New root.
        root: &'static str,
        /// Candidates, the preferred one first.
        candidates: Vec<String>,
    },
    /// Write the RAM copy of `/etc/fstab`.
    WriteFstab {
        /// New root.
        root: &'static str,
        /// Where users find the lower.
        lower: &'static str,
    },
    /// Move a mount into the new root.
    Move {
        /// Mount point now.
        from: &'static str,
        /// New root; the mount point below it has the same path.
        root: &'static str,
    },
}

impl Step {
    /// Whether the mode can be reached without this step: its failure is a warning.
    pub fn is_survivable(&self) -> bool {
        match self {
            Step::Restrict { .. } | Step::WriteFstab { .. } | Step::Move { .. } => true,
            // A root that stays locked is safe: only remounting it writable does not work.
            Step::SetDeviceReadOnly { read_only, .. } => !read_only,
            // Without /run there is no place for the report, which is worth no restart.
            Step::MountTmpfs { target, .. } => *target == RUN,
            _ => false,
        }
    }
}

impl RootMount {
    /// For plans, the report and the console.
    pub fn text(&self) -> String {
        text!(
            "{} {} {}{}{}{}",
            self.fstype,
            self.device,
            if self.read_only { "ro" } else { "rw" },
            if self.options.is_empty() { "" } else { "," },
            self.options,
            match (self.lock_device, self.frozen) {
                (true, true) => " (device stays read-only)",
                (true, false) => " (device read-only)",
                (false, _) => "",
            }
        )
    }
}

impl Step {
    /// For plans, the report and the console.
    pub fn text(&self) -> String {
        match self {
            Step::MountRoot { target, ways, .. } => {
                let mut text = text!("mount root on {}:", target);
                if let Some(way) = ways.first() {
                    text.push(' ');
                    text.push_str(&way.text());
                }
                if ways.len() > 1 {
                    let all = decimal(ways.len() as u64);
                    text.push_str(&text!(", the first of {} ways", all));
                }
                text
            }
            Step::SetDeviceReadOnly { device, read_only } => {
                let access = if *read_only {
                    "read-only"
                } else {
                    "read-write"
                };
                text!("set {} {}", device, access)
            }
            Step::OpenVerity { device, table, .. } => {
                text!("verify {} as {}: {}", device, crate::verity::DEVICE, table)
            }
            Step::MountTmpfs { target, options } => {
                text!("mount tmpfs on {}: {}", target, options)
            }
            Step::MakeUpper { ram, .. } => text!("make {}/upper and {}/work", ram, ram),
            Step::MountOverlay {
                target, lower, ram, ..
            } => {
                text!("mount overlay on {}: {} under {}", target, lower, ram)
            }
            Step::Restrict { target } => text!("make {} nosuid,nodev", target),
            Step::FindInit { root, candidates } => {
                let mut text = text!("find init in {}:", root);
                for path in candidates {
                    text.push(' ');
                    text.push_str(path);
                }
                text
            }
            Step::WriteFstab { root, .. } => text!("write {}/etc/fstab", root),
            Step::Move { from, root } => text!("move {} to {}{}", from, root, from),
        }
    }
}

shown!(RootMount, Step);
