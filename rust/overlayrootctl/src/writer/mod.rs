// SPDX-License-Identifier: MIT
//! Changes become permanent: they are planned, refused as a whole or not at all, and written so that a cut
//! leaves each file as it was or as it is to be. What they replace stays for a while, and can be brought back.
//!
//! [`planning`] says what to write, [`staging`] makes the copies, [`publishing`] puts them into place. What was
//! done is in a [`record`]; [`undo`] is the way back, [`retention`] its end.

pub mod area;
mod folders;
#[cfg(test)]
mod hostile;
pub mod in_use;
pub mod planning;
pub mod publishing;
pub mod record;
pub mod retention;
pub mod staging;
pub mod undo;
