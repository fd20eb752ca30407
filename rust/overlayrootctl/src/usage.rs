// SPDX-License-Identifier: MIT
//! What fills the RAM layer: the directories that hold the most.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::progress;

/// A directory and what lies directly in it, without its subdirectories.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Directory {
    /// Path in the running system.
    #[serde(with = "crate::jsonpath")]
    pub path: PathBuf,
    /// Bytes of RAM.
    pub bytes: u64,
    /// Files, whiteouts included.
    pub files: u64,
}

/// The `count` directories below `upper` that hold the most, the largest first. What cannot be read (as an
/// ordinary user) is left out.
pub fn biggest(upper: &Path, count: usize) -> Vec<Directory> {
    progress::begin("looking at the RAM layer", None);
    let mut found = BTreeMap::new();
    walk(upper, Path::new("/"), &mut found);
    let mut list: Vec<Directory> = found
        .into_iter()
        .filter(|(_, (_, files))| *files > 0)
        .map(|(path, (bytes, files))| Directory { path, bytes, files })
        .collect();
    // By bytes, then by number: a million empty files fill the layer, too.
    list.sort_by_key(|d| std::cmp::Reverse((d.bytes, d.files)));
    list.truncate(count);
    list
}

fn walk(folder: &Path, path: &Path, found: &mut BTreeMap<PathBuf, (u64, u64)>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        progress::entry();
        let Ok(metadata) = entry.metadata() else {
            continue; // gone in the meantime
        };
        if metadata.is_dir() {
            walk(&entry.path(), &path.join(entry.file_name()), found);
        } else {
            let sum = found.entry(path.to_owned()).or_insert((0, 0));
            // A file with several names counts once, shared among them.
            sum.0 += metadata.blocks() * 512 / metadata.nlink().max(1);
            sum.1 += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn largest_first() {
        let upper = tempfile::tempdir().unwrap();
        let at = |path: &str| upper.path().join(path);
        fs::create_dir_all(at("var/log/deep")).unwrap();
        fs::create_dir_all(at("etc")).unwrap();
        fs::write(at("etc/a"), [1; 5000]).unwrap();
        fs::write(at("var/log/b"), vec![1; 90_000]).unwrap();
        fs::hard_link(at("var/log/b"), at("var/log/c")).unwrap();
        fs::write(at("var/log/deep/d"), vec![1; 20_000]).unwrap();
        let list = biggest(upper.path(), 2);
        assert_eq!(list.len(), 2);
        assert_eq!(list[0].path, Path::new("/var/log"));
        assert_eq!(list[0].files, 2);
        assert!((90_000..110_000).contains(&list[0].bytes), "{list:?}");
        assert_eq!(list[1].path, Path::new("/var/log/deep"));
        assert_eq!(biggest(Path::new("/nowhere"), 3), []);
    }
}
