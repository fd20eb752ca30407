// SPDX-License-Identifier: MIT
//! Carries a plan out, step by step, and takes it back when a step fails.

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;

use log::Level;
use overlayroot::errno::Errno;
use overlayroot::fstab::{self, LowerEntry};
use overlayroot::options::{self, flag};
use overlayroot::plan::Plan;
use overlayroot::report::{FailureReport, OverlayReport, Report, VerityReport};
use overlayroot::step::{RootMount, Step, LOWER, NEW_ROOT, RAM, RUN};
use overlayroot::text;
use overlayroot::text::decimal;
use overlayroot::verity::DEVICE;

use crate::bring_up::make_dir;
use crate::kmsg::note;
use crate::resolve::{resolve, Missing};
use crate::say;
use crate::system::{Kind, Mount, Result, System};
use crate::verity;

/// Largest /etc/fstab that is read, bytes: its copy fits into the smallest RAM layer.
const FSTAB_LIMIT: usize = 2 << 20;

/// What a carried out plan leaves for the hand-over.
#[derive(Debug, Default)]
pub struct Done {
    /// How the root was mounted.
    pub root: Option<RootMount>,
    /// The verified device, while there is one.
    pub verity: Option<VerityReport>,
    /// Whether the RAM layer holds attributes.
    pub xattr: bool,
    /// How the layers were stacked.
    pub overlay: Option<OverlayReport>,
    /// Programs to start, the preferred one first; paths in the new root.
    pub inits: Vec<String>,
    /// What this plan mounted, in order.
    mounts: Vec<Mounted>,
}

/// A mount of ours.
#[derive(Debug)]
struct Mounted {
    /// Where the plan wanted it.
    target: String,
    /// Where it is now.
    now_at: String,
}

impl Done {
    /// Where the report goes: the RAM layer, or /run, in the new root. What could not be moved there is
    /// out of reach soon.
    pub fn report_dir(&self) -> Option<String> {
        let mut moved = self.mounts.iter().filter(|m| m.now_at != m.target);
        let mount = moved.find(|m| m.target == RAM || m.target == RUN)?;
        Some(if mount.target == RAM {
            mount.now_at.clone()
        } else {
            text!("{}/overlayroot", mount.now_at)
        })
    }

    /// Whether a step would let a root be written to whose journal was left alone.
    fn stays_locked(&self, step: &Step) -> bool {
        matches!(step, Step::SetDeviceReadOnly { read_only, .. } if !read_only)
            && self.root.as_ref().is_some_and(|root| root.frozen)
    }

    /// Takes over what another plan has mounted.
    pub fn also(&mut self, other: Done) {
        self.mounts.extend(other.mounts);
    }
}

/// A way to mount the root that is not worth another try, and why.
pub type FailedWay = (RootMount, Errno);

/// Carries `plan` out. On failure everything that it mounted is unmounted again; ways to mount the root that
/// cannot succeed in a lower mode either are added to `failed`. `since` is when the step before was done, microseconds.
pub fn execute(
    sys: &mut impl System,
    plan: &Plan,
    report: &mut Report,
    failed: &mut Vec<FailedWay>,
    since: &mut u64,
) -> core::result::Result<Done, FailureReport> {
    let mut run = Execution {
        sys,
        report,
        failed,
        since,
        unlocked: false,
        done: Done::default(),
    };
    for step in &plan.steps {
        if run.done.stays_locked(step) {
            continue;
        }
        let result = run.step(step);
        let text = step.text();
        if let Err(error) = result {
            if step.is_survivable() {
                run.warn(text!("cannot {}, continuing: {}", text, error.text()));
            } else {
                run.record(text.clone(), result);
                run.undo();
                let error_text = explain(step, error);
                return Err(FailureReport {
                    mode: plan.mode.as_str(),
                    error: text!("cannot {}: {}", text, error_text),
                    step: text,
                    errno: Some(error.text()),
                });
            }
        }
        // Steps that try several ways have recorded each.
        if !matches!(step, Step::MountRoot { .. } | Step::MountOverlay { .. }) {
            run.record(text, result);
        }
    }
    Ok(run.done)
}

/// The error, with the remedy where there is a usual one.
fn explain(step: &Step, error: Errno) -> String {
    let remedy = match (step, error) {
        (Step::MountOverlay { .. }, Errno::ENODEV) => {
            "the kernel has no overlay file system: enable CONFIG_OVERLAY_FS (OVERLAYFS_FS on 3.10 kernels)"
        }
        (Step::OpenVerity { .. }, Errno::E2BIG) => "the hash tree is cut off",
        (Step::OpenVerity { .. }, _) => {
            "the kernel needs CONFIG_DM_VERITY and CONFIG_CRYPTO_SHA256, or these modules in the initramfs"
        }
        (Step::MountRoot { .. }, Errno::ENODEV) => {
            "the kernel has no driver for this file system, or a module that it needs is not in the initramfs"
        }
        (Step::MountRoot { ways, .. }, _) if ways.iter().any(|way| way.device == DEVICE) => {
            "the file system is damaged, or ofs-verity= is of another one"
        }
        (Step::MountRoot { ways, .. }, Errno::EROFS | Errno::EACCES)
            if ways.iter().all(|way| way.lock_device) =>
        {
            "the journal needs recovery and may not be written: ofs-dirty=replay allows it"
        }
        (
            Step::MountRoot { remedy, .. },
            Errno::EINVAL | Errno::EUCLEAN | Errno::EBADMSG | Errno::ENOENT,
        ) => remedy,
        (Step::MountTmpfs { .. }, Errno::ENODEV) => "enable CONFIG_TMPFS in the kernel",
        (Step::FindInit { .. }, Errno::ENOENT) => {
            "no candidate is an executable file: check init=, and that /usr is on the root"
        }
        (Step::FindInit { .. }, _) => "no candidate is an executable file: check init=",
        _ => return error.text(),
    };
    text!("{}; {}", error.text(), remedy)
}

/// Microseconds since `since`, which becomes now.
pub fn lap(sys: &mut impl System, since: &mut u64) -> u64 {
    let before = core::mem::replace(since, sys.now());
    since.saturating_sub(before)
}

struct Execution<'a, S> {
    sys: &'a mut S,
    report: &'a mut Report,
    failed: &'a mut Vec<FailedWay>,
    since: &'a mut u64,
    /// The root may be mounted on a device that is not locked: the kernel has said that it has to write, or that
    /// it cannot lock it.
    unlocked: bool,
    done: Done,
}

impl<S: System> Execution<'_, S> {
    fn record(&mut self, text: String, result: Result<()>) {
        let took = lap(self.sys, self.since);
        match result {
            Ok(()) => say!(Level::Debug, "{}: {} us", text, decimal(took)),
            Err(error) => say!(Level::Debug, "{}: {}", text, error.text()),
        }
        self.report.step(text, took, result);
    }

    fn warn(&mut self, warning: String) {
        note(Level::Warn, &warning);
        self.report.warnings.push(warning);
    }

    fn undo(&mut self) {
        while let Some(Mounted { now_at: target, .. }) = self.done.mounts.pop() {
            let result = self.unmount(&target);
            self.record(text!("undo: unmount {}", target), result);
        }
        if self.done.verity.take().is_some() {
            let result = verity::close(self.sys);
            self.record(text!("undo: remove {}", DEVICE), result);
        }
    }

    fn unmount(&mut self, target: &str) -> Result<()> {
        let result = self.sys.unmount(target);
        if let Err(error) = result {
            self.warn(text!(
                "cannot unmount {}, continuing: {}",
                target,
                error.text()
            ));
        }
        result
    }

    fn mounted(&mut self, target: &str) {
        self.done.mounts.push(Mounted {
            target: target.to_owned(),
            now_at: target.to_owned(),
        });
    }

    #[inline(never)]
    fn step(&mut self, step: &Step) -> Result<()> {
        match step {
            Step::MountRoot { target, ways, .. } => self.mount_root(target, ways),
            Step::SetDeviceReadOnly { device, read_only } => {
                self.sys.set_block_read_only(device, *read_only)
            }
            Step::OpenVerity { sectors, table, .. } => {
                let (major, minor) = verity::open(self.sys, *sectors, table)?;
                self.done.verity = Some(VerityReport {
                    device: DEVICE,
                    major: u64::from(major),
                    minor: u64::from(minor),
                });
                Ok(())
            }
            Step::MountTmpfs { target, options } => {
                make_dir(self.sys, target)?;
                // The RAM layer becomes part of /, where setuid programs and devices must work.
                let flags = if *target == RAM {
                    0
                } else {
                    flag::NOSUID | flag::NODEV
                };
                self.sys.mount(&Mount {
                    source: "tmpfs",
                    target,
                    fstype: "tmpfs",
                    flags,
                    data: options,
                })?;
                self.mounted(target);
                Ok(())
            }
            Step::MakeUpper { lower, ram } => {
                let attributes = self.sys.stat(lower)?;
                let upper = text!("{}/upper", ram);
                self.sys.make_dir(&upper, attributes.mode)?;
                self.sys.set_attributes(&upper, &attributes)?;
                let work = text!("{}/work", ram);
                self.sys.make_dir(&work, 0o700)?;
                // As overlayfs tries it (`ovl_make_workdir()` in fs/overlayfs/super.c): it means nothing.
                let kept = self.sys.set_xattr(&work, "trusted.overlay.opaque", b"0");
                if let Err(error) = kept {
                    self.warn(text!("the RAM layer cannot hold that a file was deleted ({}): enable CONFIG_TMPFS_XATTR in the kernel", error.text()));
                }
                self.done.xattr = kept.is_ok();
                Ok(())
            }
            Step::MountOverlay {
                target,
                lower,
                ram,
                release,
            } => self.mount_overlay(target, lower, ram, release),
            Step::Restrict { target } => self.sys.mount(&Mount {
                source: "none",
                target,
                fstype: "none",
                flags: flag::REMOUNT | flag::BIND | flag::RDONLY | flag::NOSUID | flag::NODEV,
                data: "",
            }),
            Step::FindInit { root, candidates } => self.find_init(root, candidates),
            Step::WriteFstab { root, lower } => self.write_fstab(root, lower),
            Step::Move { from, root } => {
                let (to, _) = resolve(self.sys, root, from, Missing::MakeDir)?;
                self.sys.move_mount(from, &to)?;
                if let Some(mount) = self.done.mounts.iter_mut().find(|m| m.target == *from) {
                    mount.now_at = to;
                }
                Ok(())
            }
        }
    }

    fn mount_root(&mut self, target: &str, ways: &[RootMount]) -> Result<()> {
        make_dir(self.sys, target)?;
        let mut first_error: Option<Errno> = None;
        let mut tried_locked = false;
        let mut locked = "";
        for way in ways {
            if tried_locked && !self.unlocked && !way.lock_device {
                continue;
            }
            let failed_before = self.failed.iter().find(|(failed, _)| failed == way);
            let failed_before = failed_before.map(|(_, error)| *error);
            let result = match failed_before {
                Some(error) => Err(error),
                None => self.mount_way(target, way, &mut locked),
            };
            match result {
                Ok(options) => {
                    if way.fstype == "btrfs" && way.repairs() {
                        self.mount_again(target, way, &options)?;
                    }
                    self.mounted(target);
                    if let (Some(error), Some(wanted)) = (first_error, ways.first()) {
                        self.warn(text!(
                            "root could not be mounted as {}: {}; mounted as {}",
                            wanted.text(),
                            error.text(),
                            way.text()
                        ));
                    }
                    if let Some(warning) = way.warning().filter(|_| way.frozen) {
                        self.warn(warning);
                    }
                    self.done.root = Some(RootMount {
                        options,
                        ..way.clone()
                    });
                    return Ok(());
                }
                Err(error) => {
                    first_error = first_error.or(Some(error));
                    tried_locked |= way.lock_device;
                    self.unlocked |=
                        way.lock_device && matches!(error, Errno::EROFS | Errno::EACCES);
                    // Another try may be luckier, if it writes nothing.
                    let may_pass = matches!(error, Errno::EIO | Errno::ENOMEM);
                    if failed_before.is_none() && !(may_pass && way.warning.1.is_empty()) {
                        self.failed.push((way.clone(), error));
                    }
                }
            }
        }
        Err(first_error.unwrap_or(Errno::EINVAL))
    }

    /// Mounts the root in one way; returns the options that it was mounted with.
    fn mount_way<'w>(
        &mut self,
        target: &str,
        way: &'w RootMount,
        locked: &mut &'w str,
    ) -> Result<String> {
        if way.lock_device != (*locked == way.device) {
            let result = self.sys.set_block_read_only(&way.device, way.lock_device);
            if result.is_err() {
                self.unlocked = true;
                self.record(text!("mount {} on {}", way.text(), target), result);
            }
            result?;
            *locked = if way.lock_device { &way.device } else { "" };
        }
        // Before it happens, as it may take its time.
        if let Some(warning) = way.warning().filter(|_| !way.frozen) {
            self.warn(warning);
        }
        let all = self.mount_with(target, way, way.options.clone());
        if all != Err(Errno::EINVAL) {
            return all;
        }
        // An option may be one that this file system does not take, but it does not say which.
        let words = || way.options.split(',').filter(|word| !word.is_empty());
        if !words().any(options::may_be_dropped) {
            return all;
        }
        let mut kept = String::new();
        for word in words().filter(|word| !options::may_be_dropped(word)) {
            kept = options::join(&kept, word);
        }
        kept = self.mount_with(target, way, kept)?;
        for word in words().filter(|word| options::may_be_dropped(word)) {
            if self.unmount(target).is_err() {
                break;
            }
            match self.mount_with(target, way, options::join(&kept, word)) {
                Ok(more) => kept = more,
                Err(_) => {
                    let fstype = &way.fstype;
                    self.warn(text!(
                        "{} does not take the option {}: left out; correct rootflags=",
                        fstype,
                        word
                    ));
                    kept = self.mount_with(target, way, kept)?;
                }
            }
        }
        Ok(kept)
    }

    /// Mounts what was repaired once more, locked: btrfs looks at the lock when it is mounted, and never again.
    /// Otherwise the first of its subvolumes that is mounted writable makes all of it writable.
    fn mount_again(&mut self, target: &str, way: &RootMount, options: &str) -> Result<()> {
        if self.unmount(target).is_ok() {
            self.sys.set_block_read_only(&way.device, true)?;
            self.mount_with(target, way, options.to_owned())?;
            let _ = self.sys.set_block_read_only(&way.device, false); // a lock that stays does no harm
        }
        Ok(())
    }

    fn mount_with(&mut self, target: &str, way: &RootMount, options: String) -> Result<String> {
        let mut flags = if way.read_only { flag::RDONLY } else { 0 };
        let data = options::split(&options, &mut flags);
        let result = self.sys.mount(&Mount {
            source: &way.device,
            target,
            fstype: &way.fstype,
            flags,
            data: &data,
        });
        let tried = RootMount {
            options,
            ..way.clone()
        };
        self.record(text!("mount {} on {}", tried.text(), target), result);
        result.map(|()| tried.options)
    }

    /// Loads the module that the root has for this kernel, and says whether there is an overlay now.
    fn load_overlay(&mut self, lower: &str, release: &str) -> bool {
        let mut result = Err(Errno::ENOENT);
        for &suffix in &["", ".xz", ".zst", ".gz"] {
            let path = text!(
                "/lib/modules/{}/kernel/fs/overlayfs/overlay.ko{}",
                release,
                suffix
            );
            match self.load_file(lower, &path) {
                Err(Errno::ENOENT) => continue,
                loaded => result = loaded,
            }
            break;
        }
        let text = text!("load overlay from {}/lib/modules/{}", lower, release);
        if let Err(error) = result {
            self.warn(text!("cannot {}, continuing: {}", text, error.text()));
        }
        self.record(text, result);
        result.is_ok()
    }

    fn load_file(&mut self, lower: &str, path: &str) -> Result<()> {
        match resolve(self.sys, lower, path, Missing::Fail)? {
            (path, Some(stat)) if stat.kind == Kind::File => self.sys.load_module(&path, ""),
            // Opening a pipe would hang.
            _ => Err(Errno::EINVAL),
        }
    }

    fn mount_overlay(&mut self, target: &str, lower: &str, ram: &str, release: &str) -> Result<()> {
        make_dir(self.sys, target)?;
        let mut loaded = false;
        loop {
            let mut result = Errno::ENODEV;
            for &(fstype, workdir) in
                &[("overlay", true), ("overlayfs", true), ("overlayfs", false)]
            {
                let options = options::overlay(lower, ram, workdir);
                let mounted = self.sys.mount(&Mount {
                    source: fstype,
                    target,
                    fstype,
                    flags: 0,
                    data: &options,
                });
                self.record(
                    text!("mount {} on {}: {}", fstype, target, options),
                    mounted,
                );
                match mounted {
                    Ok(()) => {
                        self.mounted(target);
                        self.done.overlay = Some(OverlayReport {
                            fstype,
                            workdir,
                            options,
                        });
                        return Ok(());
                    }
                    // No such file system: the other spelling's error says more, if there is one.
                    Err(Errno::ENODEV) => {}
                    Err(error) if result == Errno::ENODEV => result = error,
                    Err(_) => {}
                }
            }
            if loaded || result != Errno::ENODEV || !self.load_overlay(lower, release) {
                return Err(result);
            }
            loaded = true;
        }
    }

    /// The first candidate that will do; the kernel looks at those behind it, should that one not start.
    fn find_init(&mut self, root: &str, candidates: &[String]) -> Result<()> {
        let mut result = Errno::ENOENT;
        for path in candidates {
            if self.done.inits.is_empty() {
                match resolve(self.sys, root, path, Missing::Fail) {
                    Ok((_, Some(stat))) if stat.kind == Kind::File && stat.mode & 0o111 != 0 => {}
                    other => {
                        if result == Errno::ENOENT {
                            result = other.err().unwrap_or(Errno::EACCES);
                        }
                        continue;
                    }
                }
            }
            self.done.inits.push(path.clone());
        }
        match (self.done.inits.first(), candidates.first()) {
            (None, _) => return Err(result),
            (Some(found), Some(wanted)) if found != wanted && candidates.len() > 3 => {
                self.warn(text!(
                    "init={} is no executable file; starting {}",
                    wanted,
                    found
                ));
            }
            _ => {}
        }
        Ok(())
    }

    #[inline(never)]
    fn write_fstab(&mut self, root: &str, lower: &str) -> Result<()> {
        let (path, stat) = resolve(self.sys, root, "/etc/fstab", Missing::LastMayBe)?;
        let original = match stat {
            Some(stat) if stat.kind == Kind::File => self.sys.read(&path, FSTAB_LIMIT)?,
            None => Vec::new(),
            // Reading a pipe would hang.
            Some(_) => return Err(Errno::EINVAL),
        };
        if original.len() >= FSTAB_LIMIT {
            return Err(Errno::EFBIG);
        }
        let (device, fstype) = match &self.done.root {
            Some(root) => (&*root.device, &*root.fstype),
            None => return Err(Errno::EINVAL),
        };
        let entry = LowerEntry {
            device,
            mount_point: lower,
            fstype,
            options: "ro,noauto,nosuid,nodev",
        };
        let copy = fstab::rewrite(&original, &entry);
        self.sys.write(&path, &copy, 0o644)
    }
}

/// Mount points that a plan uses in the initramfs, for tests and documentation.
pub const WORKPLACES: [&str; 4] = [LOWER, RAM, NEW_ROOT, RUN];
