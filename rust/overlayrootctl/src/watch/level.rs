// SPDX-License-Identifier: MIT
//! How full is too full: levels, and when one is left again.

use serde::Serialize;

/// How full the RAM layer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Normal,
    /// It fills.
    Warning,
    /// It is about to be full: programs will fail to write.
    Critical,
}

impl Level {
    /// Its word, as in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Normal => "normal",
            Level::Warning => "warning",
            Level::Critical => "critical",
        }
    }
}

/// Percent in use at which a level begins.
#[derive(Clone, Copy, Debug)]
pub struct Thresholds {
    /// `Warning` from here on.
    pub warning: u64,
    /// `Critical` from here on.
    pub critical: u64,
}

/// A level is left when this many percent less are in use than where it begins, so that a log that is
/// rotated does not make a message each time.
const SLACK: u64 = 5;

impl Thresholds {
    /// The level after `now` when `percent` are in use.
    pub fn next(&self, now: Level, percent: u64) -> Level {
        let begins = |level| match level {
            Level::Normal => 0,
            Level::Warning => self.warning,
            Level::Critical => self.critical,
        };
        let reached = |level: Level| match level <= now {
            true => percent + SLACK > begins(level),
            false => percent >= begins(level),
        };
        [Level::Critical, Level::Warning]
            .into_iter()
            .find(|level| reached(*level))
            .unwrap_or(Level::Normal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Thresholds = Thresholds {
        warning: 80,
        critical: 95,
    };

    #[test]
    fn up_at_once_down_with_slack() {
        use Level::{Critical, Normal, Warning};
        for (now, percent, next) in [
            (Normal, 79, Normal),
            (Normal, 80, Warning),
            (Normal, 95, Critical),
            (Warning, 94, Warning),
            (Warning, 76, Warning),
            (Warning, 75, Normal),
            (Warning, 95, Critical),
            (Critical, 91, Critical),
            (Critical, 90, Warning),
            (Critical, 76, Warning),
            (Critical, 75, Normal),
            (Critical, 0, Normal),
        ] {
            assert_eq!(AT.next(now, percent), next, "{now:?} {percent}");
        }
    }

    #[test]
    fn no_message_for_each_small_change() {
        let mut level = Level::Normal;
        let mut messages = 0;
        for percent in [78, 81, 79, 82, 78, 80, 76, 79, 81, 70, 81] {
            let next = AT.next(level, percent);
            messages += u32::from(next != level);
            level = next;
        }
        assert_eq!(messages, 3); // up, down at 70, up
    }
}
