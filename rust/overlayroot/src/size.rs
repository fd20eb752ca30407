// SPDX-License-Identifier: MIT
//! Size of the RAM layer: what `ofs-size=` may say and how many bytes and inodes it gives.

use alloc::string::String;

use crate::text;
use crate::text::{decimal, divided};

/// Smallest RAM layer that a userspace starts on, bytes.
pub const SMALLEST: u64 = 4 << 20;
/// What a full layer leaves to kernel and programs: a quarter of RAM, and at least this many bytes. With less
/// the kernel ends up without a process to kill (docs/settings.md has the measurement).
const RESERVE: u64 = 24 << 20;
/// Kernel memory that a file may take beside its pages, bytes.
const BYTES_OF_INODE: u64 = 2048;
/// Fewest inodes: for the layer's own directories and the first files of a system.
const FEWEST_INODES: u64 = 16;
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
    /// to something that a board can live with, also when the layer is full of small files.
    #[inline(never)]
    pub fn limits(&self, mem_total: u64) -> (Limits, Option<String>) {
        let wish = match self.amount {
            Amount::Percent(percent) => divided(mem_total, 100).0 * percent,
            Amount::Bytes(bytes) => bytes,
        };
        let spared = mem_total.saturating_sub((mem_total / 4).max(RESERVE));
        let both = spared.max(2 * SMALLEST);
        // An eighth for inodes; whole pages, as tmpfs rounds.
        let bytes = wish.min(both - both / 8).max(SMALLEST) & !4095;
        let wished_inodes = self.inodes.unwrap_or(bytes / BYTES_PER_INODE);
        let most_inodes = (both - bytes) / BYTES_OF_INODE;
        let inodes = wished_inodes.min(most_inodes).max(FEWEST_INODES);
        let bent = wish & !4095 != bytes || self.inodes.is_some_and(|wished| wished != inodes);
        let warning = bent.then(|| {
            text!(
                "ofs-size is more or less than this board can live with: using {} bytes, {} inodes",
                decimal(bytes),
                decimal(inodes)
            )
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
            limits("64M,700", GIB).0,
            Limits {
                bytes: 64 << 20,
                inodes: 700
            }
        );
        let (clamped, warning) = limits("4G", GIB);
        assert!(clamped.bytes <= GIB / 3 * 2 && warning.is_some());
        let (raised, warning) = limits("1K", GIB);
        assert!(raised.bytes == SMALLEST && warning.is_some());
    }

    #[test]
    fn small_boards_keep_some_memory() {
        let mib = |text: &str, ram: u64| Size::parse(text).unwrap().limits(ram << 20).0.bytes >> 20;
        // The share that was asked for is had where that is not too much.
        assert_eq!(mib("50", 1024), 511);
        assert_eq!(mib("90", 1024), 672);
        assert_eq!(mib("20", 64), 12);
        assert_eq!(mib("50", 64), 31);
        assert_eq!(mib("90", 64), 35);
        assert_eq!(mib("90", 16), 7);
    }

    #[test]
    fn inodes_are_livable() {
        let limits = |text: &str| Size::parse(text).unwrap().limits(GIB);
        let (few, warning) = limits("16M,1");
        assert_eq!(few.inodes, FEWEST_INODES);
        assert!(warning
            .unwrap()
            .ends_with(": using 16777216 bytes, 16 inodes"));
        let (many, warning) = limits("16M,9999999g");
        assert_eq!(many.inodes, (768 - 16) * (1 << 20) / BYTES_OF_INODE);
        assert!(warning.is_some());
        assert_eq!(limits("16M,100k").1, None);
    }

    proptest! {
        #[test]
        fn never_panics(text in ".{0,24}", ram in any::<u64>()) {
            if let Some(size) = Size::parse(&text) {
                let (limits, _) = size.limits(ram);
                prop_assert!(limits.bytes >= SMALLEST);
                prop_assert!(limits.inodes >= FEWEST_INODES);
                // Full of files, it leaves what the kernel needs.
                let full = limits.bytes + limits.inodes * BYTES_OF_INODE;
                prop_assert!(full <= (ram - ram / 4).max(2 * SMALLEST));
            }
        }
    }
}
