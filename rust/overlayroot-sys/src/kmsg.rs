// SPDX-License-Identifier: MIT
//! What the init has to say: to the kernel log, and to the console where `quiet` hides the kernel log. The levels are those
//! of the `log` facade; its records and its global logger would cost half a kilobyte.

use core::sync::atomic::{AtomicI32, AtomicU32, Ordering};

use log::Level;
use overlayroot::text::fill;
use rustix::fd::{BorrowedFd, IntoRawFd};
use rustix::fs::OFlags;

use crate::path::open;
use crate::system::Result;

/// Bytes of a line that the kernel takes with what is put around it: a longer one it refuses as a whole
/// (`devkmsg_write()` in `kernel/printk/printk.c`: more than 976 bytes, 1024 since Linux 6.5).
const LONGEST: usize = 900;

/// Lines of a program that the kernel takes in five seconds, unless told otherwise (`devkmsg_open()`).
const BURST: u32 = 10;

/// The kernel log, once [`start`](KmsgLog::start) was called; nothing before.
pub struct KmsgLog {
    /// Open for good, and so wherever `/dev` moves; -1: not yet.
    descriptor: AtomicI32,
    /// Messages below this level the kernel shows on the console.
    console_level: AtomicU32,
    /// Lines until now.
    lines: AtomicU32,
}

/// The logger of the init.
pub static LOG: KmsgLog = KmsgLog {
    descriptor: AtomicI32::new(-1),
    console_level: AtomicU32::new(7),
    lines: AtomicU32::new(0),
};

impl KmsgLog {
    /// Starts to write. `console_level` is the first number of `/proc/sys/kernel/printk`.
    pub fn start(&self, console_level: u32) -> Result<()> {
        self.console_level.store(console_level, Ordering::Relaxed);
        let file = open("/dev/kmsg", OFlags::WRONLY)?;
        self.descriptor.store(file.into_raw_fd(), Ordering::Relaxed);
        Ok(())
    }

    fn write(&self, level: Level, text: &str) {
        let descriptor = self.descriptor.load(Ordering::Relaxed);
        let console_level = self.console_level.load(Ordering::Relaxed);
        if descriptor < 0 || !is_heard(level) {
            return;
        }
        // SAFETY: `start` has opened it, and nothing closes it.
        let kernel_log = unsafe { BorrowedFd::borrow_raw(descriptor) };
        // Priorities of syslog: error 3, warning 4, notice 5, debug 7 (never on the console).
        let (priority, word) = match level {
            Level::Error => ("<3>", "error: "),
            Level::Warn => ("<4>", "warning: "),
            Level::Info => ("<5>", ""),
            _ => ("<7>", ""),
        };
        // Notices are 5. An error is shown by the kernel even when it is quiet.
        let quiet = console_level <= 5 && matches!(level, Level::Warn | Level::Info);
        let text = fill("{}{}", &[word, text]);
        let mut rest = &*text;
        while !rest.is_empty() {
            let (part, more) = split(rest);
            rest = more;
            let line = fill("{}overlayroot: {}\n", &[priority, part]);
            if self.lines.fetch_add(1, Ordering::Relaxed) + 1 == BURST {
                take_more();
            }
            // Nowhere is left to report a failure to.
            let _ = rustix::io::write(kernel_log, line.as_bytes());
            if quiet {
                let flags = OFlags::WRONLY | OFlags::NOCTTY | OFlags::NONBLOCK;
                if let Ok(console) = open("/dev/console", flags) {
                    let line = line.as_bytes().get(3..).unwrap_or_default();
                    let _ = rustix::io::write(&console, line);
                }
            }
        }
    }
}

/// Has the kernel take as many lines as there are. A command line that sets printk.devkmsg= locks this: then lines may be
/// missing from the log.
fn take_more() {
    if let Ok(file) = open("/proc/sys/kernel/printk_devkmsg", OFlags::WRONLY) {
        let _ = rustix::io::write(&file, b"on\n");
    }
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

/// Whether lines of this level are written at all. Those of `Debug` only where the console shows them (`debug`): each costs
/// as much as moving a mount, and the report has what they say.
fn is_heard(level: Level) -> bool {
    level != Level::Debug || LOG.console_level.load(Ordering::Relaxed) > 7
}

/// Logs one line; nothing before the log was started.
#[inline(never)]
pub fn note(level: Level, line: &str) {
    LOG.write(level, line);
}

/// Logs a template, filled in.
#[inline(never)]
pub fn note_filled(level: Level, template: &str, values: &[&str]) {
    // Otherwise not even made.
    if is_heard(level) {
        note(level, &fill(template, values));
    }
}

/// Logs a line, made as by `text!`.
#[macro_export]
macro_rules! say {
    ($level:expr, $template:literal $($values:tt)*) => {
        $crate::kmsg::note_filled($level, $template, overlayroot::values!($template $($values)*))
    };
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
