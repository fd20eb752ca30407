// SPDX-License-Identifier: MIT
//! Why fw_printenv finds no environment: looks at the places that fw_env.config names, as U-Boot does.
//!
//! Format of the file: tools/env/fw_env.config of U-Boot. Format of an environment: include/env_internal.h
//! there: CRC-32 of the data, little-endian; one byte of flags where there are two copies; the data.

use crate::quoting::Quote;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

/// What is wrong, and what to do about it.
#[derive(Debug, PartialEq, Eq)]
pub struct Finding {
    /// What is wrong.
    pub cause: String,
    /// What to do.
    pub remedy: &'static str,
}

/// A line of the configuration.
#[derive(Debug, PartialEq, Eq)]
pub struct Place {
    /// Device or file.
    pub device: String,
    /// Byte where the environment begins; counted from the end when it is negative.
    pub offset: i64,
    /// Bytes.
    pub size: u64,
}

/// What is at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// The checksum of a single copy is right.
    Single,
    /// The checksum of one copy of two is right.
    Redundant,
    /// Nothing was ever written there.
    Erased,
    /// The checksum is wrong.
    Wrong,
}

const REMEDY_DEVICE: &str = "correct the device: /proc/mtd lists the partitions of a flash, when its \
     driver is loaded; on a Nitrogen6X with Boundary's kernel the line is `/dev/mtd1 0x0 0x2000 0x1000 2`, with a \
     mainline device tree `/dev/mtd0 0xC0000 0x2000 0x1000 2`";
const REMEDY_ERASED: &str = "U-Boot runs on its built-in variables, and the root is protected. Type `saveenv` \
     at U-Boot's prompt to save them; when it has variables of yours, fw_env.config names another place than \
     U-Boot uses";
const REMEDY_WRONG: &str = "U-Boot runs on its built-in variables, and the root is protected. To repair, type \
     `saveenv` at U-Boot's prompt, then restore what you have set before; when `printenv` there shows variables \
     of yours, fw_env.config names another place or size than U-Boot uses";
const REMEDY_COPIES: &str = "correct the number of lines: one for each copy that U-Boot keeps \
     (CONFIG_SYS_REDUNDAND_ENVIRONMENT means two)";

const REMEDY_SOON: &str =
    "the board has just been started: the driver of its flash may not be loaded yet; \
     wait for it with --wait, or try again in a minute";
/// As long as drivers may take, seconds since the start.
const SOON: u64 = 180;

/// Whether each place that `config` names is there. A file that cannot be read names none.
pub fn is_there(config: &Path) -> bool {
    let text = std::fs::read_to_string(config).unwrap_or_default();
    parse(&text).iter().all(|p| Path::new(&p.device).exists())
}

/// Seconds since the start; `None` when the kernel does not say.
fn uptime() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/uptime").ok()?;
    text.split('.').next()?.parse().ok()
}

/// Who may not read something needs no other file.
fn remedy_of(error: &io::Error, otherwise: &'static str) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "run this as root",
        _ => otherwise,
    }
}

/// What is wrong with the environment that `config` describes; `None` when nothing is to be seen.
pub fn diagnose(config: &Path) -> Option<Finding> {
    let text = match std::fs::read_to_string(config) {
        Ok(text) => text,
        Err(error) => {
            return Some(Finding {
                cause: format!("cannot read {}: {error}", config.quoted()),
                remedy: remedy_of(
                    &error,
                    "write it: a line with device, offset, size of the environment and of an erase block",
                ),
            })
        }
    };
    let places = parse(&text);
    if places.is_empty() {
        // The newer format of libubootenv is YAML, which its own tools know best.
        return (!text.contains("uboot:")).then(|| Finding {
            cause: format!("{} names no place", config.quoted()),
            remedy: "add a line with device, offset, size of the environment and of an erase block",
        });
    }
    let mut contents = Vec::new();
    for place in &places {
        match content(place) {
            Ok(content) => contents.push(content),
            Err(error) => {
                return Some(Finding {
                    cause: format!(
                        "cannot read {} bytes at {:#x} of {}: {error}",
                        place.size, place.offset, place.device
                    ),
                    remedy: match error.kind() {
                        io::ErrorKind::NotFound if uptime().is_some_and(|s| s < SOON) => {
                            REMEDY_SOON
                        }
                        _ => remedy_of(&error, REMEDY_DEVICE),
                    },
                });
            }
        }
    }
    judge(&contents).map(|(what, remedy)| Finding {
        cause: format!(
            "{what} at {:#x} of {}",
            places.first().map_or(0, |p| p.offset),
            places.first().map_or("", |p| &p.device)
        ),
        remedy,
    })
}

/// Lines: device, offset, size; the rest is about writing. A bad line is left out.
pub fn parse(text: &str) -> Vec<Place> {
    let place = |line: &str| {
        let mut fields = line.split_whitespace();
        Some(Place {
            device: fields.next().filter(|d| d.starts_with('/'))?.to_owned(),
            offset: number(fields.next()?)?,
            size: u64::try_from(number(fields.next()?)?).ok()?,
        })
    };
    text.lines().filter_map(place).collect()
}

/// As C's strtoll(…, 0) reads it: hexadecimal, octal or decimal.
fn number(text: &str) -> Option<i64> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text),
    };
    let lower = digits.to_ascii_lowercase();
    let (digits, base) = match lower.strip_prefix("0x") {
        Some(hex) => (hex, 16),
        None if lower.len() > 1 && lower.starts_with('0') => (&*lower, 8),
        None => (&*lower, 10),
    };
    // from_str_radix would take a sign of its own.
    let value = i64::from_str_radix(digits, base).ok();
    value
        .filter(|_| !digits.starts_with(['+', '-']))
        .map(|v| v * sign)
}

fn content(place: &Place) -> io::Result<Content> {
    // An environment is some KiB; a mistyped size must not take all memory.
    if place.size > 16 << 20 {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "that is no size of an environment",
        ));
    }
    let mut device = File::open(&place.device)?;
    device.seek(match u64::try_from(place.offset) {
        Ok(offset) => SeekFrom::Start(offset),
        Err(_) => SeekFrom::End(place.offset),
    })?;
    let mut block = vec![0; usize::try_from(place.size).unwrap_or(0)];
    device.read_exact(&mut block)?;
    Ok(classify(&block))
}

/// What a block that U-Boot may have saved is.
pub fn classify(block: &[u8]) -> Content {
    let valid = |header: usize| match (block.get(..4), block.get(header..)) {
        (Some(crc), Some(data)) => crc == crc32(data).to_le_bytes(),
        _ => false,
    };
    if valid(4) {
        Content::Single
    } else if valid(5) {
        Content::Redundant
    } else if block.iter().all(|&b| b == 0xff) {
        Content::Erased
    } else {
        Content::Wrong
    }
}

fn judge(contents: &[Content]) -> Option<(&'static str, &'static str)> {
    let expected = if contents.len() > 1 {
        Content::Redundant
    } else {
        Content::Single
    };
    if contents.contains(&expected) {
        return None;
    }
    let other = if contents.len() > 1 {
        Content::Single
    } else {
        Content::Redundant
    };
    Some(if contents.contains(&other) {
        match other {
            Content::Redundant => (
                "there is one copy of two, where fw_env.config names one place",
                REMEDY_COPIES,
            ),
            _ => (
                "there is a single copy, where fw_env.config names two places",
                REMEDY_COPIES,
            ),
        }
    } else if contents.iter().all(|c| *c == Content::Erased) {
        ("nothing has been saved", REMEDY_ERASED)
    } else {
        ("the checksum (CRC) is wrong", REMEDY_WRONG)
    })
}

/// CRC-32 as zlib has it.
fn crc32(data: &[u8]) -> u32 {
    let mut crc = !0u32;
    for &byte in data {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn environment(text: &str, flags: Option<u8>) -> Vec<u8> {
        let mut data = text.as_bytes().to_vec();
        data.resize(64, 0);
        let mut block = crc32(&data).to_le_bytes().to_vec();
        block.extend(flags);
        block.extend(data);
        block
    }

    #[test]
    fn checksum_is_zlibs() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }

    #[test]
    fn lines_and_numbers() {
        let places = parse(
            "# comment\n/dev/mtd0 0xC0000 0x2000 0x1000 2\n/dev/mmcblk0\t-8192 020000\nrubbish\n",
        );
        assert_eq!(places.len(), 2);
        assert_eq!((places[0].offset, places[0].size), (0xC0000, 0x2000));
        assert_eq!((places[1].offset, places[1].size), (-8192, 8192));
        assert_eq!(parse("/x 0x+1 1\n/x --1 1\n/x 0 -1\n/x 0 08"), []);
    }

    #[test]
    fn findings() {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("fw_env.config");
        let flash = folder.path().join("flash");
        let find = |lines: &str, content: &[u8]| {
            let name = flash.to_str().unwrap();
            fs::write(&flash, content).unwrap();
            fs::write(&config, lines.replace("FLASH", name)).unwrap();
            diagnose(&config).map(|f| f.cause.replace(name, "FLASH"))
        };
        let single = environment("a=b\0", None);
        let line = format!("FLASH 0 {}", single.len());
        assert_eq!(find(&line, &single), None);
        let mut torn = single.clone();
        torn[6] ^= 1;
        assert_eq!(
            find(&line, &torn).unwrap(),
            "the checksum (CRC) is wrong at 0x0 of FLASH"
        );
        assert_eq!(
            find(&line, &[0xff; 68]).unwrap(),
            "nothing has been saved at 0x0 of FLASH"
        );
        assert!(find(&line, &single[..60])
            .unwrap()
            .starts_with("cannot read 68 bytes at 0x0 of FLASH: "));
        assert!(find("/none 0 8", &single).unwrap().contains("No such file"));
        assert!(find("", &single).unwrap().ends_with("names no place"));
        assert_eq!(find("uboot:\n  size: 1", &single), None);

        // Two copies: one of them is enough.
        let copy = environment("a=b\0", Some(1));
        let lines = format!("FLASH 0 {0}\nFLASH {0} {0}", copy.len());
        assert_eq!(find(&lines, &[&copy[..], &[0xff; 69][..]].concat()), None);
        assert!(find(&lines, &[0; 138]).unwrap().starts_with("the checksum"));
        let one = format!("FLASH 0 {}", copy.len());
        assert!(find(&one, &copy)
            .unwrap()
            .starts_with("there is one copy of two"));
        let two = format!("FLASH 0 {0}\nFLASH {0} {0}", single.len());
        assert!(find(&two, &[&single[..], &single[..]].concat())
            .unwrap()
            .starts_with("there is a single"));
    }
}
