// SPDX-License-Identifier: MIT
//! The layers below `/`, and what one says about the other.

pub mod changes;
pub mod compare;
pub mod content;
pub mod copy;
pub mod descent;
pub mod dir;
pub mod inside;
pub mod marks;
pub mod view;
