// SPDX-License-Identifier: MIT
//! Who may do what.

use crate::error::{Error, Result};

/// Refuses to everybody but root; `why` ends the sentence "root is needed".
pub fn need_root(why: &str) -> Result<()> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    Err(Error::refused(
        format!("root is needed {why}"),
        "run it as root, or with sudo",
    ))
}
