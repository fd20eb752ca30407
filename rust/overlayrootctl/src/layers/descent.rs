// SPDX-License-Identifier: MIT
//! Trees of any depth, with one descriptor for each of them: down by name, up by `..`, which has to be the
//! directory that we came from.

use std::ffi::{OsStr, OsString};
use std::io;

use rustix::io::Errno;

use super::dir::{Dir, Kind, Stat};

/// A directory in a tree, and the way back up.
#[derive(Debug)]
pub struct Descent {
    here: Dir,
    above: Vec<(u64, u64)>,
}

impl Descent {
    /// Begins in a directory, above which it cannot go.
    pub fn at(top: &Dir) -> io::Result<Descent> {
        Ok(Descent {
            here: top.again()?,
            above: Vec::new(),
        })
    }

    /// Where it is.
    pub fn here(&self) -> &Dir {
        &self.here
    }

    /// Into a subdirectory. On another file system it does not go.
    pub fn down(&mut self, name: &OsStr) -> io::Result<()> {
        let below = self.here.dir(name)?;
        let (from, to) = (self.here.own_stat()?.id, below.own_stat()?.id);
        if from.0 != to.0 {
            return Err(Errno::XDEV.into());
        }
        self.above.push(from);
        self.here = below;
        Ok(())
    }

    /// Back to where it came from; an error (`ESTALE`) when the directory was moved meanwhile.
    pub fn up(&mut self) -> io::Result<()> {
        let id = self.above.pop().ok_or(Errno::INVAL)?;
        let above = self.here.dir(OsStr::new(".."))?;
        if above.own_stat()?.id != id {
            return Err(Errno::STALE.into());
        }
        self.here = above;
        Ok(())
    }
}

/// Calls `look` with an entry and with each one below it, directories before what is in them.
pub fn each(
    dir: &Dir,
    name: &OsStr,
    look: &mut dyn FnMut(&Dir, &OsStr, &Stat) -> io::Result<()>,
) -> io::Result<()> {
    let mut place = Descent::at(dir)?;
    let mut levels: Vec<Vec<OsString>> = vec![vec![name.to_owned()]];
    while let Some(names) = levels.last_mut() {
        let Some(name) = names.pop() else {
            levels.pop();
            if !levels.is_empty() {
                place.up()?;
            }
            continue;
        };
        let Some(stat) = place.here().stat(&name)? else {
            continue; // gone meanwhile
        };
        look(place.here(), &name, &stat)?;
        if stat.kind == Kind::Directory {
            place.down(&name)?;
            levels.push(place.here().names()?);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::Mode;
    use std::fs;

    #[test]
    fn a_directory_that_was_moved_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("a/b")).unwrap();
        fs::create_dir(folder.path().join("other")).unwrap();
        let mut place = Descent::at(&Dir::open(folder.path()).unwrap()).unwrap();
        for name in ["a", "b"] {
            place.down(OsStr::new(name)).unwrap();
        }
        place.up().unwrap();
        place.down(OsStr::new("b")).unwrap();
        fs::rename(folder.path().join("a/b"), folder.path().join("other/b")).unwrap();
        let error = place.up().unwrap_err();
        assert_eq!(error.raw_os_error(), Some(Errno::STALE.raw_os_error()));
    }

    #[test]
    fn deeper_than_there_are_descriptors() {
        let folder = tempfile::tempdir().unwrap();
        let top = Dir::open(folder.path()).unwrap();
        let name = OsStr::new("d");
        let mut here = top.again().unwrap();
        for _ in 0..3000 {
            rustix::fs::mkdirat(&here, name, Mode::RWXU).unwrap();
            here = here.dir(name).unwrap();
        }
        let mut count = 0;
        each(&top, name, &mut |_, _, _| {
            count += 1;
            Ok(())
        })
        .unwrap();
        assert_eq!(count, 3000);
        super::super::copy::remove(&top, name).unwrap();
        assert!(top.names().unwrap().is_empty());
    }
}
