// SPDX-License-Identifier: MIT
//! What dm-verity has seen since the boot.

use overlayroot::dm::{self, Command};
use overlayroot::verity::NAME;
use overlayroot_sys::linux::Linux;
use overlayroot_sys::System;

/// Room for an answer: that of dm-verity is a letter.
const ROOM: usize = 256;

/// Whether a block was read that does not fit the root hash; `None` when the kernel does not say.
pub fn is_corrupted() -> Option<bool> {
    let mut request = dm::request(NAME, ROOM);
    Linux::without_arguments()
        .device_mapper(Command::TableStatus, &mut request)
        .ok()?;
    // "V" or "C" (Documentation/admin-guide/device-mapper/verity.rst, "Status").
    match dm::status(&request)?.first()? {
        b'V' => Some(false),
        b'C' => Some(true),
        _ => None,
    }
}
