// SPDX-License-Identifier: MIT
//! Hostile input for every parser: whatever comes in, the assertions here hold. Each module has one
//! `run(data)`, and where it says what is right, a reader of its own, written from the format's definition
//! and not from the code under test.

extern crate alloc;

pub mod boot;
pub mod cmdline;
pub mod config;
pub mod disk;
pub mod environment;
pub mod fstab;
pub mod input;
pub mod modules;
pub mod mountinfo;
pub mod options;
pub mod partition;
pub mod report;
pub mod superblock;
pub mod uenv;
pub mod uevent;

// The make-believe board of overlayroot-sys's own tests, which finds `System` by this name.
#[allow(missing_docs, dead_code)]
#[path = "../../overlayroot-sys/src/fake.rs"]
mod fake;
use overlayroot_sys::system;

/// A name, and what runs one input.
pub type Target = (&'static str, fn(&[u8]));

/// Every target, the riskiest first: what a card that somebody plugs in holds, then what root writes.
pub const TARGETS: &[Target] = &[
    ("superblock", superblock::run),
    ("partition", partition::run),
    ("fstab", fstab::run),
    ("cmdline", cmdline::run),
    ("environment", environment::run),
    ("boot", boot::run),
    ("uenv", uenv::run),
    ("mountinfo", mountinfo::run),
    ("config", config::run),
    ("report", report::run),
    ("uevent", uevent::run),
    ("modules", modules::run),
    ("options", options::run),
];
