// SPDX-License-Identifier: MIT
//! File systems of which little has to be known.

use alloc::string::String;

use super::{le16, le32, le64, text, uuid, FsType, ReadAt, State, Superblock};
use crate::text::push_hex;

/// A file system that is not on one device alone.
pub const SEVERAL: &str = "this btrfs is on several devices, and nothing here looks for them: name each of the others by rootflags=device=/dev/...; only this one is locked";

/// `struct xfs_dsb` of fs/xfs/libxfs/xfs_format.h. Whether its log is clean takes a search through it: the kernel
/// is asked, by a mount of the locked device.
pub(super) fn xfs(block: &[u8]) -> Option<Superblock> {
    if !block.starts_with(b"XFSB") {
        return None;
    }
    let label = text(block.get(108..120)?);
    Some(Superblock::new(
        FsType::Xfs,
        uuid(block, 32),
        label,
        State::Unknown,
    ))
}

/// `struct erofs_super_block` of fs/erofs/erofs_fs.h.
pub(super) fn erofs(block: &[u8]) -> Option<Superblock> {
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

/// `struct btrfs_super_block` of include/uapi/linux/btrfs_tree.h, at 64 KiB.
pub(super) fn btrfs(device: &mut dyn ReadAt) -> Option<Superblock> {
    let mut block = [0u8; 560];
    if !device.read_at(65536, &mut block) || block.get(64..72)? != b"_BHRfS_M" {
        return None;
    }
    let state = match le64(&block, 96)? {
        0 => State::Clean,
        _ => State::Dirty("the log tree needs replay"),
    };
    let label = text(block.get(299..555)?);
    let mut found = Superblock::new(FsType::Btrfs, uuid(&block, 32), label, state);
    found.warning = (le64(&block, 136)? > 1).then_some(SEVERAL);
    Some(found)
}

/// Boot sector of the FAT specification; a read-only mount writes nothing, whatever its dirty bit says.
pub(super) fn vfat(block: &[u8]) -> Option<Superblock> {
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
