// SPDX-License-Identifier: MIT
//! The RAM copy of `/etc/fstab`: says what is going on, and keeps userspace from mounting over it.

use alloc::borrow::{Cow, ToOwned};
use alloc::string::String;
use alloc::vec::Vec;

use crate::text;
use crate::text::unescape;

/// First words of the header, by which a copy is known.
const MARK: &str = "# overlayroot: this copy of /etc/fstab lives in RAM";
/// Last line of the header and of our entry.
const END_MARK: &str = "# overlayroot: the original entries follow";

/// The entry for the real root.
#[derive(Clone, Copy, Debug)]
pub struct LowerEntry<'a> {
    /// Device node.
    pub device: &'a str,
    /// Where it is mounted, read-only.
    pub mount_point: &'a str,
    /// File system.
    pub fstype: &'a str,
    /// Mount options.
    pub options: &'a str,
}

/// The copy: a header, an entry for the real root, then the original line by line, where entries for `/`
/// and for swap, except in RAM, are commented out. Bytes that are not text pass through unchanged. Rewriting a copy gives
/// the same copy.
pub fn rewrite(original: &[u8], entry: &LowerEntry<'_>) -> Vec<u8> {
    let mut copy = header(entry).into_bytes();
    for line in body(original).split_inclusive(|&b| b == b'\n') {
        if is_kept_out(line) {
            copy.extend_from_slice(b"# ");
        }
        copy.extend_from_slice(line);
    }
    if copy.last() != Some(&b'\n') {
        copy.push(b'\n');
    }
    copy
}

/// Whether the text is a copy that [`rewrite`] made, edited since or not.
pub fn is_copy(text: &[u8]) -> bool {
    text.starts_with(MARK.as_bytes())
}

/// Whether a copy still has the entries of the original: nobody has edited it.
pub fn has_entries_of(copy: &[u8], original: &[u8]) -> bool {
    let nothing = LowerEntry {
        device: "",
        mount_point: "",
        fstype: "",
        options: "",
    };
    body(copy) == body(&rewrite(original, &nothing))
}

#[inline(never)]
fn header(entry: &LowerEntry<'_>) -> String {
    let lower = entry.mount_point;
    text!(
        "{}.\n# Changes to this system are lost at the next boot. The real file is {}/etc/fstab. To edit it:\n\
         #   mount -o remount,rw {}\n#   mount -o remount,ro {}\n\
         # Entries for / and swap on a disk are commented out. The real root:\n{} {} {} {} 0 0\n{}\n",
        MARK,
        lower,
        lower,
        lower,
        escape(entry.device),
        escape(lower),
        escape(entry.fstype),
        escape(entry.options),
        END_MARK
    )
}

/// Blanks and backslashes as fstab(5) writes them.
fn escape(field: &str) -> String {
    let mut text = String::new();
    for character in field.chars() {
        match character {
            ' ' => text.push_str("\\040"),
            '\t' => text.push_str("\\011"),
            '\n' => text.push_str("\\012"),
            '\\' => text.push_str("\\134"),
            '#' => text.push_str("\\043"),
            other => text.push(other),
        }
    }
    if text.is_empty() {
        "none".to_owned()
    } else {
        text
    }
}

/// What follows our own header, or everything when there is none.
fn body(original: &[u8]) -> &[u8] {
    if !original.starts_with(MARK.as_bytes()) {
        return original;
    }
    let mut at = 0;
    for line in original.split_inclusive(|&b| b == b'\n') {
        at += line.len();
        if line.strip_suffix(b"\n").unwrap_or(line) == END_MARK.as_bytes() {
            return original.get(at..).unwrap_or_default();
        }
    }
    original
}

/// Reads a line as libmount does: it ends at a NUL byte, blanks and tabs separate, octal digits stand for
/// bytes.
fn is_kept_out(line: &[u8]) -> bool {
    let line = line.split(|&b| matches!(b, 0 | b'\n')).next();
    let line = line.unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let mut fields = line
        .split(|b| matches!(b, b' ' | b'\t'))
        .filter(|field| !field.is_empty());
    let (device, mount_point, fstype) = (fields.next(), fields.next(), fields.next());
    if device.map_or(true, |field| field.starts_with(b"#")) {
        return false;
    }
    mount_point.is_some_and(|path| is_root(&meant(path)))
        || fstype.is_some_and(|name| *meant(name) == *b"swap")
            && device.map_or(true, |name| !meant(name).starts_with(b"/dev/zram"))
}

/// What a field stands for.
fn meant(field: &[u8]) -> Cow<'_, [u8]> {
    if field.contains(&b'\\') {
        Cow::Owned(unescape(field))
    } else {
        Cow::Borrowed(field)
    }
}

/// `//`, `/.` and `/x/..` are the root too.
#[inline(never)]
fn is_root(path: &[u8]) -> bool {
    let mut depth = 0u32;
    for part in path.split(|&b| b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => depth = depth.saturating_sub(1),
            _ => depth += 1,
        }
    }
    path.starts_with(b"/") && depth == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ENTRY: LowerEntry<'_> = LowerEntry {
        device: "/dev/mmcblk0p2",
        mount_point: "/mnt/root-RO",
        fstype: "ext4",
        options: "ro,noauto",
    };

    fn rest(original: &[u8]) -> String {
        let copy = String::from_utf8_lossy(&rewrite(original, &ENTRY)).into_owned();
        assert!(copy.starts_with(MARK));
        assert!(copy.contains("\n/dev/mmcblk0p2 /mnt/root-RO ext4 ro,noauto 0 0\n"));
        assert!(copy.contains("mount -o remount,rw /mnt/root-RO\n"));
        let at = copy.find(END_MARK).unwrap() + END_MARK.len() + 1;
        copy[at..].to_owned()
    }

    #[test]
    fn root_and_swap_are_commented_out() {
        assert_eq!(
            rest(b"# mine\nLABEL=r  / ext4\tdefaults 0 1\nUUID=1 none swap sw 0 0\n/dev/b /boot vfat ro 0 2"),
            "# mine\n# LABEL=r  / ext4\tdefaults 0 1\n# UUID=1 none swap sw 0 0\n/dev/b /boot vfat ro 0 2\n"
        );
        assert_eq!(
            rest(b"/dev/a //. auto defaults 0 0\r\n"),
            "# /dev/a //. auto defaults 0 0\r\n"
        );
        assert_eq!(rest(b""), "");
        assert_eq!(rest(b"garbage\n\n \n"), "garbage\n\n \n");
    }

    /// As libmount and getmntent(3) read them.
    #[test]
    fn root_and_swap_in_disguise() {
        for line in [
            "a /.. ext4",
            "a /x/../ ext4",
            "a \\057 ext4",
            "a //\\056 ext4",
            "a none sw\\141p",
            "a\x0cb / ext4",
            "a none swap\r",
            "a / ext4 \0 x",
            "\ta\t/\text4",
        ] {
            assert_eq!(rest(line.as_bytes()), format!("# {line}\n"));
        }
        for line in [
            "a /... ext4",
            "a /x ext4 swap",
            "\0a / ext4",
            "a / ",
            "a \x0b/ ext4",
            "/dev/zram0 none swap defaults",
        ] {
            let kept = rest(line.as_bytes());
            assert_eq!(kept == format!("{line}\n"), line != "a / ", "{line:?}");
        }
    }

    #[test]
    fn odd_fields_are_escaped() {
        let entry = LowerEntry {
            device: "/dev/a b#",
            options: "",
            ..ENTRY
        };
        let copy = String::from_utf8(rewrite(b"", &entry)).unwrap();
        assert!(copy.contains("\n/dev/a\\040b\\043 /mnt/root-RO ext4 none 0 0\n"));
    }

    #[test]
    fn edited_copies_are_known() {
        let original = b"LABEL=ROOT / ext4 noatime 0 1\n/dev/sda1 /data ext4 defaults 0 2";
        let copy = rewrite(original, &ENTRY);
        assert!(is_copy(&copy) && !is_copy(original));
        assert!(has_entries_of(&copy, original));
        let edited = [&copy[..], b"/dev/sdb1 /more ext4 defaults 0 2\n"].concat();
        assert!(is_copy(&edited) && !has_entries_of(&edited, original));
    }

    proptest! {
        #[test]
        fn rewriting_twice_is_rewriting_once(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let once = rewrite(&bytes, &ENTRY);
            prop_assert_eq!(rewrite(&once, &ENTRY), once);
        }

        #[test]
        fn other_lines_pass_through(line in "[a-z/]{1,9} /[a-z]{1,9} (ext4|vfat|none) [a-z,]{1,9} 0 0") {
            prop_assert_eq!(rest(line.as_bytes()), line + "\n");
        }
    }
}
