// SPDX-License-Identifier: MIT
//! The last things: the report, the kernel's own file systems, the new root, the real init.

use alloc::string::String;

use log::Level;
use overlayroot::errno::Errno;
use overlayroot::report::Report;
use overlayroot::step::NEW_ROOT;
use overlayroot::text;

use crate::bring_up::{make_dir, API_MOUNTS};
use crate::execute::Done;
use crate::kmsg::note;
use crate::resolve::{resolve, Missing};
use crate::say;
use crate::system::{Result, System};

/// Writes the report into the new root; a failure is survivable.
pub fn write_report(sys: &mut impl System, done: &Done, report: &Report) {
    let Some(dir) = done.report_dir() else {
        note(Level::Warn, "no place for the report, continuing");
        return;
    };
    let path = text!("{}/report.json", dir);
    let json = report.to_json();
    let mut result = sys.write(&path, &json, 0o644);
    if result == Err(Errno::ENOENT) {
        result = make_dir(sys, &dir).and_then(|()| sys.write(&path, &json, 0o644));
    }
    if let Err(error) = result {
        say!(
            Level::Warn,
            "cannot write {}, continuing: {}",
            path,
            error.text()
        );
    }
}

/// Moves /dev, /proc and /sys, switches the root and starts init. Returns only when that failed.
pub fn hand_over(sys: &mut impl System, inits: &[String]) -> Result<()> {
    for &mount in &API_MOUNTS {
        let moved = resolve(sys, NEW_ROOT, mount, Missing::MakeDir)
            .and_then(|(to, _)| sys.move_mount(mount, &to));
        if let Err(error) = moved {
            say!(
                Level::Warn,
                "cannot move {} to the new root, continuing: {}",
                mount,
                error.text()
            );
            // What stays behind would keep the initramfs in memory.
            if let Err(error) = sys.unmount(mount) {
                say!(
                    Level::Warn,
                    "cannot unmount {}, continuing: {}",
                    mount,
                    error.text()
                );
            }
        }
    }
    sys.switch_root(NEW_ROOT)?;
    let mut first = None;
    for init in inits {
        match sys.exec(init) {
            Ok(()) => return Ok(()),
            // The kernel's own candidates need not be there.
            Err(Errno::ENOENT) if first.is_some() => {}
            Err(error) => {
                say!(Level::Error, "cannot start {}: {}", init, error.text());
                first = first.or(Some(error));
            }
        }
    }
    Err(first.unwrap_or(Errno::ENOENT))
}
