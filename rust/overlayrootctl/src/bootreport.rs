// SPDX-License-Identifier: MIT
//! What the init wrote about this boot (docs/boot-flow.md, "The report").

use std::path::Path;
use std::{fs, io};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::quoting::Quote;

/// Where it may be: in the RAM layer, or in /run when there is none.
const PLACES: [&str; 2] = ["/mnt/root-RW/report.json", "/run/overlayroot/report.json"];

/// The report; a field that is not there has its empty value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct BootReport {
    /// Version of its schema.
    pub version: u32,
    /// Mode that was asked for.
    pub wanted: String,
    /// Mode that was reached.
    pub reached: String,
    /// Whether the root was safe from writes.
    pub protected: bool,
    /// The root device.
    pub root: Option<Root>,
    /// The RAM layer.
    pub upper: Option<Upper>,
    /// Values and where they came from.
    pub settings: Vec<Setting>,
    /// Modes that could not be reached.
    pub failures: Vec<Failure>,
    /// What the owner should look at.
    pub warnings: Vec<String>,
}

/// The root device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Root {
    /// Device node.
    pub device: String,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// File system.
    pub fstype: Option<String>,
    /// State before it was mounted.
    pub state: String,
    /// What made it dirty.
    pub state_detail: Option<String>,
    /// What larger thing the device is a member of, such as a RAID array.
    pub container: Option<String>,
    /// The device through which it is verified.
    pub verity: Option<Verified>,
}

/// The verified device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Verified {
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
}

/// The RAM layer as the init made it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Upper {
    /// Whether it holds the attributes in which overlayfs notes what was deleted; `None` where it does not say.
    pub xattr: Option<bool>,
}

/// A value and its origin.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct Setting {
    /// Name on the command line.
    pub name: String,
    /// As written.
    pub value: String,
    /// `command line`, `overlayroot.conf` or `built-in default`.
    pub origin: String,
}

/// A mode that could not be reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Failure {
    /// The mode.
    pub mode: String,
    /// What happened.
    pub error: String,
}

impl BootReport {
    /// The report of this boot; `None` when there is none.
    pub fn read() -> Result<Option<BootReport>> {
        for place in PLACES {
            if let Some(report) = read_at(Path::new(place))? {
                return Ok(Some(report));
            }
        }
        Ok(None)
    }

    /// From its JSON; or what is wrong with that.
    pub fn parse(text: &[u8]) -> std::result::Result<BootReport, String> {
        let report: BootReport = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        match report.version {
            1 => Ok(report),
            other => Err(format!("schema {other} is not known, only 1 is")),
        }
    }

    /// Value and origin of a setting.
    pub fn setting(&self, name: &str) -> Option<&Setting> {
        self.settings.iter().find(|s| s.name == name)
    }
}

fn read_at(path: &Path) -> Result<Option<BootReport>> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::system("read", path.quoted())(error)),
    };
    let malformed = |cause| Error::Malformed {
        object: path.quoted().to_string(),
        cause,
        remedy: "the init and overlayrootctl must be of the same release; update both",
    };
    BootReport::parse(&text).map(Some).map_err(malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use overlayroot::report::{Report, RootReport};

    #[test]
    fn the_inits_own_report_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.json");
        assert_eq!(read_at(&path).unwrap(), None);

        let mut report = Report {
            version: Report::VERSION,
            reached: "ram",
            protected: true,
            ..Report::default()
        };
        report.set_settings(&overlayroot::settings::Settings::default());
        let facts = overlayroot::facts::Facts::default().with_root(
            "sda1",
            "ext4",
            overlayroot::superblock::State::Dirty("why"),
        );
        report.root = facts.root.as_ref().map(|r| RootReport::new("x".into(), r));
        fs::write(&path, report.to_json()).unwrap();
        let read = read_at(&path).unwrap().unwrap();
        assert!(read.protected && read.wanted == "ram" && read.reached == "ram");
        assert_eq!(read.setting("overlayfs").unwrap().value, "yes");
        assert_eq!(read.root.unwrap().state_detail.as_deref(), Some("why"));

        fs::write(&path, b"{\"version\": 2}").unwrap();
        let error = read_at(&path).unwrap_err().to_string();
        assert!(
            error.ends_with("schema 2 is not known, only 1 is"),
            "{error}"
        );
        fs::write(&path, b"{").unwrap();
        assert!(read_at(&path).is_err());
    }
}
