// SPDX-License-Identifier: MIT
//! Superblocks: which file system a device holds, its names, and whether mounting it would write.
//!
//! Offsets are those of the kernel's on-disk structures; each function names its header.

mod container;
mod ext;
mod f2fs;
mod others;

use alloc::string::String;

use crate::text::{lossy, push_hex, trim_end};

pub use container::{container, ASSEMBLE};
pub use ext::ERRORS;
pub use f2fs::{ROLL_FORWARD, UNREADABLE};
pub use others::SEVERAL;

/// Something to read from, such as a block device.
pub trait ReadAt {
    /// Fills `buffer` from byte `offset`; `false` on a short read or an error.
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> bool;
}

impl ReadAt for &[u8] {
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> bool {
        let piece = usize::try_from(offset)
            .ok()
            .and_then(|offset| self.get(offset..)?.get(..buffer.len()));
        piece.map(|piece| buffer.copy_from_slice(piece)).is_some()
    }
}

/// File systems that are recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the kernel's names
pub enum FsType {
    Ext2,
    Ext3,
    Ext4,
    Squashfs,
    Erofs,
    F2fs,
    Vfat,
    Btrfs,
    Xfs,
}

impl FsType {
    /// The kernel's name.
    pub fn name(self) -> &'static str {
        match self {
            FsType::Ext2 => "ext2",
            FsType::Ext3 => "ext3",
            FsType::Ext4 => "ext4",
            FsType::Squashfs => "squashfs",
            FsType::Erofs => "erofs",
            FsType::F2fs => "f2fs",
            FsType::Vfat => "vfat",
            FsType::Btrfs => "btrfs",
            FsType::Xfs => "xfs",
        }
    }
}

/// Whether mounting read-only would write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It would not.
    Clean,
    /// It would, and why.
    Dirty(&'static str),
    /// The format cannot be written at all.
    ReadOnlyFormat,
    /// The format is not known well enough to say.
    Unknown,
}

/// What a superblock says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// File system.
    pub fstype: FsType,
    /// UUID as blkid(8) spells it.
    pub uuid: Option<String>,
    /// Label; `None` when empty.
    pub label: Option<String>,
    /// Whether mounting read-only would write.
    pub state: State,
    /// What the owner should know of it.
    pub warning: Option<&'static str>,
    /// Bytes that belong to it, where that is read.
    pub size: Option<u64>,
}

impl Superblock {
    fn new(fstype: FsType, uuid: Option<String>, label: Option<String>, state: State) -> Self {
        Superblock {
            fstype,
            uuid,
            label,
            state,
            warning: None,
            size: None,
        }
    }
}

/// Recognises the file system on a device.
pub fn probe(device: &mut dyn ReadAt) -> Option<Superblock> {
    let mut first = [0u8; 512];
    let mut second = [0u8; 512];
    if !device.read_at(0, &mut first) {
        return None;
    }
    if first.starts_with(b"hsqs") {
        // fs/squashfs/squashfs_fs.h: no name of its own.
        return Some(Superblock::new(
            FsType::Squashfs,
            None,
            None,
            State::ReadOnlyFormat,
        ));
    }
    if let Some(found) = others::xfs(&first) {
        return Some(found);
    }
    if device.read_at(1024, &mut second) {
        let found = ext::read(&second)
            .or_else(|| others::erofs(&second))
            .or_else(|| f2fs::read(device, &second));
        if found.is_some() {
            return found;
        }
    }
    others::btrfs(device).or_else(|| others::vfat(&first))
}

/// Text up to the first NUL, without blanks at its end.
fn text(bytes: &[u8]) -> Option<String> {
    let bytes = bytes.split(|&b| b == 0).next()?;
    let text = lossy(bytes);
    let text = trim_end(&text);
    (!text.is_empty()).then(|| text.into())
}

fn uuid(block: &[u8], at: usize) -> Option<String> {
    let mut bytes = [0u8; 16];
    bytes.copy_from_slice(block.get(at..at + 16)?);
    (bytes != [0; 16]).then(|| uuid_text(&bytes))
}

/// Sixteen bytes as `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx`.
pub(crate) fn uuid_text(bytes: &[u8; 16]) -> String {
    let mut text = String::with_capacity(36);
    for (at, byte) in bytes.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        push_hex(&mut text, u32::from(*byte), 2);
    }
    text
}

pub(crate) fn le16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(
        bytes.get(at..at.checked_add(2)?)?.try_into().ok()?,
    ))
}

pub(crate) fn le32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(
        bytes.get(at..at.checked_add(4)?)?.try_into().ok()?,
    ))
}

pub(crate) fn le64(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(
        bytes.get(at..at.checked_add(8)?)?.try_into().ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn ext_disk(compatible: u32, incompatible: u32, read_only: u32, orphan: u32) -> Vec<u8> {
        let mut disk = vec![0u8; 4096];
        let mut put = |at: usize, value: u32| {
            disk[1024 + at..1028 + at].copy_from_slice(&value.to_le_bytes())
        };
        put(56, 0x0001_ef53);
        put(76, 1);
        put(92, compatible);
        put(96, incompatible);
        put(100, read_only);
        put(232, orphan);
        disk[1024 + 104..1024 + 120].copy_from_slice(&[0xab; 16]);
        disk[1024 + 120..1024 + 124].copy_from_slice(b"ROOT");
        disk
    }

    fn probed(disk: &[u8]) -> Superblock {
        probe(&mut &*disk).unwrap()
    }

    #[test]
    fn ext_generations_and_states() {
        let ext4 = probed(&ext_disk(4, 0x42, 0x9, 0));
        assert_eq!((ext4.fstype, ext4.state), (FsType::Ext4, State::Clean));
        assert_eq!(
            ext4.uuid.as_deref(),
            Some("abababab-abab-abab-abab-abababababab")
        );
        assert_eq!(ext4.label.as_deref(), Some("ROOT"));
        assert_eq!(probed(&ext_disk(4, 0x2, 1, 0)).fstype, FsType::Ext3);
        assert_eq!(probed(&ext_disk(0, 0x2, 1, 0)).fstype, FsType::Ext2);
        let state = |disk: &[u8]| probed(disk).state;
        assert_eq!(
            state(&ext_disk(4, 0x46, 0, 0)),
            State::Dirty("the journal needs recovery")
        );
        assert_eq!(
            state(&ext_disk(4, 0x42, 0, 12)),
            State::Dirty("deleted files wait for cleanup")
        );
        assert_eq!(
            state(&ext_disk(4, 0x42, 0x1_0000, 0)),
            State::Dirty("deleted files wait for cleanup")
        );
        assert_eq!(probe(&mut &*ext_disk(0, 0x8, 0, 0)), None); // an external journal
    }

    fn put(disk: &mut [u8], at: usize, bytes: &[u8]) {
        disk[at..at + bytes.len()].copy_from_slice(bytes);
    }

    #[test]
    fn btrfs_and_xfs() {
        let mut disk = vec![0u8; 66 << 10];
        put(&mut disk, 65536 + 64, b"_BHRfS_M");
        put(&mut disk, 65536 + 136, &[1]);
        let btrfs = probed(&disk);
        assert_eq!(
            (btrfs.fstype, btrfs.state, btrfs.warning),
            (FsType::Btrfs, State::Clean, None)
        );
        put(&mut disk, 65536 + 136, &[2]);
        assert_eq!(probed(&disk).warning, Some(SEVERAL));
        put(&mut disk, 0, b"XFSB");
        put(&mut disk, 32, &[0xcd; 16]);
        put(&mut disk, 108, b"rootfs");
        let xfs = probed(&disk);
        assert_eq!(
            (xfs.fstype, xfs.state, xfs.warning),
            (FsType::Xfs, State::Unknown, None)
        );
        assert_eq!(
            xfs.uuid.as_deref(),
            Some("cdcdcdcd-cdcd-cdcd-cdcd-cdcdcdcdcdcd")
        );
        assert_eq!(xfs.label.as_deref(), Some("rootfs"));
    }

    /// Blocks of 4 KiB and segments of 2 blocks; two checkpoints of 2 blocks each, the second one newer.
    fn f2fs(flags: u32) -> Vec<u8> {
        let mut disk = vec![0u8; 16 << 12];
        put(&mut disk, 1024, &0xf2f5_2010_u32.to_le_bytes());
        put(&mut disk, 1024 + 16, &[12, 0, 0, 0, 1]);
        put(&mut disk, 1024 + 76, &[2]);
        put(&mut disk, 1024 + 92, &[6]);
        for (block, version) in [(2, 7), (4, 8)] {
            put(&mut disk, block << 12, &[version]);
            put(&mut disk, (block + 1) << 12, &[version]);
            put(&mut disk, (block << 12) + 40, &[3]); // warm node: segment 3
            put(&mut disk, (block << 12) + 70, &[1]); // its second block: 6 + 3 * 2 + 1
            put(&mut disk, (block << 12) + 132, &flags.to_le_bytes());
            put(&mut disk, (block << 12) + 136, &[2]);
            put(&mut disk, (block << 12) + 164, &[0xfc, 0x0f]);
            put(&mut disk, (block << 12) + 0xffc, &[version, 0xcc]);
        }
        disk
    }

    #[test]
    fn f2fs_states() {
        const FOOTER: usize = (14 << 12) - 12;
        let footer = |flags, version: u64| {
            let mut disk = f2fs(flags);
            put(&mut disk, FOOTER, &version.to_le_bytes());
            probed(&disk).state
        };
        assert_eq!(footer(3, 0), State::Dirty("deleted files wait for cleanup"));
        assert_eq!(footer(0, 0), State::Clean); // cut off, with nothing to recover
        assert_eq!(footer(0, 8), ROLL_FORWARD);
        assert_eq!(footer(1, 7), State::Clean); // of the checkpoint before
        assert_eq!(footer(1, 8), ROLL_FORWARD);
        assert_eq!(footer(0x41, 8), State::Clean); // without the checksum
        assert_eq!(footer(0x41, 0xcc07 << 32 | 8), State::Clean);
        assert_eq!(footer(0x41, 0xcc08 << 32 | 8), ROLL_FORWARD);
        assert_eq!(footer(0x241, 0x1234 << 32 | 8), ROLL_FORWARD);
        let cut = f2fs(1);
        let cut = probed(&cut[..13 << 12]); // the place is not on this device
        assert_eq!((cut.state, cut.warning), (State::Unknown, Some(UNREADABLE)));
    }

    #[test]
    fn read_only_formats_vfat_and_nothing() {
        let mut disk = vec![0u8; 4096];
        assert_eq!(probe(&mut &*disk), None);
        disk[..4].copy_from_slice(b"hsqs");
        assert_eq!(probed(&disk).state, State::ReadOnlyFormat);
        disk[..4].fill(0);
        disk[82..90].copy_from_slice(b"FAT32   ");
        disk[67..71].copy_from_slice(&0x1234_abcd_u32.to_le_bytes());
        disk[71..82].copy_from_slice(b"BOOT       ");
        disk[510..512].copy_from_slice(&[0x55, 0xaa]);
        let vfat = probed(&disk);
        assert_eq!(
            (vfat.uuid.as_deref(), vfat.label.as_deref()),
            (Some("1234-ABCD"), Some("BOOT"))
        );
        assert_eq!(probe(&mut &[][..]), None);
    }

    proptest! {
        #[test]
        fn any_device_is_survived(mut disk in proptest::collection::vec(any::<u8>(), 0..3000), magic in 0usize..5) {
            let magics: [(usize, &[u8]); 5] = [
                (1080, &[0x53, 0xef]), (1024, &[0xe2, 0xe1, 0xf5, 0xe0]), (1024, &[0x10, 0x20, 0xf5, 0xf2]),
                (0, b"hsqs"), (510, &[0x55, 0xaa]),
            ];
            let (at, bytes) = magics[magic];
            if let Some(place) = disk.get_mut(at..at + bytes.len()) {
                place.copy_from_slice(bytes);
            }
            let _ = probe(&mut &*disk); // it returned
        }
    }
}
