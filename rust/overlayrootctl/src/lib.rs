// SPDX-License-Identifier: MIT
//! `overlayrootctl`: see, keep, undo and switch what the overlayroot init does, on the running board.
//!
//! One file per command in [`commands`]. What a command prints goes through [`output`], what went wrong
//! through [`error`], what the caller's script sees through [`exit`].

pub mod archive;
pub mod blockdev;
pub mod bootenv;
pub mod bootreport;
pub mod caller;
pub mod cgroup;
pub mod cli;
pub mod commands;
pub mod commitlist;
pub mod container;
pub mod devicelock;
pub mod error;
pub mod exit;
pub mod guardian;
pub mod holders;
pub mod jsonpath;
pub mod layers;
pub mod live;
pub mod othermounts;
pub mod output;
pub mod paths;
pub mod privilege;
pub mod progress;
pub mod quoting;
pub mod ramlayer;
pub mod readonly;
pub mod remount;
pub mod rootlock;
mod signals;
pub mod text;
pub mod usage;
pub mod verdict;
pub mod verity;
pub mod waiting;
pub mod watch;
pub mod writable;
pub mod writer;
