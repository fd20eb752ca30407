// SPDX-License-Identifier: MIT
//! Devices that hold a file system and belong to something larger, which has its metadata at their end: the file
//! system is there, but what is written to it alone is lost, or damages the array.

use alloc::vec;

use super::{le32, ReadAt};

/// Bytes at the end of the device in which all but the oldest metadata are.
const END: u64 = 12 << 10;
/// `MD_SB_MAGIC` of include/uapi/linux/raid/md_p.h.
const MD: u32 = 0xa92b_4efc;
/// What to do about a root that is a member of an array.
pub const ASSEMBLE: &str =
    "assemble it in the initramfs and name it in ofs-root=; mdadm --zero-superblock when it is none any more";
const SWAPPED_MD: u32 = MD.swap_bytes();
const RAID: &str = "a Linux RAID array";

/// What is looked for: distance from the end of the device in bytes, contents, name. Places are those of mdadm
/// (super-intel.c, super-ddf.c), of drbd (drbd_int.h), and of NVIDIA's firmware as libblkid knows it.
static KNOWN: [(u64, &[u8], &str); 6] = [
    (1024, b"Intel Raid ISM Cfg Sig. ", "an Intel RAID array"),
    (512, b"\xde\x11\xde\x11", "a DDF RAID array"),
    (1024, b"NVIDIA  ", "an NVIDIA RAID array"),
    (4096 - 60, b"\x83\x74\x02\x6b", "a DRBD device"),
    (4096 - 60, b"\x83\x74\x02\x6c", "a DRBD device"),
    (4096 - 60, b"\x83\x74\x02\x6d", "a DRBD device"),
];

/// What a device of `sectors` units of 512 bytes is a member of. Two reads.
pub fn container(device: &mut dyn ReadAt, sectors: u64) -> Option<&'static str> {
    let size = sectors.checked_mul(512)?;
    let mut end = vec![0u8; END as usize];
    let start = size.checked_sub(END)?;
    if device.read_at(start, &mut end) {
        for (back, magic, name) in &KNOWN {
            if end.get((END - back) as usize..)?.starts_with(magic) {
                return Some(name);
            }
        }
        // Version 1.0 (`super_1_load()` in drivers/md/md.c): it says where it is.
        let place = (sectors - 16) & !7;
        let super_1 = end.get((place * 512 - start) as usize..)?;
        if le32(super_1, 0)? == MD && le32(super_1, 4)? == 1 && le32(super_1, 144)? == place as u32
        {
            return Some(RAID);
        }
    }
    // Version 0.90 (`MD_NEW_SIZE_SECTORS()`), in the byte order of whoever made it.
    let mut super_0 = [0u8; 8];
    let place = (sectors & !127).checked_sub(128)?;
    let is_old = device.read_at(place * 512, &mut super_0)
        && le32(&super_0, 4)? == 0
        && matches!(le32(&super_0, 0)?, MD | SWAPPED_MD);
    is_old.then_some(RAID)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    const SECTORS: u64 = 1000;

    fn found(at: u64, bytes: &[u8]) -> Option<&'static str> {
        let mut disk = vec![0u8; SECTORS as usize * 512];
        disk[at as usize..at as usize + bytes.len()].copy_from_slice(bytes);
        container(&mut &*disk, SECTORS)
    }

    /// Version 1.0 that says it is at a sector.
    fn super_1(place: u64) -> Vec<u8> {
        let mut bytes = vec![0u8; 152];
        bytes[..4].copy_from_slice(&MD.to_le_bytes());
        bytes[4] = 1;
        bytes[144..152].copy_from_slice(&place.to_le_bytes());
        bytes
    }

    #[test]
    fn each_kind_and_its_neighbours() {
        let end = SECTORS * 512;
        assert_eq!(found(984 * 512, &super_1(984)), Some(RAID));
        assert_eq!(found(984 * 512, &super_1(976)), None); // of another device
        let old = |magic: [u8; 4]| [magic, [0; 4]].concat();
        for magic in [MD.to_le_bytes(), MD.to_be_bytes()] {
            assert_eq!(found(768 * 512, &old(magic)), Some(RAID));
            assert_eq!(found(640 * 512, &old(magic)), None);
        }
        for &(back, magic, name) in &KNOWN {
            assert_eq!(found(end - back, magic), Some(name));
            assert_eq!(found(end - back - 512, magic), None);
        }
        // A version of DRBD that there is not.
        assert_eq!(found(end - (4096 - 60), b"\x83\x74\x02\x6a"), None);
        assert_eq!(found(0, &[]), None);
        assert_eq!(container(&mut &[0u8; 512][..], 1), None);
    }

    proptest! {
        #[test]
        fn any_size_is_survived(sectors in any::<u64>(), small in 0u64..40) {
            let disk = vec![0u8; small as usize * 512];
            prop_assert_eq!(container(&mut &*disk, small), None);
            prop_assert_eq!(container(&mut &*disk, sectors), None);
        }
    }
}
