// SPDX-License-Identifier: MIT
//! ext2, ext3 and ext4.

use super::{le16, le32, text, uuid, FsType, State, Superblock};

/// Files that were deleted while they were in use.
pub(super) const ORPHANS: &str = "deleted files wait for cleanup";
/// It has recorded errors (`s_state`).
pub const ERRORS: &str =
    "the file system has recorded errors; check it with fsck from another system";

/// `struct ext4_super_block` of fs/ext4/ext4.h; told apart as libblkid does.
pub(super) fn read(block: &[u8]) -> Option<Superblock> {
    const HAS_JOURNAL: u32 = 0x4;
    const RECOVER: u32 = 0x4;
    const JOURNAL_DEVICE: u32 = 0x8;
    const ORPHAN_PRESENT: u32 = 0x1_0000;
    const WIDE: u32 = 0x80;
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
        State::Dirty(ORPHANS)
    } else {
        State::Clean
    };
    let mut found = Superblock::new(fstype, uuid(block, 104), text(block.get(120..136)?), state);
    found.warning = (le16(block, 58)? & 2 != 0).then_some(ERRORS);
    let high = if incompatible & WIDE != 0 {
        le32(block, 336)?
    } else {
        0
    };
    let blocks = u64::from(high) << 32 | u64::from(le32(block, 4)?);
    found.size = blocks.checked_mul(1024 << (le32(block, 24)? & 31));
    Some(found)
}
