// SPDX-License-Identifier: MIT
//! Numbers for people, and paths for JSON.

use std::path::{Path, PathBuf};

use serde::{Serialize, Serializer};

/// Bytes in the unit that leaves one to four digits: `0 B`, `512 B`, `4.0 KiB`, `198.7 MiB`.
pub fn bytes(count: u64) -> String {
    let mut unit = 0;
    let mut value = count as f64;
    while value >= 1024.0 && unit < UNITS.len() - 1 {
        value /= 1024.0;
        unit += 1;
    }
    let name = UNITS.get(unit).copied().unwrap_or_default();
    match unit {
        0 => format!("{count} {name}"),
        _ => format!("{value:.1} {name}"),
    }
}

/// A path for JSON, which has no bytes: what is not UTF-8 becomes U+FFFD. For `serialize_with`.
pub fn lossy<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    path.to_string_lossy().serialize(serializer)
}

/// The same for a list.
pub fn lossy_list<S: Serializer>(paths: &[PathBuf], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(paths.iter().map(|p| p.to_string_lossy()))
}

const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;

    #[test]
    fn any_path_can_be_printed() {
        #[derive(Serialize)]
        struct Printed {
            #[serde(serialize_with = "lossy")]
            path: PathBuf,
            #[serde(serialize_with = "lossy_list")]
            list: Vec<PathBuf>,
        }
        let path = PathBuf::from(OsString::from_vec(b"/a\xffb".to_vec()));
        let list = vec![path.clone()];
        let text = serde_json::to_string(&Printed { path, list }).unwrap();
        assert_eq!(
            text,
            "{\"path\":\"/a\u{fffd}b\",\"list\":[\"/a\u{fffd}b\"]}"
        );
    }

    #[test]
    fn units() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(4096), "4.0 KiB");
        assert_eq!(bytes(208_359_424), "198.7 MiB");
        assert_eq!(bytes(u64::MAX), "16777216.0 TiB");
    }
}
