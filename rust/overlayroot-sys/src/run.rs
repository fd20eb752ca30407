// SPDX-License-Identifier: MIT
//! One boot, from the first system call to the real init.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use log::Level;
use overlayroot::cmdline;
use overlayroot::config;
use overlayroot::errno::Errno;
use overlayroot::facts::Facts;
use overlayroot::modules;
use overlayroot::plan::{place_for_report, plan, Mode};
use overlayroot::push_text;
use overlayroot::report::{FailureReport, Report, RootReport, UpperReport};
use overlayroot::settings::{FailPolicy, Settings};
use overlayroot::text;
use overlayroot::text::decimal;

use crate::bring_up::bring_up;
use crate::execute::{execute, lap, Done, FailedWay};
use crate::handover;
use crate::kmsg::note;
use crate::observe::{self, observe, read_text, Observation};
use crate::say;
use crate::system::{milliseconds_of, System};

/// Defaults that the image was built with.
pub const CONFIG: &str = "/etc/overlayroot.conf";
/// Kernel modules to load, in order.
pub const MODULES: &str = "/etc/overlayroot.modules";

/// Whether this build may start a shell on the console (feature `allow-shell`).
const ALLOW_SHELL: bool = cfg!(feature = "allow-shell");

/// What the caller knows of the boot.
#[derive(Clone, Copy, Debug)]
pub struct Boot {
    /// Name and version for the report.
    pub program: &'static str,
}

/// How a boot ended, for the make-believe system; a real one does not return.
#[derive(Debug)]
pub enum End {
    /// The real init was started.
    Started(Report),
    /// Nothing worked, and the board was told to restart.
    Rebooted(Report),
}

/// Boots the board.
pub fn run(sys: &mut impl System, boot: Boot) -> End {
    let started = sys.now();
    let mut report = Report {
        version: Report::VERSION,
        program: boot.program.to_string(),
        reached: "none",
        ..Report::default()
    };
    let mut since = started;
    let warnings = bring_up(sys);
    timed(sys, &mut report, "bring up /dev, /proc, /sys", &mut since);
    warn(&mut report, warnings);

    let settings = read_settings(sys, &mut report);
    say!(
        Level::Debug,
        "{}: overlayfs={} ({}), root={}",
        boot.program,
        if settings.overlay { "yes" } else { "no" },
        settings.origin("overlayfs").as_str(),
        observe::spec_text(&settings)
    );
    load_modules(sys, &mut report, &mut since);

    let mut observation = observe(sys, &settings);
    timed(sys, &mut report, "find the root", &mut since);
    report.kernel = observation.facts.kernel.clone();
    observed(&mut observation, &settings, &mut report);

    let mut mode = Mode::wanted(&settings);
    let mut failed = Vec::new();
    let reason = loop {
        let failure = match (
            &observation.no_root,
            attempt(
                sys,
                mode,
                &settings,
                &observation.facts,
                &mut report,
                &mut failed,
                &mut since,
            ),
        ) {
            (_, Ok(done)) => {
                match finish(sys, mode, &done, &mut report, since.saturating_sub(started)) {
                    Ok(()) => return End::Started(report),
                    // The initramfs is gone: there is nothing to go down to.
                    Err(error) => break text!("no init could be started: {}", error.text()),
                }
            }
            (Some(why), Err(mut failure)) => {
                failure.error = why.clone();
                failure
            }
            (None, Err(failure)) => failure,
        };
        let reason = failure.error.clone();
        say!(
            Level::Error,
            "{} mode cannot be reached: {}",
            mode.as_str(),
            reason
        );
        report.failures.push(failure);
        match mode.degrade(settings.fail) {
            Some(lower) if observation.facts.root.is_some() => mode = lower,
            // Another device that root= names may be the right one.
            _ if observation.next(sys, &settings) => {
                observed(&mut observation, &settings, &mut report);
                mode = Mode::wanted(&settings);
            }
            _ => break text!("no root could be mounted: {}", reason),
        }
    };
    give_up(sys, &settings, &reason);
    End::Rebooted(report)
}

/// Takes over what was seen of the root device.
fn observed(observation: &mut Observation, settings: &Settings, report: &mut Report) {
    warn(report, core::mem::take(&mut observation.warnings));
    let spec = observe::spec_text(settings);
    let root = observation.facts.root.as_ref();
    report.root = root.map(|root| RootReport::new(spec, root));
}

fn timed(sys: &mut impl System, report: &mut Report, step: &str, since: &mut u64) {
    let took = lap(sys, since);
    report.step(step.to_string(), took, Ok(()));
}

fn warn(report: &mut Report, warnings: Vec<String>) {
    for warning in &warnings {
        note(Level::Warn, warning);
    }
    report.warnings.extend(warnings);
}

fn read_settings(sys: &mut impl System, report: &mut Report) -> Settings {
    let mut warnings = Vec::new();
    let entries = match sys.read(CONFIG, 64 << 10) {
        Ok(bytes) => {
            let (entries, bad_lines) = config::parse(&bytes);
            warnings = bad_lines;
            entries
        }
        Err(Errno::ENOENT) => Vec::new(),
        Err(error) => {
            push_text!(
                warnings,
                "cannot read {}, using built-in defaults: {}",
                CONFIG,
                error.text()
            );
            Vec::new()
        }
    };
    let words = match sys.read("/proc/cmdline", 64 << 10) {
        Ok(line) => cmdline::words(&line),
        Err(error) => {
            // It may have asked for protection where the image's default is none.
            push_text!(
                warnings,
                "cannot read the command line, using {} and overlayfs=yes: {}",
                CONFIG,
                error.text()
            );
            cmdline::words(b"overlayfs=yes")
        }
    };
    let mut settings = Settings::merge(&entries, &words);
    if settings.fail == FailPolicy::Shell && !ALLOW_SHELL {
        settings.fail = FailPolicy::Ladder;
        warnings.push("ofs-fail=shell needs a build with allow-shell; using ladder".to_string());
    }
    warnings.append(&mut settings.warnings);
    report.set_settings(&settings);
    for one in &settings.said {
        let origin = one.origin.as_str();
        say!(
            Level::Debug,
            "setting: {}={} ({})",
            one.name,
            one.value,
            origin
        );
    }
    warn(report, warnings);
    settings
}

fn load_modules(sys: &mut impl System, report: &mut Report, since: &mut u64) {
    let Ok(list) = read_text(sys, MODULES) else {
        return; // no list: everything is built in
    };
    for module in modules::parse(&list) {
        let result = match sys.load_module(module.path, module.parameters) {
            Err(Errno::EEXIST) => Ok(()), // built in, or loaded already
            other => other,
        };
        let took = lap(sys, since);
        report.step(text!("load {}", module.path), took, result);
        // ENODEV is a module for hardware that this board does not have.
        if let Err(error) = result.or_else(|e| if e == Errno::ENODEV { Ok(()) } else { Err(e) }) {
            warn(
                report,
                [text!(
                    "cannot load {}, continuing: {}",
                    module.path,
                    error.text()
                )]
                .into(),
            );
        }
    }
}

/// Plans and carries out one mode.
#[inline(never)]
fn attempt(
    sys: &mut impl System,
    mode: Mode,
    settings: &Settings,
    facts: &Facts,
    report: &mut Report,
    failed: &mut Vec<FailedWay>,
    since: &mut u64,
) -> Result<Done, FailureReport> {
    let mut plan = plan(mode, settings, facts).map_err(|error| FailureReport {
        mode: mode.as_str(),
        step: String::new(),
        error: error.text(),
        errno: None,
    })?;
    warn(report, core::mem::take(&mut plan.warnings));
    let mut done = execute(sys, &plan, report, failed, since)?;
    if mode == Mode::Ram && done.report_dir().is_none() {
        // Each of its steps is survivable.
        if let Ok(place) = execute(sys, &place_for_report(mode), report, failed, since) {
            done.also(place);
        }
    }
    report.reached = mode.as_str();
    report.protected = mode != Mode::Writable;
    report.overlay = done.overlay.clone();
    report.upper = plan.limits.map(|limits| UpperReport {
        size_bytes: limits.bytes,
        inodes: limits.inodes,
        xattr: done.xattr,
    });
    if let (Some(root), Some(way)) = (&mut report.root, &done.root) {
        root.fstype = Some(way.fstype.clone());
        root.verity = done.verity.clone();
    }
    report.init = done.inits.first().cloned().unwrap_or_default();
    Ok(done)
}

/// Says how it went and hands over.
fn finish(
    sys: &mut impl System,
    mode: Mode,
    done: &Done,
    report: &mut Report,
    microseconds: u64,
) -> Result<(), Errno> {
    report.microseconds = microseconds;
    match mode {
        Mode::Ram => note(Level::Info, &report.summary()),
        Mode::Writable => note(Level::Warn, &report.summary()),
        Mode::ReadOnly => note(Level::Error, &report.summary()),
    }
    handover::write_report(sys, done, report);
    handover::hand_over(sys, &done.inits)
}

/// The last rung: a message that stays long enough to be read, then a restart.
fn give_up(sys: &mut impl System, settings: &Settings, reason: &str) {
    if ALLOW_SHELL && settings.fail == FailPolicy::Shell {
        say!(Level::Error, "{}; starting a shell", reason);
        if let Err(error) = sys.exec("/bin/sh") {
            say!(Level::Error, "cannot start /bin/sh: {}", error.text());
        }
    }
    let delay = u64::from(settings.reboot_delay);
    say!(
        Level::Error,
        "{}; rebooting in {} s",
        reason,
        decimal(delay)
    );
    let deadline = sys.now() + delay * 1_000_000;
    loop {
        let left = milliseconds_of(deadline.saturating_sub(sys.now()));
        if left == 0 || sys.wait(left).is_err() {
            break;
        }
    }
    if let Err(error) = sys.reboot() {
        // Returning ends PID 1: the kernel panics, which restarts the board when panic= says so.
        say!(Level::Error, "cannot reboot: {}", error.text());
    }
}
