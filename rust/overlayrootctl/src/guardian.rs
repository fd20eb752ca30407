// SPDX-License-Identifier: MIT
//! A process that puts things right when this program is killed in a way that it cannot catch.

use std::fs::File;
use std::io::{Read, Write};

use nix::sys::wait::waitpid;
use nix::unistd::{fork, setsid, ForkResult, Pid};
use rustix::pipe::PipeFlags;

use crate::error::{Error, Result};

/// The process, and the pipe by which it knows that we live.
#[derive(Debug)]
pub struct Guardian {
    process: Pid,
    alive: File,
}

impl Guardian {
    /// Posts it. It does `afterwards` when this process, and each that it forks and that executes nothing,
    /// has ended without [`dismiss`](Guardian::dismiss).
    pub fn post(afterwards: impl FnOnce()) -> Result<Guardian> {
        let (from, to) =
            rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(Error::system("make", "a pipe"))?;
        let (mut from, alive) = (File::from(from), File::from(to));
        // SAFETY: this program has a single thread.
        match unsafe { fork() }.map_err(Error::system("start", "a guardian"))? {
            ForkResult::Child => {
                drop(alive);
                let _ = setsid(); // a signal to our group is not for it
                if !matches!(from.read(&mut [0]), Ok(1)) {
                    afterwards();
                }
                std::process::exit(0)
            }
            ForkResult::Parent { child } => Ok(Guardian {
                process: child,
                alive,
            }),
        }
    }

    /// Its number.
    pub fn process(&self) -> i32 {
        self.process.as_raw()
    }

    /// All is well: it may go.
    pub fn dismiss(mut self) {
        // If it is not there any more there is nothing to tell and nothing to wait for.
        let _ = self.alive.write_all(b"x");
        let _ = waitpid(self.process, None);
    }
}
