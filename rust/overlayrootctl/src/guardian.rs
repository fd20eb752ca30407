// SPDX-License-Identifier: MIT
//! A process that puts things right when this program is killed in a way that it cannot catch: alone, with its
//! process group, or, as systemd kills a service, with its whole control group.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use nix::sys::wait::waitpid;
use nix::unistd::{fork, setsid, ForkResult, Pid};

use crate::cgroup::Entered;
use crate::error::{Error, Result};

/// The process, and the line by which it knows that we live.
#[derive(Debug)]
pub struct Guardian {
    process: Pid,
    line: UnixStream,
}

impl Guardian {
    /// Posts it. It does `afterwards` when this process, and each that it forks and that executes nothing,
    /// has ended without [`dismiss`](Guardian::dismiss). Returns when nothing that ends this process ends it.
    pub fn post(afterwards: impl FnOnce()) -> Result<Guardian> {
        let (mut line, mut its) = UnixStream::pair().map_err(Error::system("make", "a socket"))?;
        // SAFETY: this program has a single thread.
        match unsafe { fork() }.map_err(Error::system("start", "a guardian"))? {
            ForkResult::Child => {
                drop(line);
                let _ = setsid(); // a signal to our group is not for it
                let entered = Entered::new();
                let _ = its.write_all(b"x"); // then nobody listens, and the next line says so
                if !matches!(its.read(&mut [0]), Ok(1)) {
                    afterwards();
                }
                entered.leave();
                std::process::exit(0)
            }
            ForkResult::Parent { child } => {
                drop(its);
                match line.read_exact(&mut [0]) {
                    Ok(()) => Ok(Guardian {
                        process: child,
                        line,
                    }),
                    Err(error) => Err(Error::system("start", "a guardian")(error)),
                }
            }
        }
    }

    /// Its number.
    pub fn process(&self) -> i32 {
        self.process.as_raw()
    }

    /// All is well: it may go.
    pub fn dismiss(mut self) {
        // If it is not there any more there is nothing to tell and nothing to wait for.
        let _ = self.line.write_all(b"x");
        let _ = waitpid(self.process, None);
    }
}
