// SPDX-License-Identifier: MIT
//! Signals that would end this program in the middle of what has to be put right at its end.

use std::io;

use nix::libc;
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use rustix::io::Errno;

use crate::error::{Error, Result};

const ENDING: [Signal; 4] = [
    Signal::SIGINT,
    Signal::SIGTERM,
    Signal::SIGHUP,
    Signal::SIGQUIT,
];

/// Those that ask a program to end, but for what whoever started this one has it ignore, such as nohup(1).
pub fn ending() -> SigSet {
    ENDING.into_iter().filter(|s| !is_ignored(*s)).collect()
}

fn is_ignored(signal: Signal) -> bool {
    // SAFETY: all zeros is an action, and it is only written to.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: nothing is set; the pointer is that of an action of ours.
    let asked = unsafe { libc::sigaction(signal as i32, std::ptr::null(), &mut action) };
    asked == 0 && action.sa_sigaction == libc::SIG_IGN
}

/// Runs `work` to its end, or to where it looks for [`pending`]; what should end this program meanwhile does so
/// afterwards.
pub fn held_back<T>(work: impl FnOnce() -> T) -> T {
    let before = ending().thread_swap_mask(SigmaskHow::SIG_BLOCK);
    let result = work();
    if let Ok(before) = before {
        let _ = before.thread_set_mask(); // it was the mask a moment ago
    }
    result
}

/// A signal that is held back, and asks this program to end.
pub fn pending() -> Option<Signal> {
    // SAFETY: a set of signals is numbers, and is only written to.
    let mut there: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is that of a set of ours.
    let asked = unsafe { libc::sigpending(&mut there) };
    // SAFETY: the kernel has filled it in.
    let is_there = |signal: Signal| unsafe { libc::sigismember(&there, signal as i32) } == 1;
    // Asked for each file: that nothing is there is one system call.
    let mut ending = ENDING.into_iter();
    ending.find(|signal| asked == 0 && is_there(*signal) && !is_ignored(*signal))
}

/// For work that can be given up: an error when this program is asked to end, which says what was `done` and
/// what is the remedy. The signal is used up.
pub fn give_up(done: impl FnOnce() -> String, remedy: &'static str) -> Result<()> {
    let Some(signal) = pending() else {
        return Ok(());
    };
    // It has done what it was sent for, and must not end this program before that has put everything right.
    let _ = SigSet::from(signal).wait(); // at once: it is there
    Err(Error::Interrupted {
        signal,
        done: done(),
        remedy,
    })
}

/// The same for one of its system calls: an error (`EINTR`) when this program is asked to end.
pub fn check() -> io::Result<()> {
    match pending() {
        None => Ok(()),
        Some(_) => Err(Errno::INTR.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::signal::raise;

    /// In a process of its own: signals are those of a whole program.
    #[test]
    fn what_is_held_back_is_seen_unless_it_is_ignored() {
        // SAFETY: the child only makes system calls.
        match unsafe { nix::unistd::fork() }.unwrap() {
            nix::unistd::ForkResult::Child => {
                let held = held_back(|| {
                    let none = pending().is_none() && check().is_ok();
                    let _ = raise(Signal::SIGTERM);
                    let seen = pending() == Some(Signal::SIGTERM) && check().is_err();
                    let seen = seen && give_up(String::new, "").is_err() && pending().is_none();
                    let _ = raise(Signal::SIGTERM);
                    // SAFETY: no handler is set.
                    unsafe { libc::signal(libc::SIGTERM, libc::SIG_IGN) };
                    none && seen && pending().is_none() && !ending().contains(Signal::SIGTERM)
                });
                // SAFETY: nothing of the parent is to be put right.
                unsafe { libc::_exit(i32::from(!held)) }
            }
            nix::unistd::ForkResult::Parent { child } => {
                let ended = nix::sys::wait::waitpid(child, None).unwrap();
                assert_eq!(ended, nix::sys::wait::WaitStatus::Exited(child, 0));
            }
        }
    }
}
