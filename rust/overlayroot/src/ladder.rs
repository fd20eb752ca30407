// SPDX-License-Identifier: MIT
//! All that a boot would do, rung by rung, as text: what golden tests and `overlayrootctl plan` show.

use alloc::format;
use alloc::string::String;

use crate::facts::Facts;
use crate::plan::{plan, Mode};
use crate::settings::Settings;

/// The plan of the wanted mode, then that of each mode it would degrade to.
pub fn describe(settings: &Settings, facts: &Facts) -> String {
    let mut text = String::new();
    let mut rung = Some(Mode::wanted(settings));
    while let Some(mode) = rung {
        text.push_str(&match plan(mode, settings, facts) {
            Ok(plan) => format!("{plan}"),
            Err(error) => format!("mode: {}: {error}\n", mode.as_str()),
        });
        rung = mode.degrade(settings.fail).filter(|_| facts.root.is_some());
        text.push_str(if rung.is_some() {
            "if that fails:\n"
        } else {
            "if that fails: reboot\n"
        });
    }
    text
}
