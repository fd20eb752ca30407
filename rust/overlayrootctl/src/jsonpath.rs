// SPDX-License-Identifier: MIT
//! A path in JSON, which has no bytes: a string, or, where it is not UTF-8, the list of its bytes, as
//! `journalctl -o json` has it. For `#[serde(with = …)]`.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[derive(Serialize)]
#[serde(untagged)]
enum Written<'a> {
    Text(&'a str),
    Bytes(&'a [u8]),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Read {
    Text(String),
    Bytes(Vec<u8>),
}

fn written(path: &Path) -> Written<'_> {
    match path.to_str() {
        Some(text) => Written::Text(text),
        None => Written::Bytes(path.as_os_str().as_bytes()),
    }
}

/// Writes one.
pub fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    written(path).serialize(serializer)
}

/// Reads one.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    Ok(match Read::deserialize(deserializer)? {
        Read::Text(text) => text.into(),
        Read::Bytes(bytes) => OsString::from_vec(bytes).into(),
    })
}

/// Writes several.
pub fn list<S: Serializer>(paths: &[PathBuf], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(paths.iter().map(|path| written(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize, PartialEq, Serialize)]
    struct One {
        #[serde(with = "super")]
        path: PathBuf,
    }

    #[derive(Serialize)]
    struct Several {
        #[serde(serialize_with = "super::list")]
        list: Vec<PathBuf>,
    }

    #[test]
    fn every_path_is_exact() {
        let odd = PathBuf::from(OsString::from_vec(b"/a\xff".to_vec()));
        for (path, text) in [
            ("/a\n\u{fffd}".into(), "{\"path\":\"/a\\n\u{fffd}\"}"),
            (odd.clone(), "{\"path\":[47,97,255]}"),
        ] {
            let one = One { path };
            assert_eq!(serde_json::to_string(&one).unwrap(), text);
            assert_eq!(serde_json::from_str::<One>(text).unwrap(), one);
        }
        let list = vec!["/b".into(), odd];
        assert_eq!(
            serde_json::to_string(&Several { list }).unwrap(),
            "{\"list\":[\"/b\",[47,97,255]]}"
        );
    }
}
