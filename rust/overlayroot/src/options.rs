// SPDX-License-Identifier: MIT
//! Mount option strings: what of them are flags of mount(2); the only place that escapes.

use alloc::borrow::ToOwned;
use alloc::string::String;

use crate::text;

/// Flags of mount(2) (`MS_*` of `linux/mount.h`).
pub mod flag {
    #![allow(missing_docs)] // the kernel's names, one for one
    pub const RDONLY: u32 = 1;
    pub const NOSUID: u32 = 1 << 1;
    pub const NODEV: u32 = 1 << 2;
    pub const NOEXEC: u32 = 1 << 3;
    pub const SYNCHRONOUS: u32 = 1 << 4;
    pub const REMOUNT: u32 = 1 << 5;
    pub const MANDLOCK: u32 = 1 << 6;
    pub const DIRSYNC: u32 = 1 << 7;
    pub const NOATIME: u32 = 1 << 10;
    pub const NODIRATIME: u32 = 1 << 11;
    pub const BIND: u32 = 1 << 12;
    pub const RELATIME: u32 = 1 << 21;
    pub const STRICTATIME: u32 = 1 << 24;
    pub const LAZYTIME: u32 = 1 << 25;
}

/// Words of fstab(5) that mount(8) makes flags of, in pairs: one sets the flag, its neighbour clears it
/// (`linux_flags_map` in libmount).
const WORDS: &str = "ro rw nosuid suid nodev dev noexec exec sync async mand nomand dirsync - noatime atime nodiratime diratime relatime norelatime strictatime nostrictatime lazytime nolazytime";

/// The flags of [`WORDS`].
const FLAGS: [u32; 12] = [
    flag::RDONLY,
    flag::NOSUID,
    flag::NODEV,
    flag::NOEXEC,
    flag::SYNCHRONOUS,
    flag::MANDLOCK,
    flag::DIRSYNC,
    flag::NOATIME,
    flag::NODIRATIME,
    flag::RELATIME,
    flag::STRICTATIME,
    flag::LAZYTIME,
];

/// Words for mount(8) itself, of which the kernel never hears (`userspace_opts_map` there).
const IGNORED: &str = "defaults auto noauto nofail _netdev user nouser users owner group";

/// Options that say what is mounted, or that its journal is left alone: without them it would be another mount.
const NEVER_DROPPED: &[&str] = &[
    "subvol",
    "subvolid",
    "device",
    "sb",
    "noload",
    "norecovery",
    "nologreplay",
    "rescue",
];

/// Sets flags as the words of fstab(5) say, and returns what is left for the file system.
pub fn split(words: &str, flags: &mut u32) -> String {
    let mut data = String::new();
    for word in words.split(',') {
        match meaning(word) {
            Some((flag, true)) => *flags |= flag,
            Some((flag, false)) => *flags &= !flag,
            None => data = join(&data, word),
        }
    }
    data
}

/// What mount(8) makes of a word; `None`: it is for the file system.
fn meaning(word: &str) -> Option<(u32, bool)> {
    if ["x-", "X-", "comment="]
        .iter()
        .any(|start| word.starts_with(start))
    {
        return Some((0, true));
    }
    if IGNORED.split(' ').any(|known| known == word) {
        return Some((0, true));
    }
    let at = WORDS.split(' ').position(|known| known == word)?;
    Some((*FLAGS.get(at / 2)?, at % 2 == 0))
}

/// Whether a word makes the file system writable; the kernel looks at its name only.
pub fn is_rw(word: &str) -> bool {
    name(word) == "rw"
}

/// Whether a file system that does not take the word may be mounted without it.
pub fn may_be_dropped(word: &str) -> bool {
    meaning(word).is_none() && !NEVER_DROPPED.contains(&name(word))
}

fn name(word: &str) -> &str {
    word.split('=').next().unwrap_or_default()
}

/// Both, with a comma between them where one is needed.
pub fn join(a: &str, b: &str) -> String {
    match (a, b) {
        (a, "") => a.to_owned(),
        ("", b) => b.to_owned(),
        (a, b) => text!("{},{}", a, b),
    }
}

/// Options that stack `ram` on `lower`; without a work directory for the oldest kernels.
///
/// Escapes as `fs/overlayfs/params.c` undoes it: `\` before `\`, `,` and, in `lowerdir=`, `:`.
pub fn overlay(lower: &str, ram: &str, workdir: bool) -> String {
    let (lower, ram) = (escape(lower, ":"), escape(ram, ""));
    let mut options = text!("lowerdir={},upperdir={}/upper", lower, ram);
    if workdir {
        options.push_str(",workdir=");
        options.push_str(&ram);
        options.push_str("/work");
    }
    options
}

fn escape(path: &str, more: &str) -> String {
    let mut escaped = String::with_capacity(path.len());
    for character in path.chars() {
        if matches!(character, '\\' | ',') || more.contains(character) {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_paths_stay_plain() {
        assert_eq!(
            overlay("/mnt/root-RO", "/mnt/root-RW", true),
            "lowerdir=/mnt/root-RO,upperdir=/mnt/root-RW/upper,workdir=/mnt/root-RW/work"
        );
        assert_eq!(overlay("/a", "/b", false), "lowerdir=/a,upperdir=/b/upper");
    }

    #[test]
    fn words_become_flags() {
        let split = |words: &str| {
            let mut flags = flag::RDONLY;
            (super::split(words, &mut flags), flags)
        };
        let (data, flags) = split("subvol=@,noatime,compress=zstd,nodev");
        assert_eq!(data, "subvol=@,compress=zstd");
        assert_eq!(flags, flag::RDONLY | flag::NOATIME | flag::NODEV);
        for nothing in [
            "",
            "defaults",
            "x-systemd.growfs,nofail,_netdev",
            "noatime,atime",
            ",,",
        ] {
            assert_eq!(split(nothing), (String::new(), flag::RDONLY), "{nothing}");
        }
        assert_eq!(split("rw,data=ordered"), ("data=ordered".into(), 0));
    }

    #[test]
    fn what_is_mounted_is_never_dropped() {
        for word in [
            "subvol=@",
            "subvolid=5",
            "device=/dev/sdb",
            "noload",
            "rescue=nologreplay",
            "noatime",
        ] {
            assert!(!may_be_dropped(word), "{word}");
        }
        for word in ["user_xattr", "acl", "commit=5", "subvolume=x"] {
            assert!(may_be_dropped(word), "{word}");
        }
    }

    #[test]
    fn separators_are_escaped() {
        assert_eq!(
            overlay("/a:b,c\\d", "/e:f", false),
            "lowerdir=/a\\:b\\,c\\\\d,upperdir=/e:f/upper"
        );
    }
}
