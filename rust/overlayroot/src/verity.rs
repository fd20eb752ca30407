// SPDX-License-Identifier: MIT
//! dm-verity: the root hash that a root is held against, the superblock of its hash tree, and the kernel's table
//! (`Documentation/admin-guide/device-mapper/verity.rst`; the superblock is cryptsetup's, `lib/verity/verity.c`).

use alloc::borrow::ToOwned;
use alloc::string::String;

use crate::superblock::{le16, le32, le64, ReadAt};
use crate::text::{number, push_decimal, push_hex};

/// Name of the verified device for device-mapper.
pub const NAME: &str = "overlayroot";
/// Its device node.
pub const DEVICE: &str = "/dev/mapper/overlayroot";

/// Unit of device-mapper, bytes.
const SECTOR: u64 = 512;

/// What a root is held against (`ofs-verity=ROOTHASH@OFFSET`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// SHA-256, 64 hexadecimal digits as written.
    pub root_hash: String,
    /// Where the superblock of the hash tree is on the root device, bytes.
    pub offset: u64,
}

impl Pin {
    /// Parses `ROOTHASH@OFFSET`.
    pub fn parse(text: &str) -> Option<Pin> {
        let (hash, offset) = text.split_once('@')?;
        let offset = number(offset)?;
        let usable = hash.len() == 64
            && hash.bytes().all(|digit| digit.is_ascii_hexdigit())
            && offset != 0
            && offset % SECTOR == 0;
        usable.then(|| Pin {
            root_hash: hash.to_owned(),
            offset,
        })
    }
}

/// What the kernel does about a block that is not as it was (`ofs-verity-error=`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnError {
    /// Reading it fails with `EIO`.
    Eio,
    /// The board restarts.
    Restart,
    /// The kernel panics.
    Panic,
}

/// The hash tree of a device, as its superblock describes it. None of it is trusted: with other values than
/// those that it was made with, nothing fits the root hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    /// Blocks that are verified.
    pub data_blocks: u64,
    /// Bytes of one of them.
    pub data_block: u32,
    /// Bytes of a block of hashes.
    pub hash_block: u32,
    /// Hexadecimal, or `-` for none.
    pub salt: String,
}

impl Tree {
    /// Reads the superblock at `offset`; `None` when none is there, or none of version 1 with SHA-256 whose
    /// data ends before it.
    pub fn read(device: &mut dyn ReadAt, offset: u64) -> Option<Tree> {
        let mut block = [0u8; SECTOR as usize];
        if !device.read_at(offset, &mut block)
            || !block.starts_with(b"verity\0\0\x01\0\0\0\x01\0\0\0")
        {
            return None;
        }
        let tree = Tree {
            data_blocks: le64(&block, 72)?,
            data_block: le32(&block, 64)?,
            hash_block: le32(&block, 68)?,
            salt: salt(block.get(88..)?.get(..usize::from(le16(&block, 80)?))?),
        };
        let is_block = |size: u32| size.is_power_of_two() && (512..=4096).contains(&size);
        let end = tree
            .data_blocks
            .checked_mul(u64::from(tree.data_block))
            .filter(|&end| end != 0 && end <= offset);
        let usable = block.get(32..39)? == b"sha256\0"
            && is_block(tree.data_block)
            && is_block(tree.hash_block)
            && tree.salt.len() <= 512
            && end.is_some();
        usable.then_some(tree)
    }

    /// Sectors that the verified device has.
    pub fn sectors(&self) -> u64 {
        // `read` saw that this does not overflow.
        self.data_blocks * u64::from(self.data_block) / SECTOR
    }

    /// Parameters of the target for the device with these numbers. There is nothing to escape in them.
    pub fn table(&self, numbers: (u32, u32), pin: &Pin, on_error: OnError) -> String {
        let (data_block, hash_block) = (u64::from(self.data_block), u64::from(self.hash_block));
        // The tree begins with the first whole block after the superblock.
        let start = (pin.offset + SECTOR + hash_block - 1) >> self.hash_block.trailing_zeros();
        let mut text = "1".to_owned();
        // The device that has the data, and that which has the tree.
        for _ in 0..2 {
            push(&mut text, " ", u64::from(numbers.0));
            push(&mut text, ":", u64::from(numbers.1));
        }
        for number in [data_block, hash_block, self.data_blocks, start] {
            push(&mut text, " ", number);
        }
        let option = match on_error {
            OnError::Eio => "",
            OnError::Restart => " 1 restart_on_corruption",
            OnError::Panic => " 1 panic_on_corruption",
        };
        for part in [" sha256 ", &*pin.root_hash, " ", &*self.salt, option] {
            text.push_str(part);
        }
        text
    }
}

fn push(text: &mut String, separator: &str, number: u64) {
    text.push_str(separator);
    push_decimal(text, number);
}

fn salt(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        push_hex(&mut text, u32::from(*byte), 2);
    }
    if text.is_empty() {
        text.push('-');
    }
    text
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use alloc::format;
    use alloc::vec;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    pub(crate) const HASH: &str =
        "0123456789abcdef0123456789abcdef0123456789abcdef0123456789ABCDEF";

    /// A superblock at byte 8192 of a device: two blocks of data, a salt of two bytes.
    fn device() -> Vec<u8> {
        let mut device = vec![0u8; 16384];
        let mut put = |at: usize, bytes: &[u8]| {
            device[8192 + at..8192 + at + bytes.len()].copy_from_slice(bytes)
        };
        put(0, b"verity\0\0\x01\0\0\0\x01\0\0\0");
        put(32, b"sha256");
        put(64, &4096u32.to_le_bytes());
        put(68, &4096u32.to_le_bytes());
        put(72, &2u64.to_le_bytes());
        put(80, &2u16.to_le_bytes());
        put(88, &[0xab, 0x0c]);
        device
    }

    fn pin() -> Pin {
        Pin::parse(&format!("{HASH}@8192")).unwrap()
    }

    #[test]
    fn table_as_veritysetup_makes_it() {
        let tree = Tree::read(&mut &*device(), 8192).unwrap();
        assert_eq!(tree.sectors(), 16);
        let table = |on_error| tree.table((179, 2), &pin(), on_error);
        assert_eq!(
            table(OnError::Eio),
            format!("1 179:2 179:2 4096 4096 2 3 sha256 {HASH} ab0c")
        );
        assert!(table(OnError::Restart).ends_with(" ab0c 1 restart_on_corruption"));
        assert!(table(OnError::Panic).ends_with(" ab0c 1 panic_on_corruption"));
        let mut device = device();
        device[8192 + 80] = 0;
        let tree = Tree::read(&mut &*device, 8192).unwrap();
        assert!(tree.table((1, 2), &pin(), OnError::Eio).ends_with(" -"));
    }

    #[test]
    fn pins() {
        assert_eq!((pin().root_hash.as_str(), pin().offset), (HASH, 8192));
        let short = &HASH[1..];
        for bad in [
            HASH.to_owned(),
            format!("{HASH}@"),
            format!("{HASH}@0"),
            format!("{HASH}@100"),
            format!("{HASH}@-512"),
            format!("{HASH}@99999999999999999999"),
            format!("{HASH}0@512"),
            format!("{short}@512"),
            format!("{short}g@512"),
            format!("{short} @512"),
            String::new(),
            "no".to_owned(),
        ] {
            assert_eq!(Pin::parse(&bad), None, "{bad}");
        }
    }

    #[test]
    fn superblocks_that_are_refused() {
        // Magic, version, type, digest, block sizes, too much data, too long a salt.
        for (at, byte) in [
            (0, b'V'),
            (8, 2),
            (12, 0),
            (32, b'm'),
            (38, b'x'),
            (64, 1),
            (66, 1),
            (68, 1),
            (70, 1),
            (72, 0),
            (72, 3),
            (79, 0xff),
            (81, 2),
        ] {
            let mut device = device();
            device[8192 + at] = byte;
            assert_eq!(Tree::read(&mut &*device, 8192), None, "byte {at}");
        }
        assert_eq!(Tree::read(&mut &*device(), 4096), None);
        assert_eq!(Tree::read(&mut &*device(), 16384), None);
    }

    proptest! {
        #[test]
        fn any_superblock_is_survived(bytes in proptest::collection::vec(any::<u8>(), 496), offset in any::<u64>()) {
            let mut device = device();
            device[8208..8192 + 512].copy_from_slice(&bytes);
            device[8224..8231].copy_from_slice(b"sha256\0");
            if let Some(tree) = Tree::read(&mut &*device, 8192) {
                prop_assert!(tree.sectors() <= 16);
                prop_assert!(tree.table((1, 2), &pin(), OnError::Eio).is_ascii());
            }
            let _ = Tree::read(&mut &*device, offset); // it returned
        }

        #[test]
        fn a_pin_is_exact(text in "[0-9a-fA-F]{60,66}@[0-9]{0,21}") {
            if let Some(pin) = Pin::parse(&text) {
                let (hash, offset) = text.split_once('@').unwrap();
                prop_assert_eq!(pin.root_hash, hash);
                prop_assert_eq!(Ok(pin.offset), offset.parse());
            }
        }
    }
}
