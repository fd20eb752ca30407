// SPDX-License-Identifier: MIT
//! What the board was told to do: built-in default, then `overlayroot.conf`, then the command line.
//!
//! The last valid value wins, and each value remembers where it came from. A value that cannot be used
//! gives a warning and changes nothing, so that a typing error neither stops a board nor bares it.

use alloc::borrow::ToOwned;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::cmdline::{self, Word};
use crate::config::Entry;
use crate::device::DeviceSpec;
use crate::push_text;
use crate::size::Size;
use crate::text;
use crate::text::small_number;
use crate::verity::{OnError, Pin};

/// Where a value came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Compiled in.
    Default,
    /// `overlayroot.conf` in the initramfs.
    Config,
    /// The kernel command line.
    CommandLine,
}

impl Origin {
    /// Words for the console and the report.
    pub fn as_str(self) -> &'static str {
        match self {
            Origin::Default => "built-in default",
            Origin::Config => "overlayroot.conf",
            Origin::CommandLine => "command line",
        }
    }
}

/// What to do with a root whose journal needs recovery (`ofs-dirty=`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirtyPolicy {
    /// Let the kernel replay the journal once: the only write that protected mode can make.
    Replay,
    /// Write nothing: read-only device, journal ignored.
    Frozen,
    /// Do not boot from it.
    Refuse,
}

/// What to do when the wanted mode cannot be reached (`ofs-fail=`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailPolicy {
    /// Next lower mode, rebooting at the end.
    Ladder,
    /// Reboot at once.
    Reboot,
    /// A shell, in builds that allow it.
    Shell,
}

/// Whether the root is verified (`ofs-verity=`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verity {
    /// Nobody asked for it.
    No,
    /// Against this.
    Against(Pin),
    /// It was asked for in a way that cannot be used: no root is mounted, as it would not be verified.
    Unusable,
}

/// Every setting, with its origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Protect the root (`overlayfs=`).
    pub overlay: bool,
    /// Size of the RAM layer (`ofs-size=`).
    pub size: Size,
    /// Root with a dirty journal (`ofs-dirty=`).
    pub dirty: DirtyPolicy,
    /// Mode not reached (`ofs-fail=`).
    pub fail: FailPolicy,
    /// Keep the root's block device read-only for the whole uptime (`ofs-lock=`).
    pub lock: bool,
    /// Verify the root (`ofs-verity=`).
    pub verity: Verity,
    /// A block of a verified root that is not as it was (`ofs-verity-error=`).
    pub verity_error: OnError,
    /// Longest wait for the root device, seconds (`ofs-wait=`, `rootdelay=`, `rootwait=N`).
    pub wait: u32,
    /// How long the last message stays before a reboot, seconds (`ofs-reboot-delay=`).
    pub reboot_delay: u32,
    /// Root device (`ofs-root=`, else `root=`).
    pub root: Option<DeviceSpec>,
    /// File systems to try, comma separated (`rootfstype=`).
    pub fstype: Option<String>,
    /// Mount options of the root (`rootflags=`).
    pub flags: String,
    /// Mount read-only when not protected (`ro`).
    pub read_only: bool,
    /// Program to start instead of /sbin/init (`init=`).
    pub init: Option<String>,
    /// What was said, for the report: the last valid value of each name.
    pub said: Vec<Said>,
    /// What could not be used, with the remedy.
    pub warnings: Vec<String>,
}

/// One value as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Name on the command line, with hyphens.
    pub name: &'static str,
    /// Value as written; empty for a word without `=`.
    pub value: String,
    /// Where it was written.
    pub origin: Origin,
}

impl Default for Settings {
    fn default() -> Self {
        let mut settings = Settings {
            overlay: true,
            size: Size::DEFAULT,
            dirty: DirtyPolicy::Replay,
            fail: FailPolicy::Ladder,
            lock: false,
            verity: Verity::No,
            verity_error: OnError::Eio,
            wait: 30,
            reboot_delay: 10,
            root: None,
            fstype: None,
            flags: String::new(),
            read_only: false,
            init: None,
            said: Vec::new(),
            warnings: Vec::new(),
        };
        for &(name, value) in &[
            ("overlayfs", "yes"),
            ("ofs-size", "50%"),
            ("ofs-dirty", "replay"),
            ("ofs-fail", "ladder"),
            ("ofs-lock", "no"),
            ("ofs-verity-error", "eio"),
            ("ofs-wait", "30"),
            ("ofs-reboot-delay", "10"),
        ] {
            settings.remember(name, value, Origin::Default);
        }
        settings
    }
}

/// A setting: its name on the command line, in `overlayroot.conf`, and what may be written.
struct Known {
    word: &'static str,
    key: &'static str,
    accepted: &'static str,
}

const DEVICE: &str =
    "a block device, by /dev/NAME, UUID=, LABEL=, PARTUUID=, PARTLABEL=, MAJOR:MINOR (no NFS, MTD or UBI)";

const KNOWN: &[Known] = &[
    Known {
        word: "overlayfs",
        key: "overlayfs",
        accepted: "yes, no",
    },
    Known {
        word: "ofs-size",
        key: "size",
        accepted: "20, 20%, 64M, 1G, 64M,20000",
    },
    Known {
        word: "ofs-dirty",
        key: "dirty",
        accepted: "replay, frozen, refuse",
    },
    Known {
        word: "ofs-fail",
        key: "fail",
        accepted: "ladder, reboot",
    },
    Known {
        word: "ofs-lock",
        key: "lock",
        accepted: "yes, no",
    },
    Known {
        word: "ofs-verity",
        key: "verity",
        accepted: "ROOTHASH@OFFSET, the same one everywhere",
    },
    Known {
        word: "ofs-verity-error",
        key: "verity-error",
        accepted: "eio, restart, panic, the same everywhere",
    },
    Known {
        word: "ofs-wait",
        key: "wait",
        accepted: "seconds, 1 to 3600",
    },
    Known {
        word: "ofs-reboot-delay",
        key: "reboot-delay",
        accepted: "seconds, 0 to 3600",
    },
    Known {
        word: "ofs-root",
        key: "root",
        accepted: DEVICE,
    },
    Known {
        word: "root",
        key: "",
        accepted: DEVICE,
    },
    Known {
        word: "rootfstype",
        key: "rootfstype",
        accepted: "file system names",
    },
    Known {
        word: "rootflags",
        key: "rootflags",
        accepted: "mount options",
    },
    Known {
        word: "init",
        key: "init",
        accepted: "an absolute path",
    },
    Known {
        word: "ro",
        key: "",
        accepted: "no value",
    },
    Known {
        word: "rw",
        key: "",
        accepted: "no value",
    },
    Known {
        word: "rootwait",
        key: "",
        accepted: "no value, or seconds",
    },
    Known {
        word: "rootdelay",
        key: "",
        accepted: "seconds, 0 to 3600",
    },
];

/// A value without which a word is nobody's.
const OVERLAY: &str = "=overlay";
/// Other systems' spellings, and what to write here.
const FOREIGN: &[(&str, &str)] = &[
    ("overlayroot", "overlayfs=yes or overlayfs=no"),
    ("rd.overlay", "overlayfs=yes"),
    ("rd.overlayfs", "overlayfs=yes"),
    ("rd.live.overlay.overlayfs", "overlayfs=yes"),
    ("rootrw", "overlayfs=yes and ofs-size="),
    ("rootrwfstype", "overlayfs=yes and ofs-size="),
    ("overlayrootrwdev", "overlayfs=yes and ofs-size="),
    ("overlayrootfstype", "rootfstype="),
    ("systemd.volatile", "overlayfs=yes"),
    ("fastboot.overlay", "overlayfs=yes"),
    ("boot=overlay", "overlayfs=yes"),
    ("lockfs", "overlayfs=yes"),
    ("fsprotect", "overlayfs=yes"),
    ("aufs", "overlayfs=yes"),
    ("disable-root-ro", "overlayfs=no"),
];

/// What becomes of a `/usr` that is not on the root.
pub const USR: &str =
    "/usr on a partition of its own is neither mounted here nor protected: put it on the root";

/// Words of the contract that this version does not act on yet.
const LATER: &[&str] = &["ofs-dev", "ofs-reset"];

impl Settings {
    /// Merges what the image (`config`) and the command line (`words`) say.
    pub fn merge(config: &[Entry], words: &[Word]) -> Settings {
        let mut settings = Settings::default();
        for entry in config {
            // The keys of the file are those of the command line without the prefix; both are taken.
            let known = KNOWN.iter().find(|k| {
                !k.key.is_empty()
                    && (cmdline::same_name(k.key, &entry.name)
                        || cmdline::same_name(k.word, &entry.name))
            });
            match known {
                Some(known) => settings.take(known, &entry.value, Origin::Config),
                None => settings.warn_unknown(&entry.name, Origin::Config),
            }
        }
        for word in words {
            settings.word(word);
        }
        settings
    }

    fn word(&mut self, word: &Word) {
        let value = word.value.as_deref();
        if let Some(known) = KNOWN
            .iter()
            .find(|k| cmdline::same_name(k.word, &word.name))
        {
            // root= is for a kernel that mounts the root itself: here the init's own word counts, wherever it stands.
            if known.word == "root" && self.origin("ofs-root") == Origin::CommandLine {
                return;
            }
            self.take(known, value.unwrap_or_default(), Origin::CommandLine);
        } else if let Some(name) = LATER.iter().find(|n| cmdline::same_name(n, &word.name)) {
            push_text!(
                self.warnings,
                "{}= is not supported by this version: changes are kept in RAM only",
                name
            );
        } else if let Some((name, ours)) =
            FOREIGN.iter().find(|(n, _)| match n.strip_suffix(OVERLAY) {
                Some(name) => cmdline::same_name(name, &word.name) && value == OVERLAY.get(1..),
                None => cmdline::same_name(n, &word.name),
            })
        {
            push_text!(
                self.warnings,
                "{} is another system's spelling and has no effect here: write {}",
                name,
                ours
            );
        } else if word.name == "mount.usr" {
            push_text!(self.warnings, "mount.usr= has no effect here: {}", USR);
        } else if word.name.starts_with("ofs-") || word.name.starts_with("ofs_") {
            self.warn_unknown(&word.name, Origin::CommandLine);
        }
    }

    fn warn_unknown(&mut self, name: &str, origin: Origin) {
        let mut known = String::new();
        for k in KNOWN {
            let name = if origin == Origin::Config {
                k.key
            } else {
                k.word
            };
            if name.starts_with("ofs-") || (origin == Origin::Config && !name.is_empty()) {
                if !known.is_empty() {
                    known.push_str(", ");
                }
                known.push_str(name);
            }
        }
        push_text!(
            self.warnings,
            "{} ({}) is not known; known: {}",
            name,
            origin.as_str(),
            known
        );
    }

    /// Takes one value over, or warns and leaves things as they are.
    fn take(&mut self, known: &Known, value: &str, origin: Origin) {
        if self.set(known.word, value).is_some() {
            self.remember(known.word, value, origin);
            return;
        }
        let kept = self.said.iter().find(|s| same_setting(s.name, known.word));
        let kept = match kept {
            Some(s) => text!("{} ({})", s.value, s.origin.as_str()),
            None => "nothing".to_owned(),
        };
        let warning = text!(
            "{}={} ({}) cannot be used; accepted: {}; using {}",
            known.word,
            value,
            origin.as_str(),
            known.accepted,
            kept
        );
        // The boot script puts its words before the owner's and behind them.
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }

    fn set(&mut self, word: &str, value: &str) -> Option<()> {
        let seconds = |least: u32| small_number(value).filter(|s| (least..=3600).contains(s));
        match word {
            "overlayfs" => self.overlay = yes_or_no(value)?,
            "ofs-size" => self.size = Size::parse(value)?,
            "ofs-dirty" => {
                self.dirty = match value {
                    "replay" => DirtyPolicy::Replay,
                    "frozen" => DirtyPolicy::Frozen,
                    "refuse" => DirtyPolicy::Refuse,
                    _ => return None,
                }
            }
            "ofs-fail" => {
                self.fail = match value {
                    "ladder" => FailPolicy::Ladder,
                    "reboot" => FailPolicy::Reboot,
                    "shell" => FailPolicy::Shell,
                    _ => return None,
                }
            }
            "ofs-lock" => self.lock = yes_or_no(value)?,
            "ofs-verity" => match (&self.verity, Pin::parse(value)) {
                // What an image was built with cannot be replaced, nor taken back.
                (Verity::Against(first), Some(pin)) if *first == pin => {}
                (Verity::Against(_), _) => return None,
                (_, Some(pin)) => self.verity = Verity::Against(pin),
                (_, None) => {
                    self.verity = Verity::Unusable;
                    return None;
                }
            },
            "ofs-verity-error" => {
                let wanted = match value {
                    "eio" => OnError::Eio,
                    "restart" => OnError::Restart,
                    "panic" => OnError::Panic,
                    _ => return None,
                };
                // What an image was built with cannot be taken back.
                let said = self.origin("ofs-verity-error") != Origin::Default;
                if said && wanted != self.verity_error {
                    return None;
                }
                self.verity_error = wanted;
            }
            "ofs-wait" => self.wait = seconds(1)?,
            "ofs-reboot-delay" => self.reboot_delay = seconds(0)?,
            "ofs-root" | "root" => self.root = Some(DeviceSpec::parse(value)?),
            "rootfstype" => self.fstype = Some(value.to_owned()).filter(|v| !v.is_empty()),
            "rootflags" => self.flags = value.to_owned(),
            "init" => {
                self.init = Some(value.to_owned())
                    .filter(|v| v.starts_with('/'))
                    .map(Some)?
            }
            "ro" => self.read_only = true,
            "rw" => self.read_only = false,
            // No deadline at all would be a board that hangs: the wait setting stays the deadline.
            "rootwait" if value.is_empty() => {}
            "rootwait" => self.wait = seconds(1)?,
            "rootdelay" => self.wait = self.wait.max(seconds(0)?),
            _ => return None,
        }
        Some(())
    }

    fn remember(&mut self, name: &'static str, value: &str, origin: Origin) {
        let said = Said {
            name,
            value: value.to_string(),
            origin,
        };
        match self.said.iter_mut().find(|s| same_setting(s.name, name)) {
            Some(old) => *old = said,
            None => self.said.push(said),
        }
    }

    /// Where the value of `name` came from, for messages.
    pub fn origin(&self, name: &str) -> Origin {
        self.said
            .iter()
            .find(|s| s.name == name)
            .map_or(Origin::Default, |s| s.origin)
    }
}

/// Whether two words are one setting.
fn same_setting(a: &str, b: &str) -> bool {
    let one = |name| match name {
        "rw" => "ro",
        "ofs-root" => "root",
        name => name,
    };
    one(a) == one(b)
}

/// What `yes` and `no` may be written as.
pub fn yes_or_no(text: &str) -> Option<bool> {
    match text {
        "yes" | "on" | "1" | "y" | "true" => Some(true),
        "no" | "off" | "0" | "n" | "false" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cmdline::words, config};
    use proptest::prelude::*;

    fn merge(conf: &str, line: &str) -> Settings {
        Settings::merge(&config::parse(conf.as_bytes()).0, &words(line.as_bytes()))
    }

    fn value<'a>(settings: &'a Settings, name: &str) -> (&'a str, Origin) {
        let said = settings.said.iter().find(|s| s.name == name).unwrap();
        (&said.value, said.origin)
    }

    #[test]
    fn nothing_said_means_protected() {
        let s = merge("", "");
        assert!(s.overlay);
        assert_eq!(s.size, Size::DEFAULT);
        assert!(s.warnings.is_empty());
        assert_eq!(value(&s, "overlayfs"), ("yes", Origin::Default));
    }

    #[test]
    fn later_sources_win_and_are_named() {
        let s = merge(
            "overlayfs=no\nsize=30%\nwait=5",
            "overlayfs=yes ofs_size=64M",
        );
        assert!(s.overlay);
        assert_eq!(value(&s, "overlayfs"), ("yes", Origin::CommandLine));
        assert_eq!(value(&s, "ofs-size"), ("64M", Origin::CommandLine));
        assert_eq!(value(&s, "ofs-wait"), ("5", Origin::Config));
        assert_eq!(s.origin("ofs-dirty"), Origin::Default);
    }

    #[test]
    fn last_of_repeated_words_wins() {
        let s = merge(
            "",
            "overlayfs=no ro overlayfs=yes rw root=/dev/a root=/dev/b",
        );
        assert!(s.overlay && !s.read_only);
        assert_eq!(s.root, DeviceSpec::parse("/dev/b"));
        assert_eq!(
            s.said
                .iter()
                .filter(|s| matches!(s.name, "ro" | "rw"))
                .count(),
            1
        );
    }

    #[test]
    fn own_word_for_the_root_counts_wherever_it_stands() {
        for line in [
            "root=/dev/a ofs-root=/dev/b",
            "ofs-root=/dev/b root=/dev/a",
            "ofs_root=/dev/b root=zz root=/dev/a",
            "ofs-root=/dev/c root=/dev/a ofs-root=/dev/b ofs-root=/dev/b",
        ] {
            let s = merge("root=/dev/d", line);
            assert_eq!(s.root, DeviceSpec::parse("/dev/b"), "{line}");
            assert_eq!(value(&s, "ofs-root"), ("/dev/b", Origin::CommandLine));
            assert!(!s.said.iter().any(|s| s.name == "root"));
            assert!(s.warnings.is_empty(), "{:?}", s.warnings);
        }
        // Without it root= counts, more than what the image was built with.
        for conf in ["root=/dev/b", "ofs-root=/dev/b"] {
            let s = merge(conf, "root=/dev/a");
            assert_eq!(value(&s, "root"), ("/dev/a", Origin::CommandLine));
            let s = merge(conf, "");
            assert_eq!(value(&s, "ofs-root"), ("/dev/b", Origin::Config));
        }
        let s = merge("", "root=/dev/a ofs-root=zz");
        assert_eq!(s.root, DeviceSpec::parse("/dev/a"));
        assert!(
            s.warnings[0].ends_with("using /dev/a (command line)"),
            "{:?}",
            s.warnings
        );
    }

    #[test]
    fn bad_values_change_nothing_and_say_so() {
        let s = merge(
            "size=25%",
            "overlayfs=maybe ofs-size=lots ofs-dirty=x ofs-fail= ofs-wait=0 init=sh root=zz",
        );
        assert!(s.overlay);
        assert_eq!(value(&s, "ofs-size"), ("25%", Origin::Config));
        assert_eq!(s.warnings.len(), 7);
        let twice = merge("", "ofs-size=lots quiet ofs-size=lots");
        assert_eq!(twice.warnings.len(), 1);
        assert_eq!(
            s.warnings[1],
            "ofs-size=lots (command line) cannot be used; accepted: 20, 20%, 64M, 1G, 64M,20000; \
             using 25% (overlayroot.conf)"
        );
        assert_eq!(s.init, None);
    }

    #[test]
    fn foreign_and_misspelt_words_are_reported() {
        let s = merge(
            "colour=red",
            "overlayroot=tmpfs rootrw=/dev/x ofs-siez=3 ofs-dev=/dev/y quiet",
        );
        assert_eq!(s.warnings.len(), 5);
        assert!(s.warnings[0]
            .starts_with("colour (overlayroot.conf) is not known; known: overlayfs, size"));
        assert!(s.warnings[1].contains("overlayfs=yes or overlayfs=no"));
        assert!(s.warnings[3].contains("ofs-siez (command line) is not known; known: ofs-size, "));
        assert!(s.warnings[4].starts_with("ofs-dev= is not supported"));
    }

    #[test]
    fn waits_are_bounded() {
        assert_eq!(merge("", "rootwait").wait, 30);
        assert_eq!(merge("", "rootwait=90").wait, 90);
        assert_eq!(merge("", "rootdelay=5").wait, 30);
        assert_eq!(merge("", "rootdelay=60").wait, 60);
        assert_eq!(merge("", "rootdelay=99999").wait, 30);
    }

    #[test]
    fn a_root_hash_is_final() {
        use crate::verity::tests::HASH;
        let pin = |offset: u32| format!("{HASH}@{offset}");
        let against = |offset: u32| Verity::Against(Pin::parse(&pin(offset)).unwrap());
        assert_eq!(merge("", "").verity, Verity::No);
        assert_eq!(
            merge(&format!("verity={}", pin(512)), "").verity,
            against(512)
        );
        // The same again is no matter; another one, a bad one, or none has no effect and is reported.
        let conf = format!("verity={}", pin(512));
        assert!(merge(&conf, &format!("ofs_verity={}", pin(512)))
            .warnings
            .is_empty());
        for word in [
            &*format!("ofs-verity={}", pin(1024)),
            "ofs-verity=no",
            "ofs-verity=",
            "ofs-verity",
        ] {
            let s = merge(&conf, word);
            assert_eq!(s.verity, against(512), "{word}");
            assert_eq!(value(&s, "ofs-verity"), (&*pin(512), Origin::Config));
            assert!(s.warnings[0].contains("using 0123"), "{:?}", s.warnings);
        }
        // Asked for in vain: nothing may be mounted, unless there is a usable one, too.
        for word in ["ofs-verity=1234", "ofs-verity=no", "ofs-verity"] {
            assert_eq!(merge("", word).verity, Verity::Unusable, "{word}");
            assert_eq!(merge("", word).warnings.len(), 1);
            let line = format!("{word} ofs-verity={}", pin(512));
            assert_eq!(merge("", &line).verity, against(512));
        }
        assert_eq!(
            merge("verity-error=restart", "").verity_error,
            OnError::Restart
        );
        let s = merge("", "ofs-verity_error=panic ofs-verity-error=x");
        assert_eq!((s.verity_error, s.warnings.len()), (OnError::Panic, 1));
        // What is built in is not taken back by the command line.
        let s = merge("verity-error=panic", "ofs-verity_error=eio");
        assert_eq!(s.verity_error, OnError::Panic);
        assert!(s.warnings[0].contains("ofs-verity-error=eio (command line) cannot be used"));
        assert!(merge("verity-error=panic", "ofs-verity-error=panic")
            .warnings
            .is_empty());
    }

    #[test]
    fn words_of_other_systems_get_a_hint() {
        for word in [
            "boot=overlay",
            "lockfs",
            "lockfs=all",
            "fsprotect=1G",
            "mount.usr=/dev/sda3",
        ] {
            let s = merge("", word);
            assert!(
                s.warnings[0].contains("no effect here"),
                "{word}: {:?}",
                s.warnings
            );
        }
        assert!(merge("", "boot=live boot=local boot").warnings.is_empty());
    }

    proptest! {
        #[test]
        fn only_a_clear_no_turns_protection_off(line in "(overlayfs=[a-z0-9\"]{0,5} |[a-z=_ -]{0,20}){0,6}") {
            let settings = merge("", &line);
            if !settings.overlay {
                let (value, origin) = value(&settings, "overlayfs");
                prop_assert!(["no", "off", "0", "n", "false"].contains(&value));
                prop_assert_eq!(origin, Origin::CommandLine);
            }
        }
    }
}
