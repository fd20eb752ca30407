// SPDX-License-Identifier: MIT
//! Small text helpers for ASCII: the standard library's know all of Unicode, and are larger than the init can
//! afford.

use alloc::string::String;
use alloc::vec::Vec;

/// The text without blanks at both ends.
pub fn trim(text: &str) -> &str {
    let first = text.bytes().position(|byte| !byte.is_ascii_whitespace());
    trim_end(text.get(first.unwrap_or(text.len())..).unwrap_or_default())
}

/// The text without blanks at its end.
pub fn trim_end(text: &str) -> &str {
    let last = text.bytes().rposition(|byte| !byte.is_ascii_whitespace());
    text.get(..last.map_or(0, |at| at + 1)).unwrap_or_default()
}

/// Text of bytes; what is not UTF-8 becomes U+FFFD, as with `String::from_utf8_lossy` (the Unicode Standard, table 3-7).
pub fn lossy(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    let mut bytes = bytes.iter().copied().peekable();
    while let Some(first) = bytes.next() {
        // How many bytes follow, and which the next one may be.
        let (mut more, low, high) = match first {
            0..=0x7f => (0, 0, 0),
            0xc2..=0xdf => (1, 0x80, 0xbf),
            0xe0 => (2, 0xa0, 0xbf),
            0xed => (2, 0x80, 0x9f),
            0xe1..=0xef => (2, 0x80, 0xbf),
            0xf0 => (3, 0x90, 0xbf),
            0xf1..=0xf3 => (3, 0x80, 0xbf),
            0xf4 => (3, 0x80, 0x8f),
            _ => (4, 1, 0), // none may follow
        };
        let mut code = u32::from(first) & (0x7f >> more);
        let mut allowed = low..=high;
        while more > 0 {
            let Some(next) = bytes.next_if(|next| allowed.contains(next)) else {
                code = u32::from(char::REPLACEMENT_CHARACTER);
                break;
            };
            code = code << 6 | u32::from(next) & 0x3f;
            allowed = 0x80..=0xbf;
            more -= 1;
        }
        text.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
    }
    text
}

/// Text of UTF-16, low bytes first, up to the first zero; what is none becomes U+FFFD.
#[inline(never)]
pub fn utf16(bytes: &[u8]) -> String {
    let units = bytes.chunks_exact(2).map(|pair| match *pair {
        [low, high] => u16::from_le_bytes([low, high]),
        _ => 0,
    });
    char::decode_utf16(units.take_while(|&unit| unit != 0))
        .map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect()
}

/// The text with another character in place of one; both are ASCII.
pub fn replaced(text: &str, from: u8, to: u8) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for byte in bytes.iter_mut().filter(|byte| **byte == from) {
        *byte = to;
    }
    lossy(&bytes)
}

/// A decimal number: digits and nothing else.
pub fn number(text: &str) -> Option<u64> {
    let mut number = (!text.is_empty()).then_some(0u64)?;
    for byte in text.bytes() {
        let digit = Some(byte.wrapping_sub(b'0')).filter(|digit| *digit < 10)?;
        number = number.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    Some(number)
}

/// The same, up to 32 bits.
pub fn small_number(text: &str) -> Option<u32> {
    u32::try_from(number(text)?).ok()
}

/// Quotient and remainder of a division by at most 2^31, by nothing else than zero. The compiler's own for 64 bits is
/// ten times as large; for a constant and 32 bits it needs none.
#[inline(never)]
pub fn divided(mut number: u64, by: u32) -> (u64, u32) {
    let (mut quotient, mut rest) = (0, 0u32);
    for _ in 0..64 {
        rest = rest << 1 | (number >> 63) as u32;
        number <<= 1;
        quotient <<= 1;
        if rest >= by {
            rest -= by;
            quotient |= 1;
        }
    }
    (quotient, rest)
}

/// A template in which each `{}` is a value, in their order. Values are not looked into.
#[inline(never)]
pub fn fill(template: &str, values: &[&str]) -> String {
    let length = values
        .iter()
        .fold(template.len(), |sum, value| sum + value.len());
    let mut text = String::with_capacity(length);
    let mut rest = template;
    for value in values {
        let place = rest.bytes().position(|byte| byte == b'{');
        let place = place.unwrap_or(rest.len());
        text.push_str(rest.get(..place).unwrap_or_default());
        text.push_str(value);
        rest = rest.get(place + 2..).unwrap_or_default();
    }
    text.push_str(rest);
    text
}

/// How many values a template takes.
pub const fn places(template: &str) -> usize {
    let mut rest = template.as_bytes();
    let mut count = 0;
    while let [first, tail @ ..] = rest {
        count += (*first == b'{') as usize;
        rest = tail;
    }
    count
}

/// Values of a template, which has to have as many places.
#[macro_export]
macro_rules! values {
    ($template:literal $(, $value:expr)* $(,)?) => {{
        const _: () = assert!(
            $crate::text::places($template) == <[&str]>::len(&[$(stringify!($value)),*]),
            "as many values as the template has places"
        );
        &[$(&$value),*]
    }};
}

/// A template, filled in: `text!("cannot open {}: {}", path, error.text())`. Values are texts. What `format!` can do beside
/// that, the init has no room for.
#[macro_export]
macro_rules! text {
    ($template:literal $($values:tt)*) => {
        $crate::text::fill($template, $crate::values!($template $($values)*))
    };
}

/// A list of texts, such as warnings.
pub trait Texts {
    /// Adds a template, filled in.
    fn push_filled(&mut self, template: &str, values: &[&str]);
}

impl Texts for Vec<String> {
    #[inline(never)]
    fn push_filled(&mut self, template: &str, values: &[&str]) {
        self.push(fill(template, values));
    }
}

/// Adds a text to a list, made as by [`text!`].
#[macro_export]
macro_rules! push_text {
    ($list:expr, $template:literal $($values:tt)*) => {{
        use $crate::text::Texts as _;
        $list.push_filled($template, $crate::values!($template $($values)*))
    }};
}

/// Lets a type that has a `text()` be shown by `format!`, too.
macro_rules! shown {
    ($($type:ty),*) => {
        $(impl core::fmt::Display for $type {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.write_str(&self.text())
            }
        })*
    };
}
pub(crate) use shown;

/// A number in decimal.
pub fn decimal(number: u64) -> String {
    let mut text = String::new();
    push_decimal(&mut text, number);
    text
}

/// Appends a number in decimal.
pub fn push_decimal(text: &mut String, number: u64) {
    let (rest, digit) = match u32::try_from(number) {
        Ok(small) => (u64::from(small / 10), small % 10),
        Err(_) => divided(number, 10),
    };
    if rest > 0 {
        push_decimal(text, rest);
    }
    text.push(char::from(b'0' + digit as u8));
}

/// Appends the last `digits` hexadecimal digits of a number, lower case.
pub fn push_hex(text: &mut String, number: u32, digits: u32) {
    for place in (0..digits).rev() {
        text.push(char::from_digit(number >> (4 * place) & 15, 16).unwrap_or('0'));
    }
}

/// Bytes that tables of mounts write as a backslash and three octal digits, such as blanks, as they are.
#[inline(never)]
pub fn unescape(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        let (byte, tail) = match (first, tail) {
            (b'\\', [a @ b'0'..=b'7', b @ b'0'..=b'7', c @ b'0'..=b'7', tail @ ..]) => {
                ((a & 7) << 6 | (b & 7) << 3 | (c & 7), tail)
            }
            _ => (*first, tail),
        };
        bytes.push(byte);
        rest = tail;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use proptest::prelude::*;

    #[test]
    fn hex_and_trim() {
        let mut text = String::new();
        push_hex(&mut text, 0xbeef, 8);
        push_hex(&mut text, 0x1f, 1);
        assert_eq!(text, "0000beeff");
        assert_eq!(trim("\t a b \r"), "a b");
        assert_eq!((trim(" "), trim(""), trim("a")), ("", "", "a"));
        assert_eq!(trim_end(" a "), " a");
        assert_eq!(replaced("a!b!", b'!', b'/'), "a/b/");
    }

    #[test]
    fn templates() {
        let path = String::from("/{}");
        assert_eq!(
            text!("cannot {} {}: no", "open", path),
            "cannot open /{}: no"
        );
        assert_eq!(
            (text!("plain"), text!("{}", "x")),
            ("plain".into(), "x".into())
        );
    }

    proptest! {
        #[test]
        fn as_the_standard_library(bytes in proptest::collection::vec(any::<u8>(), 0..20), number in any::<u64>()) {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            prop_assert_eq!(lossy(&bytes), &*text);
            let blank = |c: char| c.is_ascii_whitespace();
            prop_assert_eq!(trim(&text), text.trim_matches(blank));
            prop_assert_eq!(decimal(number), number.to_string());
        }

        #[test]
        fn numbers(text in "[0-9]{0,21}|[-+ 0-9a-f]{0,4}") {
            let theirs = text.parse().ok().filter(|_| !text.starts_with('+'));
            prop_assert_eq!(super::number(&text), theirs);
        }
    }

    #[test]
    fn each_beginning_of_a_character() {
        for first in 0..=255u8 {
            for second in 0..=255u8 {
                for rest in [&b""[..], b"a", b"\x80", b"\x80\x80", b"\xbf\xbf\xbf"] {
                    let bytes = [&[first, second], rest].concat();
                    assert_eq!(lossy(&bytes), String::from_utf8_lossy(&bytes), "{bytes:x?}");
                }
            }
        }
    }

    #[test]
    fn octal_digits() {
        assert_eq!(unescape(b"a\\040b\\134\\"), b"a b\\\\");
        assert_eq!(unescape(b"\\08\\057\\457\\37"), b"\\08//\\37");
    }
}
