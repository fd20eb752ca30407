// SPDX-License-Identifier: MIT
//! Looks at the board: memory, kernel, and the root device, waiting for it where it takes its time.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use log::Level;
use overlayroot::device::DeviceSpec;
use overlayroot::errno::Errno;
use overlayroot::facts::{Facts, Filesystems, Root};
use overlayroot::partition;
use overlayroot::partitions::{self, Block};
use overlayroot::settings::{Settings, Verity};
use overlayroot::superblock::{self, ReadAt, State, Superblock};
use overlayroot::text::{lossy, number, replaced, trim_end, Number};
use overlayroot::verity::Tree;

use crate::kmsg::note;
use crate::system::{Kind, Result, System};

/// Between two looks when the kernel sends no uevents, milliseconds.
pub const LOOK_AGAIN: u64 = 200;

/// What was seen, and why the root is missing if it is.
pub struct Observation {
    /// The facts.
    pub facts: Facts,
    /// Why there is no root device, with the remedy.
    pub no_root: Option<String>,
    /// What the owner should know.
    pub warnings: Vec<String>,
}

/// Looks at everything a plan depends on.
pub fn observe(sys: &mut dyn System, settings: &Settings) -> Observation {
    let mut warnings = Vec::new();
    let found = find_root(sys, settings, &mut warnings);
    let filesystems = read_text(sys, "/proc/filesystems");
    let filesystems = match &filesystems {
        Ok(text) => Filesystems::parse(text),
        Err(_) => Filesystems::default(),
    };
    let mut facts = Facts {
        mem_total: sys.mem_total(),
        kernel: sys.kernel_release(),
        filesystems,
        root: None,
    };
    let mut no_root = None;
    match found {
        Ok((device, block)) => {
            let mut root = look_at(sys, device, &block, &mut warnings);
            if let Verity::Against(pin) = &settings.verity {
                let device = &root.device;
                root.tree = Tree::read(&mut BlockReader { sys, device }, pin.offset);
            }
            facts.root = Some(root);
        }
        Err(why) => no_root = Some(why),
    }
    Observation {
        facts,
        no_root,
        warnings,
    }
}

/// Reads a small text file.
pub fn read_text(sys: &mut dyn System, path: &str) -> Result<String> {
    let bytes = sys.read(path, 1 << 20)?;
    Ok(lossy(&bytes))
}

fn look_at(
    sys: &mut dyn System,
    device: String,
    block: &Block,
    warnings: &mut Vec<String>,
) -> Root {
    let media_read_only = sys.block_read_only(&device).unwrap_or(false);
    let superblock = probe(sys, &device);
    if let Some(warning) = superblock.as_ref().and_then(|s| s.warning) {
        warnings.push(format!("{device}: {warning}"));
    }
    let container = container(sys, &device, block);
    let (fstype, uuid, label, state) = match superblock {
        Some(s) => (Some(s.fstype.name()), s.uuid, s.label, s.state),
        None => (None, None, None, State::Unknown),
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
        tree: None,
    }
}

fn find_root(
    sys: &mut dyn System,
    settings: &Settings,
    warnings: &mut Vec<String>,
) -> core::result::Result<(String, Block), String> {
    let Some(spec) = &settings.root else {
        return Err(
            "no root device is named: add ofs-root= to the command line or to overlayroot.conf"
                .to_owned(),
        );
    };
    // Listen before looking, so that nothing comes unseen in between.
    let listening = sys.listen();
    if let Err(error) = listening {
        warnings.push(format!(
            "no uevents ({error}): looking for the root every {} ms",
            Number(LOOK_AGAIN)
        ));
    }
    let deadline = sys.now() + u64::from(settings.wait) * 1_000_000;
    let mut waited = false;
    loop {
        let mut found = look(sys, spec).into_iter();
        if let Some(block) = found.next() {
            if let Some(other) = found.next() {
                warnings.push(format!(
                    "{spec} is on /dev/{} and on /dev/{}: using the first; make it unique",
                    block.name, other.name
                ));
            }
            let device = node(sys, &block)
                .map_err(|error| format!("no device node for {spec} ({}): {error}", block.name))?;
            return Ok((device, block));
        }
        let left = deadline.saturating_sub(sys.now()) / 1000;
        if left == 0 {
            return Err(format!(
                "device {spec} absent after {} s{}; check ofs-root=, or raise ofs-wait=",
                Number(u64::from(settings.wait)),
                seen(sys)
            ));
        }
        if !waited {
            note(
                Level::Info,
                &format!(
                    "waiting for {spec}, at most {} s",
                    Number(u64::from(settings.wait))
                ),
            );
            waited = true;
        }
        let slice = if listening.is_ok() {
            left
        } else {
            left.min(LOOK_AGAIN)
        };
        if let Err(error) = sys.wait(slice) {
            return Err(format!("cannot wait for {spec}: {error}"));
        }
    }
}

/// What block devices there are, for the message that the wanted one is not among them.
fn seen(sys: &mut dyn System) -> String {
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

fn blocks(sys: &mut dyn System) -> Vec<Block> {
    read_text(sys, "/proc/partitions")
        .map(|text| partitions::parse(&text))
        .unwrap_or_default()
}

/// Every device that `spec` names now.
fn look(sys: &mut dyn System, spec: &DeviceSpec) -> Vec<Block> {
    let blocks = blocks(sys);
    match spec {
        DeviceSpec::Path(path) => {
            let name = replaced(path.strip_prefix("/dev/").unwrap_or(path), '/', '!');
            if let Some(block) = blocks.iter().find(|b| b.name == name) {
                return vec![block.clone()];
            }
            // A name that something else made: device-mapper, say.
            match sys.stat(path) {
                Ok(stat) if stat.kind == Kind::Block => {
                    let (major, minor) = stat.device;
                    vec![Block {
                        major,
                        minor,
                        kib: 0,
                        name,
                    }]
                }
                _ => Vec::new(),
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
        DeviceSpec::PartUuid(uuid, offset) => on_disk(sys, &blocks, *offset, &|p| {
            p.partuuid.eq_ignore_ascii_case(uuid)
        }),
        DeviceSpec::PartLabel(label) => {
            on_disk(sys, &blocks, 0, &|p| p.partlabel.as_ref() == Some(label))
        }
    }
}

fn with_superblock(
    sys: &mut dyn System,
    blocks: &[Block],
    matches: &dyn Fn(&Superblock) -> bool,
) -> Vec<Block> {
    let mut found = Vec::new();
    for block in blocks.iter().filter(|b| b.is_candidate()) {
        let Ok(device) = node(sys, block) else {
            continue;
        };
        if probe(sys, &device).is_some_and(|s| matches(&s)) {
            found.push(block.clone());
        }
    }
    found
}

/// Partitions that match, moved on by `offset` partition numbers on the same disk.
fn on_disk(
    sys: &mut dyn System,
    blocks: &[Block],
    offset: i32,
    matches: &dyn Fn(&partition::Partition) -> bool,
) -> Vec<Block> {
    let mut found = Vec::new();
    for disk in blocks.iter().filter(|b| b.is_candidate()) {
        // Partitions without a table of their own give an empty list.
        let Ok(device) = node(sys, disk) else {
            continue;
        };
        let sectors = disk.kib.saturating_mul(2);
        let table = partition::table(
            &mut BlockReader {
                sys,
                device: &device,
            },
            512,
            Some(sectors),
        );
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

/// The device node of a block device; made by hand where devtmpfs did not.
fn node(sys: &mut dyn System, block: &Block) -> Result<String> {
    let mut path = "/dev/".to_owned();
    path.push_str(&replaced(&block.name, '!', '/'));
    let numbers = (block.major, block.minor);
    match sys.stat(&path) {
        Ok(stat) if stat.kind == Kind::Block && stat.device == numbers => return Ok(path),
        // Something else's link to it.
        Ok(stat) if stat.kind == Kind::Symlink && block.kib == 0 => return Ok(path),
        _ => {}
    }
    path = format!(
        "/dev/overlayroot-{}-{}",
        Number(u64::from(block.major)),
        Number(u64::from(block.minor))
    );
    match sys.make_node(&path, true, block.major, block.minor) {
        Ok(()) | Err(Errno::EEXIST) => Ok(path),
        Err(error) => Err(error),
    }
}

/// What the device is a member of.
fn container(sys: &mut dyn System, device: &str, block: &Block) -> Option<&'static str> {
    let path = format!(
        "/sys/dev/block/{}:{}/size",
        Number(u64::from(block.major)),
        Number(u64::from(block.minor))
    );
    // Exactly, in units of 512 bytes; without sysfs rounded.
    let sectors = read_text(sys, &path)
        .ok()
        .and_then(|text| number(trim_end(&text)))
        .unwrap_or(block.kib.saturating_mul(2));
    superblock::container(&mut BlockReader { sys, device }, sectors)
}

fn probe(sys: &mut dyn System, device: &str) -> Option<Superblock> {
    superblock::probe(&mut BlockReader { sys, device })
}

/// A block device as the parsers read it.
struct BlockReader<'a> {
    sys: &'a mut dyn System,
    device: &'a str,
}

impl ReadAt for BlockReader<'_> {
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> bool {
        self.sys.read_block(self.device, offset, buffer).is_ok()
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
