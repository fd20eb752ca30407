// SPDX-License-Identifier: MIT
//! `--wait`: how long a command waits for what it needs.

use std::time::{Duration, Instant};

use clap::{value_parser, Arg, ArgMatches, Command};

use crate::error::Result;
use crate::output::tell;
use crate::quoting;

/// How often it is looked whether it is there.
const PAUSE: Duration = Duration::from_millis(100);
/// What `--wait` without a number means, seconds.
const DEFAULT: &str = "60";
/// Longest wait, seconds: a day.
const LONGEST: u64 = 86_400;

/// How long to wait; not at all by default.
#[derive(Clone, Copy, Debug, Default)]
pub struct Patience(Duration);

impl Patience {
    /// Adds the option to a command that waits for `what`.
    pub fn define(command: Command, what: &str) -> Command {
        command.arg(
            Arg::new("wait")
                .long("wait")
                .value_name("SECONDS")
                .num_args(0..=1)
                .require_equals(true)
                .default_missing_value(DEFAULT)
                .value_parser(value_parser!(u64).range(0..=LONGEST))
                .help(format!(
                    "Wait for {what}, {DEFAULT} seconds or as many as are given"
                )),
        )
    }

    /// Takes the option of [`Patience::define`].
    pub fn from_matches(matches: &ArgMatches) -> Patience {
        let seconds = matches.get_one::<u64>("wait");
        Patience(Duration::from_secs(seconds.copied().unwrap_or(0)))
    }

    /// Tries until it is `true`, or patience is at its end: then `false`. Says once that it waits, and for what.
    pub fn until(self, what: &str, mut attempt: impl FnMut() -> Result<bool>) -> Result<bool> {
        let start = Instant::now();
        let mut told = false;
        loop {
            if attempt()? {
                return Ok(true);
            }
            if start.elapsed() >= self.0 {
                return Ok(false);
            }
            if !told {
                told = true;
                tell(&format!("waiting for {}", quoting::line(what)));
            }
            std::thread::sleep(PAUSE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_ends() {
        let mut tries = 0;
        let mut third = || {
            tries += 1;
            Ok(tries == 3)
        };
        assert!(!Patience::default().until("x", || Ok(false)).unwrap());
        assert!(Patience(Duration::from_secs(600))
            .until("x", &mut third)
            .unwrap());
        let start = Instant::now();
        let short = Patience(Duration::from_millis(250));
        assert!(!short.until("x", || Ok(false)).unwrap());
        assert!(start.elapsed() >= Duration::from_millis(250));
    }

    #[test]
    fn seconds_are_behind_an_equals_sign() {
        let seconds = |arguments: &[&str]| {
            let command = Patience::define(Command::new("x"), "y").arg(Arg::new("path"));
            let words = std::iter::once("x").chain(arguments.iter().copied());
            let matches = command.try_get_matches_from(words).ok()?;
            Some(Patience::from_matches(&matches).0.as_secs())
        };
        assert_eq!(seconds(&[]), Some(0));
        assert_eq!(seconds(&["--wait"]), Some(60));
        assert_eq!(seconds(&["--wait", "7"]), Some(60)); // a path
        assert_eq!(seconds(&["--wait=7"]), Some(7));
        assert_eq!(seconds(&["--wait=-1"]), None);
        assert_eq!(seconds(&["--wait=86401"]), None);
    }
}
