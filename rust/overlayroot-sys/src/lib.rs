// SPDX-License-Identifier: MIT
//! System edge of overlayroot: observes, executes plans, hands over to the real init.
//!
//! [`System`] is the only door to the kernel. [`linux`] is the real one and the only user of rustix and
//! of unsafe code; [`fake`] is a make-believe board whose every call can be made to fail.
#![no_std]
#![deny(unsafe_code)]
extern crate alloc;
#[cfg(test)]
#[macro_use]
extern crate std;

#[allow(unsafe_code)] // execve and the clock: what rustix cannot do in a program without libc
mod arch;
pub mod bring_up;
pub mod execute;
#[cfg(test)]
mod failures;
#[cfg(test)]
mod fake;
mod find;
pub mod handover;
#[allow(unsafe_code)] // the descriptor of the kernel log
pub mod kmsg;
#[allow(unsafe_code)] // ioctl and descriptors: each use says why it is sound
pub mod linux;
#[cfg(test)]
mod mounting;
pub mod observe;
#[allow(unsafe_code)] // text that ends with a NUL byte
pub mod path;
pub mod resolve;
pub mod run;
pub mod system;
#[cfg(test)]
mod tests;
pub mod verity;

pub use run::{run, Boot, End};
pub use system::System;
