// SPDX-License-Identifier: MIT
//! Carries changes out and tells what came of them: the end of `enable`, `disable` and `size`.

use serde::Serialize;

use super::{change, look_at, Change, NextBoot, Store, Wanted};
use crate::error::Result;
use crate::exit;
use crate::output::{Output, Tone};
use crate::quoting::{self, Quote};

/// What was done, with `--json`.
#[derive(Serialize)]
struct Outcome<'a> {
    store: String,
    /// Written, read back, and found to be there.
    changes: &'a [Change],
    next_boot: NextBoot,
}

/// Writes, reads back, and prints the changes and then `says`, which is about the next boot and the way back:
/// it is true where the next boot is as `wanted`, and nothing is written otherwise.
pub fn carry_out(
    store: &dyn Store,
    changes: &[Change],
    output: &Output,
    wanted: &Wanted<'_>,
    says: &str,
) -> Result<u8> {
    change(store, changes, wanted)?;
    let outcome = Outcome {
        store: store.name(),
        changes,
        next_boot: look_at(store)?,
    };
    output.print(&outcome, |out| {
        writeln!(out, "{}:", quoting::line(&outcome.store))?;
        if changes.is_empty() {
            writeln!(out, "  says so already; nothing was written")?;
        }
        for Change { name, from, to } in changes {
            let before = from.as_ref().map_or("not set".to_owned(), |from| {
                format!("it was {}", from.quoted())
            });
            match to {
                Some(to) => writeln!(out, "  {name}={} ({before})", to.quoted())?,
                None => writeln!(out, "  {name} removed ({before})")?,
            }
        }
        for warning in &outcome.next_boot.warnings {
            let tone = output.tone(Tone::Warning, "warning:");
            writeln!(out, "{tone} {}", quoting::line(warning))?;
        }
        writeln!(out, "{says}")
    })?;
    Ok(exit::DONE)
}
