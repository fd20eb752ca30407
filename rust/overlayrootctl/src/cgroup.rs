// SPDX-License-Identifier: MIT
//! A control group of its own for a process, out of reach of who kills the group that this program was started
//! in: systemd kills a service by its control group, all processes at once.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use overlayroot::mountinfo::{self, Mount};
use rustix::io::Errno;
use rustix::mount::{mount_remount, MountFlags};

use crate::live;
use crate::quoting::Quote;
use crate::remount::mount_flags;

/// Name of the group, below the top of the hierarchy, where no manager of services looks for its own.
const NAME: &str = "overlayrootctl-guardian";
/// The processes of a group (`Documentation/admin-guide/cgroup-v2.rst`); 0 stands for who writes.
const PROCESSES: &str = "cgroup.procs";

/// The groups that this process has entered.
#[derive(Debug, Default)]
pub struct Entered(Vec<PathBuf>);

impl Entered {
    /// Enters one in each hierarchy by which services are killed. A warning, when that is not possible.
    ///
    /// Call it in a mount namespace of this program: where the hierarchy is mounted read-only, as for a service
    /// with `ProtectControlGroups=yes`, it becomes writable there.
    pub fn new() -> Entered {
        let table = live::table().unwrap_or_default();
        let tops = hierarchies(&mountinfo::parse(&table));
        let entered = tops.iter().filter_map(|top| match enter(top) {
            Ok(group) => Some(group),
            Err(error) => {
                log::warn!(
                    "no control group in {}, continuing: {error}; a kill of the whole service would leave the \
                     real root writable",
                    top.quoted()
                );
                None
            }
        });
        Entered(entered.collect())
    }

    /// Leaves them, and removes them. In a container it may not be possible to leave: then they stay, empty.
    pub fn leave(self) {
        for group in self.0 {
            let top = group.parent().unwrap_or(Path::new("/"));
            let left = fs::write(top.join(PROCESSES), "0").and_then(|()| fs::remove_dir(&group));
            if let Err(error) = left {
                log::debug!("{} stays: {error}", group.quoted());
            }
        }
    }
}

/// Where the hierarchies are mounted by which services are killed: version 2, and the named ones of version 1
/// (`name=systemd`, `name=openrc`).
fn hierarchies(mounts: &[Mount]) -> Vec<PathBuf> {
    let mut found: Vec<&Mount> = Vec::new();
    for mount in mounts {
        let named = mount
            .super_options
            .split(',')
            .any(|o| o.starts_with("name="));
        let is_one = mount.fstype == "cgroup2" || (mount.fstype == "cgroup" && named);
        let is_new = |m: &&Mount| (m.major, m.minor) != (mount.major, mount.minor);
        if is_one && found.iter().all(is_new) {
            found.push(mount);
        }
    }
    found.iter().map(|m| PathBuf::from(&m.target)).collect()
}

fn enter(top: &Path) -> io::Result<PathBuf> {
    let group = top.join(NAME);
    let make = || match fs::create_dir(&group) {
        // Of one that was killed, or could not leave.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    };
    match make() {
        Err(error) if error.raw_os_error() == Some(Errno::ROFS.raw_os_error()) => {
            let flags = mount_flags(top).map_err(io::Error::other)? - MountFlags::RDONLY;
            mount_remount(top, flags | MountFlags::BIND, "")?;
            make()?;
        }
        other => other?,
    }
    fs::write(group.join(PROCESSES), "0")?;
    Ok(group)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_by_which_services_are_killed() {
        let table = "30 1 0:26 / /sys/fs/cgroup ro - tmpfs tmpfs ro,mode=755\n\
                     31 30 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
                     32 30 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n\
                     33 30 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                     34 1 0:27 / /mnt/again rw - cgroup2 cgroup2 rw\n";
        assert_eq!(
            hierarchies(&mountinfo::parse(table)),
            ["/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd"].map(PathBuf::from)
        );
        assert!(hierarchies(&[]).is_empty());
    }
}
