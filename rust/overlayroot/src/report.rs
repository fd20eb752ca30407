// SPDX-License-Identifier: MIT
//! What became of the boot: `report.json` (docs/boot-flow.md has the schema) and the lines in the kernel log.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::errno::Errno;
use crate::facts::Root;
use crate::json::{self, fields};
use crate::plan::Mode;
use crate::settings::Settings;
use crate::superblock::State;
use crate::text;
use crate::text::decimal;

/// The whole report. Field names are those of the JSON. Numbers have one width, the one of [`crate::json`].
#[derive(Debug, Default)]
pub struct Report {
    /// Version of this schema: 1.
    pub version: u64,
    /// Name and version of the init.
    pub program: String,
    /// Release of the kernel.
    pub kernel: String,
    /// Mode that the settings ask for: `ram` or `writable`.
    pub wanted: &'static str,
    /// Mode that was reached: `ram`, `read-only` or `writable`.
    pub reached: &'static str,
    /// Whether the root file system is safe from writes.
    pub protected: bool,
    /// The root device.
    pub root: Option<RootReport>,
    /// The overlay, in RAM mode.
    pub overlay: Option<OverlayReport>,
    /// Limits of the RAM layer, in RAM mode.
    pub upper: Option<UpperReport>,
    /// Values and where they came from.
    pub settings: Vec<SettingReport>,
    /// What was done, in order, failed modes included.
    pub steps: Vec<StepReport>,
    /// Modes that could not be reached.
    pub failures: Vec<FailureReport>,
    /// What the owner should look at.
    pub warnings: Vec<String>,
    /// Program that was started.
    pub init: String,
    /// Time from the start of the init to this report, microseconds.
    pub microseconds: u64,
}

fields!(Report {
    version,
    program,
    kernel,
    wanted,
    reached,
    protected,
    root,
    overlay,
    upper,
    settings,
    steps,
    failures,
    warnings,
    init,
    microseconds
});

/// The root device.
#[derive(Debug)]
pub struct RootReport {
    /// As `root=` named it.
    pub spec: String,
    /// Device node.
    pub device: String,
    /// Major number.
    pub major: u64,
    /// Minor number.
    pub minor: u64,
    /// File system that was mounted, or that was recognised when none could be.
    pub fstype: Option<String>,
    /// UUID of the file system.
    pub uuid: Option<String>,
    /// Label of the file system.
    pub label: Option<String>,
    /// `clean`, `dirty`, `read-only-format` or `unknown`, before it was mounted.
    pub state: &'static str,
    /// What makes it dirty.
    pub state_detail: Option<&'static str>,
    /// What larger thing the device is a member of, such as a RAID array: it is not to be written.
    pub container: Option<&'static str>,
    /// The device through which its blocks are verified.
    pub verity: Option<VerityReport>,
}

fields!(RootReport {
    spec,
    device,
    major,
    minor,
    fstype,
    uuid,
    label,
    state,
    state_detail,
    container,
    verity
});

/// The verified device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerityReport {
    /// Device node.
    pub device: &'static str,
    /// Major number.
    pub major: u64,
    /// Minor number.
    pub minor: u64,
}

fields!(VerityReport {
    device,
    major,
    minor
});

impl RootReport {
    /// From what was asked for and what was found.
    pub fn new(spec: String, root: &Root) -> RootReport {
        let (state, state_detail) = match root.state {
            State::Clean => ("clean", None),
            State::Dirty(why) => ("dirty", Some(why)),
            State::ReadOnlyFormat => ("read-only-format", None),
            State::Unknown => ("unknown", None),
        };
        RootReport {
            spec,
            device: root.device.clone(),
            major: u64::from(root.major),
            minor: u64::from(root.minor),
            fstype: root.fstype.map(ToString::to_string),
            uuid: root.uuid.clone(),
            label: root.label.clone(),
            state,
            state_detail,
            container: root.container,
            verity: None,
        }
    }
}

/// The overlay as it was mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverlayReport {
    /// `overlay`, or `overlayfs` on old kernels.
    pub fstype: &'static str,
    /// Whether a work directory is used; the oldest kernels have none.
    pub workdir: bool,
    /// Mount options.
    pub options: String,
}

fields!(OverlayReport {
    fstype,
    workdir,
    options
});

/// Limits of the RAM layer.
#[derive(Debug)]
pub struct UpperReport {
    /// Bytes.
    pub size_bytes: u64,
    /// Inodes.
    pub inodes: u64,
    /// Whether it holds the attributes in which overlayfs keeps what is deleted or opaque.
    pub xattr: bool,
}

fields!(UpperReport {
    size_bytes,
    inodes,
    xattr
});

/// A value and its origin.
#[derive(Debug)]
pub struct SettingReport {
    /// Name on the command line.
    pub name: &'static str,
    /// As written.
    pub value: String,
    /// `command line`, `overlayroot.conf` or `built-in default`.
    pub origin: &'static str,
}

fields!(SettingReport {
    name,
    value,
    origin
});

/// One step that was taken.
#[derive(Debug)]
pub struct StepReport {
    /// Text of the step.
    pub step: String,
    /// Duration, microseconds.
    pub microseconds: u64,
    /// Name of the error, when it failed.
    pub errno: Option<String>,
}

fields!(StepReport {
    step,
    microseconds,
    errno
});

/// A mode that could not be reached.
#[derive(Debug)]
pub struct FailureReport {
    /// The mode.
    pub mode: &'static str,
    /// The step that failed; empty when no plan could be made.
    pub step: String,
    /// What happened, with the remedy where there is one.
    pub error: String,
    /// Name of the error number, if a system call gave one.
    pub errno: Option<String>,
}

fields!(FailureReport {
    mode,
    step,
    error,
    errno
});

impl Report {
    /// Version of the schema.
    pub const VERSION: u64 = 1;

    /// Takes the settings over.
    pub fn set_settings(&mut self, settings: &Settings) {
        self.wanted = Mode::wanted(settings).as_str();
        self.settings = settings
            .said
            .iter()
            .map(|said| SettingReport {
                name: said.name,
                value: said.value.clone(),
                origin: said.origin.as_str(),
            })
            .collect();
    }

    /// Adds a step.
    pub fn step(&mut self, step: String, microseconds: u64, result: Result<(), Errno>) {
        let errno = result.err().map(|errno| errno.text());
        self.steps.push(StepReport {
            step,
            microseconds,
            errno,
        });
    }

    /// The line that sums the boot up, for the console.
    pub fn summary(&self) -> String {
        let root = match &self.root {
            Some(root) => text!(
                "{}, {}{}",
                root.device,
                root.fstype.as_deref().unwrap_or("unknown"),
                root.verity.as_ref().map_or("", |_| ", verified")
            ),
            None => String::new(),
        };
        match (self.reached, &self.upper) {
            ("ram", Some(upper)) => text!(
                "protected: / is RAM over read-only {}; {} bytes, {} inodes",
                root,
                decimal(upper.size_bytes),
                decimal(upper.inodes)
            ),
            ("writable", _) => {
                let origin = self.settings.iter().find(|s| s.name == "overlayfs");
                let (value, origin) = origin.map_or(("no", ""), |s| (&*s.value, s.origin));
                text!(
                    "NOT PROTECTED: / is writable ({}): overlayfs={} from the {}",
                    root,
                    value,
                    origin
                )
            }
            _ => {
                let reason = self.failures.last().map_or("", |f| &f.error);
                text!(
                    "DEGRADED: / is the plain read-only root ({}): {}",
                    root,
                    reason
                )
            }
        }
    }

    /// The JSON text, with a final newline.
    pub fn to_json(&self) -> Vec<u8> {
        let mut json = json::text(self);
        json.push('\n');
        json.into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Facts;
    use crate::{cmdline::words, config::Entry};

    #[test]
    fn json_has_the_documented_fields() {
        let facts =
            Facts::default().with_root("sda1", "ext4", State::Dirty("journal needs recovery"));
        let settings =
            Settings::merge(&[] as &[Entry], &words(b"overlayfs=no \"root=LABEL=a\\b\""));
        let mut report = Report {
            version: Report::VERSION,
            ..Report::default()
        };
        report.set_settings(&settings);
        report.root = facts
            .root
            .as_ref()
            .map(|r| RootReport::new("LABEL=a\\b".into(), r));
        report.step("mount \"x\"".into(), 12, Err(Errno::ENODEV));
        report.reached = "writable";
        let json: serde_json::Value = serde_json::from_slice(&report.to_json()).unwrap();
        assert_eq!(json["version"], 1);
        assert_eq!(json["wanted"], "writable");
        assert_eq!(json["root"]["spec"], "LABEL=a\\b");
        assert_eq!(json["root"]["state"], "dirty");
        assert_eq!(json["root"]["state_detail"], "journal needs recovery");
        assert_eq!(json["steps"][0]["errno"], "ENODEV");
        assert_eq!(json["steps"][0]["microseconds"], 12);
        assert_eq!(json["overlay"], serde_json::Value::Null);
        let overlayfs = &json["settings"][0];
        assert_eq!(
            (&overlayfs["name"], &overlayfs["origin"]),
            (&"overlayfs".into(), &"command line".into())
        );
        assert_eq!(
            report.summary(),
            "NOT PROTECTED: / is writable (/dev/sda1, ext4): overlayfs=no from the command line"
        );
    }
}
