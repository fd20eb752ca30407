// SPDX-License-Identifier: MIT
//! `uEnv.txt`: read as U-Boot reads it; a change changes its own lines and no other byte.

use overlayrootctl::bootenv::uenv::{edit, parse, Import};
use overlayrootctl::bootenv::Change;

use crate::input::Input;

/// One input: two bytes of what to change, then the file.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let (first, second) = (change(input.byte()), change(input.byte()));
    let text = input.0;
    assert_eq!(parse(text), u_boots(text));

    let once = edit(text, std::slice::from_ref(&first));
    check(text, &once, &first);
    let twice = edit(&once, std::slice::from_ref(&second));
    check(&once, &twice, &second);
    assert_eq!(edit(text, &[first.clone(), second.clone()]), twice);
    if first.name != second.name {
        assert_eq!(
            parse(&twice).get(&first.name),
            parse(&once).get(&first.name)
        );
    }
}

fn change(choice: u8) -> Change {
    let name = ["overlayfs", "ofs-size", "ofs_size", "overlayfs_once"][usize::from(choice & 3)];
    let to = [None, Some("yes"), Some("64M,20000"), Some("no")][usize::from(choice >> 2 & 3)];
    Change {
        name: name.to_owned(),
        from: None,
        to: to.map(str::to_owned),
    }
}

fn check(before: &[u8], after: &[u8], change: &Change) {
    let (was, mut is) = (u_boots(before), u_boots(after));
    let now = is.remove(&change.name);
    assert_eq!(now, change.to.as_ref().map(|to| Some(to.clone())));
    let mut others = was.clone();
    others.remove(&change.name);
    assert_eq!(is, others);
    // Byte for byte: the rest is what it was, in its order, but for one newline where there was none.
    let line = match &change.to {
        Some(to) => format!("{}={to}\n", change.name),
        None => String::new(),
    };
    let rest: Vec<u8> = without(before, &change.name);
    let at = (0..=after.len()).find(|at| {
        let (start, end) = after.split_at(*at);
        let Some(end) = end.strip_prefix(line.as_bytes()) else {
            return false;
        };
        let same = |start: &[u8]| rest == [start, end].concat();
        same(start) || start.strip_suffix(b"\n").is_some_and(same)
    });
    assert!(
        at.is_some(),
        "{} -> {}",
        before.escape_ascii(),
        after.escape_ascii()
    );
}

/// The text without the entries of a name, by U-Boot's reading.
fn without(text: &[u8], name: &str) -> Vec<u8> {
    let mut rest = Vec::new();
    let mut last = 0;
    walk(text, &mut |start, end, found, _| {
        if found == Some(name.as_bytes()) {
            rest.extend_from_slice(&text[last..start]);
            last = end;
        }
    });
    rest.extend_from_slice(&text[last..]);
    rest
}

fn u_boots(text: &[u8]) -> Import {
    let mut import = Import::new();
    walk(text, &mut |_, _, name, value| {
        let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if let Some(name) = name.filter(|name| !name.is_empty()) {
            import.insert(lossy(name), value.map(|value| lossy(&value)));
        }
    });
    import
}

/// Start, end, name and value of an entry; a comment has no name.
type Found<'a> = dyn FnMut(usize, usize, Option<&[u8]>, Option<Vec<u8>>) + 'a;

/// `himport_r()` of U-Boot's lib/hashtable.c with the separator of `env import -t`, on a copy that ends with
/// a NUL byte. Start, end, name and value of each entry; a comment has no name.
fn walk(text: &[u8], entry: &mut Found<'_>) {
    let data = [text, b"\0\0"].concat();
    let size = text.len();
    let ends = |at: usize| data[at] == 0 || data[at] == b'\n';
    let mut at = 0;
    if size == 0 || data[0] == 0 {
        return;
    }
    loop {
        let start = at;
        while data[at] == b' ' || data[at] == b'\t' {
            at += 1;
        }
        if data[at] == b'#' {
            while !ends(at) {
                at += 1;
            }
            at += 1;
            entry(start, at.min(size), None, None);
        } else {
            let name = at;
            while data[at] != b'=' && !ends(at) {
                at += 1;
            }
            let name = &data[name..at];
            if ends(at) || ends(at + 1) {
                if data[at] == b'=' {
                    at += 1;
                }
                at += 1;
                entry(start, at.min(size), Some(name), None);
            } else {
                at += 1;
                let mut value = Vec::new();
                while !ends(at) {
                    if data[at] == b'\\' && data[at + 1] != 0 {
                        at += 1;
                    }
                    value.push(data[at]);
                    at += 1;
                }
                at += 1;
                if name.is_empty() {
                    return;
                }
                entry(start, at.min(size), Some(name), Some(value));
            }
        }
        if at >= size || data[at] == 0 {
            return;
        }
    }
}
