// SPDX-License-Identifier: MIT
//! How far the work is, for who waits at a terminal: one line on standard error, which goes when there is
//! something else to say. Nothing is shown in the first second, nor where standard error is no terminal, or one
//! that this program is in the background of, nor with `--json`.

use std::io::{IsTerminal, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::{signals, text};

/// What is done in less than this needs no progress.
const QUIET: Duration = Duration::from_secs(1);
/// How often the line is written: a serial console is slow.
const PAUSE: Duration = Duration::from_millis(200);
/// Width of a terminal that does not know its own, as serial consoles, characters.
const WIDTH: u16 = 80;

static STATE: Mutex<Option<State>> = Mutex::new(None);
static SWITCHED_OFF: AtomicBool = AtomicBool::new(false);

struct State {
    what: &'static str,
    done: u64,
    total: Option<u64>,
    bytes: u64,
    /// When the line may be written again; `None`: never.
    next: Option<Instant>,
    is_shown: bool,
}

/// Nothing is shown from now on: a program reads what is printed, perhaps at a console.
pub fn switch_off() {
    SWITCHED_OFF.store(true, Ordering::Relaxed);
}

/// A new part of the work: `what` is the beginning of the line, `total` the number of entries, where it is known.
pub fn begin(what: &'static str, total: Option<usize>) {
    let mut state = state();
    let now = Instant::now();
    let (next, is_shown) = match state.take() {
        None => (is_wanted().then(|| now + QUIET), false),
        Some(State { next, is_shown, .. }) => {
            (next.map(|n| if is_shown { now } else { n }), is_shown)
        }
    };
    *state = Some(State {
        what,
        done: 0,
        total: total.map(|total| total as u64),
        bytes: 0,
        next,
        is_shown,
    });
}

/// One entry of it is done.
pub fn entry() {
    update(|state| state.done += 1);
}

/// As many bytes of contents are read or written.
pub fn bytes(count: usize) {
    update(|state| state.bytes += count as u64);
}

/// A reader whose bytes count; an error when this program is asked to end.
pub struct Counted<R>(pub R);

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if signals::pending().is_some() {
            // Not EINTR, after which io::copy tries again.
            return Err(std::io::ErrorKind::Other.into());
        }
        let count = self.0.read(buffer)?;
        bytes(count);
        Ok(count)
    }
}

/// A part of the work that says nothing until it is done, such as a sync: the line is written now.
pub fn wait_for(what: &'static str) {
    begin(what, None);
    if let Some(state) = state().as_mut().filter(|state| state.next.is_some()) {
        state.show();
    }
}

/// Takes the line away: something else is to be printed.
pub fn erase() {
    if let Some(state) = state().as_mut().filter(|state| state.is_shown) {
        write("\r\x1b[K");
        state.is_shown = false;
    }
}

fn state() -> MutexGuard<'static, Option<State>> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn update(change: impl FnOnce(&mut State)) {
    if let Some(state) = state().as_mut() {
        change(state);
        let Some(next) = state.next else {
            return;
        };
        let now = Instant::now();
        if next <= now {
            state.next = Some(now + PAUSE);
            state.show();
        }
    }
}

impl State {
    fn show(&mut self) {
        let width = usize::from(width()).saturating_sub(1);
        let line: String = self.line().chars().take(width).collect();
        write(&format!("\r{line}\x1b[K"));
        self.is_shown = true;
    }

    fn line(&self) -> String {
        let (what, done) = (self.what, self.done);
        let mut line = match self.total {
            Some(total) => format!("{what}: {done} of {total}"),
            None if done > 0 => format!("{what}: {done}"),
            None => what.to_owned(),
        };
        if self.bytes > 0 {
            line += &format!(", {}", text::bytes(self.bytes));
        }
        line
    }
}

/// Nobody is told when it cannot be written: the work is what counts.
fn write(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

fn is_wanted() -> bool {
    let stderr = std::io::stderr();
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    // A terminal that is not ours to ask has nobody in the foreground.
    let foreground = rustix::termios::tcgetpgrp(&stderr);
    let in_front = foreground.map_or(true, |group| group == rustix::process::getpgrp());
    let off = SWITCHED_OFF.load(Ordering::Relaxed);
    !off && stderr.is_terminal() && !dumb && in_front
}

fn width() -> u16 {
    let size = rustix::termios::tcgetwinsize(std::io::stderr());
    let columns = size.map_or(0, |size| size.ws_col);
    match columns {
        0 => WIDTH,
        columns => columns,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let state = |done, total, bytes| State {
            what: "copying",
            done,
            total,
            bytes,
            next: None,
            is_shown: false,
        };
        assert_eq!(state(0, None, 0).line(), "copying");
        assert_eq!(state(7, None, 0).line(), "copying: 7");
        assert_eq!(state(7, Some(9), 2048).line(), "copying: 7 of 9, 2.0 KiB");
    }
}
