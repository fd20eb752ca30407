// SPDX-License-Identifier: MIT
//! The real root, writable for a while, in a mount namespace of its own: nobody else can write to it, as
//! every other mount of it, that below the overlay included, stays read-only.
//!
//! What is done there is done by a child process. However that ends, the parent makes the real root
//! read-only again, or says who keeps it from doing so; and if the parent is killed a guardian does. Should that
//! be killed, too, [`close_what_was_left_open`] is for the next one. A device that `ofs-lock=yes` keeps locked is
//! unlocked meanwhile.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use nix::sys::signal::{self, SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{waitpid, WaitPidFlag, WaitStatus};
use nix::unistd::{fork, ForkResult, Pid};
use overlayroot::mountinfo::{self, Mount};
use rustix::event::{PollFd, PollFlags};
use rustix::mount::{mount_remount, MountFlags};
use rustix::pipe::PipeFlags;
use serde::{Deserialize, Serialize};

use crate::devicelock;
use crate::error::{Error, Result};
use crate::exit;
use crate::guardian::Guardian;
use crate::holders;
use crate::layers::dir::Dir;
use crate::layers::view::unshare_mounts;
use crate::live::{self, Layers};
use crate::progress;
use crate::quoting::Quote;
use crate::rootlock::{self, Lock, User};
use crate::signals;
use crate::waiting::Patience;
use crate::writer::area::Area;
use crate::writer::in_use::{self, SecondNames};

/// How often, and after which pauses, read-only is tried again while somebody holds the file system.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(100);
/// How long programs that were left behind get to end by themselves.
const GRACE: Duration = Duration::from_secs(2);

/// How the child ended.
#[derive(Debug, Default)]
pub struct Ended {
    /// Its exit code; 128 and the number of the signal that ended it, as shells have it.
    pub code: u8,
    /// Programs that it left behind and that were ended.
    pub left_behind: Vec<String>,
    /// What it has to say, JSON; empty when nothing.
    pub report: Vec<u8>,
    failure: Option<Failure>,
}

/// What the work came to.
#[derive(Debug, Default)]
pub struct Done {
    /// Exit code.
    pub code: u8,
    /// What the parent is to know, JSON.
    pub report: Vec<u8>,
}

/// An error on its way from the child to the parent.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Failure {
    message: String,
    remedy: String,
    exit_code: u8,
}

/// Makes the real root writable, runs `work` in a child process, and makes it read-only again.
pub fn with_writable_lower(
    layers: &Layers,
    job: &Job,
    work: impl FnOnce() -> Result<Done>,
) -> Result<Ended> {
    let lock = Lock::take(layers, job.purpose, job.patience)?;
    unshare_mounts(layers)?;
    let top = Top::open(layers)?;
    let blocked = block_signals()?;
    // One that was killed may have left it unlocked.
    let locked = devicelock::is_locked(layers) || devicelock::is_wanted();
    let guardian = Guardian::post(|| {
        end_companions(0);
        match close(&top, layers, locked, &lock) {
            Ok(()) => log::warn!("killed, but the real root is read-only again"),
            Err(holders) => log::error!("killed, and the real root is WRITABLE: {holders:?}"),
        }
    })?;
    if let Err(error) = open(&top, layers, locked) {
        lock.closed();
        guardian.dismiss();
        return Err(error);
    }
    let in_use = match job.replaces_files_in_use {
        true => InUse::name_again(layers),
        false => None,
    };
    let ended = in_child(job.signals, &blocked, work);
    let left_behind = end_companions(guardian.process());
    if let Some(in_use) = in_use {
        in_use.take_back();
    }
    let again = close(&top, layers, locked, &lock);
    guardian.dismiss();
    let ended = ended.map(|ended| Ended {
        left_behind,
        ..ended
    });
    let before = match &ended {
        Ok(Ended { failure: None, .. }) => None,
        Ok(Ended {
            failure: Some(failure),
            ..
        }) => Some(failure.message.clone()),
        Err(error) => Some(error.to_string()),
    };
    if let Err(holders) = again {
        return Err(Error::StillWritable {
            device: layers.lower.source.clone(),
            holders,
            before,
            mounted_at: layers.lower.target.clone(),
        });
    }
    match ended? {
        Ended {
            failure: Some(failure),
            ..
        } => Err(Error::Reported {
            message: failure.message,
            remedy: failure.remedy,
            exit_code: failure.exit_code,
        }),
        ended => Ok(ended),
    }
}

/// Makes the real root read-only again; otherwise, who holds it.
fn close(
    top: &Top,
    layers: &Layers,
    locked: bool,
    lock: &Lock,
) -> std::result::Result<(), Vec<String>> {
    let again = top.read_only_again(layers);
    if locked {
        devicelock::lock_again(layers);
    }
    lock.closed(); // or somebody is told that it could not be
    again
}

/// Makes the real root read-only again when a program of ours was killed, its guardian included, before it did.
/// Says so on standard error.
pub fn close_what_was_left_open(layers: &Layers) -> Result<()> {
    let User::Left { who } = rootlock::user(layers) else {
        return Ok(());
    };
    let lock = Lock::take(layers, "closing", Patience::default())?;
    match close(&Top::open(layers)?, layers, devicelock::is_wanted(), &lock) {
        Ok(()) => {
            log::warn!("overlayrootctl {who} was killed: the real root is read-only again");
            Ok(())
        }
        Err(holders) => Err(Error::StillWritable {
            device: layers.lower.source.clone(),
            holders,
            before: Some(format!("overlayrootctl {who} was killed")),
            mounted_at: layers.lower.target.clone(),
        }),
    }
}

/// Makes the real root writable; as it was when that fails.
fn open(top: &Top, layers: &Layers, locked: bool) -> Result<()> {
    if locked {
        devicelock::unlock(layers)?;
    }
    top.remount(layers, false).map_err(|error| {
        if locked {
            devicelock::lock_again(layers);
        }
        Error::refused(
            error.to_string(),
            match &*layers.lower.fstype {
                // It looks at the lock of the device when it is mounted, and never again.
                "btrfs" => "btrfs stays read-only in a protected boot: make the change in a writable one (overlayrootctl disable --once)",
                _ => "dmesg has the reason of the file system",
            },
        )
    })
}

/// What is done in the real root.
#[derive(Debug)]
pub struct Job {
    /// Name of the command, for who finds the real root in use.
    pub purpose: &'static str,
    /// What signals to this program do meanwhile.
    pub signals: Signals,
    /// How long it waits for another one that has the real root open.
    pub patience: Patience,
    /// It may replace files that programs use, without keeping a name for them.
    pub replaces_files_in_use: bool,
}

/// Second names for the files that programs use.
struct InUse {
    lower: Dir,
    area: Area,
    names: SecondNames,
}

impl InUse {
    /// Without them the real root may stay writable, which is said then.
    fn name_again(layers: &Layers) -> Option<InUse> {
        let lower = Dir::open(layers.lower_path()).ok()?;
        let area = Area::open(&lower);
        let mut area = area.map_err(|error| log::warn!("{error}")).ok()?;
        let names = in_use::name_again(&mut area, &lower);
        Some(InUse { lower, area, names })
    }

    fn take_back(self) {
        self.names.take_back(&self.area, &self.lower);
        self.area.close(&self.lower);
    }
}

/// What signals to this program do meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signals {
    /// They wait until the work is done, or gives up (see [`signals::give_up`]).
    Wait,
    /// They are the child's.
    PassOn,
}

/// The top of the real root, open: its path may lead to what the work has mounted over it.
struct Top(File);

impl Top {
    fn open(layers: &Layers) -> Result<Top> {
        let path = layers.lower_path();
        let file = File::open(path).map_err(Error::system("open", path.quoted()))?;
        Ok(Top(file))
    }

    /// Remounts the file system. Options of this mount do not matter: nobody else sees it.
    fn remount(&self, layers: &Layers, read_only: bool) -> Result<()> {
        let mut flags = match read_only {
            true => MountFlags::RDONLY,
            false => MountFlags::empty(),
        };
        // These belong to the file system, and a remount without them would turn them off.
        for (name, flag) in [
            ("sync", MountFlags::SYNCHRONOUS),
            ("lazytime", MountFlags::LAZYTIME),
        ] {
            if layers.lower.super_options.split(',').any(|o| o == name) {
                flags |= flag;
            }
        }
        let operation = match read_only {
            true => "make read-only",
            false => "make writable",
        };
        let path = format!("/proc/self/fd/{}", self.0.as_raw_fd());
        mount_remount(path, flags, "").map_err(Error::system(operation, &layers.lower.source))
    }

    /// Back to read-only, and a look whether it is; otherwise who holds it.
    fn read_only_again(&self, layers: &Layers) -> std::result::Result<(), Vec<String>> {
        if let Err(error) = rustix::fs::syncfs(self.0.as_fd()) {
            log::error!("cannot sync {}: {error}", layers.lower.source);
        }
        for attempt in 0..TRIES {
            match self.remount(layers, true) {
                Ok(()) => break,
                Err(error) if attempt + 1 == TRIES => log::debug!("{error}"),
                Err(_) => {
                    // Names that nobody uses any more may still be cached, with deleted files behind them.
                    let _ = std::fs::write("/proc/sys/vm/drop_caches", "2"); // the next try shows it
                    std::thread::sleep(PAUSE);
                }
            }
        }
        let table = live::table().unwrap_or_default();
        if is_file_system_read_only(&table, &layers.lower) {
            return Ok(());
        }
        let device = self.0.metadata().map(|m| m.dev());
        Err(device.map(holders::writers).unwrap_or_default())
    }
}

/// Whether a file system refuses writes, by all of its mounts in a table, wherever they are. What is not
/// mounted there cannot be known.
fn is_file_system_read_only(table: &str, of: &Mount) -> bool {
    let mounts = mountinfo::parse(table);
    let number = |mount: &Mount| (mount.major, mount.minor);
    let mut there = mounts.iter().filter(|m| number(m) == number(of)).peekable();
    there.peek().is_some() && there.all(Mount::is_file_system_read_only)
}

fn handled() -> SigSet {
    let mut set = signals::ending();
    set.add(Signal::SIGCHLD);
    set
}

/// Returns the mask from before.
fn block_signals() -> Result<SigSet> {
    handled()
        .thread_swap_mask(signal::SigmaskHow::SIG_BLOCK)
        .map_err(Error::system("block", "signals"))
}

fn in_child(
    signals: Signals,
    before: &SigSet,
    work: impl FnOnce() -> Result<Done>,
) -> Result<Ended> {
    let (mut from, mut to) = pipe()?;
    // SAFETY: this program has a single thread.
    match unsafe { fork() }.map_err(Error::system("start", "a child process"))? {
        ForkResult::Child => {
            drop(from);
            if signals == Signals::PassOn {
                let _ = before.thread_set_mask(); // it was the mask a moment ago
            }
            let (message, code) = match work() {
                Ok(done) => (done.report, done.code),
                Err(error) => {
                    let failure = Failure {
                        message: error.to_string(),
                        remedy: error.remedy().to_owned(),
                        exit_code: error.exit_code(),
                    };
                    let message = serde_json::to_vec(&failure).unwrap_or_default();
                    (message, error.exit_code())
                }
            };
            progress::erase();
            // Without it the exit code says as much.
            let _ = to.write_all(&message);
            std::process::exit(i32::from(code))
        }
        ForkResult::Parent { child } => {
            drop(to);
            // Then there is no report.
            let report = read_report(&mut from, child, signals).unwrap_or_default();
            let code = wait(child, signals)?;
            Ok(Ended {
                code,
                left_behind: Vec::new(),
                failure: serde_json::from_slice(&report).ok(),
                report,
            })
        }
    }
}

fn pipe() -> Result<(File, File)> {
    let (from, to) =
        rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(Error::system("make", "a pipe"))?;
    Ok((File::from(from), File::from(to)))
}

/// Reads what the child has to say, and passes signals on meanwhile; ends when the child ends, or when it becomes
/// another program.
fn read_report(from: &mut File, child: Pid, signals: Signals) -> std::io::Result<Vec<u8>> {
    let asked = SignalFd::with_flags(&handled(), SfdFlags::SFD_CLOEXEC)?;
    let mut report = Vec::new();
    loop {
        let mut events = [
            PollFd::new(&*from, PollFlags::IN),
            PollFd::new(&asked, PollFlags::IN),
        ];
        rustix::event::poll(&mut events, None)?;
        let [said, signalled] = events.map(|event| !event.revents().is_empty());
        if signalled {
            let signal = asked.read_signal()?.map(|info| info.ssi_signo as i32);
            if let Some(Ok(signal)) = signal.map(Signal::try_from) {
                pass_on(signal, child, signals);
            }
        }
        if said {
            let mut piece = [0; 4096];
            match from.read(&mut piece)? {
                0 => return Ok(report),
                count => report.extend_from_slice(piece.get(..count).unwrap_or_default()),
            }
        }
    }
}

fn pass_on(signal: Signal, child: Pid, signals: Signals) {
    match signal {
        Signal::SIGCHLD => {}
        // The terminal sends these to the child as well.
        Signal::SIGINT | Signal::SIGQUIT if signals == Signals::PassOn => {}
        other => {
            let _ = signal::kill(child, other); // it may have ended just now
        }
    }
}

fn wait(child: Pid, signals: Signals) -> Result<u8> {
    let what = || Error::system("wait for", format!("process {child}"));
    loop {
        match waitpid(child, Some(WaitPidFlag::WNOHANG)).map_err(what())? {
            WaitStatus::Exited(_, code) => return Ok(code as u8),
            WaitStatus::Signaled(_, signal, _) => return Ok(exit::of_signal(signal)),
            _ => {}
        }
        pass_on(handled().wait().map_err(what())?, child, signals);
    }
}

/// Ends what is still in our namespace, but for the guardian: it could write to the real root.
fn end_companions(guardian: i32) -> Vec<String> {
    let mut names = Vec::new();
    let mut waited = Duration::ZERO;
    let mut how = Signal::SIGTERM;
    loop {
        let mut there = holders::companions();
        there.retain(|(pid, _)| *pid != guardian);
        if there.is_empty() || waited > GRACE * 3 {
            return names;
        }
        if waited.is_zero() || (waited > GRACE && how == Signal::SIGTERM) {
            if !waited.is_zero() {
                how = Signal::SIGKILL;
            }
            for (pid, name) in &there {
                if how == Signal::SIGTERM {
                    names.push(format!("{name} (process {pid})"));
                }
                let _ = signal::kill(Pid::from_raw(*pid), how); // it may have ended just now
            }
        }
        std::thread::sleep(PAUSE);
        waited += PAUSE;
    }
}

impl Ended {
    /// Says on standard error what was left behind and ended.
    pub fn warn(&self) {
        for name in &self.left_behind {
            log::warn!("{name} was left behind with the real root open, and was ended");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_covers_the_real_root_says_nothing_about_it() {
        let table = "21 1 0:20 / / rw - overlay overlay rw\n\
                     22 21 179:2 / /mnt/root-RO ro - ext4 /dev/a rw\n\
                     23 22 0:30 / /mnt/root-RO ro - tmpfs none ro\n";
        let lower = &mountinfo::parse(table)[1];
        assert!(!is_file_system_read_only(table, lower));
        assert!(is_file_system_read_only(
            &table.replace("/a rw", "/a ro"),
            lower
        ));
        assert!(!is_file_system_read_only("", lower));
    }
}
