// SPDX-License-Identifier: MIT
//! The fstab copy: rewriting it again changes nothing, it mounts nothing on `/` and no swap, and all other
//! lines are the original's, byte for byte.

use overlayroot::fstab::{has_entries_of, is_copy, rewrite, LowerEntry};

use crate::input::Input;

const END: &[u8] = b"# overlayroot: the original entries follow\n";
const MARK: &[u8] = b"# overlayroot: this copy";

/// One input: device and file system of our entry, then the original.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let (device, fstype) = (input.text(), input.text());
    let original = input.0;
    let entry = LowerEntry {
        device: &device,
        mount_point: "/mnt/root-RO",
        fstype: &fstype,
        options: "ro,noauto",
    };
    let copy = rewrite(original, &entry);
    assert_eq!(
        rewrite(&copy, &entry),
        copy,
        "not the same when written again"
    );
    assert!(is_copy(&copy) && has_entries_of(&copy, original));
    assert!(copy.len() <= original.len() * 3 + device.len() * 4 + fstype.len() * 4 + 1024);

    let at = find(&copy, END).expect("a header") + END.len();
    let (header, body) = copy.split_at(at);
    own_entry(header, &entry);
    for line in body.split(|&b| b == b'\n') {
        assert!(!is_active_root_or_swap(line), "{}", line.escape_ascii());
    }
    if !original.starts_with(MARK) {
        same_lines(original, body);
    }
}

/// The header has one entry, and its fields are read as they were given.
fn own_entry(header: &[u8], entry: &LowerEntry<'_>) {
    let entries: Vec<_> = header.split(|&b| b == b'\n').filter_map(fields).collect();
    // Text with a NUL byte comes from nowhere: it is no device and no file system.
    if entry.device.contains('\0') || entry.fstype.contains('\0') {
        return;
    }
    assert_eq!(entries.len(), 1, "{}", header.escape_ascii());
    let given = [entry.device, entry.mount_point, entry.fstype, entry.options];
    for (field, given) in entries[0].iter().zip(given) {
        let given = if given.is_empty() { "none" } else { given };
        assert_eq!(field, given.as_bytes());
    }
}

fn same_lines(original: &[u8], body: &[u8]) {
    let ended = original.is_empty() || original.ends_with(b"\n");
    let body = match ended {
        true => body,
        false => body.strip_suffix(b"\n").expect("a newline"),
    };
    let mut lines = body.split(|&b| b == b'\n');
    for line in original.split(|&b| b == b'\n') {
        let copied = lines.next().expect("as many lines");
        match is_active_root_or_swap(line) {
            true => assert_eq!(copied.strip_prefix(b"# "), Some(line)),
            false => assert_eq!(copied, line),
        }
    }
    assert_eq!(lines.next(), None);
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

fn is_active_root_or_swap(line: &[u8]) -> bool {
    let Some(fields) = fields(line) else {
        return false;
    };
    let target = fields.get(1).map(Vec::as_slice).unwrap_or_default();
    let mut path: Vec<&[u8]> = Vec::new();
    for part in target.split(|&b| b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(path.pop()),
            name => path.push(name),
        }
    }
    let root = target.first() == Some(&b'/') && path.is_empty();
    // Swap in RAM writes to no disk.
    let on_disk = !fields[0].starts_with(b"/dev/zram");
    root || on_disk && fields.get(2).is_some_and(|fstype| fstype == b"swap")
}

/// The fields of a line, as util-linux's libmount takes them apart; `None` for none.
fn fields(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let line = &line[..line.iter().position(|&b| b == 0).unwrap_or(line.len())];
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let fields: Vec<Vec<u8>> = line
        .split(|&b| b == b' ' || b == b'\t')
        .filter(|field| !field.is_empty())
        .map(decode)
        .collect();
    let first = line.iter().find(|&&b| b != b' ' && b != b'\t');
    (!fields.is_empty() && first != Some(&b'#')).then_some(fields)
}

fn decode(field: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::new();
    let mut at = 0;
    while at < field.len() {
        let digits = field.get(at + 1..at + 4).filter(|_| field[at] == b'\\');
        match digits.filter(|d| d.iter().all(|b| (b'0'..=b'7').contains(b))) {
            Some(digits) => {
                let number = digits.iter().fold(0u32, |n, b| n * 8 + u32::from(b - b'0'));
                decoded.push(number as u8);
                at += 4;
            }
            None => {
                decoded.push(field[at]);
                at += 1;
            }
        }
    }
    decoded
}
