// SPDX-License-Identifier: MIT
//! Error numbers of the kernel and their names.

use alloc::borrow::ToOwned;
use alloc::string::String;

use crate::text;
use crate::text::{decimal, shown};

/// An error number as a system call gives it: positive, as in `asm-generic/errno-base.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(pub i32);

macro_rules! errnos {
    ($($name:ident = $number:literal),* $(,)?) => {
        #[allow(missing_docs)] // the kernel's names, one for one
        impl Errno {
            $(pub const $name: Errno = Errno($number);)*

            /// Symbolic name, such as `ENODEV`; `None` for a number that mounting does not give.
            pub fn name(self) -> Option<&'static str> {
                // No table of pairs: each would be 24 bytes, most of them of an address and a length.
                const NUMBERS: &[u8] = &[$($number),*];
                const NAMES: &str = concat!($(stringify!($name), " "),*);
                let at = NUMBERS.iter().position(|number| i32::from(*number) == self.0)?;
                NAMES.split(' ').nth(at)
            }
        }
    };
}

errnos! {
    EPERM = 1, ENOENT = 2, EIO = 5, ENXIO = 6, E2BIG = 7, ENOEXEC = 8, EBADF = 9, EAGAIN = 11, ENOMEM = 12,
    EACCES = 13, ENOTBLK = 15, EBUSY = 16, EEXIST = 17, ENODEV = 19, ENOTDIR = 20, EISDIR = 21,
    EINVAL = 22, ENFILE = 23, EMFILE = 24, ENOTTY = 25, EFBIG = 27, ENOSPC = 28, EROFS = 30,
    ENAMETOOLONG = 36, ENOSYS = 38, ENOTEMPTY = 39, ELOOP = 40, EBADMSG = 74, ELIBBAD = 80, EOPNOTSUPP = 95, ETIMEDOUT = 110, ENOMEDIUM = 123,
    EKEYREJECTED = 129, EUCLEAN = 117,
}

impl Errno {
    /// The name, or the number where there is none.
    #[inline(never)]
    pub fn text(self) -> String {
        match self.name() {
            Some(name) => name.to_owned(),
            None => text!("errno {}", decimal(self.0 as u64)),
        }
    }
}

shown!(Errno);
