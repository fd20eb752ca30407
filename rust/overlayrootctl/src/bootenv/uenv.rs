// SPDX-License-Identifier: MIT
//! The text of `uEnv.txt`: lines `name=value` that the boot script imports over the environment.

use std::collections::BTreeMap;
use std::ops::Range;

use super::{Change, Variables};

/// Name of the file.
pub const UENV: &str = "uEnv.txt";

/// What importing a text does: variables that it sets, and those that it takes away (`None`).
pub type Import = BTreeMap<String, Option<String>>;

/// What `env import -t` makes of a text (`himport_r()` in lib/hashtable.c of U-Boot). The last of equal
/// names counts; `name` and `name=` take a variable away; `\` makes the next character, a newline too, part
/// of the value; a line without a name ends it all, as do two NUL bytes.
pub fn parse(text: &[u8]) -> Import {
    let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let found = entries(text).0.into_iter();
    found
        .filter(|entry| !entry.name.is_empty())
        .map(|entry| (lossy(entry.name), entry.value.as_deref().map(lossy)))
        .collect()
}

/// Carries an import out.
pub fn import(file: &Import, variables: &mut Variables) {
    for (name, value) in file {
        match value {
            Some(value) => variables.insert(name.clone(), value.clone()),
            None => variables.remove(name),
        };
    }
}

/// One entry of a text: where it is, its separator included, and what it says. A comment has no name.
struct Entry<'a> {
    place: Range<usize>,
    name: &'a [u8],
    value: Option<Vec<u8>>,
    /// There is a separator, not just the end of the text.
    has_end: bool,
}

/// The entries up to where U-Boot stops reading, and that place.
fn entries(text: &[u8]) -> (Vec<Entry<'_>>, usize) {
    let byte = |at: usize| text.get(at).copied().unwrap_or(0);
    let ends = |at: usize| matches!(byte(at), 0 | b'\n');
    let until = |mut at: usize, end: &dyn Fn(usize) -> bool| {
        while !end(at) {
            at += 1;
        }
        at
    };
    let mut found = Vec::new();
    let mut start = 0;
    while byte(start) != 0 {
        let from = until(start, &|at| !matches!(byte(at), b' ' | b'\t'));
        let to = match byte(from) {
            b'#' => until(from, &ends),
            _ => until(from, &|at| byte(at) == b'=' || ends(at)),
        };
        let is_comment = byte(from) == b'#';
        let name = text.get(from..to).filter(|_| !is_comment);
        let mut at = to;
        let mut value = None;
        if !is_comment && !ends(to) {
            at = to + 1;
            if !ends(at) {
                let mut bytes = Vec::new();
                while !ends(at) {
                    if byte(at) == b'\\' && byte(at + 1) != 0 {
                        at += 1;
                    }
                    bytes.push(byte(at));
                    at += 1;
                }
                value = Some(bytes);
            }
        }
        if value.is_some() && to == from {
            break; // a value without a name: U-Boot gives up
        }
        let end = (at + 1).min(text.len());
        found.push(Entry {
            place: start..end,
            name: name.unwrap_or_default(),
            value,
            has_end: at < text.len(),
        });
        start = end;
    }
    (found, start)
}

/// The text with changes; every other byte of it stays as it is.
pub fn edit(text: &[u8], changes: &[Change]) -> Vec<u8> {
    let mut text = text.to_vec();
    for change in changes {
        text = edit_one(&text, change);
    }
    text
}

fn edit_one(text: &[u8], change: &Change) -> Vec<u8> {
    let (found, end) = entries(text);
    let line = change.to.as_ref().map(|value| {
        let value = value.replace('\\', "\\\\").replace('\n', "\\\n");
        format!("{}={value}\n", change.name)
    });
    let line = line.unwrap_or_default();
    let is_ours = |entry: &&Entry<'_>| entry.name == change.name.as_bytes();
    // Where it is already; otherwise where U-Boot still reads.
    let old = found.iter().find(is_ours).map(|entry| entry.place.start);
    let mut place = old.unwrap_or(end);
    let mut separator = "";
    if let (None, Some(last)) = (old, found.last().filter(|entry| !entry.has_end)) {
        // A backslash at the end would make our line a part of the value.
        match text.last() {
            Some(b'\\' | b'\n') => place = last.place.start,
            _ if line.is_empty() => {}
            _ => separator = "\n",
        }
    }
    let mut edited = Vec::with_capacity(text.len() + separator.len() + line.len());
    for entry in &found {
        if entry.place.start == place {
            edited.extend_from_slice(line.as_bytes());
        }
        if !is_ours(&entry) {
            edited.extend_from_slice(text.get(entry.place.clone()).unwrap_or_default());
        }
    }
    if place == end {
        edited.extend_from_slice(separator.as_bytes());
        edited.extend_from_slice(line.as_bytes());
    }
    edited.extend_from_slice(text.get(end..).unwrap_or_default());
    edited
}

#[cfg(test)]
mod tests {
    use super::super::set;
    use super::*;

    fn edited(text: &str, changes: &[Change]) -> String {
        String::from_utf8(edit(text.as_bytes(), changes)).unwrap()
    }

    fn imported(text: &str) -> Variables {
        let mut variables = Variables::new();
        import(&parse(text.as_bytes()), &mut variables);
        variables
    }

    fn one(name: &str, value: &str) -> Variables {
        Variables::from([(name.to_owned(), value.to_owned())])
    }

    #[test]
    fn lines_are_changed_in_place_and_others_kept() {
        let text = "# mine\nconsole=ttymxc0\noverlayfs=no\nx\noverlayfs=maybe\n";
        assert_eq!(
            edited(
                text,
                &[set("overlayfs", Some("yes")), set("ofs-size", Some("64M"))]
            ),
            "# mine\nconsole=ttymxc0\noverlayfs=yes\nx\nofs-size=64M\n"
        );
        assert_eq!(edited("a=1", &[set("a", None)]), "");
        assert_eq!(edited("", &[set("a", Some("1"))]), "a=1\n");
        assert_eq!(imported(text)["overlayfs"], "maybe");
        assert_eq!(imported(" # a=1\n  b=2=3"), one("b", "2=3"));
    }

    /// himport_r() of U-Boot says what is what here.
    #[test]
    fn lines_are_read_as_u_boot_reads_them() {
        // A backslash makes the newline a part of the value; a name alone takes a variable away.
        assert_eq!(
            imported("a=1\\\noverlayfs=no\n"),
            one("a", "1\noverlayfs=no")
        );
        assert_eq!(
            parse(b"a\nb=\n").into_values().collect::<Vec<_>>(),
            [None, None]
        );
        let mut variables = one("overlayfs", "no");
        import(&parse(b"overlayfs=\n"), &mut variables);
        assert!(variables.is_empty());
        // Nothing is read behind a value without a name, or behind two NUL bytes.
        assert_eq!(imported("a=1\n=2\nb=3"), one("a", "1"));
        assert_eq!(imported("a=1\0\0b=3"), one("a", "1"));
        assert_eq!(parse(b"a=1\0b=\xff\r\n").len(), 2);
    }

    #[test]
    fn other_bytes_stay_and_what_is_written_is_read() {
        let to = [set("b", Some("2"))];
        for (before, after) in [
            ("a=1\r\n# x\r\n", "a=1\r\n# x\r\nb=2\n"),
            ("a=1", "a=1\nb=2\n"),
            ("a=1\\", "b=2\na=1\\"),
            ("a=1\\\n", "b=2\na=1\\\n"),
            ("a=1\n=2\nc=3", "a=1\nb=2\n=2\nc=3"),
            ("b\n b=1\nc=3", "b=2\nc=3"),
            ("a=1\0\0\x01", "a=1\0b=2\n\0\x01"),
        ] {
            assert_eq!(edited(before, &to), after, "{before:?}");
            assert_eq!(imported(after)["b"], "2");
        }
    }
}
