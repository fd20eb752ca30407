// SPDX-License-Identifier: MIT
//! Partition tables: numbers, names and the amount of reading stay within bounds, circles included.

use std::collections::BTreeSet;

use overlayroot::partition::{partition_name, table};

use crate::disk::Disk;
use crate::input::Input;
use crate::superblock::assert_hex;

/// One input: a byte of switches, a disk. Checksums, which no fuzzer guesses, are made right if asked for.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let switches = input.byte();
    let sector: u32 = if switches & 1 == 0 { 512 } else { 4096 };
    let mut disk = Disk::read(&mut input);
    let sectors = disk.size() / u64::from(sector);
    if switches & 2 != 0 {
        sign(&mut disk, u64::from(sector), u64::from(sector));
    }
    if switches & 4 != 0 {
        let last = sectors.saturating_sub(1) * u64::from(sector);
        sign(&mut disk, last, u64::from(sector));
    }
    let known = (switches & 8 == 0).then_some(sectors);
    let found = table(&mut disk, sector, known);
    // Four chains of a hundred tables; or two GPTs of 1024 entries.
    disk.assert_read(1 + 2 * 1025, 512 + 2 * (92 + 1024 * 128));
    assert_eq!(found, table(&mut disk.again(), sector, known));
    let mut numbers = BTreeSet::new();
    for partition in &found {
        assert!((1..=256).contains(&partition.number));
        assert!(numbers.insert(partition.number), "two of a number");
        assert!(partition.sectors > 0 || partition.partlabel.is_some());
        match &partition.partlabel {
            Some(label) => {
                assert!(label.chars().count() <= 36 && !label.contains('\0'));
                assert_hex(
                    &partition.partuuid,
                    "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx",
                    false,
                );
            }
            None => {
                assert!(partition.number <= 65);
                assert_hex(&partition.partuuid, "xxxxxxxx-xx", false);
            }
        }
        let name = partition_name("mmcblk0", partition.number);
        assert_eq!(name, format!("mmcblk0p{}", partition.number));
    }
}

/// Makes the checksums of a GPT right: of its entries, where there are not too many, and of its header.
fn sign(disk: &mut Disk, at: u64, sector: u64) {
    let entries = u64::from_le_bytes(disk.at(at + 72)).wrapping_mul(sector);
    let count = u32::from_le_bytes(disk.at(at + 80));
    if count <= 1024 {
        let bytes =
            (0..u64::from(count)).flat_map(|n| disk.at::<128>(entries.wrapping_add(n * 128)));
        let crc = crc32(&bytes.collect::<Vec<u8>>());
        disk.put(at + 88, &crc.to_le_bytes());
    }
    let mut header: [u8; 92] = disk.at(at);
    header[16..20].fill(0);
    let crc = crc32(&header);
    disk.put(at + 16, &crc.to_le_bytes());
}

/// CRC-32 of zlib.
pub fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| match crc & 1 {
            0 => crc >> 1,
            _ => crc >> 1 ^ 0xedb8_8320,
        })
    })
}
