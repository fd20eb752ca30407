// SPDX-License-Identifier: MIT
//! The device whose blocks the kernel verifies as they are read, through device-mapper.

use overlayroot::dm::{self, Command, CONTROL};
use overlayroot::errno::Errno;
use overlayroot::verity::{DEVICE, NAME};

use crate::bring_up::make_dir;
use crate::system::{Kind, Result, System, LOOK_AGAIN};

/// `MAPPER_CTRL_MINOR` of `linux/miscdevice.h`.
const CONTROL_NUMBER: (u32, u32) = (10, 236);
/// How long a digest may take to become usable, microseconds.
const PATIENCE: u64 = 5_000_000;

/// Makes the device, read-only, and its node; returns its numbers.
pub fn open(sys: &mut impl System, sectors: u64, table: &str) -> Result<(u32, u32)> {
    make_dir(sys, "/dev/mapper")?;
    node(sys, CONTROL, false, CONTROL_NUMBER)?;
    let mut created = dm::request(NAME, 0);
    sys.device_mapper(Command::DevCreate, &mut created)?;
    let numbers = dm::numbers(&created);
    let opened = load(sys, sectors, table)
        .and_then(|()| sys.device_mapper(Command::DevSuspend, &mut dm::request(NAME, 0)))
        .and_then(|()| node(sys, DEVICE, true, numbers));
    if let Err(error) = opened {
        let _ = close(sys); // the first error says more
        return Err(error);
    }
    Ok(numbers)
}

/// Loads the table. Early in a boot the kernel may still be testing SHA-256, and calls it broken until it has.
fn load(sys: &mut impl System, sectors: u64, table: &str) -> Result<()> {
    let deadline = sys.now() + PATIENCE;
    loop {
        let mut request = dm::load(NAME, "verity", sectors, table);
        match sys.device_mapper(Command::TableLoad, &mut request) {
            Err(Errno::ELIBBAD) if sys.now() < deadline => sys.wait(LOOK_AGAIN)?,
            other => return other,
        };
    }
}

/// Takes the device away again.
pub fn close(sys: &mut impl System) -> Result<()> {
    sys.device_mapper(Command::DevRemove, &mut dm::request(NAME, 0))
}

/// Makes a device node, unless it is there.
fn node(sys: &mut impl System, path: &str, block: bool, numbers: (u32, u32)) -> Result<()> {
    match sys.make_node(path, block, numbers.0, numbers.1) {
        Err(Errno::EEXIST) => match sys.stat(path) {
            Ok(stat) if stat.device == numbers && (stat.kind == Kind::Block) == block => Ok(()),
            _ => Err(Errno::EEXIST),
        },
        other => other,
    }
}
