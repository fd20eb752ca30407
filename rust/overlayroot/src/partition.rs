// SPDX-License-Identifier: MIT
//! Partition tables: GPT (UEFI specification, chapter 5) and MBR with logical partitions, numbered and
//! named as the kernel does (`block/partitions/`).

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use crate::superblock::{le16, le32, le64, uuid_text, ReadAt};
use crate::text;
use crate::text::{decimal, push_hex, small_number, utf16};

/// Most GPT entries that become partitions, as a disk of the kernel has no more; tables have 128.
const MAX_PARTITIONS: u32 = 256;
/// Most GPT entries that are read for their checksum: 128 KiB.
const MAX_ENTRIES: u32 = 1024;
/// Length of a GPT entry, bytes; the kernel takes no other.
const ENTRY: usize = 128;
/// No more tables are read when so many logical partitions are listed.
const MAX_LOGICAL: usize = 60;
/// Most tables of logical partitions that are read; the kernel follows as many that hold none.
const MAX_TABLES: u32 = 100;

/// One partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Number, as in the device's name.
    pub number: u32,
    /// GPT: the partition's GUID; MBR: `SSSSSSSS-PP` from the disk's signature. Lower case.
    pub partuuid: String,
    /// GPT: the partition's name.
    pub partlabel: Option<String>,
    /// First sector.
    pub start: u64,
    /// Number of sectors.
    pub sectors: u64,
}

/// The partitions of a disk, empty when there is no table; `disk_sectors` finds a GPT's backup when its
/// first copy is damaged.
pub fn table(disk: &mut dyn ReadAt, sector_size: u32, disk_sectors: Option<u64>) -> Vec<Partition> {
    let mut mbr = [0u8; 512];
    if !disk.read_at(0, &mut mbr) || le16(&mbr, 510) != Some(0xaa55) {
        return Vec::new();
    }
    // Any entry of type 0xee says that the table is a GPT.
    let protective = (0..4).any(|n| mbr.get(446 + 16 * n + 4) == Some(&0xee));
    if !protective {
        return mbr_table(disk, sector_size, &mbr);
    }
    let backup = disk_sectors.filter(|&n| n > 2).map(|n| n - 1);
    gpt_table(disk, sector_size, 1)
        .or_else(|| gpt_table(disk, sector_size, backup?))
        .unwrap_or_default()
}

fn gpt_table(disk: &mut dyn ReadAt, sector_size: u32, lba: u64) -> Option<Vec<Partition>> {
    let sector = u64::from(sector_size);
    let mut header = [0u8; 92];
    if !disk.read_at(lba.checked_mul(sector)?, &mut header) || !header.starts_with(b"EFI PART") {
        return None;
    }
    if le32(&header, 12)? != 92 || le64(&header, 24)? != lba {
        return None;
    }
    let crc = le32(&header, 16)?;
    header.get_mut(16..20)?.fill(0);
    if crc32(&header) != crc {
        return None;
    }
    let (entries, count, size) = (le64(&header, 72)?, le32(&header, 80)?, le32(&header, 84)?);
    if size as usize != ENTRY || count > MAX_ENTRIES {
        return None;
    }
    let mut table = vec![0u8; count as usize * ENTRY];
    if !disk.read_at(entries.checked_mul(sector)?, &mut table) {
        return None;
    }
    // The backup may be whole where this one is not.
    if crc32(&table) != le32(&header, 88)? {
        return None;
    }
    let numbered = (1..=MAX_PARTITIONS).zip(table.chunks_exact(ENTRY));
    Some(
        numbered
            .filter_map(|(number, entry)| gpt_entry(number, entry))
            .collect(),
    )
}

/// `None` for an entry that is not used, or that cannot be: the kernel passes over these as well.
fn gpt_entry(number: u32, entry: &[u8]) -> Option<Partition> {
    let (kind, guid) = (entry.get(..16)?, entry.get(16..32)?);
    if kind.iter().all(|&b| b == 0) {
        return None;
    }
    let (start, end) = (le64(entry, 32)?, le64(entry, 40)?);
    Some(Partition {
        number,
        partuuid: guid_text(guid)?,
        partlabel: Some(utf16(entry.get(56..)?)),
        start,
        sectors: end.checked_sub(start)?.checked_add(1)?,
    })
}

/// The first three fields of a GUID are little-endian.
fn guid_text(guid: &[u8]) -> Option<String> {
    const ORDER: [usize; 16] = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
    let mut bytes = [0u8; 16];
    for (to, from) in bytes.iter_mut().zip(ORDER) {
        *to = *guid.get(from)?;
    }
    Some(uuid_text(&bytes))
}

fn mbr_table(disk: &mut dyn ReadAt, sector_size: u32, mbr: &[u8]) -> Vec<Partition> {
    let signature = le32(mbr, 440).unwrap_or_default();
    let partition = |number: u32, start: u64, sectors: u64| Partition {
        number,
        partuuid: mbr_partuuid(signature, number),
        partlabel: None,
        start,
        sectors,
    };
    let mut found = Vec::new();
    let mut logical = Vec::new();
    for slot in 0..4 {
        let Some((kind, start, sectors)) = mbr_entry(mbr, slot) else {
            continue;
        };
        // An extended partition has a number and a name, like any other.
        found.push(partition(slot as u32 + 1, start, sectors));
        if is_extended(kind) {
            follow(disk, u64::from(sector_size), start, &mut logical);
        }
    }
    let numbered = (5..).zip(logical);
    found.extend(numbered.map(|(number, (start, sectors))| partition(number, start, sectors)));
    found
}

/// Logical partitions (`parse_extended()` in `block/partitions/msdos.c`): a chain of tables, each with
/// partitions, relative to itself, and a link, relative to the extended partition. Links may lead anywhere,
/// in a circle, too.
fn follow(disk: &mut dyn ReadAt, sector_size: u64, first: u64, found: &mut Vec<(u64, u64)>) {
    let mut here = first;
    let mut sector = [0u8; 512];
    for _ in 0..MAX_TABLES {
        if found.len() >= MAX_LOGICAL
            || !disk.read_at(here * sector_size, &mut sector)
            || le16(&sector, 510) != Some(0xaa55)
        {
            return;
        }
        let mut link = None;
        // The third and fourth entry are not used.
        for slot in 0..2 {
            match mbr_entry(&sector, slot) {
                None => {}
                Some((kind, start, _)) if is_extended(kind) => link = Some(first + start),
                Some((_, start, sectors)) => found.push((here + start, sectors)),
            }
        }
        match link {
            Some(next) => here = next,
            None => return,
        }
    }
}

fn mbr_partuuid(signature: u32, number: u32) -> String {
    let mut text = String::new();
    push_hex(&mut text, signature, 8);
    text.push('-');
    push_hex(&mut text, number, 2);
    text
}

fn mbr_entry(sector: &[u8], slot: usize) -> Option<(u8, u64, u64)> {
    let at = 446 + 16 * slot;
    let (kind, start, sectors) = (
        *sector.get(at + 4)?,
        le32(sector, at + 8)?,
        le32(sector, at + 12)?,
    );
    (sectors != 0).then_some((kind, u64::from(start), u64::from(sectors)))
}

fn is_extended(kind: u8) -> bool {
    matches!(kind, 0x05 | 0x0f | 0x85)
}

/// Whether the kernel puts a `p` between the name of a disk and the number of a partition.
fn ends_with_digit(disk: &str) -> bool {
    disk.as_bytes().last().is_some_and(u8::is_ascii_digit)
}

/// Kernel name of a partition: `p` goes between when the disk's name ends in a digit
/// (`block/partitions/core.c`).
pub fn partition_name(disk: &str, number: u32) -> String {
    let p = if ends_with_digit(disk) { "p" } else { "" };
    text!("{}{}{}", disk, p, decimal(u64::from(number)))
}

/// Whether a kernel name is that of a partition of `disk`.
pub fn is_partition(name: &str, disk: &str) -> bool {
    let number = name.strip_prefix(disk);
    let number = match ends_with_digit(disk) {
        true => number.and_then(|rest| rest.strip_prefix('p')),
        false => number,
    };
    number.and_then(small_number).is_some()
}

/// CRC-32 as in Ethernet, a byte at a time.
fn crc32(bytes: &[u8]) -> u32 {
    let mut table = [0u32; 256];
    for (byte, entry) in (0..).zip(&mut table) {
        let mut crc = byte;
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1u32).wrapping_neg());
        }
        *entry = crc;
    }
    let mut crc = !0u32;
    for &byte in bytes {
        let at = usize::from(crc as u8 ^ byte);
        crc = (crc >> 8) ^ table.get(at).copied().unwrap_or_default();
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A header at `lba` for four entries at `entries`; their checksum and its own are right.
    fn sign(disk: &mut [u8], lba: usize, entries: usize) {
        let crc = crc32(&disk[entries * 512..(entries + 1) * 512]);
        let header = &mut disk[lba * 512..lba * 512 + 92];
        header.fill(0);
        header[..8].copy_from_slice(b"EFI PART");
        header[12] = 92;
        header[24..32].copy_from_slice(&(lba as u64).to_le_bytes());
        header[72..80].copy_from_slice(&(entries as u64).to_le_bytes());
        header[80] = 4;
        header[84] = 128;
        header[88..92].copy_from_slice(&crc.to_le_bytes());
        let crc = crc32(header);
        header[16..20].copy_from_slice(&crc.to_le_bytes());
    }

    fn gpt_disk() -> Vec<u8> {
        let mut disk = vec![0u8; 100 * 512];
        disk[446 + 4] = 0xee;
        disk[446 + 12] = 99;
        disk[510..512].copy_from_slice(&[0x55, 0xaa]);
        let entry = &mut disk[1024 + 128..1024 + 256];
        entry[0] = 1;
        entry[16..32].copy_from_slice(&core::array::from_fn::<u8, 16, _>(|n| n as u8));
        entry[32] = 34;
        entry[40] = 35;
        for (at, unit) in "root".encode_utf16().enumerate() {
            entry[56 + 2 * at..58 + 2 * at].copy_from_slice(&unit.to_le_bytes());
        }
        disk.copy_within(1024..1536, 98 * 512);
        sign(&mut disk, 1, 2);
        sign(&mut disk, 99, 98);
        disk
    }

    #[test]
    fn gpt_and_its_backup() {
        let mut disk = gpt_disk();
        let expected = Partition {
            number: 2,
            partuuid: "03020100-0504-0706-0809-0a0b0c0d0e0f".into(),
            partlabel: Some("root".into()),
            start: 34,
            sectors: 2,
        };
        let found = table(&mut &*disk, 512, Some(100));
        assert_eq!(found, core::slice::from_ref(&expected));
        // A damaged header, and a damaged entry: a name that is not there any more, for one.
        for damaged in [530, 1024 + 128 + 16] {
            disk[damaged] ^= 1;
            let again = table(&mut &*disk, 512, Some(100));
            assert_eq!(again, core::slice::from_ref(&expected));
            assert_eq!(table(&mut &*disk, 512, None), []);
            disk[damaged] ^= 1;
        }
        disk[1024] ^= 1;
        disk[98 * 512] ^= 1;
        assert_eq!(table(&mut &*disk, 512, Some(100)), []);
    }

    fn entry(disk: &mut [u8], sector: usize, slot: usize, kind: u8, start: u32, sectors: u32) {
        let at = sector * 512 + 446 + 16 * slot;
        disk[at + 4] = kind;
        disk[at + 8..at + 12].copy_from_slice(&start.to_le_bytes());
        disk[at + 12..at + 16].copy_from_slice(&sectors.to_le_bytes());
        disk[sector * 512 + 510..sector * 512 + 512].copy_from_slice(&[0x55, 0xaa]);
    }

    #[test]
    fn mbr_with_logical_partitions() {
        let mut disk = vec![0u8; 100 * 512];
        disk[440..444].copy_from_slice(&0xdead_beef_u32.to_le_bytes());
        entry(&mut disk, 0, 1, 0x83, 4, 6);
        entry(&mut disk, 0, 3, 0x05, 20, 60);
        entry(&mut disk, 20, 0, 0x83, 1, 9);
        entry(&mut disk, 20, 1, 0x05, 30, 10);
        entry(&mut disk, 50, 0, 0x83, 1, 8);
        let found: Vec<_> = table(&mut &*disk, 512, None)
            .into_iter()
            .map(|p| (p.number, p.partuuid, p.start, p.sectors))
            .collect();
        let uuid = |n: &str| format!("deadbeef-{n}");
        assert_eq!(
            found,
            [
                (2, uuid("02"), 4, 6),
                (4, uuid("04"), 20, 60),
                (5, uuid("05"), 21, 9),
                (6, uuid("06"), 51, 8),
            ]
        );
    }

    fn logical(disk: &[u8]) -> Vec<(u32, u64)> {
        let found = table(&mut &*disk, 512, None).into_iter();
        found
            .filter(|p| p.number > 4)
            .map(|p| (p.number, p.start))
            .collect()
    }

    /// Chains as fdisk leaves them: the first logical partition deleted, another one made before it.
    #[test]
    fn chains_that_lead_back_and_tables_without_a_partition() {
        let mut disk = vec![0u8; 100 * 512];
        entry(&mut disk, 0, 0, 0x05, 20, 60);
        entry(&mut disk, 20, 1, 0x05, 40, 10);
        entry(&mut disk, 60, 0, 0x83, 1, 9);
        entry(&mut disk, 60, 1, 0x05, 10, 10);
        entry(&mut disk, 30, 0, 0x83, 1, 9);
        assert_eq!(logical(&disk), [(5, 61), (6, 31)]);
        // The last two entries of a table may be garbage.
        entry(&mut disk, 30, 2, 0x83, 2, 99);
        assert_eq!(logical(&disk), [(5, 61), (6, 31)]);
    }

    #[test]
    fn circles_end() {
        let mut disk = vec![0u8; 100 * 512];
        for slot in 0..4 {
            entry(&mut disk, 0, slot, 0x05, 20, 60);
        }
        entry(&mut disk, 20, 1, 0x05, 0, 10);
        assert_eq!(logical(&disk), []);
        entry(&mut disk, 20, 0, 0x83, 1, 9);
        assert_eq!(logical(&disk).len(), MAX_LOGICAL);
    }

    #[test]
    fn one_bad_entry_of_a_gpt_is_passed_over() {
        let mut disk = gpt_disk();
        disk[1024] = 1;
        disk[1024 + 32] = 9; // ends before it begins
        sign(&mut disk, 1, 2);
        assert_eq!(table(&mut &*disk, 512, None)[0].number, 2);
    }

    #[test]
    fn names() {
        assert_eq!(partition_name("mmcblk0", 2), "mmcblk0p2");
        assert_eq!(partition_name("sda", 10), "sda10");
        for (name, disk) in [
            ("mmcblk0p2", "mmcblk0"),
            ("sda10", "sda"),
            ("ubda1", "ubda"),
        ] {
            assert!(is_partition(name, disk) && !is_partition(disk, name));
        }
        for (name, disk) in [
            ("sda1", "sda1"),
            ("sda10", "sda1"),
            ("sdaa", "sda"),
            ("dm-10", "dm-1"),
            ("mmcblk0boot0", "mmcblk0"),
            ("mmcblk0p", "mmcblk0"),
        ] {
            assert!(!is_partition(name, disk), "{name} {disk}");
        }
    }

    proptest! {
        #[test]
        fn any_disk_is_survived(mut disk in proptest::collection::vec(any::<u8>(), 512..4096), kind in any::<u8>()) {
            disk[510..512].copy_from_slice(&[0x55, 0xaa]);
            disk[446 + 4] = kind;
            let sectors = disk.len() as u64 / 512;
            let found = table(&mut &*disk, 512, Some(sectors));
            prop_assert!(found.len() <= 65);
        }

        #[test]
        fn damaged_gpt_is_survived(at in 512usize..1400, byte in any::<u8>()) {
            let mut disk = gpt_disk();
            disk[at] = byte;
            prop_assert!(table(&mut &*disk, 512, Some(100)).len() <= 4);
        }
    }
}
