// SPDX-License-Identifier: MIT
//! Watching the RAM layer: [`level`] decides when to speak, [`writers`] who filled it, [`notice`] speaks.

pub mod level;
pub mod notice;
pub mod writers;
