// SPDX-License-Identifier: MIT
//! `uEnv.txt` of the boot partition as a store, for boards without U-Boot's tools.

use super::bootpart::BootPartition;
use super::uenv::{edit, import, parse, Import, UENV};
use super::{Change, Store, Variables, View};
use crate::error::{Error, Result};

/// The file of a boot partition.
pub struct File {
    boot: BootPartition,
}

impl File {
    /// That of `boot`.
    pub fn new(boot: BootPartition) -> File {
        File { boot }
    }

    fn text(&self) -> Result<Vec<u8>> {
        Ok(self.boot.read(UENV)?.unwrap_or_default())
    }
}

impl Store for File {
    fn name(&self) -> String {
        format!("{UENV} on the boot partition ({})", self.boot)
    }

    fn read(&self) -> Result<Variables> {
        let mut variables = Variables::new();
        import(&parse(&self.text()?), &mut variables);
        Ok(variables)
    }

    fn write(&self, changes: &[Change]) -> Result<()> {
        self.boot.update(UENV, &|text| edit(text, changes))
    }

    fn view(&self, changes: &[Change]) -> Result<View> {
        let file = parse(&edit(&self.text()?, changes));
        let (mut own, mut effective) = (Variables::new(), Variables::new());
        import(&file, &mut own);
        let others = self.boot.imported()?;
        for (_, other) in others.iter().filter(|(name, _)| *name != UENV) {
            import(other, &mut effective);
        }
        import(&file, &mut effective);
        Ok(View {
            own,
            effective,
            // The environment is not seen here.
            complete: false,
        })
    }

    fn takes_requests(&self) -> Result<()> {
        Err(Error::refused(
            "a request for one writable boot has to be in U-Boot's environment, where U-Boot can use it up; \
             a file on the boot partition would make every boot a writable one",
            "install fw_setenv (libubootenv-tool); or use overlayrootctl disable, and enable afterwards",
        ))
    }

    fn stronger(&self) -> Result<Vec<(&'static str, Import)>> {
        Ok(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::super::set;
    use super::*;
    use std::fs;

    #[test]
    fn the_file_is_replaced_as_a_whole() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(UENV), "console=ttymxc0\n").unwrap();
        let file = File::new(BootPartition::find(Some(folder.path().into())).unwrap());
        super::super::change(&file, &[set("overlayfs", Some("no"))], &|_| true).unwrap();
        assert_eq!(
            fs::read_to_string(folder.path().join(UENV)).unwrap(),
            "console=ttymxc0\noverlayfs=no\n"
        );
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        // What it does not say the image says; what is changed does not say it any more.
        fs::write(
            folder.path().join("overlayroot.env"),
            "ofs_default_size=30\n",
        )
        .unwrap();
        let size = |changes: &[Change]| {
            let view = file.view(changes).unwrap();
            view.effective.get("ofs-size").cloned()
        };
        assert_eq!(file.view(&[]).unwrap().effective["ofs_default_size"], "30");
        fs::write(folder.path().join(UENV), "ofs-size=20\nofs_default_size=\n").unwrap();
        assert_eq!(size(&[]).as_deref(), Some("20"));
        assert_eq!(size(&[set("ofs-size", None)]), None);
        assert!(!file
            .view(&[])
            .unwrap()
            .effective
            .contains_key("ofs_default_size"));
        assert!(file.takes_requests().is_err());
    }
}
