// SPDX-License-Identifier: MIT
//! Directories of a tree by path. The one that was asked for last stays open: most steps are in the same one.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::io::Errno;

use crate::layers::dir::Dir;

/// A tree.
#[derive(Debug)]
pub struct Folders<'a> {
    top: &'a Dir,
    last: Option<(PathBuf, Rc<Dir>)>,
}

impl<'a> Folders<'a> {
    /// Below this directory.
    pub fn of(top: &'a Dir) -> Folders<'a> {
        Folders { top, last: None }
    }

    /// The directory and the name of a path; `ENOENT` when there is no such directory.
    pub fn place<'p>(&mut self, path: &'p Path) -> io::Result<(Rc<Dir>, &'p OsStr)> {
        let (parent, name) = path.parent().zip(path.file_name()).ok_or(Errno::NOENT)?;
        if let Some((_, dir)) = self.last.as_ref().filter(|(last, _)| last == parent) {
            return Ok((dir.clone(), name));
        }
        let dir = Rc::new(self.top.walk(parent)?.ok_or(Errno::NOENT)?);
        self.last = Some((parent.to_owned(), dir.clone()));
        Ok((dir, name))
    }

    /// Something else may have the path now.
    pub fn forget(&mut self, path: &Path) {
        if self
            .last
            .as_ref()
            .is_some_and(|(last, _)| last.starts_with(path))
        {
            self.last = None;
        }
    }
}
