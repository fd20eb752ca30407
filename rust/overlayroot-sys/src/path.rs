// SPDX-License-Identifier: MIT
//! Paths as system calls take them, and files that are opened by them.

use alloc::vec::Vec;
use core::ffi::CStr;
use core::ops::Deref;

use overlayroot::errno::Errno;
use rustix::fd::OwnedFd;
use rustix::fs::{openat, Mode, OFlags, CWD};
use rustix::io;

use crate::system::Result;

/// Ours of rustix's.
pub fn errno(error: io::Errno) -> Errno {
    Errno(error.raw_os_error())
}

/// Text as the kernel takes it: ended by a NUL byte, with none inside. Made once, here, as every
/// conversion that rustix does by itself is code of its own in the init.
pub struct CText(Vec<u8>);

/// The text, ended.
#[inline(never)]
pub fn c(text: &str) -> Result<CText> {
    if text.as_bytes().contains(&0) {
        return Err(Errno::EINVAL);
    }
    let mut bytes = Vec::with_capacity(text.len() + 1);
    bytes.extend_from_slice(text.as_bytes());
    bytes.push(0);
    Ok(CText(bytes))
}

/// The text of a literal, which ends with a NUL byte. (A `c"..."` needs Rust 1.77.)
macro_rules! literal {
    ($text:literal) => {
        // SAFETY: one NUL byte, the last one, as nobody writes one into a literal here.
        unsafe { CStr::from_bytes_with_nul_unchecked(concat!($text, "\0").as_bytes()) }
    };
}

/// No path: the file that the descriptor is of (`AT_EMPTY_PATH`).
pub const NO_PATH: &CStr = literal!("");
/// The root of this process.
pub const ROOT: &CStr = literal!("/");

impl Deref for CText {
    type Target = CStr;

    fn deref(&self) -> &CStr {
        // SAFETY: `c` has made it: one NUL byte, the last one.
        unsafe { CStr::from_bytes_with_nul_unchecked(&self.0) }
    }
}

/// Opens a file that is there.
#[inline(never)]
pub fn open(path: &str, flags: OFlags) -> Result<OwnedFd> {
    create(path, flags, 0)
}

/// Opens a file, and makes it if the flags say so.
pub fn create(path: &str, flags: OFlags, mode: u32) -> Result<OwnedFd> {
    let (flags, mode) = (flags | OFlags::CLOEXEC, Mode::from_raw_mode(mode));
    openat(CWD, &*c(path)?, flags, mode).map_err(errno)
}
