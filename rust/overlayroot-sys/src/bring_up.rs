// SPDX-License-Identifier: MIT
//! The first things of a boot: /dev, /proc, /sys, the console and the log. Each may be missing.

use alloc::string::String;
use alloc::vec::Vec;

use overlayroot::errno::Errno;
use overlayroot::options::flag;
use overlayroot::push_text;

use crate::system::{Mount, Result, System};

/// Mount points of the kernel's own file systems, in the order they move to the new root.
pub const API_MOUNTS: [&str; 3] = ["/dev", "/proc", "/sys"];

/// Brings up what there is; what there is not becomes warnings.
pub fn bring_up(sys: &mut impl System) -> Vec<String> {
    let mut warnings = Vec::new();
    let strict = flag::NOSUID | flag::NODEV | flag::NOEXEC;
    let dev = flag::NOSUID;
    if let Err(error) = mount(sys, "devtmpfs", "/dev", dev, "mode=0755") {
        push_text!(
            warnings,
            "no devtmpfs ({}): making device nodes by hand",
            error.text()
        );
        make_nodes(sys, dev, &mut warnings);
    }
    for &(fstype, target) in &[("proc", "/proc"), ("sysfs", "/sys")] {
        if let Err(error) = mount(sys, fstype, target, strict, "") {
            push_text!(
                warnings,
                "{} cannot be mounted, continuing: {}",
                target,
                error.text()
            );
        }
    }
    if let Err(error) = sys.open_console() {
        push_text!(
            warnings,
            "/dev/console cannot be opened, continuing: {}",
            error.text()
        );
    }
    if let Err(error) = sys.open_log() {
        push_text!(
            warnings,
            "/dev/kmsg cannot be opened, continuing: {}",
            error.text()
        );
    }
    warnings
}

fn mount(sys: &mut impl System, fstype: &str, target: &str, flags: u32, data: &str) -> Result<()> {
    let call = Mount {
        source: fstype,
        target,
        fstype,
        flags,
        data,
    };
    let mut result = sys.mount(&call);
    if result == Err(Errno::ENOENT) {
        make_dir(sys, target)?;
        result = sys.mount(&call);
    }
    match result {
        Err(Errno::EBUSY) => Ok(()), // it is there already
        other => other,
    }
}

/// Makes a directory of the initramfs unless it is there, and the one above it: who packs an initramfs
/// need not know of `/mnt`.
pub fn make_dir(sys: &mut impl System, path: &str) -> Result<()> {
    match sys.make_dir(path, 0o755) {
        Err(Errno::EEXIST) => Ok(()),
        Err(Errno::ENOENT) => match path
            .bytes()
            .rposition(|byte| byte == b'/')
            .and_then(|at| path.get(..at))
        {
            Some(parent) if !parent.is_empty() => {
                make_dir(sys, parent)?;
                sys.make_dir(path, 0o755)
            }
            _ => Err(Errno::ENOENT),
        },
        other => other,
    }
}

/// Device numbers from `Documentation/admin-guide/devices.txt`.
fn make_nodes(sys: &mut impl System, flags: u32, warnings: &mut Vec<String>) {
    // A RAM file system, so that /dev can move to the new root; in the initramfs itself if that fails.
    if let Err(error) = mount(sys, "tmpfs", "/dev", flags, "mode=0755") {
        push_text!(warnings, "no tmpfs for /dev, continuing: {}", error.text());
    }
    for &(path, major, minor) in &[
        ("/dev/console", 5, 1),
        ("/dev/null", 1, 3),
        ("/dev/kmsg", 1, 11),
    ] {
        match sys.make_node(path, false, major, minor) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(error) => push_text!(
                warnings,
                "{} cannot be made, continuing: {}",
                path,
                error.text()
            ),
        }
    }
}
