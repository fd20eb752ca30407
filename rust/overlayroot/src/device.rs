// SPDX-License-Identifier: MIT
//! How `root=` names a block device (`Documentation/admin-guide/kernel-parameters.txt`, `root=`).

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;

use crate::text;
use crate::text::{decimal, lossy, shown, small_number};

/// A device as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceSpec {
    /// A path below `/dev`.
    Path(String),
    /// UUID of the file system, in lower case.
    Uuid(String),
    /// Label of the file system.
    Label(String),
    /// UUID of the partition (GPT) or `SSSSSSSS-PP` (MBR), in lower case, and the kernel's `/PARTNROFF=` offset.
    PartUuid(String, i32),
    /// Label of a GPT partition.
    PartLabel(String),
    /// Major and minor number.
    Number(u32, u32),
}

impl DeviceSpec {
    /// Parses a `root=` value; `None` when it names nothing that a block device can be found by.
    pub fn parse(text: &str) -> Option<DeviceSpec> {
        let by = |prefix: &str, link: &str| {
            let rest = match text.strip_prefix(prefix) {
                Some(rest) => unquote(rest).to_owned(),
                None => unescape(text.strip_prefix(link)?),
            };
            Some(rest).filter(|rest| !rest.is_empty())
        };
        if let Some(uuid) = by("UUID=", "/dev/disk/by-uuid/") {
            return Some(DeviceSpec::Uuid(uuid.to_ascii_lowercase()));
        }
        if let Some(label) = by("LABEL=", "/dev/disk/by-label/") {
            return Some(DeviceSpec::Label(label));
        }
        if let Some(uuid) = by("PARTUUID=", "/dev/disk/by-partuuid/") {
            let (uuid, offset) = match uuid.split_once('/') {
                Some((uuid, rest)) => (uuid, offset(rest.strip_prefix("PARTNROFF=")?)?),
                None => (uuid.as_str(), 0),
            };
            return (!uuid.is_empty())
                .then(|| DeviceSpec::PartUuid(uuid.to_ascii_lowercase(), offset));
        }
        if let Some(label) = by("PARTLABEL=", "/dev/disk/by-partlabel/") {
            return Some(DeviceSpec::PartLabel(label));
        }
        if let Some(name) = text.strip_prefix("/dev/") {
            // Not below /dev after all, or a root that is no block device.
            let usable = !name.is_empty()
                && !name.split('/').any(|part| part.is_empty() || part == "..")
                && !matches!(name, "nfs" | "cifs" | "ram");
            return usable.then(|| DeviceSpec::Path(text.to_owned()));
        }
        if let Some((major, minor)) = text.split_once(':') {
            // The kernel takes a third number, and leaves it alone (`devt_from_devnum()`).
            let minor = match minor.split_once(':') {
                Some((minor, third)) => small_number(third).map(|_| minor)?,
                None => minor,
            };
            return Some(DeviceSpec::Number(
                small_number(major)?,
                small_number(minor)?,
            ));
        }
        // The kernel's hexadecimal device number: minor bits 0-7 and 20-31, major 8-19.
        let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
        let number = u32::from_str_radix(digits.unwrap_or(text), 16).ok()?;
        let (major, minor) = decode_number(number);
        (major != 0).then_some(DeviceSpec::Number(major, minor))
    }
}

/// Major and minor number as the kernel packs them (`new_decode_dev()` in `linux/kdev_t.h`).
pub fn decode_number(number: u32) -> (u32, u32) {
    let minor = (number & 0xff) | ((number >> 12) & 0xf_ff00);
    ((number >> 8) & 0xfff, minor)
}

/// A number of partitions, forwards or backwards.
fn offset(text: &str) -> Option<i32> {
    match text.strip_prefix('-') {
        Some(text) => Some(-i32::try_from(small_number(text)?).ok()?),
        None => i32::try_from(small_number(text.strip_prefix('+').unwrap_or(text))?).ok(),
    }
}

/// Boot loaders pass `root=LABEL="x"` on; the kernel strips quotes only around a whole value.
fn unquote(text: &str) -> &str {
    text.strip_prefix('"')
        .and_then(|t| t.strip_suffix('"'))
        .unwrap_or(text)
}

/// udev writes what is not safe in the name of a link as `\\x` and two hexadecimal digits.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    let digit = |byte: u8| char::from(byte).to_digit(16);
    while let [first, tail @ ..] = rest {
        rest = tail;
        let mut byte = *first;
        if let (b'\\', [b'x', high, low, tail @ ..]) = (byte, tail) {
            if let (Some(high), Some(low)) = (digit(*high), digit(*low)) {
                byte = (high << 4 | low) as u8;
                rest = tail;
            }
        }
        bytes.push(byte);
    }
    lossy(&bytes)
}

impl DeviceSpec {
    /// As `root=` takes it.
    pub fn text(&self) -> String {
        let (prefix, text) = match self {
            DeviceSpec::Path(path) => ("", path),
            DeviceSpec::Uuid(uuid) => ("UUID=", uuid),
            DeviceSpec::Label(label) => ("LABEL=", label),
            DeviceSpec::PartLabel(label) => ("PARTLABEL=", label),
            DeviceSpec::Number(major, minor) => {
                let number = |number: &u32| decimal(u64::from(*number));
                return text!("{}:{}", number(major), number(minor));
            }
            DeviceSpec::PartUuid(uuid, offset) => {
                let mut text = text!("PARTUUID={}", uuid);
                if *offset != 0 {
                    let sign = if *offset < 0 { "-" } else { "" };
                    let number = decimal(u64::from(offset.unsigned_abs()));
                    text.push_str(&text!("/PARTNROFF={}{}", sign, number));
                }
                return text;
            }
        };
        text!("{}{}", prefix, text)
    }
}

shown!(DeviceSpec);

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use proptest::prelude::*;

    #[test]
    fn every_spelling() {
        let is = |text: &str, spec: DeviceSpec| {
            assert_eq!(DeviceSpec::parse(text), Some(spec), "{text}")
        };
        is("/dev/mmcblk0p2", DeviceSpec::Path("/dev/mmcblk0p2".into()));
        is("/dev/mapper/x", DeviceSpec::Path("/dev/mapper/x".into()));
        is("UUID=AB-cd", DeviceSpec::Uuid("ab-cd".into()));
        is("/dev/disk/by-uuid/AB", DeviceSpec::Uuid("ab".into()));
        is("LABEL=My root", DeviceSpec::Label("My root".into()));
        is(
            "/dev/disk/by-label/My\\x20root\\x",
            DeviceSpec::Label("My root\\x".into()),
        );
        is(
            "/dev/disk/by-partlabel/\\xc3\\xa4\\xzz",
            DeviceSpec::PartLabel("ä\\xzz".into()),
        );
        is("LABEL=a\\x20b", DeviceSpec::Label("a\\x20b".into()));
        is("LABEL=\"quoted\"", DeviceSpec::Label("quoted".into()));
        is(
            "PARTUUID=DEADBEEF-02",
            DeviceSpec::PartUuid("deadbeef-02".into(), 0),
        );
        is(
            "PARTUUID=ab/PARTNROFF=-1",
            DeviceSpec::PartUuid("ab".into(), -1),
        );
        is("PARTLABEL=root", DeviceSpec::PartLabel("root".into()));
        is("179:2", DeviceSpec::Number(179, 2));
        is("179:2:0", DeviceSpec::Number(179, 2));
        is("b302", DeviceSpec::Number(179, 2));
        is("0xb302", DeviceSpec::Number(179, 2));
        is("0XB302", DeviceSpec::Number(179, 2));
        is("10301f2", DeviceSpec::Number(0x301, 0x10f2));
    }

    #[test]
    fn refused() {
        for bad in [
            "",
            "/dev/",
            "/dev/../x",
            "/dev/nfs",
            "/x",
            "1:",
            "1:2:",
            "1:2:x",
            "mtd0",
            "mtd:rootfs",
            "ubi0:rootfs",
            "ubi0_0",
            "/dev/cifs",
            "/dev/ram",
            ":1",
            "a:b",
            "LABEL=",
            "UUID=",
            "zz",
            "PARTUUID=a/PARTNROFF=b",
            "PARTUUID=/PARTNROFF=0",
            "0",
            "/dev//x",
        ] {
            assert_eq!(DeviceSpec::parse(bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_parses_to_the_same(text in "(LABEL=|UUID=|PARTUUID=|PARTLABEL=|/dev/|)[a-zA-Z0-9:_/=-]{0,20}") {
            if let Some(spec) = DeviceSpec::parse(&text) {
                prop_assert_eq!(DeviceSpec::parse(&spec.to_string()), Some(spec));
            }
        }
    }
}
