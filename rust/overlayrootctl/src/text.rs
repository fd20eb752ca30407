// SPDX-License-Identifier: MIT
//! Numbers for people.

/// Bytes in the unit that leaves one to four digits: `0 B`, `512 B`, `4.0 KiB`, `198.7 MiB`.
pub fn bytes(count: u64) -> String {
    let mut unit = 0;
    let mut value = count as f64;
    while value >= 1024.0 && unit < UNITS.len() - 1 {
        value /= 1024.0;
        unit += 1;
    }
    let name = UNITS.get(unit).copied().unwrap_or_default();
    match unit {
        0 => format!("{count} {name}"),
        _ => format!("{value:.1} {name}"),
    }
}

const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(4096), "4.0 KiB");
        assert_eq!(bytes(208_359_424), "198.7 MiB");
        assert_eq!(bytes(u64::MAX), "16777216.0 TiB");
    }
}
