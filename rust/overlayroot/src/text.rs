// SPDX-License-Identifier: MIT
//! Small text helpers for ASCII: the standard library's know all of Unicode, and are larger than the init can
//! afford.

use alloc::string::String;

/// Whether this is a blank or a control character that separates.
pub fn is_blank(c: char) -> bool {
    c.is_ascii_whitespace()
}

/// The text without blanks at both ends.
pub fn trim(text: &str) -> &str {
    text.trim_matches(is_blank)
}

/// Appends the last `digits` hexadecimal digits of a number, lower case.
pub fn push_hex(text: &mut String, number: u32, digits: u32) {
    for place in (0..digits).rev() {
        text.push(char::from_digit(number >> (4 * place) & 15, 16).unwrap_or('0'));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_and_trim() {
        let mut text = String::new();
        push_hex(&mut text, 0xbeef, 8);
        push_hex(&mut text, 0x1f, 1);
        assert_eq!(text, "0000beeff");
        assert_eq!(trim("\t a b \r"), "a b");
    }
}
