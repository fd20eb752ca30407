// SPDX-License-Identifier: MIT
//! The last things: the report, the kernel's own file systems, the new root, the real init.

use alloc::string::String;
use alloc::vec::Vec;

use log::Level;
use overlayroot::errno::Errno;
use overlayroot::report::Report;
use overlayroot::step::NEW_ROOT;
use overlayroot::text;

use crate::bring_up::{make_dir, API_MOUNTS};
use crate::execute::Done;
use crate::kmsg::note;
use crate::resolve::{resolve, Missing};
use crate::system::{Result, System};

/// Writes the report into the new root; a failure is survivable.
pub fn write_report(sys: &mut impl System, done: &Done, report: &Report) {
    let Some(dir) = done.report_dir() else {
        note(Level::Warn, "no place for the report, continuing");
        return;
    };
    let path = text!("{}/report.json", dir);
    let _ = make_dir(sys, &dir); // writing tells
    if let Err(error) = sys.write(&path, &report.to_json(), 0o644) {
        note(
            Level::Warn,
            &text!("cannot write {}, continuing: {}", path, error.text()),
        );
    }
}

/// Moves /dev, /proc and /sys, switches the root and starts init. Returns only when that failed.
pub fn hand_over(sys: &mut impl System, inits: &[String]) -> Result<()> {
    for &mount in &API_MOUNTS {
        let moved = resolve(sys, NEW_ROOT, mount, Missing::MakeDir)
            .and_then(|to| sys.move_mount(mount, &to));
        if let Err(error) = moved {
            note(
                Level::Warn,
                &text!(
                    "cannot move {} to the new root, continuing: {}",
                    mount,
                    error.text()
                ),
            );
            // What stays behind would keep the initramfs in memory.
            if let Err(error) = sys.unmount(mount) {
                note(
                    Level::Warn,
                    &text!("cannot unmount {}, continuing: {}", mount, error.text()),
                );
            }
        }
    }
    sys.switch_root(NEW_ROOT)?;
    let mut errors: Vec<Errno> = Vec::new();
    for init in inits {
        match sys.exec(init) {
            Ok(()) => return Ok(()),
            Err(error) => {
                note(
                    Level::Error,
                    &text!("cannot start {}: {}", init, error.text()),
                );
                errors.push(error);
            }
        }
    }
    Err(errors.first().copied().unwrap_or(Errno::ENOENT))
}
