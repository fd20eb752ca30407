// SPDX-License-Identifier: MIT
//! Paths as people type them, and as the layers know them.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use crate::error::{Error, Result};
use crate::quoting::Quote;

/// The path of the entry itself, all links before its last part followed, seen from the root. Refuses what
/// is not on the root's own file system: it is not changed in RAM at all.
pub fn inside_root(path: &Path) -> Result<PathBuf> {
    let absolute = match path.is_absolute() {
        true => path.to_owned(),
        false => std::env::current_dir()
            .map_err(Error::system("find", "the current directory"))?
            .join(path),
    };
    let resolved = resolve(&absolute)?;
    let device = |path: &Path| fs::symlink_metadata(path).map(|m| (m.dev(), m.is_dir()));
    let (root, _) = device(Path::new("/")).map_err(Error::system("look at", "/"))?;
    // Only directories have the overlay's own device number on every kernel.
    for folder in resolved.ancestors() {
        match device(folder) {
            Ok((there, true)) if there != root => {
                return Err(Error::refused(
                    format!("{} is on another file system than /", path.quoted()),
                    "what is written there does not go through the RAM layer",
                ));
            }
            Ok((_, true)) => break,
            _ => {} // a file, or deleted
        }
    }
    Ok(resolved)
}

fn resolve(path: &Path) -> Result<PathBuf> {
    // Deleted entries can be named, too: as much as there is of the path is followed.
    let mut missing = Vec::new();
    let mut folder = path;
    loop {
        let last = match folder.components().next_back() {
            Some(Component::Normal(name)) => name,
            Some(Component::ParentDir) => {
                return Err(Error::refused(
                    format!("{} ends with ..", path.quoted()),
                    "name the directory itself",
                ))
            }
            _ => {
                return Ok(missing
                    .iter()
                    .rev()
                    .fold(folder.to_owned(), |p, n| p.join(n)))
            }
        };
        missing.push(last);
        folder = folder.parent().unwrap_or(Path::new("/"));
        match fs::canonicalize(folder) {
            Ok(there) => return Ok(missing.iter().rev().fold(there, |p, n| p.join(n))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::system("look at", folder.quoted())(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_on_the_way_are_followed_the_last_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let top = fs::canonicalize(folder.path()).unwrap();
        fs::create_dir(top.join("real")).unwrap();
        symlink("real", top.join("way")).unwrap();
        symlink("/etc/passwd", top.join("real/end")).unwrap();
        assert_eq!(resolve(&top.join("way/end")).unwrap(), top.join("real/end"));
        assert_eq!(
            resolve(&top.join("way/gone/x")).unwrap(),
            top.join("real/gone/x")
        );
        assert!(resolve(&top.join("way/..")).is_err());
        assert_eq!(resolve(Path::new("/")).unwrap(), Path::new("/"));
    }

    #[test]
    fn other_file_systems_are_refused() {
        let error = inside_root(Path::new("/proc/self/status")).unwrap_err();
        assert!(error.to_string().contains("another file system"), "{error}");
    }
}
