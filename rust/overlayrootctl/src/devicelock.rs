// SPDX-License-Identifier: MIT
//! The lock of `ofs-lock=yes`: the device of the real root refuses writes (`BLKROSET`), but while this tool
//! writes to it.

use overlayroot::settings::yes_or_no;
use overlayroot_sys::linux::Linux;
use overlayroot_sys::System;

use crate::blockdev;
use crate::bootreport::BootReport;
use crate::error::{Error, Result};
use crate::live::Layers;

/// Whether the init was told to keep the device locked, so that a lock is its, and this tool may open it.
pub fn is_wanted() -> bool {
    let report = BootReport::read().ok().flatten();
    let lock = report
        .as_ref()
        .and_then(|report| report.setting("ofs-lock"));
    lock.is_some_and(|said| yes_or_no(&said.value) == Some(true))
}

/// Whether the device of the real root refuses writes.
pub fn is_locked(layers: &Layers) -> bool {
    blockdev::is_read_only(layers.lower.major, layers.lower.minor) == Some(true)
}

/// Unlocks the device of the real root.
pub fn unlock(layers: &Layers) -> Result<()> {
    set(&layers.lower.source, false)?;
    if !is_locked(layers) {
        return Ok(());
    }
    lock_again(layers);
    Err(Error::refused(
        format!("{} is write-protected", layers.lower.source),
        "the card itself refuses writes: take its protection off",
    ))
}

/// Locks the device of the real root again, or says loudly that it could not.
pub fn lock_again(layers: &Layers) {
    let device = &layers.lower.source;
    if let Err(error) = set(device, true) {
        log::error!("the device stays unlocked: {error}; blockdev --setro {device}");
    }
}

fn set(device: &str, read_only: bool) -> Result<()> {
    let operation = match read_only {
        true => "lock",
        false => "unlock",
    };
    Linux::without_arguments()
        .set_block_read_only(device, read_only)
        .map_err(|errno| std::io::Error::from_raw_os_error(errno.0))
        .map_err(Error::system(operation, device))
}
