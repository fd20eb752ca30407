// SPDX-License-Identifier: MIT
//! What has grown in the upper directory since the last look.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// Files from this size on are remembered by themselves, smaller ones in the sum of their directory: looking
/// must not need much of the memory that is short.
const LARGE: u64 = 64 << 10;

/// What something takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Use {
    /// Bytes.
    pub bytes: u64,
    /// Inodes.
    pub inodes: u64,
}

/// Which of the two is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// Bytes.
    Bytes,
    /// Inodes.
    Inodes,
}

impl Use {
    fn of(self, by: By) -> u64 {
        match by {
            By::Bytes => self.bytes,
            By::Inodes => self.inodes,
        }
    }

    fn add(&mut self, other: Use) {
        self.bytes += other.bytes;
        self.inodes += other.inodes;
    }

    fn less(self, other: Use) -> Use {
        Use {
            bytes: self.bytes.saturating_sub(other.bytes),
            inodes: self.inodes.saturating_sub(other.inodes),
        }
    }
}

/// A directory or file, and by how much it has grown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Writer {
    /// As the running system names it.
    #[serde(with = "crate::jsonpath")]
    pub path: PathBuf,
    /// How much it has grown.
    pub grown: Use,
}

/// Sums of directories and large files, by path from `/`.
#[derive(Clone, Debug, Default)]
pub struct Snapshot(BTreeMap<PathBuf, Use>);

impl Snapshot {
    /// Looks at an upper directory. What vanishes meanwhile, or cannot be read, is left out.
    pub fn take(upper: &Path) -> Snapshot {
        let mut sums = BTreeMap::new();
        if let Ok(top) = fs::symlink_metadata(upper) {
            let total = directory(upper, Path::new("/"), top.dev(), &mut sums);
            sums.insert("/".into(), total);
        }
        Snapshot(sums)
    }

    /// The `most` that have grown since `before`: the deepest directories and files to which at least half of
    /// the growth of their parent goes back, each counted once; none with less than a tenth of the first one's.
    pub fn grown_since(&self, before: &Snapshot, by: By, most: usize) -> Vec<Writer> {
        let mut left: BTreeMap<&Path, Use> = BTreeMap::new();
        let mut children: BTreeMap<&Path, Vec<&Path>> = BTreeMap::new();
        for (path, now) in &self.0 {
            let old = before.0.get(path).copied().unwrap_or_default();
            left.insert(path, now.less(old));
            if let Some(parent) = path.parent() {
                children.entry(parent).or_default().push(path);
            }
        }
        let mut found = Vec::new();
        while found.len() < most {
            let of = |path: &Path| left.get(path).copied().unwrap_or_default();
            let mut node = Path::new("/");
            while let Some(child) = children
                .get(node)
                .and_then(|all| all.iter().max_by_key(|child| of(child).of(by)))
            {
                let (mine, its) = (of(node).of(by), of(child).of(by));
                // The root itself says nothing: its largest child does.
                if its == 0 || (its * 2 < mine && node != Path::new("/")) {
                    break;
                }
                node = child;
            }
            let grown = of(node);
            // Nothing, or next to nothing beside the first one.
            let first = found.first().map_or(0, |w: &Writer| w.grown.of(by));
            if grown.of(by) == 0 || grown.of(by) * 10 < first {
                break;
            }
            found.push(Writer {
                path: node.to_owned(),
                grown,
            });
            for ancestor in node.ancestors() {
                if let Some(rest) = left.get_mut(ancestor) {
                    *rest = rest.less(grown);
                }
            }
            // What is below it is told with it.
            left.retain(|path, _| *path == node || !path.starts_with(node));
        }
        found
    }
}

fn directory(real: &Path, shown: &Path, device: u64, sums: &mut BTreeMap<PathBuf, Use>) -> Use {
    let mut total = Use::default();
    let entries = fs::read_dir(real).into_iter().flatten().flatten();
    for entry in entries {
        let Ok(metadata) = fs::symlink_metadata(entry.path()) else {
            continue;
        };
        let mut size = Use {
            bytes: metadata.blocks() * 512,
            inodes: 1,
        };
        let path = shown.join(entry.file_name());
        if metadata.is_dir() {
            if metadata.dev() != device {
                continue; // another file system
            }
            size.add(directory(&entry.path(), &path, device, sums));
            sums.insert(path, size);
        } else if size.bytes >= LARGE {
            sums.insert(path, size);
        }
        total.add(size);
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, name: &str, size: usize) {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, vec![1; size]).unwrap();
    }

    fn names(writers: &[Writer]) -> Vec<&str> {
        writers.iter().map(|w| w.path.to_str().unwrap()).collect()
    }

    #[test]
    fn the_largest_growth_is_named_where_it_is() {
        let upper = tempfile::tempdir().unwrap();
        write(upper.path(), "etc/old", 1 << 20);
        let before = Snapshot::take(upper.path());
        write(upper.path(), "var/log/journal/system.journal", 900 << 10);
        write(upper.path(), "var/log/small", 10 << 10);
        for i in 0..40 {
            write(upper.path(), &format!("srv/data/{i}"), 16 << 10);
        }
        write(upper.path(), "etc/new", 100 << 10);
        write(upper.path(), "opt/little", 8 << 10);
        let now = Snapshot::take(upper.path());
        let found = now.grown_since(&before, By::Bytes, 9);
        assert_eq!(
            names(&found),
            ["/var/log/journal/system.journal", "/srv/data", "/etc/new"]
        );
        assert!(found[1].grown.bytes >= 40 * (16 << 10));
        let found = now.grown_since(&before, By::Inodes, 1);
        assert_eq!(names(&found), ["/srv/data"]);
        assert!(found[0].grown.inodes >= 40);
        // Nothing new: nobody is named.
        assert_eq!(now.grown_since(&now, By::Bytes, 3), []);
    }

    #[test]
    fn no_upper_is_nobody() {
        let empty = Snapshot::take(Path::new("/none"));
        assert_eq!(empty.grown_since(&Snapshot::default(), By::Bytes, 3), []);
    }
}
