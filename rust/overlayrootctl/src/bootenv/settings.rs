// SPDX-License-Identifier: MIT
//! What variables mean for the next boot, and which of them to change. Decisions only.
//!
//! The boot script (recipes-bsp/overlayroot-boot-script/files/boot.cmd) is what these rules describe: the
//! spelling with a hyphen wins over the one with an underscore, and what is not set gets a default there.

use overlayroot::cmdline::words;
use overlayroot::settings::Settings;
use serde::Serialize;

use super::{Change, Variables};

/// The variable that the boot script uses up before it makes one writable boot.
pub const ONCE: &str = "overlayfs_once";
const OVERLAYFS: &str = "overlayfs";
const SIZES: [&str; 2] = ["ofs-size", "ofs_size"];
/// What the boot script uses where nothing is set.
const DEFAULT_SIZE: &str = "20";

/// What the next boot will be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NextBoot {
    /// Where this was read.
    pub source: String,
    /// Whether the next boot protects the root.
    pub protected: bool,
    /// Whether one writable boot was asked for: then `protected` is false, and the boots after the next
    /// one are as `protected_afterwards` says.
    pub once: bool,
    /// Whether the boots after the next one protect the root.
    pub protected_afterwards: bool,
    /// `overlayfs` as it is set; null when it is not: then the root is protected.
    pub overlayfs: Option<String>,
    /// Size of the RAM layer as it is set, or the boot script's default.
    pub size: String,
    /// Values that the init will not accept.
    pub warnings: Vec<String>,
}

/// Reads variables as boot script and init will.
pub fn next_boot(source: &str, variables: &Variables) -> NextBoot {
    let overlayfs = variables.get(OVERLAYFS).cloned();
    let size = SIZES.iter().find_map(|name| variables.get(*name));
    let size = size.map_or(DEFAULT_SIZE, String::as_str);
    let line = format!(
        "overlayfs={} ofs-size={size}",
        overlayfs.as_deref().unwrap_or("yes")
    );
    let settings = Settings::merge(&[], &words(line.as_bytes()));
    let once = variables.get(ONCE).is_some_and(|value| value == "no");
    NextBoot {
        source: source.to_owned(),
        protected: settings.overlay && !once,
        once,
        protected_afterwards: settings.overlay,
        overlayfs,
        size: size.to_owned(),
        warnings: settings.warnings,
    }
}

/// Every boot protects the root. First what would make a writable one is taken away. Where the variables
/// are not `complete`, `overlayfs` is set in any case.
pub fn enable(variables: &Variables, complete: bool) -> Vec<Change> {
    let mut changes = Changes::new(variables);
    changes.set(ONCE, None);
    let next = next_boot("", variables);
    if !next.protected_afterwards || !complete && next.overlayfs.is_none() {
        changes.set(OVERLAYFS, Some("yes"));
    }
    changes.list
}

/// Every boot is writable.
pub fn disable(variables: &Variables) -> Vec<Change> {
    let mut changes = Changes::new(variables);
    changes.set(ONCE, None);
    changes.set(OVERLAYFS, Some("no"));
    changes.list
}

/// The next boot is writable, the ones after it protect the root, whatever was set before.
pub fn once(variables: &Variables) -> Vec<Change> {
    let mut changes = Changes::new(variables);
    if !next_boot("", variables).protected_afterwards {
        changes.set(OVERLAYFS, Some("yes"));
    }
    changes.set(ONCE, Some("no"));
    changes.list
}

/// The size of the RAM layer, in the spelling that is set already; never in two. Where the variables are not
/// `complete`, in the spelling that wins.
pub fn size(variables: &Variables, value: &str, complete: bool) -> Vec<Change> {
    let mut changes = Changes::new(variables);
    let [hyphen, underscore] = SIZES;
    let keep = complete && variables.contains_key(underscore) && !variables.contains_key(hyphen);
    let (name, other) = if keep {
        (underscore, hyphen)
    } else {
        (hyphen, underscore)
    };
    changes.set(name, Some(value));
    changes.set(other, None);
    changes.list
}

struct Changes<'a> {
    variables: &'a Variables,
    list: Vec<Change>,
}

impl Changes<'_> {
    fn new(variables: &Variables) -> Changes<'_> {
        Changes {
            variables,
            list: Vec::new(),
        }
    }

    fn set(&mut self, name: &str, value: Option<&str>) {
        let from = self.variables.get(name);
        if from.map(String::as_str) != value {
            self.list.push(Change {
                name: name.to_owned(),
                from: from.cloned(),
                to: value.map(str::to_owned),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(text: &str) -> Variables {
        let pairs = text
            .split_whitespace()
            .map(|word| word.split_once('=').unwrap());
        pairs.map(|(n, v)| (n.to_owned(), v.to_owned())).collect()
    }

    fn after(before: &str, changes: impl Fn(&Variables) -> Vec<Change>) -> String {
        let mut all = variables(before);
        for change in changes(&all.clone()) {
            all.remove(&change.name);
            all.extend(change.to.map(|value| (change.name, value)));
        }
        let words: Vec<String> = all.iter().map(|(n, v)| format!("{n}={v}")).collect();
        words.join(" ")
    }

    #[test]
    fn what_the_next_boot_will_be() {
        let nothing = next_boot("x", &Variables::new());
        assert!(nothing.protected && nothing.protected_afterwards && !nothing.once);
        assert_eq!((nothing.overlayfs, &*nothing.size), (None, "20"));
        let off = next_boot("x", &variables("overlayfs=off ofs_size=64M"));
        assert!(!off.protected && !off.protected_afterwards);
        assert_eq!(off.size, "64M");
        let once = next_boot("x", &variables("overlayfs=yes overlayfs_once=no"));
        assert!(!once.protected && once.once && once.protected_afterwards);
        // Another value is no request; the hyphen wins; a bad value protects and is reported.
        let odd = next_boot(
            "x",
            &variables("overlayfs=never overlayfs_once=1 ofs-size=9 ofs_size=8"),
        );
        assert!(odd.protected && !odd.once);
        assert_eq!((&*odd.size, odd.warnings.len()), ("9", 1));
    }

    #[test]
    fn changes_are_as_small_as_can_be() {
        let enable = |v: &Variables| super::enable(v, true);
        assert_eq!(enable(&Variables::new()), []);
        assert_eq!(after("", |v| super::enable(v, false)), "overlayfs=yes");
        assert_eq!(after("overlayfs=on", enable), "overlayfs=on");
        assert_eq!(
            after("overlayfs=no overlayfs_once=no", enable),
            "overlayfs=yes"
        );
        assert_eq!(after("overlayfs_once=no", disable), "overlayfs=no");
        assert_eq!(after("", once), "overlayfs_once=no");
        assert_eq!(
            after("overlayfs=0", once),
            "overlayfs=yes overlayfs_once=no"
        );
        assert_eq!(once(&variables("overlayfs=yes overlayfs_once=no")), []);
    }

    #[test]
    fn each_step_of_a_change_protects_more_or_is_the_last() {
        // Tools that write one variable after the other may be cut between two.
        let first = |before: &str, changes: Vec<Change>| {
            assert_eq!(changes.len(), 2);
            let mut all = variables(before);
            all.remove(&changes[0].name);
            all.extend(changes[0].to.clone().map(|v| (changes[0].name.clone(), v)));
            next_boot("", &all)
        };
        let before = "overlayfs=no";
        assert!(first(before, once(&variables(before))).protected);
        let before = "overlayfs=no overlayfs_once=no";
        assert!(!first(before, enable(&variables(before), true)).once);
    }

    #[test]
    fn one_spelling_of_the_size() {
        let size = |before| after(before, |v| super::size(v, "64M", true));
        assert_eq!(size(""), "ofs-size=64M");
        assert_eq!(size("ofs-size=20"), "ofs-size=64M");
        assert_eq!(size("ofs_size=20"), "ofs_size=64M");
        assert_eq!(size("ofs-size=20 ofs_size=30"), "ofs-size=64M");
        assert_eq!(
            after("ofs_size=20", |v| super::size(v, "64M", false)),
            "ofs-size=64M"
        );
    }
}
