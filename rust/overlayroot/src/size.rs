// SPDX-License-Identifier: MIT
//! Size of the RAM layer: what `ofs-size=` may say and how many bytes and inodes it gives.

use alloc::format;
use alloc::string::String;

use crate::text::{self, Number};

/// Smallest RAM layer that a userspace starts on, bytes.
pub const SMALLEST: u64 = 4 << 20;
/// Largest share of RAM that the layer may take, percent: the rest keeps the board alive when it is full.
pub const LARGEST_PERCENT: u64 = 90;
/// Memory that an inode takes, which no other use of it can have: on 32 and 64 bits, with its name.
const MEMORY_OF_INODE: u64 = 1024;
/// Bytes of size for which one inode is allowed when no cap is given: a page of a small file.
const BYTES_PER_INODE: u64 = 4096;

/// `ofs-size=` as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// How much.
    pub amount: Amount,
    /// Explicit cap on the number of inodes.
    pub inodes: Option<u64>,
}

/// Amount of RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// Percent of MemTotal, 1 to 100.
    Percent(u64),
    /// Bytes.
    Bytes(u64),
}

/// Size in the units of tmpfs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `size=` of tmpfs, bytes.
    pub bytes: u64,
    /// `nr_inodes=` of tmpfs.
    pub inodes: u64,
}

impl Size {
    /// What is used when neither the command line nor the image says anything: half of RAM, as tmpfs itself.
    pub const DEFAULT: Size = Size {
        amount: Amount::Percent(50),
        inodes: None,
    };

    /// Parses `20`, `20%` (percent of RAM), `64M`, `1G`, `65536K`, each with an optional `,INODES`
    /// (`64M,20000` or `64M,20k`).
    ///
    /// A bare number is a percentage. `None` when the text is none of these.
    pub fn parse(text: &str) -> Option<Size> {
        let (amount, inodes) = match text.split_once(',') {
            Some((amount, inodes)) => (amount, Some(number(inodes, 1000).filter(|&n| n > 0)?)),
            None => (text, None),
        };
        let percent = amount.strip_suffix('%').unwrap_or(amount);
        let amount = match text::number(percent) {
            Some(percent) if (1..=100).contains(&percent) => Amount::Percent(percent),
            Some(_) => return None,
            None if percent.len() != amount.len() => return None,
            None => Amount::Bytes(number(amount, 1024).filter(|&n| n > 0)?),
        };
        Some(Size { amount, inodes })
    }

    /// Bytes and inodes on a board with `mem_total` bytes of RAM, and a warning when the wish had to be bent
    /// to something that a board can live with.
    #[inline(never)]
    pub fn limits(&self, mem_total: u64) -> (Limits, Option<String>) {
        let wish = match self.amount {
            Amount::Percent(percent) => mem_total / 100 * percent,
            Amount::Bytes(bytes) => bytes,
        };
        let most = (mem_total / 100 * LARGEST_PERCENT).max(SMALLEST);
        // Whole pages, as tmpfs rounds.
        let bytes = wish.clamp(SMALLEST, most) & !4095;
        let warning = if wish > most {
            Some(format!(
                "ofs-size asks for {} bytes, {} % of RAM is the most: using {}",
                Number(wish),
                Number(LARGEST_PERCENT),
                Number(bytes)
            ))
        } else if wish < SMALLEST {
            Some(format!(
                "ofs-size asks for {} bytes, too few to start on: using {}",
                Number(wish),
                Number(bytes)
            ))
        } else {
            None
        };
        // A cap that is none is no reason for a warning: the report says what it came to.
        let inodes = self.inodes.map_or(bytes / BYTES_PER_INODE, |asked| {
            asked.min(most / MEMORY_OF_INODE)
        });
        (Limits { bytes, inodes }, warning)
    }
}

/// Digits with an optional k, m or g (either case), a power of `base`.
fn number(text: &str, base: u64) -> Option<u64> {
    let (digits, factor) = match text.as_bytes().last()? {
        b'k' | b'K' => (text.len() - 1, base),
        b'm' | b'M' => (text.len() - 1, base * base),
        b'g' | b'G' => (text.len() - 1, base * base * base),
        _ => (text.len(), 1),
    };
    text::number(text.get(..digits)?)?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GIB: u64 = 1 << 30;

    fn amount(text: &str) -> Option<Amount> {
        Size::parse(text).map(|s| s.amount)
    }

    #[test]
    fn accepted_spellings() {
        assert_eq!(amount("20"), Some(Amount::Percent(20)));
        assert_eq!(amount("20%"), Some(Amount::Percent(20)));
        assert_eq!(amount("64M"), Some(Amount::Bytes(64 << 20)));
        assert_eq!(amount("1g"), Some(Amount::Bytes(GIB)));
        assert_eq!(Size::parse("64M,500").and_then(|s| s.inodes), Some(500));
        assert_eq!(Size::parse("20,20k").and_then(|s| s.inodes), Some(20_000));
    }

    #[test]
    fn refused_spellings() {
        for bad in [
            "",
            "0",
            "101",
            "0%",
            "300",
            "x",
            "-1",
            "20 %",
            "1.5G",
            "M",
            "64MB",
            "20%%",
            "20,",
            "20,0",
            ",5",
            "99999999999999999999G",
            "18446744073709551615G",
            "64M%",
            "0K",
        ] {
            assert_eq!(Size::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn limits_are_livable() {
        let limits = |text: &str, ram| Size::parse(text).unwrap().limits(ram);
        assert_eq!(
            limits("20", 1000 << 20),
            (
                Limits {
                    bytes: (200 << 20) & !4095,
                    inodes: (200 << 20) / 4096
                },
                None
            )
        );
        assert_eq!(
            limits("64M,7", GIB).0,
            Limits {
                bytes: 64 << 20,
                inodes: 7
            }
        );
        let (clamped, warning) = limits("4G", GIB);
        assert!(clamped.bytes <= GIB / 100 * 90 && warning.is_some());
        let (raised, warning) = limits("1K", GIB);
        assert!(raised.bytes == SMALLEST && warning.is_some());
        let (fewer, _) = limits("64M,99999999999", GIB);
        assert_eq!(fewer.inodes, GIB / 100 * 90 / 1024);
    }

    proptest! {
        #[test]
        fn never_panics(text in ".{0,24}", ram in any::<u64>()) {
            if let Some(size) = Size::parse(&text) {
                let (limits, _) = size.limits(ram);
                prop_assert!(limits.bytes >= SMALLEST);
                prop_assert!(limits.inodes > 0);
            }
        }
    }
}
