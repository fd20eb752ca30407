// SPDX-License-Identifier: MIT
//! Pure core of overlayroot: what the command line says, what the disk says, and what follows from both.
//!
//! Nothing here makes a system call: every decision is a value that a test can build and compare.
//! Data flows one way: [`cmdline`] and [`config`] become [`settings`]; with [`facts`] they become a
//! [`plan`], a list of [`step`]s; what became of it is a [`report`].
#![no_std]
#![forbid(unsafe_code)]
extern crate alloc;
#[cfg(test)]
#[macro_use]
extern crate std;

pub mod cmdline;
pub mod config;
pub mod device;
pub mod dm;
pub mod errno;
pub mod facts;
pub mod fstab;
mod json;
pub mod ladder;
pub mod modules;
pub mod mountinfo;
pub mod options;
pub mod partition;
pub mod partitions;
pub mod plan;
pub mod report;
pub mod settings;
pub mod size;
pub mod step;
pub mod superblock;
pub mod text;
pub mod uevent;
pub mod verity;
mod ways;
