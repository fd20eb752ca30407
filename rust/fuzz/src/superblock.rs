// SPDX-License-Identifier: MIT
//! Superblocks: names are well formed, little is read, and a file system whose journal would be replayed is
//! never called clean.

use overlayroot::superblock::{probe, FsType, State, Superblock};

use crate::disk::Disk;
use crate::input::Input;

/// One input: a disk.
pub fn run(data: &[u8]) {
    let mut disk = Disk::read(&mut Input(data));
    let found = probe(&mut disk);
    disk.assert_read(7, 4096);
    assert_eq!(
        found,
        probe(&mut disk.again()),
        "it depends on something else"
    );
    if let Some(found) = found {
        names(&found);
        state(&found, &disk);
    }
}

fn names(found: &Superblock) {
    if let Some(label) = &found.label {
        assert!(!label.is_empty() && !label.contains('\0'), "{label:?}");
        assert!(label.chars().count() <= 256);
    }
    if let Some(uuid) = &found.uuid {
        let (pattern, upper) = match found.fstype {
            FsType::Vfat => ("xxxx-xxxx", true),
            _ => ("xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx", false),
        };
        crate::superblock::assert_hex(uuid, pattern, upper);
    }
}

/// That a text is made of hexadecimal digits where the pattern has an `x`.
pub fn assert_hex(text: &str, pattern: &str, upper: bool) {
    assert_eq!(text.len(), pattern.len(), "{text}");
    for (character, wanted) in text.chars().zip(pattern.chars()) {
        let digit = character.is_ascii_hexdigit() && character.is_ascii_uppercase() == upper;
        let digit = digit || character.is_ascii_digit();
        assert!(
            if wanted == 'x' {
                digit
            } else {
                character == wanted
            },
            "{text}"
        );
    }
}

/// The flags that the kernel looks at when it mounts read-only.
fn state(found: &Superblock, disk: &Disk) {
    let word = |at: u64| u32::from_le_bytes(disk.at(at));
    let dirty = matches!(found.state, State::Dirty(_));
    match found.fstype {
        FsType::Squashfs | FsType::Erofs => assert_eq!(found.state, State::ReadOnlyFormat),
        FsType::Vfat => assert_eq!(found.state, State::Clean),
        FsType::Btrfs => {
            let log_root = u64::from_le_bytes(disk.at(65536 + 96));
            assert_eq!(dirty, log_root != 0);
        }
        FsType::F2fs => {
            // Which checkpoint is the newest is its business; one of them has to say so.
            let bits = word(1024 + 16);
            let first = u64::from(word(1024 + 76));
            let segment = 1u64.checked_shl(word(1024 + 20)).unwrap_or(0);
            let flags = |pack: u64| word((pack << bits) + 132);
            if found.state == State::Clean {
                let packs = [first, first + segment];
                assert!(packs.into_iter().any(|pack| flags(pack) & 3 == 1));
            }
        }
        FsType::Ext2 | FsType::Ext3 | FsType::Ext4 => {
            let features = word(1024 + 76) != 0;
            let recover = features && word(1024 + 96) & 4 != 0;
            let orphans = word(1024 + 232) != 0 || features && word(1024 + 100) & 0x1_0000 != 0;
            match found.fstype {
                FsType::Ext2 => assert_eq!(dirty, recover),
                _ => assert_eq!(dirty, recover || orphans),
            }
            assert_eq!(found.errors, disk.at::<1>(1024 + 58)[0] & 2 != 0);
        }
    }
}
