// SPDX-License-Identifier: MIT
//! Superblocks: names are well formed, little is read, and a file system whose journal would be replayed is
//! never called clean.

use overlayroot::superblock::{
    container, probe, FsType, State, Superblock, ERRORS, ROLL_FORWARD, SEVERAL, UNREADABLE,
};

use crate::disk::Disk;
use crate::input::Input;

/// One input: a disk.
pub fn run(data: &[u8]) {
    let mut disk = Disk::read(&mut Input(data));
    let found = probe(&mut disk);
    disk.assert_read(9, 4096);
    assert_eq!(
        found,
        probe(&mut disk.again()),
        "it depends on something else"
    );
    if let Some(found) = found {
        names(&found);
        state(&found, &disk);
    }
    members(&disk);
}

/// Containers: two reads, whatever the size is said to be; and nothing that has no magic is a member.
fn members(disk: &Disk) {
    for sectors in [disk.size() / 512, disk.size() / 512 + 3, u64::MAX] {
        let mut again = disk.again();
        let found = container(&mut again, sectors);
        again.assert_read(2, (12 << 10) + 8);
        assert!(found.is_none() || !disk.is_zero());
        assert_eq!(found, container(&mut disk.again(), sectors));
    }
}

/// `is_recoverable_dnode()` of fs/f2fs/node.h, at the next warm node of a checkpoint.
fn rolls_forward(disk: &Disk, pack: u64) -> bool {
    let word = |at: u64| u32::from_le_bytes(disk.at(at));
    let long = |at: u64| u64::from_le_bytes(disk.at(at));
    let (bits, segment_bits) = (word(1024 + 16), word(1024 + 20));
    let head = pack << bits;
    let blkoff = u64::from(u16::from_le_bytes(disk.at(head + 70)));
    let node = u64::from(word(1024 + 92)) + (u64::from(word(head + 40)) << segment_bits) + blkoff;
    let of_node = long(((node + 1) << bits) - 12);
    let crc = u64::from(word(head + u64::from(word(head + 164))));
    match word(head + 132) {
        flags if flags & 0x200 != 0 => of_node << 32 == long(head) << 32,
        flags if flags & 0x40 != 0 => of_node == long(head) | crc << 32,
        _ => of_node == long(head),
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
        FsType::Xfs => assert_eq!(found.state, State::Unknown),
        FsType::Squashfs | FsType::Erofs => assert_eq!(found.state, State::ReadOnlyFormat),
        FsType::Vfat => assert_eq!(found.state, State::Clean),
        FsType::Btrfs => {
            let log_root = u64::from_le_bytes(disk.at(65536 + 96));
            assert_eq!(dirty, log_root != 0);
            let devices = u64::from_le_bytes(disk.at(65536 + 136));
            assert_eq!(found.warning, (devices > 1).then_some(SEVERAL));
        }
        FsType::F2fs => {
            // Which checkpoint is the newest is its business; one of them has to say so.
            let bits = word(1024 + 16);
            let first = u64::from(word(1024 + 76));
            let segment = 1u64.checked_shl(word(1024 + 20)).unwrap_or(0);
            let flags = |pack: u64| word((pack << bits) + 132);
            let packs = [first, first + segment];
            let unknown = found.state == State::Unknown;
            assert_eq!(found.warning, unknown.then_some(UNREADABLE));
            // What may be replayed is what the node at the place of one of the checkpoints says.
            let forward = |wanted| {
                let says = |pack| flags(pack) & 2 == 0 && rolls_forward(disk, pack) == wanted;
                packs.into_iter().any(says)
            };
            match found.state {
                ROLL_FORWARD => assert!(forward(true)),
                State::Clean => assert!(forward(false)),
                _ => {}
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
            let errors = disk.at::<1>(1024 + 58)[0] & 2 != 0;
            assert_eq!(found.warning, errors.then_some(ERRORS));
        }
    }
}
