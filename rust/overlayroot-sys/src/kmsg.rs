// SPDX-License-Identifier: MIT
//! Logger for the `log` facade: the kernel log, and the console where `quiet` hides the kernel log.

use alloc::string::String;
use core::fmt::Write as _;
use core::sync::atomic::{AtomicBool, Ordering};

use log::{Level, Log, Metadata, Record};
use rustix::fs::OFlags;

use crate::linux::open;

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
}

impl Log for KmsgLog {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        self.started.load(Ordering::Relaxed)
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        // Priorities of syslog: error 3, warning 4, notice 5, debug 7 (never on the console).
        let (priority, word) = match record.level() {
            Level::Error => ("<3>", "error: "),
            Level::Warn => ("<4>", "warning: "),
            Level::Info => ("<5>", ""),
            _ => ("<7>", ""),
        };
        let mut line = String::from(priority);
        // Writing to a String cannot fail.
        let _ = writeln!(line, "overlayroot: {word}{}", record.args());
        write_to("/dev/kmsg", &line);
        // An error is shown by the kernel even when it is quiet.
        if self.quiet.load(Ordering::Relaxed) && matches!(record.level(), Level::Warn | Level::Info)
        {
            write_to("/dev/console", line.get(3..).unwrap_or_default());
        }
    }

    fn flush(&self) {}
}

/// Opened for each line: the device moves into the new root in between.
fn write_to(path: &str, line: &str) {
    let flags = OFlags::WRONLY | OFlags::NOCTTY | OFlags::NONBLOCK;
    if let Ok(file) = open(path, flags) {
        // Nowhere is left to report a failure to.
        let _ = rustix::io::write(&file, line.as_bytes());
    }
}

/// Logs one line: a call of a function at each place, not a whole record.
#[inline(never)]
pub fn note(level: Level, line: &str) {
    log::log!(level, "{line}");
}
