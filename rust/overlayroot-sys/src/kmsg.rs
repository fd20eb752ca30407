// SPDX-License-Identifier: MIT
//! What the init has to say: to the kernel log, and to the console where `quiet` hides the kernel log. The levels are those
//! of the `log` facade; its records and its global logger would cost half a kilobyte.

use alloc::string::String;
use core::sync::atomic::{AtomicBool, Ordering};

use log::Level;
use rustix::fs::OFlags;

use crate::path::open;

/// Bytes of a line that the kernel takes with what is put around it: a longer one it refuses as a whole
/// (`devkmsg_write()` in `kernel/printk/printk.c`: more than 976 bytes, 1024 since Linux 6.5).
const LONGEST: usize = 900;

/// The kernel log, once [`start`](KmsgLog::start) was called; nothing before.
pub struct KmsgLog {
    started: AtomicBool,
    quiet: AtomicBool,
}

/// The logger of the init.
pub static LOG: KmsgLog = KmsgLog {
    started: AtomicBool::new(false),
    quiet: AtomicBool::new(false),
};

impl KmsgLog {
    /// Starts to write; `quiet`: the kernel does not show warnings on the console.
    pub fn start(&self, quiet: bool) {
        self.quiet.store(quiet, Ordering::Relaxed);
        self.started.store(true, Ordering::Relaxed);
    }

    fn write(&self, level: Level, text: &str) {
        if !self.started.load(Ordering::Relaxed) {
            return;
        }
        // Priorities of syslog: error 3, warning 4, notice 5, debug 7 (never on the console).
        let (priority, word) = match level {
            Level::Error => ("<3>", "error: "),
            Level::Warn => ("<4>", "warning: "),
            Level::Info => ("<5>", ""),
            _ => ("<7>", ""),
        };
        // An error is shown by the kernel even when it is quiet.
        let quiet =
            self.quiet.load(Ordering::Relaxed) && matches!(level, Level::Warn | Level::Info);
        let text = joined(word, text);
        let mut rest = &*text;
        while !rest.is_empty() {
            let (part, more) = split(rest);
            rest = more;
            let mut line = joined(priority, "overlayroot: ");
            line.push_str(part);
            line.push('\n');
            write_to("/dev/kmsg", &line);
            if quiet {
                write_to("/dev/console", line.get(3..).unwrap_or_default());
            }
        }
    }
}

/// Two texts. (`concat` has the room of all that it could do.)
fn joined(first: &str, second: &str) -> String {
    let mut text = String::from(first);
    text.push_str(second);
    text
}

/// As much as a line of the kernel log takes, and the rest.
fn split(text: &str) -> (&str, &str) {
    let mut at = LONGEST.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    let (part, more) = (text.get(..at), text.get(at..));
    (part.unwrap_or_default(), more.unwrap_or_default())
}

/// Opened for each line: the device moves into the new root in between.
fn write_to(path: &str, line: &str) {
    let flags = OFlags::WRONLY | OFlags::NOCTTY | OFlags::NONBLOCK;
    if let Ok(file) = open(path, flags) {
        // Nowhere is left to report a failure to.
        let _ = rustix::io::write(&file, line.as_bytes());
    }
}

/// Logs one line; nothing before the log was started.
#[inline(never)]
pub fn note(level: Level, line: &str) {
    LOG.write(level, line);
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    #[test]
    fn long_lines_are_cut_between_characters() {
        assert_eq!(split("short"), ("short", ""));
        let text = format!("{}\u{20ac}x", "z".repeat(LONGEST - 1));
        assert_eq!(split(&text), (&*"z".repeat(LONGEST - 1), "\u{20ac}x"));
        let text = "z".repeat(LONGEST);
        assert_eq!(split(&text), (&*text, ""));
    }
}
