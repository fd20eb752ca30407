// SPDX-License-Identifier: MIT
//! The devices that `root=` names, waiting for them where they take their time.

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use log::Level;
use overlayroot::device::DeviceSpec;
use overlayroot::errno::Errno;
use overlayroot::partition::{self, is_partition, Partition};
use overlayroot::partitions::{self, Block};
use overlayroot::push_text;
use overlayroot::settings::Settings;
use overlayroot::superblock::{self, ReadAt, Superblock, SEVERAL};
use overlayroot::text;
use overlayroot::text::{decimal, replaced};

use crate::observe::read_text;
use crate::resolve::{resolve, Missing};
use crate::say;
use crate::system::{milliseconds_of, Kind, Result, System, LOOK_AGAIN};

/// The device nodes that `root=` names, the preferred one first; or why there is none, with the remedy.
pub fn find_root(
    sys: &mut impl System,
    settings: &Settings,
    warnings: &mut Vec<String>,
) -> core::result::Result<(String, Block, Vec<Block>), String> {
    let Some(spec) = &settings.root else {
        return Err(
            "no root device is named: add ofs-root= to the command line or to overlayroot.conf"
                .to_owned(),
        );
    };
    let wanted = spec.text();
    // The end of the wait, once there is one.
    let mut deadline = None;
    let mut listening = Ok(());
    let mut waited = false;
    loop {
        let mut found = look(sys, spec);
        let mut remedy = "make it unique";
        if found.len() > 1 {
            found = ranked(sys, found, &mut remedy);
        }
        let mut found = found.into_iter();
        if let Some(block) = found.next() {
            let others: Vec<Block> = found.collect();
            if let Some(other) = others.first() {
                push_text!(
                    warnings,
                    "{} is on /dev/{} and on /dev/{}: using the first; {}",
                    wanted,
                    block.name,
                    other.name,
                    remedy
                );
            }
            let device = node(sys, &block).map_err(|error| {
                text!(
                    "no device node for {} ({}): {}",
                    wanted,
                    block.name,
                    error.text()
                )
            })?;
            return Ok((device, block, others));
        }
        if matches!(spec, DeviceSpec::Path(path) if path.starts_with("/dev/disk/")) {
            return Err(text!(
                "{} is a name that udev makes, which is not here: \
                 use UUID=, LABEL=, PARTUUID=, PARTLABEL= or /dev/NAME",
                wanted
            ));
        }
        let Some(deadline) = deadline else {
            deadline = Some(sys.now() + u64::from(settings.wait) * 1_000_000);
            // Then look again: nothing comes unseen in between.
            listening = sys.listen();
            if let Err(error) = listening {
                push_text!(
                    warnings,
                    "no uevents ({}): looking for the root every {} ms",
                    error.text(),
                    decimal(LOOK_AGAIN)
                );
            }
            continue;
        };
        let left = milliseconds_of(deadline.saturating_sub(sys.now()));
        if left == 0 {
            return Err(text!(
                "device {} absent after {} s{}; check ofs-root=, or raise ofs-wait=",
                wanted,
                decimal(u64::from(settings.wait)),
                seen(sys)
            ));
        }
        if !waited {
            say!(
                Level::Info,
                "waiting for {}, at most {} s",
                wanted,
                decimal(u64::from(settings.wait))
            );
            waited = true;
        }
        let slice = if listening.is_ok() {
            left
        } else {
            left.min(LOOK_AGAIN)
        };
        if let Err(error) = sys.wait(slice) {
            return Err(text!("cannot wait for {}: {}", wanted, error.text()));
        }
    }
}

/// What block devices there are, for the message that the wanted one is not among them.
fn seen(sys: &mut impl System) -> String {
    let mut text = String::new();
    for block in blocks(sys).iter().filter(|b| b.is_candidate()).take(16) {
        text.push_str(if text.is_empty() {
            " (there are: "
        } else {
            " "
        });
        text.push_str(&block.name);
    }
    text.push_str(if text.is_empty() {
        " (there is no block device at all: is the driver loaded?)"
    } else {
        ")"
    });
    text
}

fn blocks(sys: &mut impl System) -> Vec<Block> {
    read_text(sys, "/proc/partitions")
        .map(|text| partitions::parse(&text))
        .unwrap_or_default()
}

/// Every device that `spec` names now.
fn look(sys: &mut impl System, spec: &DeviceSpec) -> Vec<Block> {
    let blocks = blocks(sys);
    match spec {
        DeviceSpec::Path(path) => {
            let name = replaced(path.strip_prefix("/dev/").unwrap_or(path), b'/', b'!');
            match blocks.iter().find(|b| b.name == name) {
                Some(block) => vec![block.clone()],
                None => by_node(sys, &blocks, path, name).into_iter().collect(),
            }
        }
        DeviceSpec::Number(major, minor) => {
            let wanted = (*major, *minor);
            blocks
                .into_iter()
                .filter(|b| (b.major, b.minor) == wanted)
                .collect()
        }
        DeviceSpec::Uuid(uuid) => with_superblock(sys, &blocks, &|s| {
            s.uuid
                .as_ref()
                .is_some_and(|u| u.eq_ignore_ascii_case(uuid))
        }),
        DeviceSpec::Label(label) => {
            with_superblock(sys, &blocks, &|s| s.label.as_ref() == Some(label))
        }
        // The kernel takes its beginning (`match_dev_by_uuid()` in block/early-lookup.c).
        DeviceSpec::PartUuid(uuid, offset) => on_disk(sys, &blocks, *offset, &|p| {
            p.partuuid.starts_with(uuid.as_str())
        }),
        DeviceSpec::PartLabel(label) => {
            on_disk(sys, &blocks, 0, &|p| p.partlabel.as_ref() == Some(label))
        }
    }
}

/// A name that something else made: device-mapper, or the udev of a distribution's initramfs, whose names are
/// symbolic links.
fn by_node(sys: &mut impl System, blocks: &[Block], path: &str, name: String) -> Option<Block> {
    let (target, stat) = resolve(sys, "", path, Missing::Fail).ok()?;
    let stat = stat?;
    if stat.kind != Kind::Block {
        return None;
    }
    let (major, minor) = stat.device;
    let known = blocks
        .iter()
        .find(|b| target != path && (b.major, b.minor) == stat.device);
    Some(known.cloned().unwrap_or(Block {
        major,
        minor,
        kib: 0,
        name,
    }))
}

fn with_superblock(
    sys: &mut impl System,
    blocks: &[Block],
    matches: &dyn Fn(&Superblock) -> bool,
) -> Vec<Block> {
    let mut found = Vec::new();
    for block in blocks.iter().filter(|b| b.is_candidate()) {
        let Ok(device) = node(sys, block) else {
            continue;
        };
        match superblock::probe(&mut BlockReader::new(sys, &device)) {
            // The others of one file system are no twins.
            Some(s) if s.warning == Some(SEVERAL) && !found.is_empty() => {}
            Some(s) if matches(&s) => found.push(block.clone()),
            _ => {}
        }
    }
    found
}

/// Partitions that match, moved on by `offset` partition numbers on the same disk.
fn on_disk(
    sys: &mut impl System,
    blocks: &[Block],
    offset: i32,
    matches: &dyn Fn(&Partition) -> bool,
) -> Vec<Block> {
    let mut found = Vec::new();
    for disk in blocks.iter().filter(|b| b.is_candidate()) {
        // Partitions have no table of their own.
        if blocks.iter().any(|b| is_partition(&disk.name, &b.name)) {
            continue;
        }
        let Ok(device) = node(sys, disk) else {
            continue;
        };
        let sector = sys.sector_size(&device).unwrap_or(512);
        let sectors = Some(size(sys, &device, disk) >> sector.trailing_zeros());
        let table = partition::table(&mut BlockReader::new(sys, &device), sector, sectors);
        for partition in table.iter().filter(|p| matches(p)) {
            let Some(number) = partition.number.checked_add_signed(offset) else {
                continue;
            };
            let name = partition::partition_name(&disk.name, number);
            found.extend(blocks.iter().find(|b| b.name == name).cloned());
        }
    }
    found
}

/// Several that match: a disk that holds partitions comes last, and a member of an array only counts where there is
/// nothing else, such as the array.
fn ranked(sys: &mut impl System, found: Vec<Block>, remedy: &mut &str) -> Vec<Block> {
    let blocks = blocks(sys);
    let (mut first, mut disks, mut members) = (Vec::new(), Vec::new(), Vec::new());
    for block in found {
        let member = node(sys, &block).is_ok_and(|device| {
            let superblock = superblock::probe(&mut BlockReader::new(sys, &device));
            container(sys, &device, &block, superblock.as_ref()).is_some()
        });
        let holds = || blocks.iter().any(|b| is_partition(&b.name, &block.name));
        if member {
            members.push(block);
        } else if holds() {
            disks.push(block);
        } else {
            first.push(block);
        }
    }
    first.append(&mut disks);
    if first.is_empty() {
        *remedy = "they are members of an array: assemble it in the initramfs, and name that";
        return members;
    }
    first
}

/// What a device with this superblock is a member of. A file system that ends where its device does leaves no room for
/// metadata of something else there: then nobody looks for any.
pub fn container(
    sys: &mut impl System,
    device: &str,
    block: &Block,
    superblock: Option<&Superblock>,
) -> Option<&'static str> {
    let bytes = size(sys, device, block);
    let used = superblock.and_then(|s| s.size).unwrap_or(0);
    if matches!(bytes.checked_sub(used), Some(0..=511)) {
        return None;
    }
    superblock::container(&mut BlockReader::new(sys, device), bytes >> 9)
}

/// Size of a device, bytes; rounded down to KiB where it does not say.
fn size(sys: &mut impl System, device: &str, block: &Block) -> u64 {
    let said = sys.block_size(device);
    said.unwrap_or(block.kib.saturating_mul(1024))
}

/// The device node of a block device; made by hand where devtmpfs did not.
pub fn node(sys: &mut impl System, block: &Block) -> Result<String> {
    let mut path = "/dev/".to_owned();
    path.push_str(&replaced(&block.name, b'!', b'/'));
    let numbers = (block.major, block.minor);
    if sys
        .stat(&path)
        .is_ok_and(|stat| stat.kind == Kind::Block && stat.device == numbers)
    {
        return Ok(path);
    }
    path = text!(
        "/dev/overlayroot-{}-{}",
        decimal(u64::from(block.major)),
        decimal(u64::from(block.minor))
    );
    match sys.make_node(&path, true, block.major, block.minor) {
        Ok(()) | Err(Errno::EEXIST) => Ok(path),
        Err(error) => Err(error),
    }
}

/// A block device as the parsers read it.
pub struct BlockReader<'a, S> {
    sys: &'a mut S,
    device: &'a str,
}

impl<'a, S: System> BlockReader<'a, S> {
    /// Of a device node.
    pub fn new(sys: &'a mut S, device: &'a str) -> Self {
        BlockReader { sys, device }
    }
}

impl<S: System> ReadAt for BlockReader<'_, S> {
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> bool {
        self.sys.read_block(self.device, offset, buffer).is_ok()
    }
}
