// SPDX-License-Identifier: MIT
//! Requests to device-mapper as bytes: `struct dm_ioctl` and `struct dm_target_spec` of `linux/dm-ioctl.h`.

use alloc::vec;
use alloc::vec::Vec;

use crate::device::decode_number;
use crate::superblock::le32;

/// Where device-mapper takes requests.
pub const CONTROL: &str = "/dev/mapper/control";
/// Size of `struct dm_ioctl`.
pub const HEADER: usize = 312;
/// Size of `struct dm_target_spec`.
const SPEC: usize = 40;
/// `DM_READONLY_FLAG`.
const READ_ONLY: u8 = 1;

/// What device-mapper is told to do: numbers of its ioctls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the kernel's names
pub enum Command {
    DevCreate = 3,
    DevRemove = 4,
    /// Without a flag that asks for suspending it resumes: the table that was loaded comes into force.
    DevSuspend = 6,
    TableLoad = 9,
    TableStatus = 12,
}

/// A request about the device `name`; room for an answer of `room` bytes after the header.
pub fn request(name: &str, room: usize) -> Vec<u8> {
    let mut bytes = vec![0; HEADER + room];
    // Version 4.0.0 of the interface, where the data begins, how many targets, and flags.
    for &(at, byte) in &[
        (0, 4),
        (16, HEADER as u8),
        (17, 1),
        (20, 1),
        (28, READ_ONLY),
    ] {
        put(&mut bytes, at, &[byte]);
    }
    put(&mut bytes, 48, name.as_bytes());
    bytes
}

/// A request that loads a table of one target.
pub fn load(name: &str, target: &str, sectors: u64, parameters: &str) -> Vec<u8> {
    // Parameters end with a NUL byte; the length is a multiple of eight.
    let mut bytes = request(name, SPEC + (parameters.len() + 8) / 8 * 8);
    put(&mut bytes, HEADER + 8, &sectors.to_le_bytes());
    put(&mut bytes, HEADER + 24, target.as_bytes());
    put(&mut bytes, HEADER + SPEC, parameters.as_bytes());
    bytes
}

/// Major and minor number of the device, from an answer.
pub fn numbers(answer: &[u8]) -> (u32, u32) {
    decode_number(le32(answer, 40).unwrap_or_default())
}

/// What the first target says of itself, from an answer to `TableStatus`.
pub fn status(answer: &[u8]) -> Option<&[u8]> {
    let start = usize::try_from(le32(answer, 16)?).ok()?;
    let text = answer.get(start.checked_add(SPEC)?..)?;
    text.split(|&byte| byte == 0).next()
}

fn put(bytes: &mut [u8], at: usize, what: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + what.len()) {
        place.copy_from_slice(what);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout_of_a_request() {
        let bytes = load("root", "verity", 0x1234, "1 2:3");
        assert_eq!(bytes.len(), 312 + 40 + 8);
        assert_eq!(bytes[..12], [4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!((le32(&bytes, 16), le32(&bytes, 20)), (Some(312), Some(1)));
        assert_eq!(le32(&bytes, 28), Some(1));
        assert_eq!(&bytes[48..53], b"root\0");
        assert_eq!(&bytes[320..328], &[0x34, 0x12, 0, 0, 0, 0, 0, 0]);
        assert_eq!(&bytes[336..343], b"verity\0");
        assert_eq!(&bytes[352..360], b"1 2:3\0\0\0");
        // The NUL byte always has room.
        assert_eq!(load("", "", 0, "12345678").len(), 312 + 40 + 16);
    }

    #[test]
    fn answers() {
        let mut bytes = request("x", 64);
        put(&mut bytes, 40, &0x0010_fd01u32.to_le_bytes());
        assert_eq!(numbers(&bytes), (253, 257));
        put(&mut bytes, 352, b"C");
        assert_eq!(status(&bytes), Some(&b"C"[..]));
        put(&mut bytes, 16, &0xffff_fff0u32.to_le_bytes());
        assert_eq!(status(&bytes), None);
        assert_eq!((numbers(&[]), status(&[])), ((0, 0), None));
    }
}
