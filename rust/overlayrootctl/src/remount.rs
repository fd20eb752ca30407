// SPDX-License-Identifier: MIT
//! Remounting takes all flags anew: what is not repeated is lost.

use std::path::Path;

use rustix::fs::{statvfs, StatVfsMountFlags};
use rustix::mount::MountFlags;

use crate::error::{Error, Result};
use crate::quoting::Quote;

/// The flags with which a file system is mounted.
pub fn mount_flags(path: &Path) -> Result<MountFlags> {
    let now = statvfs(path)
        .map_err(Error::system("look at", path.quoted()))?
        .f_flag;
    let table = [
        (StatVfsMountFlags::RDONLY, MountFlags::RDONLY),
        (StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
        (StatVfsMountFlags::NODEV, MountFlags::NODEV),
        (StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
        (StatVfsMountFlags::NOATIME, MountFlags::NOATIME),
        (StatVfsMountFlags::NODIRATIME, MountFlags::NODIRATIME),
        (StatVfsMountFlags::RELATIME, MountFlags::RELATIME),
    ];
    let set = table.iter().filter(|(is, _)| now.contains(*is));
    Ok(set.fold(MountFlags::empty(), |all, (_, flag)| all | *flag))
}
