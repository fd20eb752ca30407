// SPDX-License-Identifier: MIT
//! Uevents: only a whole field counts.

use overlayroot::uevent::concerns_block;

/// One input: a datagram.
pub fn run(data: &[u8]) {
    let padded = [b"\0", data, b"\0"].concat();
    let has = |field: &[u8]| {
        let field = [b"\0", field, b"\0"].concat();
        padded.windows(field.len()).any(|window| window == field)
    };
    let expected = has(b"SUBSYSTEM=block") && !has(b"ACTION=remove");
    assert_eq!(concerns_block(data), expected);
}
