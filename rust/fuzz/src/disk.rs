// SPDX-License-Identifier: MIT
//! A disk that is described in few bytes: zeros, and pieces of data at some places. Every read is counted.

use overlayroot::superblock::ReadAt;

use crate::input::Input;

/// Where file systems and partition tables have what is read, bytes.
const PLACES: [u64; 16] = [
    0, 440, 446, 510, 512, 1024, 1080, 1536, 2048, 4096, 8192, 65536, 0x20_0000, 0x40_0000,
    0x20_5000, 0x40_5000,
];

/// A disk.
#[derive(Clone)]
pub struct Disk {
    size: u64,
    pieces: Vec<(u64, Vec<u8>)>,
    reads: u64,
    bytes: u64,
}

impl Disk {
    /// From all that is left of the input: size in KiB (two bytes), then pieces: number of a place (four
    /// bits) and of bytes beyond it (12 bits), length (one byte; from 128 on times eight), data.
    pub fn read(input: &mut Input<'_>) -> Disk {
        let size = input.number(2) * 1024;
        let mut pieces = Vec::new();
        while !input.is_empty() {
            let place = input.number(2);
            let base = PLACES.get((place & 15) as usize).copied().unwrap_or(0);
            let length = match usize::from(input.byte()) {
                short @ 0..=127 => short,
                long => (long - 127) * 8,
            };
            pieces.push((base + (place >> 4), input.bytes(length).to_vec()));
        }
        Disk {
            size,
            pieces,
            reads: 0,
            bytes: 0,
        }
    }

    /// What is at a place.
    pub fn at<const COUNT: usize>(&self, offset: u64) -> [u8; COUNT] {
        let mut buffer = [0; COUNT];
        self.fill(offset, &mut buffer);
        buffer
    }

    /// Puts data somewhere.
    pub fn put(&mut self, offset: u64, data: &[u8]) {
        self.pieces.push((offset, data.to_vec()));
    }

    /// Its length, bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Whether nothing was put on it.
    pub fn is_zero(&self) -> bool {
        self.pieces
            .iter()
            .all(|(_, data)| data.iter().all(|byte| *byte == 0))
    }

    /// The same disk, unread.
    pub fn again(&self) -> Disk {
        let mut disk = self.clone();
        (disk.reads, disk.bytes) = (0, 0);
        disk
    }

    /// That no more than this was read.
    pub fn assert_read(&self, reads: u64, bytes: u64) {
        assert!(self.reads <= reads, "{} reads", self.reads);
        assert!(self.bytes <= bytes, "{} bytes read", self.bytes);
    }

    fn fill(&self, offset: u64, buffer: &mut [u8]) {
        for (start, data) in &self.pieces {
            for (at, byte) in data.iter().enumerate() {
                let place = (start + at as u64).checked_sub(offset);
                let place = place.and_then(|n| buffer.get_mut(usize::try_from(n).ok()?));
                if let Some(place) = place {
                    *place = *byte;
                }
            }
        }
    }
}

impl ReadAt for Disk {
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> bool {
        self.reads += 1;
        self.bytes += buffer.len() as u64;
        let fits = offset
            .checked_add(buffer.len() as u64)
            .is_some_and(|end| end <= self.size);
        if fits {
            buffer.fill(0);
            self.fill(offset, buffer);
        }
        fits
    }
}
