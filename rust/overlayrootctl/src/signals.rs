// SPDX-License-Identifier: MIT
//! Signals that would end this program in the middle of what has to be put right at its end.

use nix::sys::signal::{SigSet, SigmaskHow, Signal};

/// Those that ask a program to end.
pub fn ending() -> SigSet {
    let mut set = SigSet::empty();
    for signal in [
        Signal::SIGINT,
        Signal::SIGTERM,
        Signal::SIGHUP,
        Signal::SIGQUIT,
    ] {
        set.add(signal);
    }
    set
}

/// Runs `work` to its end; what should end this program meanwhile does so afterwards.
pub fn held_back<T>(work: impl FnOnce() -> T) -> T {
    let before = ending().thread_swap_mask(SigmaskHow::SIG_BLOCK);
    let result = work();
    if let Ok(before) = before {
        let _ = before.thread_set_mask(); // it was the mask a moment ago
    }
    result
}
