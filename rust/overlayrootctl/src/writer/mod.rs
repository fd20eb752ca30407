// SPDX-License-Identifier: MIT
//! Changes become permanent: they are planned, refused as a whole or not at all, and written so that a cut
//! leaves each file as it was or as it is to be.

pub mod area;
#[cfg(test)]
mod hostile;
pub mod in_use;
pub mod planning;
pub mod writing;
