// SPDX-License-Identifier: MIT
//! Whether this program runs in a container or a chroot, where `/` is not the board's.

use std::env;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Files that managers of containers make inside (systemd's CONTAINER_INTERFACE, Docker, Podman).
const MARKS: [&str; 3] = [
    "/run/systemd/container",
    "/run/.containerenv",
    "/.dockerenv",
];

/// What this is in place of the board's own system; `None` when nothing says so.
pub fn kind() -> Option<&'static str> {
    if MARKS.iter().any(|mark| Path::new(mark).exists()) || env::var_os("container").is_some() {
        return Some("a container");
    }
    // Only root may look.
    let of = |path: &str| fs::metadata(path).map(|m| (m.dev(), m.ino()));
    match (of("/proc/1/root/."), of("/")) {
        (Ok(first), Ok(own)) if first != own => Some("a chroot"),
        _ => None,
    }
}
