// SPDX-License-Identifier: MIT
//! Superblocks: which file system a device holds, its names, and whether mounting it would write.
//!
//! Offsets are those of the kernel's on-disk structures; each function names its header.

use alloc::string::String;

use crate::text::{lossy, push_hex, trim_end};

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
    /// The kernel has recorded errors in it.
    pub errors: bool,
}

impl Superblock {
    fn new(fstype: FsType, uuid: Option<String>, label: Option<String>, state: State) -> Self {
        Superblock {
            fstype,
            uuid,
            label,
            state,
            errors: false,
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
    if device.read_at(1024, &mut second) {
        let found = ext(&second)
            .or_else(|| erofs(&second))
            .or_else(|| f2fs(device, &second));
        if found.is_some() {
            return found;
        }
    }
    btrfs(device).or_else(|| vfat(&first))
}

/// `struct ext4_super_block` of fs/ext4/ext4.h; told apart as libblkid does.
fn ext(block: &[u8]) -> Option<Superblock> {
    const HAS_JOURNAL: u32 = 0x4;
    const RECOVER: u32 = 0x4;
    const JOURNAL_DEVICE: u32 = 0x8;
    const ORPHAN_PRESENT: u32 = 0x1_0000;
    if le16(block, 56)? != 0xef53 {
        return None;
    }
    // Revision 0 has no features.
    let feature = |at| {
        if le32(block, 76) == Some(0) {
            Some(0)
        } else {
            le32(block, at)
        }
    };
    let (compatible, incompatible, read_only) = (feature(92)?, feature(96)?, feature(100)?);
    if incompatible & JOURNAL_DEVICE != 0 {
        return None;
    }
    // File types, recovery and meta block groups; sparse superblocks, large files, trees: ext3 knows those.
    let modern = incompatible & !(0x2 | RECOVER | 0x10) != 0 || read_only & !0x7 != 0;
    let fstype = match (modern, compatible & HAS_JOURNAL != 0) {
        (true, _) => FsType::Ext4,
        (false, true) => FsType::Ext3,
        (false, false) => FsType::Ext2,
    };
    let state = if incompatible & RECOVER != 0 {
        State::Dirty("the journal needs recovery")
    } else if fstype != FsType::Ext2 && (le32(block, 232)? != 0 || read_only & ORPHAN_PRESENT != 0)
    {
        State::Dirty("deleted files wait for cleanup")
    } else {
        State::Clean
    };
    let mut found = Superblock::new(fstype, uuid(block, 104), text(block.get(120..136)?), state);
    found.errors = le16(block, 58)? & 2 != 0;
    Some(found)
}

/// `struct erofs_super_block` of fs/erofs/erofs_fs.h.
fn erofs(block: &[u8]) -> Option<Superblock> {
    if le32(block, 0)? != 0xe0f5_e1e2 {
        return None;
    }
    let (uuid, label) = (uuid(block, 48), text(block.get(64..80)?));
    Some(Superblock::new(
        FsType::Erofs,
        uuid,
        label,
        State::ReadOnlyFormat,
    ))
}

/// `struct f2fs_super_block` of include/linux/f2fs_fs.h.
fn f2fs(device: &mut dyn ReadAt, block: &[u8]) -> Option<Superblock> {
    if le32(block, 0)? != 0xf2f5_2010 {
        return None;
    }
    let units = block
        .get(124..380)?
        .chunks_exact(2)
        .filter_map(|pair| le16(pair, 0));
    let label: String = char::decode_utf16(units.take_while(|&unit| unit != 0))
        .map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect();
    let state = f2fs_state(device, block).unwrap_or(State::Unknown);
    let label = Some(label).filter(|label| !label.is_empty());
    Some(Superblock::new(
        FsType::F2fs,
        uuid(block, 108),
        label,
        state,
    ))
}

/// The newer of the two checkpoint packs that is whole (`struct f2fs_checkpoint`) tells how it was unmounted.
fn f2fs_state(device: &mut dyn ReadAt, block: &[u8]) -> Option<State> {
    let (block_bits, segment_bits) = (le32(block, 16)?, le32(block, 20)?);
    if !(12..=16).contains(&block_bits) || segment_bits > 16 {
        return None;
    }
    let first = u64::from(le32(block, 76)?);
    let mut newest: Option<(u64, u32)> = None;
    for pack in [first, first + (1 << segment_bits)] {
        let mut head = [0u8; 192];
        let mut tail = [0u8; 8];
        if !device.read_at(pack << block_bits, &mut head) {
            continue;
        }
        let (version, flags, blocks) = (le64(&head, 0)?, le32(&head, 132)?, le32(&head, 136)?);
        if blocks < 2 || blocks >> segment_bits > 1 {
            continue;
        }
        let last = pack + u64::from(blocks) - 1;
        let whole =
            device.read_at(last << block_bits, &mut tail) && le64(&tail, 0) == Some(version);
        if whole && newest.map_or(true, |(newer, _)| version > newer) {
            newest = Some((version, flags));
        }
    }
    let (_, flags) = newest?;
    Some(match flags & 0x3 {
        0x1 => State::Clean,
        // CP_UMOUNT_FLAG is not set, or CP_ORPHAN_PRESENT_FLAG is.
        _ => State::Dirty("it was not unmounted"),
    })
}

/// `struct btrfs_super_block` of include/uapi/linux/btrfs_tree.h, at 64 KiB.
fn btrfs(device: &mut dyn ReadAt) -> Option<Superblock> {
    let mut block = [0u8; 560];
    if !device.read_at(65536, &mut block) || block.get(64..72)? != b"_BHRfS_M" {
        return None;
    }
    let state = match le64(&block, 96)? {
        0 => State::Clean,
        _ => State::Dirty("the log tree needs replay"),
    };
    Some(Superblock::new(
        FsType::Btrfs,
        uuid(&block, 32),
        text(block.get(299..555)?),
        state,
    ))
}

/// Boot sector of the FAT specification; a read-only mount writes nothing, whatever its dirty bit says.
fn vfat(block: &[u8]) -> Option<Superblock> {
    if le16(block, 510)? != 0xaa55 {
        return None;
    }
    let is = |at: usize, name: &[u8]| block.get(at..).is_some_and(|rest| rest.starts_with(name));
    let (serial, label) = if is(82, b"FAT32   ") {
        (67, 71)
    } else if is(54, b"FAT16   ") || is(54, b"FAT12   ") || is(54, b"FAT     ") {
        (39, 43)
    } else {
        return None;
    };
    let number = le32(block, serial)?;
    let mut uuid = String::new();
    push_hex(&mut uuid, number >> 16, 4);
    uuid.push('-');
    push_hex(&mut uuid, number & 0xffff, 4);
    uuid.make_ascii_uppercase();
    let label = text(block.get(label..label + 11)?).filter(|label| label != "NO NAME");
    Some(Superblock::new(
        FsType::Vfat,
        Some(uuid),
        label,
        State::Clean,
    ))
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
