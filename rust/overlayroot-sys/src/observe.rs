// SPDX-License-Identifier: MIT
//! Looks at the board: memory, kernel, and what is on the root device.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use overlayroot::facts::{on_block_devices, Facts, Root};
use overlayroot::partitions::Block;
use overlayroot::push_text;
use overlayroot::settings::{Settings, Verity};
use overlayroot::superblock::{self, State};
use overlayroot::text::lossy;
use overlayroot::verity::Tree;

use crate::find::{container, find_root, node, BlockReader};
use crate::system::{Result, System};

/// What was seen, and why the root is missing if it is.
pub struct Observation {
    /// The facts.
    pub facts: Facts,
    /// Why there is no root device, with the remedy.
    pub no_root: Option<String>,
    /// What the owner should know.
    pub warnings: Vec<String>,
    /// The other devices that `root=` names, for when this one turns out to be of no use.
    others: Vec<Block>,
}

impl Observation {
    /// Looks at the next device that `root=` names; `false`: there is none.
    pub fn next(&mut self, sys: &mut impl System, settings: &Settings) -> bool {
        while !self.others.is_empty() {
            let block = self.others.remove(0);
            if let Ok(device) = node(sys, &block) {
                let spec = spec_text(settings);
                push_text!(
                    self.warnings,
                    "{} could not be used there: trying {}",
                    spec,
                    device
                );
                let root = look_at(sys, settings, device, &block, &mut self.warnings);
                self.facts.filesystems = to_try(sys, &root);
                self.facts.root = Some(root);
                self.facts.others = !self.others.is_empty();
                return true;
            }
        }
        false
    }
}

/// Looks at everything a plan depends on.
pub fn observe(sys: &mut impl System, settings: &Settings) -> Observation {
    let mut warnings = Vec::new();
    let found = find_root(sys, settings, &mut warnings);
    let mut facts = Facts {
        mem_total: sys.mem_total(),
        kernel: sys.kernel_release(),
        filesystems: Vec::new(),
        root: None,
        others: false,
    };
    let mut no_root = None;
    let mut others = Vec::new();
    match found {
        Ok((device, block, matches)) => {
            let root = look_at(sys, settings, device, &block, &mut warnings);
            facts.others = !matches.is_empty();
            others = matches;
            facts.filesystems = to_try(sys, &root);
            facts.root = Some(root);
        }
        Err(why) => no_root = Some(why),
    }
    Observation {
        facts,
        no_root,
        warnings,
        others,
    }
}

/// Reads a small text file.
pub fn read_text(sys: &mut impl System, path: &str) -> Result<String> {
    let bytes = sys.read(path, 1 << 20)?;
    Ok(lossy(&bytes))
}

/// File systems to try on a root that is not recognised.
fn to_try(sys: &mut impl System, root: &Root) -> Vec<String> {
    if root.fstype.is_some() {
        return Vec::new();
    }
    on_block_devices(&read_text(sys, "/proc/filesystems").unwrap_or_default())
}

fn look_at(
    sys: &mut impl System,
    settings: &Settings,
    device: String,
    block: &Block,
    warnings: &mut Vec<String>,
) -> Root {
    let media_read_only = sys.block_read_only(&device).unwrap_or(false);
    let superblock = superblock::probe(&mut BlockReader::new(sys, &device));
    if let Some(warning) = superblock.as_ref().and_then(|s| s.warning) {
        push_text!(warnings, "{}: {}", device, warning);
    }
    let container = container(sys, &device, block, superblock.as_ref());
    let (fstype, uuid, label, state) = match superblock {
        Some(s) => (Some(s.fstype.name()), s.uuid, s.label, s.state),
        None => (None, None, None, State::Unknown),
    };
    let tree = match &settings.verity {
        Verity::Against(pin) => Tree::read(&mut BlockReader::new(sys, &device), pin.offset),
        _ => None,
    };
    let (major, minor) = (block.major, block.minor);
    Root {
        device,
        major,
        minor,
        fstype,
        uuid,
        label,
        state,
        container,
        media_read_only,
        tree,
    }
}

/// For the report: how the root was asked for.
pub fn spec_text(settings: &Settings) -> String {
    settings
        .root
        .as_ref()
        .map(ToString::to_string)
        .unwrap_or_default()
}
