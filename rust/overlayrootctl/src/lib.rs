// SPDX-License-Identifier: MIT
//! `overlayrootctl`: see, keep, undo and switch what the overlayroot init does, on the running board.
//!
//! One file per command in [`commands`]. What a command prints goes through [`output`], what went wrong
//! through [`error`], what the caller's script sees through [`exit`].

pub mod bootenv;
pub mod cli;
pub mod commands;
pub mod error;
pub mod exit;
pub mod output;
pub mod ramlayer;
