// SPDX-License-Identifier: MIT
//! `overlayroot.conf` in the initramfs: the defaults that an image was built with.

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;

use crate::push_text;
use crate::text::{decimal, lossy, trim};

/// One `name = value` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Name as written, without surrounding blanks.
    pub name: String,
    /// Value without surrounding blanks and without one pair of surrounding double quotes.
    pub value: String,
}

/// Parses the file; a line that is none of blank, `#` comment and `name = value` gives a warning.
pub fn parse(bytes: &[u8]) -> (Vec<Entry>, Vec<String>) {
    let mut entries = Vec::new();
    let mut warnings = Vec::new();
    let text = lossy(bytes);
    for (number, line) in text.lines().enumerate() {
        let line = trim(line);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match line.split_once('=') {
            Some((name, value)) if !trim(name).is_empty() => {
                let value = trim(value);
                let quoted = value.strip_prefix('"').and_then(|v| v.strip_suffix('"'));
                entries.push(Entry {
                    name: trim(name).to_owned(),
                    value: quoted.unwrap_or(value).to_owned(),
                });
            }
            _ => push_text!(
                warnings,
                "overlayroot.conf line {}: not `name = value`: {}",
                decimal(number as u64 + 1),
                line
            ),
        }
    }
    (entries, warnings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn names_values_comments_and_errors() {
        let (entries, warnings) =
            parse(b"# defaults\n\nsize = 20%\noverlayfs=\"yes\"\r\nroot=LABEL=a=b\nrubbish\n=x\n");
        let found: Vec<_> = entries.iter().map(|e| (&*e.name, &*e.value)).collect();
        assert_eq!(
            found,
            vec![("size", "20%"), ("overlayfs", "yes"), ("root", "LABEL=a=b")]
        );
        assert_eq!(
            warnings,
            vec![
                "overlayroot.conf line 6: not `name = value`: rubbish",
                "overlayroot.conf line 7: not `name = value`: =x"
            ]
        );
    }
}
