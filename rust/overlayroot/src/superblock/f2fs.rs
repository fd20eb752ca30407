// SPDX-License-Identifier: MIT
//! f2fs: `struct f2fs_super_block`, `struct f2fs_checkpoint` and `struct node_footer` of include/linux/f2fs_fs.h.

use super::ext::ORPHANS;
use super::{le16, le32, le64, uuid, FsType, ReadAt, State, Superblock};
use crate::text::utf16;

/// Flags of a checkpoint. (That it is one of an unmount says nothing: a mount without anything to repair writes
/// nothing, and a repair at a read-only mount leaves another kind.)
const ORPHAN_PRESENT: u32 = 0x2;
const CRC_RECOVERY: u32 = 0x40;
const NOCRC_RECOVERY: u32 = 0x200;

/// Data that was fsynced after the newest checkpoint.
pub const ROLL_FORWARD: State = State::Dirty("fsynced data waits for roll-forward recovery");
/// For a state that is not known.
pub const UNREADABLE: &str =
    "whether fsynced data waits for recovery cannot be read; check it with fsck.f2fs from another system";

pub(super) fn read(device: &mut dyn ReadAt, block: &[u8]) -> Option<Superblock> {
    if le32(block, 0)? != 0xf2f5_2010 {
        return None;
    }
    let label = utf16(block.get(124..380)?);
    let state = state(device, block);
    let label = Some(label).filter(|label| !label.is_empty());
    let mut found = Superblock::new(
        FsType::F2fs,
        uuid(block, 108),
        label,
        state.unwrap_or(State::Unknown),
    );
    found.warning = state.is_none().then_some(UNREADABLE);
    Some(found)
}

/// The newer of the two checkpoint packs that is whole tells whether deleted files are left; what was fsynced after it
/// is in nodes from its next free warm one on.
fn state(device: &mut dyn ReadAt, block: &[u8]) -> Option<State> {
    let (block_bits, segment_bits) = (le32(block, 16)?, le32(block, 20)?);
    if !(12..=16).contains(&block_bits) || segment_bits > 16 {
        return None;
    }
    let first = u64::from(le32(block, 76)?);
    let mut newest = None;
    let mut version = 0;
    for pack in [first, first + (1 << segment_bits)] {
        let mut head = [0u8; 192];
        let mut tail = [0u8; 8];
        if !device.read_at(pack << block_bits, &mut head) {
            continue;
        }
        let (this, blocks) = (le64(&head, 0)?, le32(&head, 136)?);
        if blocks < 2 || blocks >> segment_bits > 1 {
            continue;
        }
        let last = pack + u64::from(blocks) - 1;
        let whole = device.read_at(last << block_bits, &mut tail) && le64(&tail, 0) == Some(this);
        if whole && (newest.is_none() || this > version) {
            newest = Some((pack, head));
            version = this;
        }
    }
    let (pack, head) = newest?;
    let flags = le32(&head, 132)?;
    if flags & ORPHAN_PRESENT != 0 {
        return Some(State::Dirty(ORPHANS));
    }
    // `find_fsync_dnodes()` and `is_recoverable_dnode()` of fs/f2fs.
    let mut shift = 0;
    if flags & NOCRC_RECOVERY != 0 {
        shift = 32;
    } else if flags & CRC_RECOVERY != 0 {
        let mut crc = [0u8; 4];
        let at = u64::from(le32(&head, 164)?);
        if !device.read_at((pack << block_bits) + at, &mut crc) {
            return None;
        }
        version |= u64::from(u32::from_le_bytes(crc)) << 32;
    }
    let segment = u64::from(le32(&head, 36 + 4)?);
    let node =
        u64::from(le32(block, 92)?) + (segment << segment_bits) + u64::from(le16(&head, 68 + 2)?);
    let mut of_node = [0u8; 8];
    // The footer is at the end of a node, and ends with the version and the next address.
    if !device.read_at(((node + 1) << block_bits) - 12, &mut of_node) {
        return None;
    }
    Some(
        if u64::from_le_bytes(of_node) << shift == version << shift {
            ROLL_FORWARD
        } else {
            State::Clean
        },
    )
}
