// SPDX-License-Identifier: MIT
//! The kernel command line, split by the kernel's own rules (`next_arg()` in `lib/cmdline.c`).

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;

use crate::text::lossy;

/// One word of the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// Text before the first `=`, as written.
    pub name: String,
    /// Text after the first `=`, without surrounding double quotes; `None` when there is no `=`.
    pub value: Option<String>,
}

/// Splits `line` into words up to a lone `--`, after which words belong to init.
///
/// Spaces separate words unless they are inside double quotes. Quotes around a whole word or around
/// its value are removed, others stay. A NUL byte or the end of `line` ends the last word.
/// Bytes that are not UTF-8 become U+FFFD: no word that matters can hold them.
pub fn words(line: &[u8]) -> Vec<Word> {
    let mut found = Vec::new();
    let line = line.split(|&b| b == 0).next().unwrap_or_default();
    let mut rest = line;
    loop {
        let start = rest
            .iter()
            .position(|&b| !is_space(b))
            .unwrap_or(rest.len());
        rest = rest.get(start..).unwrap_or_default();
        if rest.is_empty() {
            return found;
        }
        let mut in_quotes = false;
        let mut end = rest.len();
        for (at, &byte) in rest.iter().enumerate() {
            if is_space(byte) && !in_quotes {
                end = at;
                break;
            }
            if byte == b'"' {
                in_quotes = !in_quotes;
            }
        }
        let word = word(rest.get(..end).unwrap_or_default());
        if word.name == "--" && word.value.is_none() {
            return found;
        }
        found.push(word);
        rest = rest.get(end..).unwrap_or_default();
    }
}

/// Whether two parameter names are the same to the kernel, which takes `-` and `_` as one
/// (`parameq()` in `kernel/params.c`).
pub fn same_name(a: &str, b: &str) -> bool {
    let dash = |byte: u8| if byte == b'_' { b'-' } else { byte };
    a.len() == b.len() && a.bytes().map(dash).eq(b.bytes().map(dash))
}

fn word(bytes: &[u8]) -> Word {
    let text = lossy(bytes);
    let inner = text.strip_prefix('"');
    let (text, quoted) = (inner.unwrap_or(&text), inner.is_some());
    // A quote in front of the word or its value goes, and then one at the end: never two.
    let end = |text: &str, quoted: bool| {
        let inner = text.strip_suffix('"').filter(|_| quoted);
        inner.unwrap_or(text).to_owned()
    };
    match text.split_once('=') {
        None => Word {
            name: end(text, quoted),
            value: None,
        },
        Some((name, value)) => {
            let inner = value.strip_prefix('"');
            Word {
                name: name.to_owned(),
                value: Some(end(inner.unwrap_or(value), quoted || inner.is_some())),
            }
        }
    }
}

/// What separates words. The kernel's isspace() counts 0xa0 too; in UTF-8 that is half a character.
pub fn is_space(byte: u8) -> bool {
    byte == b' ' || (9..=13).contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    fn pairs(line: &[u8]) -> Vec<(String, Option<String>)> {
        words(line).into_iter().map(|w| (w.name, w.value)).collect()
    }

    fn pair(name: &str, value: Option<&str>) -> (String, Option<String>) {
        (name.to_owned(), value.map(ToOwned::to_owned))
    }

    #[test]
    fn splits_like_the_kernel() {
        assert_eq!(
            pairs(b"quiet root=LABEL=a=b  ofs_size=\"64M\" \"x=1 2\" y=\"3 4\" z\"5 6\"\n"),
            vec![
                pair("quiet", None),
                pair("root", Some("LABEL=a=b")),
                pair("ofs_size", Some("64M")),
                pair("x", Some("1 2")),
                pair("y", Some("3 4")),
                pair("z\"5 6\"", None),
            ]
        );
    }

    #[test]
    fn last_word_needs_no_newline_and_dashes_end_ours() {
        assert_eq!(
            pairs(b"ro init=/x"),
            vec![pair("ro", None), pair("init", Some("/x"))]
        );
        assert_eq!(pairs(b"ro -- overlayfs=no"), vec![pair("ro", None)]);
        assert_eq!(
            pairs(b"a=\"unclosed value"),
            vec![pair("a", Some("unclosed value"))]
        );
        // Of two quotes at the end one goes.
        assert_eq!(
            pairs(b"\"overlayfs=\"no\"\""),
            vec![pair("overlayfs", Some("no\""))]
        );
        assert_eq!(pairs(b""), vec![]);
        assert_eq!(pairs(b" \n\t"), vec![]);
    }

    #[test]
    fn dash_is_underscore() {
        assert!(same_name("ofs-size", "ofs_size"));
        assert!(!same_name("ofs-size", "ofs.size"));
        assert!(!same_name("ofs-siz", "ofs-size"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..4096)) {
            let found = words(&bytes);
            prop_assert!(found.len() <= bytes.len());
        }

        #[test]
        fn plain_words_come_back(names in proptest::collection::vec("[a-z][a-z0-9_.-]{0,12}", 0..20)) {
            let line = names.join(" ");
            let found: Vec<_> = words(line.as_bytes()).into_iter().map(|w| w.name).collect();
            prop_assert_eq!(found, names);
        }
    }
}
