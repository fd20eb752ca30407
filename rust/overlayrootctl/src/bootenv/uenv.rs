// SPDX-License-Identifier: MIT
//! `uEnv.txt` on the boot partition: lines `name=value` that the boot script imports over the environment.

use super::bootpart::BootPartition;
use super::{Change, Store, Variables};
use crate::error::{Error, Result};

/// Name of the file.
pub const UENV: &str = "uEnv.txt";

/// The file of a boot partition.
pub struct File {
    boot: BootPartition,
}

impl File {
    /// That of `boot`.
    pub fn new(boot: BootPartition) -> File {
        File { boot }
    }

    fn text(&self) -> Result<String> {
        let bytes = self.boot.read(UENV)?.unwrap_or_default();
        String::from_utf8(bytes).map_err(|_| Error::Malformed {
            object: self.name(),
            cause: "it is not text".into(),
            remedy: "replace it by a file with lines name=value, or remove it",
        })
    }
}

impl Store for File {
    fn name(&self) -> String {
        format!("{UENV} on the boot partition ({})", self.boot)
    }

    fn read(&self) -> Result<Variables> {
        Ok(parse(&self.text()?))
    }

    fn write(&self, changes: &[Change]) -> Result<()> {
        self.boot
            .replace(UENV, edit(&self.text()?, changes).as_bytes())
    }

    fn complete(&self) -> bool {
        false
    }

    fn takes_requests(&self) -> Result<()> {
        Err(Error::refused(
            "a request for one writable boot has to be in U-Boot's environment, where U-Boot can use it up; \
             a file on the boot partition would make every boot a writable one",
            "install fw_setenv (libubootenv-tool); or use overlayrootctl disable, and enable afterwards",
        ))
    }

    fn weaker(&self) -> Variables {
        let files = self.boot.imported().into_iter();
        files.flat_map(|(_, variables)| variables).collect()
    }

    fn stronger(&self) -> Vec<(String, Variables)> {
        Vec::new()
    }
}

/// As `env import -t` reads it: comments and lines without `=` are left out, the last of equal names counts.
pub fn parse(text: &str) -> Variables {
    let lines = text
        .lines()
        .map(str::trim_start)
        .filter(|line| !line.starts_with('#'));
    let pairs = lines.filter_map(|line| line.split_once('='));
    pairs.map(|(n, v)| (n.to_owned(), v.to_owned())).collect()
}

/// The text with changes; every other line stays as it is.
fn edit(text: &str, changes: &[Change]) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for change in changes {
        let is = |line: &String| {
            line.trim_start().split('=').next() == Some(&*change.name) && line.contains('=')
        };
        let place = lines.iter().position(is);
        lines.retain(|line| !is(line));
        if let Some(value) = &change.to {
            let line = format!("{}={value}", change.name);
            lines.insert(place.unwrap_or(lines.len()).min(lines.len()), line);
        }
    }
    let mut text = lines.join("\n");
    if !text.is_empty() {
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn set(name: &str, to: Option<&str>) -> Change {
        Change {
            name: name.into(),
            from: None,
            to: to.map(str::to_owned),
        }
    }

    #[test]
    fn lines_are_changed_in_place_and_others_kept() {
        let text = "# mine\nconsole=ttymxc0\noverlayfs=no\nx\noverlayfs=maybe\n";
        assert_eq!(
            edit(
                text,
                &[set("overlayfs", Some("yes")), set("ofs-size", Some("64M"))]
            ),
            "# mine\nconsole=ttymxc0\noverlayfs=yes\nx\nofs-size=64M\n"
        );
        assert_eq!(edit("a=1", &[set("a", None)]), "");
        assert_eq!(edit("", &[set("a", Some("1"))]), "a=1\n");
        assert_eq!(parse(text)["overlayfs"], "maybe");
        assert_eq!(
            parse(" # a=1\n  b=2=3").into_iter().collect::<Vec<_>>(),
            [("b".into(), "2=3".into())]
        );
    }

    #[test]
    fn the_file_is_replaced_as_a_whole() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(UENV), "console=ttymxc0\n").unwrap();
        let file = File::new(BootPartition::find(Some(folder.path().into())).unwrap());
        super::super::change(&file, &[set("overlayfs", Some("no"))]).unwrap();
        assert_eq!(
            fs::read_to_string(folder.path().join(UENV)).unwrap(),
            "console=ttymxc0\noverlayfs=no\n"
        );
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(file.takes_requests().is_err());
    }
}
