// SPDX-License-Identifier: MIT
//! Exit codes. `status --check` has those of monitoring plugins instead (see `commands/status.rs`).

use nix::sys::signal::Signal;

/// Done.
pub const DONE: u8 = 0;
/// Failed; the message says what, and what of it took effect.
pub const FAILED: u8 = 1;
/// Refused before anything was changed.
pub const REFUSED: u8 = 3;
/// Done or not, but the real root could not be made read-only again.
pub const STILL_WRITABLE: u8 = 4;
/// The command line is wrong (`EX_USAGE` of `sysexits.h`; 2 means "critical" to monitoring).
pub const USAGE: u8 = 64;

/// Interrupted, as shells have it: 128 and the number of the signal.
pub fn of_signal(signal: Signal) -> u8 {
    128 + signal as u8
}

/// Exit codes of the tool itself in `edit`, which passes on that of its command: those of env(1) and
/// nohup(1), which few programs have.
pub mod edit {
    /// The real root could not be made read-only again, whatever the command did.
    pub const STILL_WRITABLE: u8 = 124;
    /// The command was not run; nothing was changed.
    pub const NOT_RUN: u8 = 125;
    /// The command was found in the real root, but cannot be run.
    pub const CANNOT_RUN: u8 = 126;
    /// The command is not in the real root.
    pub const NOT_FOUND: u8 = 127;
}

/// That of a wrong command line.
pub fn usage(command: &str) -> u8 {
    match command {
        "edit" => edit::NOT_RUN,
        _ => USAGE,
    }
}

/// The same for `--help` and the manual page.
pub const CODES: &str =
    "0 done; 1 failed; 3 refused, nothing was changed; 4 the real root could not be made \
                         read-only again; 64 wrong command line; 130 interrupted by Ctrl-C, 143 by SIGTERM.";
/// What else changes what the program does.
pub const ENVIRONMENT: &str =
    "RUST_LOG=debug shows what is done; NO_COLOR turns colours off, and so does TERM=dumb.";
