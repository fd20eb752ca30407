// SPDX-License-Identifier: MIT
//! Contents of files. Holes are neither read nor written: a file of some KiB may be 40 GB long.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use rustix::fs::SeekFrom;
use rustix::io::Errno;

use super::dir::Stat;
use crate::{progress, signals};

/// Where pieces begin, bytes: a multiple of this.
const BLOCK: u64 = 4096;
/// The longest piece, bytes.
const PIECE: usize = 64 << 10;

/// Where the next data of a file is, at or after `at`: begin and end, bytes. `None`: only a hole is left.
fn next_data(file: &File, at: u64) -> io::Result<Option<(u64, u64)>> {
    match rustix::fs::seek(file, SeekFrom::Data(at)) {
        Ok(start) => match rustix::fs::seek(file, SeekFrom::Hole(start)) {
            Ok(end) => Ok(Some((start, end))),
            Err(Errno::NXIO) => Ok(None), // it was made shorter just now
            Err(error) => Err(error.into()),
        },
        Err(Errno::NXIO) => Ok(None),
        Err(_) => Ok(Some((at, u64::MAX))), // a file system that does not know
    }
}

/// The same in whole blocks, from `at` on.
fn next_blocks(file: &File, at: u64) -> io::Result<Option<(u64, u64)>> {
    let found = next_data(file, at)?;
    Ok(found.map(|(start, end)| {
        let end = end.checked_next_multiple_of(BLOCK).unwrap_or(u64::MAX);
        (at.max(start - start % BLOCK), end)
    }))
}

/// Reads until the buffer is full or the file ends.
fn fill(file: &File, mut offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset) {
            Ok(0) => break,
            Ok(count) => {
                filled += count;
                offset += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Calls `take` with each piece of a file that is no hole, and where it begins; up to `length`, bytes. `whole`: it
/// has no holes, and need not be asked for them.
fn pieces(
    file: &File,
    length: u64,
    whole: bool,
    take: &mut dyn FnMut(u64, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut buffer = vec![0; usize::try_from(length).map_or(PIECE, |length| length.min(PIECE))];
    let mut at = 0;
    while at < length {
        let found = match whole {
            true => Some((0, length)),
            false => next_blocks(file, at)?,
        };
        let Some((mut start, end)) = found else {
            break;
        };
        let end = end.min(length);
        while start < end {
            let wanted = usize::try_from(end - start).map_or(PIECE, |left| left.min(PIECE));
            let piece = buffer.get_mut(..wanted).unwrap_or_default();
            let count = fill(file, start, piece)?;
            take(start, piece.get(..count).unwrap_or_default())?;
            progress::bytes(count);
            if count < wanted {
                return Ok(()); // the end of the file
            }
            start += count as u64;
        }
        at = end;
    }
    Ok(())
}

/// Whether two files of the same length, bytes, have the same contents. One that has grown since is looked at to its end,
/// too.
pub fn is_same(a: &File, b: &File, length: u64) -> io::Result<bool> {
    let room = length.clamp(BLOCK, PIECE as u64) as usize;
    let (mut left, mut right) = (vec![0; room], vec![0; room]);
    let mut at = 0;
    loop {
        let (mut start, end) = match (next_blocks(a, at)?, next_blocks(b, at)?) {
            (None, None) => return Ok(true),
            (Some(one), None) | (None, Some(one)) => one,
            // Where one of them has a hole, it is read: there may be zeros in the other.
            (Some(one), Some(two)) => one.min(two),
        };
        while start < end {
            let wanted = usize::try_from(end - start).map_or(room, |rest| rest.min(room));
            let one = left.get_mut(..wanted).unwrap_or_default();
            let two = right.get_mut(..wanted).unwrap_or_default();
            let (count, other) = (fill(a, start, one)?, fill(b, start, two)?);
            if one.get(..count) != two.get(..other) {
                return Ok(false);
            }
            if count < wanted {
                return Ok(true);
            }
            progress::bytes(count);
            start += count as u64;
        }
        at = end;
    }
}

/// Stands for contents: of 64 bits, and finds accidents, no forgery. Zeros do not count, so that a hole and
/// the zeros that were written for it are the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest(u64);

impl Digest {
    /// Adds a piece that begins at a multiple of 8.
    pub fn add(&mut self, offset: u64, piece: &[u8]) {
        let mut number = offset / 8;
        let mut words = piece.chunks_exact(8);
        for word in &mut words {
            self.word(number, word.try_into().unwrap_or_default());
            number += 1;
        }
        let mut last = [0; 8];
        for (to, from) in last.iter_mut().zip(words.remainder()) {
            *to = *from;
        }
        self.word(number, last);
    }

    #[inline]
    fn word(&mut self, number: u64, bytes: [u8; 8]) {
        let word = u64::from_le_bytes(bytes);
        if word != 0 {
            // The finisher of SplitMix64, of the word and its place.
            let mut x = word ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            self.0 = self.0.wrapping_add(x ^ (x >> 31));
        }
    }

    /// Of a file, as long as [`Stat`] says.
    pub fn of(file: &File, stat: &Stat) -> io::Result<Digest> {
        let mut digest = Digest::default();
        pieces(file, stat.size, is_whole(stat), &mut |offset, piece| {
            digest.add(offset, piece);
            Ok(())
        })?;
        Ok(digest)
    }
}

/// Whether there cannot be a hole: as many bytes are taken as it is long.
fn is_whole(stat: &Stat) -> bool {
    stat.used >= stat.size
}

/// Copies the data of a file, as long as [`Stat`] says, into an empty one. Returns what was copied.
///
/// An error (`EINTR`) when this program is asked to end. Data passes through this program, as its digest is needed;
/// between two file systems the kernel has no shorter way either.
pub fn copy(from: &File, stat: &Stat, to: &File) -> io::Result<Digest> {
    let (mut digest, mut end) = (Digest::default(), 0);
    pieces(from, stat.size, is_whole(stat), &mut |offset, piece| {
        digest.add(offset, piece);
        end = offset + piece.len() as u64;
        signals::check()?;
        to.write_all_at(piece, offset)
    })?;
    if end < stat.size {
        to.set_len(stat.size)?; // a hole at the end
    }
    Ok(digest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::dir::Held;
    use proptest::prelude::*;

    fn stat(file: &File) -> Stat {
        Held::of(file.try_clone().unwrap().into()).stat().unwrap()
    }

    fn file(length: u64, pieces: &[(u64, Vec<u8>)]) -> File {
        let file = tempfile::tempfile().unwrap();
        for (offset, bytes) in pieces {
            file.write_all_at(bytes, *offset).unwrap();
        }
        if file.metadata().unwrap().len() < length {
            file.set_len(length).unwrap();
        }
        file
    }

    /// 41 GB, as of a lastlog: read as a whole it would take minutes.
    #[test]
    fn holes_cost_nothing() {
        let length = 41 << 30;
        let one = file(
            length,
            &[(5 << 30, b"x".to_vec()), (length - 1, b"y".to_vec())],
        );
        let copied = tempfile::tempfile().unwrap();
        let digest = copy(&one, &stat(&one), &copied).unwrap();
        assert_eq!(copied.metadata().unwrap().len(), length);
        assert!(std::os::unix::fs::MetadataExt::blocks(&copied.metadata().unwrap()) < 64);
        assert_eq!(Digest::of(&copied, &stat(&copied)).unwrap(), digest);
        assert!(is_same(&one, &copied, length).unwrap());
        copied.write_all_at(b"z", 20 << 30).unwrap();
        assert!(
            !is_same(&one, &copied, length).unwrap() && !is_same(&copied, &one, length).unwrap()
        );
        assert_ne!(Digest::of(&copied, &stat(&copied)).unwrap(), digest);
    }

    proptest! {
        #[test]
        fn holes_and_zeros_are_the_same(
            parts in proptest::collection::vec((0u64..200_000, 1usize..9000, 0u8..3), 0..5)
        ) {
            let data: Vec<_> = parts.iter().map(|(at, n, byte)| (*at, vec![*byte; *n])).collect();
            let sparse = file(300_001, &data);
            let mut whole = vec![0; 300_001];
            for (at, bytes) in &data {
                whole[*at as usize..][..bytes.len()].copy_from_slice(bytes);
            }
            let dense = file(0, &[(0, whole.clone())]);
            for length in [300_001, 5000] {
                prop_assert!(is_same(&sparse, &dense, length).unwrap());
                prop_assert!(is_same(&dense, &sparse, length).unwrap());
            }
            let digest = Digest::of(&dense, &stat(&dense)).unwrap();
            prop_assert_eq!(Digest::of(&sparse, &stat(&sparse)).unwrap(), digest);
            let copied = tempfile::tempfile().unwrap();
            prop_assert_eq!(copy(&sparse, &stat(&sparse), &copied).unwrap(), digest);
            prop_assert!(is_same(&copied, &dense, 300_001).unwrap());
            whole[150_000] ^= 1;
            let other = file(0, &[(0, whole)]);
            prop_assert!(!is_same(&sparse, &other, 300_001).unwrap());
            prop_assert_ne!(Digest::of(&other, &stat(&other)).unwrap(), digest);
        }
    }
}
