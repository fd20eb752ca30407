// SPDX-License-Identifier: MIT
//! PID 1 of the initramfs: mounts the root read-only, stacks RAM on top, starts the real init.
//!
//! Built without std and libc, for size, and because std aborts before `main` when descriptors 0 to 2
//! are closed and /dev/null is missing.
#![no_std]
#![no_main]
extern crate alloc;

use core::ffi::c_char;

use overlayroot_sys::linux::{fill_standard_descriptors, Linux};
use overlayroot_sys::{run, Boot};

#[path = "runtime/mod.rs"]
mod runtime;

const PROGRAM: &str = concat!("overlayroot-init ", env!("CARGO_PKG_VERSION"));
const USAGE: &str = concat!(
    "overlayroot-init ",
    env!("CARGO_PKG_VERSION"),
    "\nPID 1 of an initramfs: boots with a read-only root and RAM on top of it.\n\
     It is no command to run by hand: put it into an initramfs as /init.\n\
     See docs/boot-flow.md and docs/parameters.md.\n"
);

/// Where the runtime arrives with the stack that the kernel laid out.
///
/// # Safety
/// `argv` and `envp` are the null-terminated arrays at the start of the process's stack.
unsafe fn start(argc: usize, argv: *const *const c_char, envp: *const *const c_char) -> i32 {
    if rustix::process::getpid().as_raw_nonzero().get() != 1 || argc == 0 {
        runtime::say(USAGE.as_bytes());
        return 2;
    }
    fill_standard_descriptors();
    // SAFETY: both arrays are the kernel's and live as long as the process.
    let mut sys = unsafe { Linux::new(argv, envp) };
    run(&mut sys, Boot { program: PROGRAM });
    1
}
