// SPDX-License-Identifier: MIT
//! The archive of `export` and `import`: a tar file with a manifest first, then the changes. What was deleted is
//! an empty file `.wh.NAME`, as in the layers of container images (OCI image specification, layer.md); extended
//! attributes are PAX records as libarchive writes them, in Base64.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Path of the manifest.
pub const MANIFEST: &str = ".overlayroot/manifest.json";
/// Version of the format; raised when an older `import` would do something wrong.
pub const FORMAT: u32 = 1;
/// How the name of a deleted entry begins.
const WHITEOUT: &[u8] = b".wh.";
/// How the PAX record of an extended attribute begins.
pub const XATTR: &str = "LIBARCHIVE.xattr.";

/// What an archive says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: u32,
    /// Version of the tool that wrote it.
    pub overlayrootctl: String,
    /// Image of the board that it was made on.
    pub image: Image,
}

/// What os-release(5) calls an image; empty where it says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct Image {
    /// `ID`.
    pub id: String,
    /// `VERSION_ID`.
    pub version_id: String,
    /// `BUILD_ID`.
    pub build_id: String,
    /// `IMAGE_ID`.
    pub image_id: String,
    /// `IMAGE_VERSION`.
    pub image_version: String,
}

impl Image {
    /// That of the running system.
    pub fn here() -> Image {
        let read = |path| fs::read_to_string(path);
        let text = read("/etc/os-release").or_else(|_| read("/usr/lib/os-release"));
        Image::parse(&text.unwrap_or_default())
    }

    fn parse(text: &str) -> Image {
        let value = |name: &str| {
            let line = |line: &&str| line.split_once('=').is_some_and(|(n, _)| n == name);
            let found = text.lines().find(line).and_then(|l| l.split_once('='));
            found
                .map_or("", |(_, v)| v)
                .trim_matches(['"', '\''])
                .to_owned()
        };
        Image {
            id: value("ID"),
            version_id: value("VERSION_ID"),
            build_id: value("BUILD_ID"),
            image_id: value("IMAGE_ID"),
            image_version: value("IMAGE_VERSION"),
        }
    }

    /// For people.
    pub fn text(&self) -> String {
        let all = [
            &self.id,
            &self.version_id,
            &self.build_id,
            &self.image_id,
            &self.image_version,
        ];
        let said: Vec<&str> = all
            .iter()
            .map(|s| s.as_str())
            .filter(|s| !s.is_empty())
            .collect();
        match said.is_empty() {
            true => "an image without a name".to_owned(),
            false => said.join(" "),
        }
    }
}

/// Path of an entry that says that `path` is deleted.
pub fn whiteout(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().as_bytes();
    path.with_file_name(OsStr::from_bytes(&[WHITEOUT, name].concat()))
}

/// What is deleted by an entry with this path.
pub fn deleted(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.as_bytes().strip_prefix(WHITEOUT)?;
    let is_name = !name.is_empty() && name != b"." && name != b"..";
    is_name.then(|| path.with_file_name(OsStr::from_bytes(name)))
}

/// A path in an archive as one of the system; `None` when it could lead anywhere else.
pub fn inside(bytes: &[u8]) -> Option<PathBuf> {
    let path = PathBuf::from(OsString::from_vec(bytes.to_vec()));
    let mut inside = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::Normal(name) => inside.push(name),
            Component::CurDir => {}
            _ => return None,
        }
    }
    (inside != Path::new("/") && !bytes.contains(&0)).then_some(inside)
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Base64 without padding.
pub fn encode(bytes: &[u8]) -> String {
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let byte = |at: usize| u32::from(three.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..=three.len() {
            let six = (bits >> (18 - 6 * at)) & 63;
            text.push(char::from(
                ALPHABET.get(six as usize).copied().unwrap_or(b'A'),
            ));
        }
    }
    text
}

/// The bytes of Base64; an error when it is none.
pub fn decode(text: &[u8]) -> io::Result<Vec<u8>> {
    let wrong = || io::Error::new(io::ErrorKind::InvalidData, "an attribute is not Base64");
    let (mut bits, mut count, mut bytes) = (0u32, 0, Vec::new());
    for byte in text.iter().filter(|b| **b != b'=') {
        let six = ALPHABET.iter().position(|a| a == byte).ok_or_else(wrong)?;
        bits = bits << 6 | six as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_everybody() {
        for (bytes, text) in [
            (&b""[..], ""),
            (b"f", "Zg"),
            (b"fo", "Zm8"),
            (b"foo", "Zm9v"),
            (b"foob", "Zm9vYg"),
            (b"\x00\n\xff\xfe", "AAr//g"),
        ] {
            assert_eq!(encode(bytes), text);
            assert_eq!(decode(text.as_bytes()).unwrap(), bytes);
        }
        assert_eq!(decode(b"Zg==").unwrap(), b"f");
        assert!(decode(b"Z*").is_err());
    }

    #[test]
    fn paths_stay_inside() {
        assert_eq!(inside(b"./etc//x/"), Some("/etc/x".into()));
        for path in [&b"/etc/x"[..], b"../x", b"a/../../x", b"", b".", b"a\0b"] {
            assert_eq!(inside(path), None, "{path:?}");
        }
    }

    #[test]
    fn deleted_entries_have_names_of_their_own() {
        let path = Path::new("/etc/x");
        assert_eq!(whiteout(path), Path::new("/etc/.wh.x"));
        assert_eq!(deleted(&whiteout(path)).as_deref(), Some(path));
        assert_eq!(deleted(path), None);
        for name in ["/etc/.wh.", "/etc/.wh...", "/etc/.wh.."] {
            assert_eq!(deleted(Path::new(name)), None, "{name}");
        }
    }

    #[test]
    fn images_have_names() {
        let image = Image::parse("NAME=x\nID=\"debian\"\nVERSION_ID='12'\n");
        assert_eq!((&*image.id, &*image.version_id), ("debian", "12"));
        assert_eq!(image.text(), "debian 12");
        assert_eq!(Image::parse("").text(), "an image without a name");
    }
}
