// SPDX-License-Identifier: MIT
//! Names and texts of others as they are printed: whoever made them must neither drive the terminal of who
//! reads them nor forge a line.
//!
//! A name is written as Git does (`core.quotePath`, see git-config(1)), blanks counted among what is unusual:
//! as it is where it is plain, otherwise in double quotes with the escapes of C. Bytes that are no text and
//! characters that are not printed become three octal digits for each byte. What begins with a double quote was
//! quoted; nothing else has a blank, a quote or a backslash in it. So it can be told where a name ends, and
//! which one it is.

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::fmt::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// For the manual page.
pub const HELP: &str =
    "Names that are not plain are printed in double quotes, with the escapes of C: \
     \"a\\tb\", \"a b\", \"\\377\". With --json they are exact; one that is not UTF-8 is a list of its bytes there.";

/// What has a name to be shown.
pub trait Quote {
    /// The name, quoted where it is not plain.
    fn quoted(&self) -> Name<'_>;
}

impl Quote for OsStr {
    fn quoted(&self) -> Name<'_> {
        Name(self.as_bytes())
    }
}

impl Quote for OsString {
    fn quoted(&self) -> Name<'_> {
        Name(self.as_bytes())
    }
}

impl Quote for Path {
    fn quoted(&self) -> Name<'_> {
        Name(self.as_os_str().as_bytes())
    }
}

impl Quote for PathBuf {
    fn quoted(&self) -> Name<'_> {
        Name(self.as_os_str().as_bytes())
    }
}

impl Quote for str {
    fn quoted(&self) -> Name<'_> {
        Name(self.as_bytes())
    }
}

/// A name that is printed as this module says.
#[derive(Clone, Copy, Debug)]
pub struct Name<'a>(&'a [u8]);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match std::str::from_utf8(self.0) {
            Ok(text) if is_plain(text) => return f.write_str(text),
            _ => {}
        }
        f.write_char('"')?;
        for piece in characters(self.0) {
            match piece {
                Ok(c @ ('"' | '\\')) => write!(f, "\\{c}")?,
                Ok(c) if is_printed(c) => f.write_char(c)?,
                Ok(c) => escape(f, c.encode_utf8(&mut [0; 4]).as_bytes())?,
                Err(byte) => escape(f, &[byte])?,
            }
        }
        f.write_char('"')
    }
}

/// Whether a name is printed as it is.
fn is_plain(name: &str) -> bool {
    // Nearly all of nearly every name.
    let usual = |byte: &&u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\');
    let (_, rest) = name.split_at(name.as_bytes().iter().take_while(usual).count());
    let is_plain = |c: char| is_printed(c) && !matches!(c, ' ' | '"' | '\\');
    !name.is_empty() && rest.chars().all(is_plain)
}

/// A sentence with words of others in it, as one line: what is not printed is escaped as in names; quotes and
/// backslashes stay, so that names in it stay as they are.
pub fn line(text: &str) -> Cow<'_, str> {
    if text.chars().all(is_printed) {
        return text.into();
    }
    let mut line = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match is_printed(c) {
            true => line.push(c),
            false => {
                let _ = escape(&mut line, c.encode_utf8(&mut [0; 4]).as_bytes());
                // a String takes all
            }
        }
    }
    line.into()
}

/// The start of a value that is too long to be repeated in a message.
pub fn brief(value: &str) -> Cow<'_, str> {
    match value.char_indices().nth(LONGEST_VALUE) {
        Some((end, _)) => format!("{}…", &value[..end]).into(),
        None => value.into(),
    }
}

/// Characters of a value that are repeated.
const LONGEST_VALUE: usize = 40;

/// Several lines of somebody else, each as [`line`] has it; tabs stay.
pub fn lines(text: &str) -> String {
    let escaped = |part: &str| line(part).into_owned();
    let tabs = |text: &str| text.split('\t').map(escaped).collect::<Vec<_>>().join("\t");
    text.split('\n').map(tabs).collect::<Vec<_>>().join("\n")
}

/// JSON without anything that a terminal may obey: such characters can only be in strings, where their number
/// says the same.
pub fn json(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        match is_printed(c) || c == '\n' {
            true => plain.push(c),
            false => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = write!(plain, "\\u{unit:04x}"); // a String takes all
                }
            }
        }
    }
    plain
}

/// Whether a character has a shape of its own: no control character, none that changes the direction of what
/// follows, no blank but the usual one, nothing that Unicode has not assigned.
fn is_printed(c: char) -> bool {
    match c.is_ascii() {
        true => !c.is_ascii_control(),
        // As Debug of the standard library has it; behind a letter, as an accent alone would be escaped.
        false => format!("a{c}").escape_debug().count() == 2,
    }
}

fn escape(out: &mut impl Write, bytes: &[u8]) -> fmt::Result {
    for byte in bytes {
        match byte {
            0x07 => out.write_str("\\a")?,
            0x08 => out.write_str("\\b")?,
            b'\t' => out.write_str("\\t")?,
            b'\n' => out.write_str("\\n")?,
            0x0b => out.write_str("\\v")?,
            0x0c => out.write_str("\\f")?,
            b'\r' => out.write_str("\\r")?,
            other => write!(out, "\\{other:03o}")?,
        }
    }
    Ok(())
}

/// Bytes as characters, and what is none (`Err`).
fn characters(bytes: &[u8]) -> Vec<Result<char, u8>> {
    let mut found = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while !rest.is_empty() {
        let good = std::str::from_utf8(rest).map_or_else(|error| error.valid_up_to(), str::len);
        let (text, tail) = rest.split_at(good);
        found.extend(String::from_utf8_lossy(text).chars().map(Ok));
        let (bad, tail) = tail.split_at(tail.len().min(1));
        found.extend(bad.iter().copied().map(Err));
        rest = tail;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(name: &[u8]) -> String {
        OsStr::from_bytes(name).quoted().to_string()
    }

    #[test]
    fn plain_names_stay_and_others_are_quoted() {
        for (name, text) in [
            ("/etc/text", "/etc/text"),
            ("/a(b):c,d'e", "/a(b):c,d'e"),
            ("/größe/日本/e\u{301}", "/größe/日本/e\u{301}"),
            ("", "\"\""),
            ("/a b", "\"/a b\""),
            ("/a\"b\\c", "\"/a\\\"b\\\\c\""),
            ("/a\nadded   /etc/shadow", "\"/a\\nadded   /etc/shadow\""),
            (
                "\x1b[2J\x07\x08\t\r\x0b\x0c\x7f\x01",
                "\"\\033[2J\\a\\b\\t\\r\\v\\f\\177\\001\"",
            ),
            // A control character of eight bits; one that turns the direction; one without a width.
            ("\u{9b}2J", "\"\\302\\2332J\""),
            ("a\u{202e}b\u{200b}", "\"a\\342\\200\\256b\\342\\200\\213\""),
            ("a\u{2028}b\u{a0}", "\"a\\342\\200\\250b\\302\\240\""),
        ] {
            assert_eq!(shown(name.as_bytes()), text, "{name:?}");
        }
        assert_eq!(shown(b"/a\xffb\xc3"), "\"/a\\377b\\303\"");
    }

    #[test]
    fn sentences_are_one_line() {
        assert_eq!(line("cannot read \"a\\n\": no"), "cannot read \"a\\n\": no");
        assert_eq!(line("a\nb\x1b[0m"), "a\\nb\\033[0m");
        assert_eq!(lines("a\tb\r\n\x1b\n"), "a\tb\\r\n\\033\n");
    }

    #[test]
    fn json_says_the_same_without_controls() {
        let text = serde_json::to_string("a\u{7f}\u{9b}\u{e0001}ü\n").unwrap();
        assert_eq!(json(&text), r#""a\u007f\u009b\udb40\udc01ü\n""#);
        let back: String = serde_json::from_str(&json(&text)).unwrap();
        assert_eq!(back, "a\u{7f}\u{9b}\u{e0001}ü\n");
    }

    /// What a reader makes of a printed name.
    fn read(text: &str) -> Vec<u8> {
        let Some(inner) = text.strip_prefix('"') else {
            return text.as_bytes().to_vec();
        };
        let mut bytes = Vec::new();
        let mut rest = inner.strip_suffix('"').unwrap().bytes();
        while let Some(byte) = rest.next() {
            bytes.push(match byte {
                b'\\' => match rest.next().unwrap() {
                    digit @ b'0'..=b'3' => {
                        let mut next = || rest.next().unwrap() - b'0';
                        (digit - b'0') << 6 | next() << 3 | next()
                    }
                    letter => match "abtnvfr".find(char::from(letter)) {
                        Some(at) => b"\x07\x08\t\n\x0b\x0c\r"[at],
                        None => letter,
                    },
                },
                b'"' => panic!("a quote inside"),
                other => other,
            });
        }
        bytes
    }

    proptest! {
        #[test]
        fn each_name_can_be_read_back(name in proptest::collection::vec(any::<u8>(), 0..20)) {
            let text = shown(&name);
            prop_assert_eq!(read(&text), name);
            prop_assert_eq!(line(&text), &*text);
            prop_assert!(text.starts_with('"') || !text.contains(' '));
        }

        #[test]
        fn nothing_is_left_to_obey(text in any::<String>()) {
            for shown in [text.quoted().to_string(), line(&text).into_owned(), json(&text.replace('\n', ""))] {
                prop_assert!(!shown.contains(char::is_control), "{}", shown.escape_debug());
            }
        }
    }
}
