// SPDX-License-Identifier: MIT
//! What variables mean for the next boot, and which of them to change. Decisions only.
//!
//! The boot script (recipes-bsp/overlayroot-boot-script/files/boot.cmd) is what these rules describe: the
//! spelling with a hyphen wins over the one with an underscore; what is not set the image says (`ofs_default_…`
//! in overlayroot.env), and what the image does not say either gets a default there.

use overlayroot::cmdline::{is_space, words};
use overlayroot::settings::Settings;
use serde::Serialize;

use super::{Change, Variables};
use crate::quoting::Quote;

/// The variable that the boot script uses up before it makes one writable boot.
pub const ONCE: &str = "overlayfs_once";
const OVERLAYFS: &str = "overlayfs";
const SIZES: [&str; 2] = ["ofs-size", "ofs_size"];
/// What the image says where they are not set, and what the boot script uses where it says nothing.
const DEFAULT_OVERLAYFS: (&str, &str) = ("ofs_default_overlayfs", "yes");
const DEFAULT_SIZE: (&str, &str) = ("ofs_default_size", "20");

/// What the boot script puts behind `overlayfs=` and the size, in its order: a value of two words could be another
/// `overlayfs=`. The spelling that wins comes first.
const BEHIND: [[&str; 2]; 4] = [
    ["ofs-dirty", "ofs_dirty"],
    ["ofs-fail", "ofs_fail"],
    ["ofs-lock", "ofs_lock"],
    ["ofs-verity-error", "ofs_verity_error"],
];
/// What is on the command line once, among and behind the words above.
const VERITY: [&str; 2] = ["ofs-verity", "ofs_verity"];
const OWNERS: [&str; 2] = ["bootargs", "ofs_bootargs"];
const CMA: &str = "cma";
/// What the boot script takes from files only.
const FILES_ONLY: [&str; 4] = [DEFAULT_OVERLAYFS.0, DEFAULT_SIZE.0, VERITY[1], OWNERS[1]];

/// All variables that matter here.
pub fn names() -> impl Iterator<Item = &'static str> {
    let first = [ONCE, OVERLAYFS, SIZES[0], SIZES[1]];
    let defaults = [DEFAULT_OVERLAYFS.0, DEFAULT_SIZE.0];
    let behind = BEHIND.into_iter().flatten();
    let others = VERITY.into_iter().chain(OWNERS).chain([CMA]);
    first
        .into_iter()
        .chain(defaults)
        .chain(behind)
        .chain(others)
}

/// Variables of U-Boot's environment as the boot script has them before it imports files.
pub fn before_files(mut variables: Variables) -> Variables {
    variables.retain(|name, _| !FILES_ONLY.contains(&&**name));
    variables
}

/// The variables of a store, and what becomes of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Those of the store.
    pub own: Variables,
    /// Those that the boot script ends up with, files that it imports included.
    pub effective: Variables,
    /// Whether nothing else is there, so that what is not set here is not set at all.
    pub complete: bool,
}

/// Where the values of a next boot come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Origins {
    /// `overlayfs`, or the request for one writable boot.
    pub overlayfs: Origin,
    /// Size of the RAM layer.
    pub size: Origin,
}

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// A variable of the store.
    Variable,
    /// A file on the boot partition that wins over the store.
    File,
    /// The image's default, in overlayroot.env.
    Image,
    /// The boot script's default: nobody says anything.
    Script,
}

impl Origin {
    /// For people; `source` is the name of the store.
    pub fn text(self, source: &str) -> &str {
        match self {
            Origin::Variable => source,
            Origin::File => "a file on the boot partition",
            Origin::Image => "default of the image",
            Origin::Script => "default of the boot script",
        }
    }

    /// Of what is set under one of `names`, or else by the image as `default`.
    fn of(view: &View, names: &[&str], default: &str) -> Origin {
        let set = |name: &&&str| view.effective.contains_key(**name);
        match names.iter().find(set) {
            Some(name) if view.own.get(*name) == view.effective.get(*name) => Origin::Variable,
            Some(_) => Origin::File,
            None if view.effective.contains_key(default) => Origin::Image,
            None => Origin::Script,
        }
    }
}

/// What the next boot will be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NextBoot {
    /// Where this was read.
    pub source: String,
    /// Whether the next boot protects the root; false, too, where U-Boot's shell has its own way with a value.
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
    /// Where these two come from.
    pub origins: Origins,
    /// Values that the init will not accept.
    pub warnings: Vec<String>,
}

/// Whether U-Boot's shell makes something else of a value as it is expanded: it parses the command again, quotes
/// and backslashes included (`run_list_real()` in common/cli_hush.c of U-Boot).
fn is_shells(value: &str) -> bool {
    value.contains(['\'', '"', '\\', '$'])
}

/// The same for a value that the boot script expands only between double quotes.
fn is_shells_in_quotes(value: &str) -> bool {
    value.contains(['\'', '\\', '$'])
}

/// Reads variables as boot script and init will.
pub fn next_boot(source: &str, view: &View) -> NextBoot {
    let value = |name: &str| view.effective.get(name).map(String::as_str);
    let size = SIZES.iter().find_map(|name| value(name));
    let size = size
        .or_else(|| value(DEFAULT_SIZE.0))
        .unwrap_or(DEFAULT_SIZE.1);
    let overlayfs = value(OVERLAYFS)
        .or_else(|| value(DEFAULT_OVERLAYFS.0))
        .unwrap_or(DEFAULT_OVERLAYFS.1);
    let pair = |spellings: &[&'static str; 2]| {
        let found = spellings.iter().find_map(|name| value(name));
        Some((spellings[0], found?))
    };
    let behind: Vec<(&str, &str)> = BEHIND.iter().filter_map(pair).collect();
    let (verity, cma) = (pair(&VERITY), value(CMA).map(|value| (CMA, value)));
    let owners: Vec<&str> = OWNERS.iter().filter_map(|name| value(name)).collect();
    // As the boot script puts it together: its own words stand before the owner's and behind them.
    let merged = |overlayfs: &str| {
        let own = [(OVERLAYFS, overlayfs), (SIZES[0], size)];
        let ours: Vec<_> = own.iter().chain(&behind).collect();
        let text = |(name, value): &(&str, &str)| format!("{name}={value}");
        let first = ours.iter().copied().chain(&verity).map(text);
        let last = ours.iter().copied().chain(&cma).map(text);
        let between = owners.iter().map(|&words| words.to_owned());
        let line: Vec<String> = first.chain(between).chain(last).collect();
        Settings::merge(&[], &words(line.join(" ").as_bytes()))
    };
    let mut settings = merged(overlayfs);
    // What the shell makes of such values differs between releases of U-Boot; so no promise is made.
    let values = behind.iter().chain(&verity).chain(&cma);
    let values = values.map(|(_, value)| *value);
    let odd = [overlayfs, size]
        .into_iter()
        .chain(values)
        .find(|v| is_shells(v))
        .or_else(|| owners.iter().copied().find(|v| is_shells_in_quotes(v)));
    if let Some(odd) = odd {
        settings.warnings.push(format!(
            "{} has characters that U-Boot's shell takes for its own: what it makes of them cannot be told",
            odd.quoted()
        ));
    }
    if !view.complete && value(OVERLAYFS).is_none() {
        settings.warnings.push(
            "U-Boot's environment cannot be read here: overlayfs may be set there".to_owned(),
        );
    }
    // It is looked for in the environment only, before anything is imported.
    let once = view.own.get(ONCE).is_some_and(|value| value == "no");
    let now = if once {
        merged("no").overlay
    } else {
        settings.overlay
    };
    NextBoot {
        source: source.to_owned(),
        protected: now && odd.is_none(),
        once,
        protected_afterwards: settings.overlay && odd.is_none(),
        overlayfs: value(OVERLAYFS).map(str::to_owned),
        size: size.to_owned(),
        origins: Origins {
            overlayfs: match once {
                true => Origin::Variable,
                false => Origin::of(view, &[OVERLAYFS], DEFAULT_OVERLAYFS.0),
            },
            size: Origin::of(view, &SIZES, DEFAULT_SIZE.0),
        },
        warnings: settings.warnings,
    }
}

/// Every boot protects the root. First what would make a writable one is taken away. Where the variables
/// are not complete, `overlayfs` is set in any case.
pub fn enable(view: &View) -> Vec<Change> {
    let mut changes = Changes::new(view);
    changes.set(ONCE, None);
    changes.protect(view);
    if !view.complete && !view.effective.contains_key(OVERLAYFS) {
        changes.set(OVERLAYFS, Some("yes"));
    }
    changes.list
}

/// Every boot is writable.
pub fn disable(view: &View) -> Vec<Change> {
    let mut changes = Changes::new(view);
    changes.set(ONCE, None);
    changes.drop_words();
    changes.set(OVERLAYFS, Some("no"));
    changes.list
}

/// The next boot is writable, the ones after it protect the root, whatever was set before.
pub fn once(view: &View) -> Vec<Change> {
    let mut changes = Changes::new(view);
    changes.protect(view);
    changes.set(ONCE, Some("no"));
    changes.list
}

/// The size of the RAM layer, in the spelling that is set already; never in two. Where the variables are not
/// complete, in the spelling that wins.
pub fn size(view: &View, value: &str) -> Vec<Change> {
    let mut changes = Changes::new(view);
    let [hyphen, underscore] = SIZES;
    let set = |name| view.own.contains_key(name);
    let keep = view.complete && set(underscore) && !set(hyphen);
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
    fn new(view: &View) -> Changes<'_> {
        Changes {
            variables: &view.own,
            list: Vec::new(),
        }
    }

    /// `overlayfs` by itself says `yes`, and no size says anything else. In this order: words in a size may be
    /// what protects the board now.
    fn protect(&mut self, view: &View) {
        let mut alone = view.clone();
        let says = |name: &str| [OVERLAYFS, DEFAULT_OVERLAYFS.0].contains(&name);
        alone.effective.retain(|name, _| says(name));
        if !next_boot("", &alone).protected_afterwards {
            self.set(OVERLAYFS, Some("yes"));
        }
        self.drop_words();
    }

    /// A size with a blank in it is more than one word of the command line: it could be overlayfs=no. One with
    /// quotes may hide what comes before it. The spelling that wins goes last: a cut before that must not
    /// uncover the other.
    fn drop_words(&mut self) {
        for name in SIZES.into_iter().rev() {
            let size = self.variables.get(name);
            if size.is_some_and(|value| value.bytes().any(is_space) || is_shells(value)) {
                self.set(name, None);
            }
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
    use super::super::apply;
    use super::*;

    /// A complete store with these variables.
    fn view(text: &str) -> View {
        let pairs = text
            .split_whitespace()
            .map(|word| word.split_once('=').unwrap());
        let own: Variables = pairs.map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
        View {
            effective: own.clone(),
            own,
            complete: true,
        }
    }

    fn applied(before: &str, changes: &[Change]) -> String {
        let mut all = view(before).own;
        apply(changes, &mut all);
        let words: Vec<String> = all.iter().map(|(n, v)| format!("{n}={v}")).collect();
        words.join(" ")
    }

    fn after(before: &str, changes: impl Fn(&View) -> Vec<Change>) -> String {
        applied(before, &changes(&view(before)))
    }

    #[test]
    fn a_default_is_nobodys_variable() {
        let origins = |own: &[(&str, &str)], effective: &[(&str, &str)]| {
            let variables = |list: &[(&str, &str)]| -> Variables {
                let owned = |(n, v): &(&str, &str)| ((*n).to_owned(), (*v).to_owned());
                list.iter().map(owned).collect()
            };
            let mut all = variables(own);
            all.extend(variables(effective));
            let origins = next_boot(
                "x",
                &View {
                    own: variables(own),
                    effective: all,
                    complete: true,
                },
            )
            .origins;
            (origins.overlayfs, origins.size)
        };
        let set = [("overlayfs", "no"), ("ofs_size", "64M")];
        assert_eq!(origins(&[], &[]), (Origin::Script, Origin::Script));
        assert_eq!(origins(&set, &[]), (Origin::Variable, Origin::Variable));
        assert_eq!(
            origins(&set, &[("overlayfs", "yes")]),
            (Origin::File, Origin::Variable)
        );
        let image = [("ofs_default_size", "30"), ("ofs_default_overlayfs", "yes")];
        assert_eq!(origins(&[], &image), (Origin::Image, Origin::Image));
        let once = [(ONCE, "no")];
        assert_eq!(origins(&once, &image), (Origin::Variable, Origin::Image));
    }

    #[test]
    fn of_two_sizes_the_one_that_wins_goes_last() {
        let own: Variables = [("ofs-size", "3 x"), ("ofs_size", "25 overlayfs=no")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        let changes = enable(&View {
            effective: own.clone(),
            own,
            complete: true,
        });
        let names: Vec<_> = changes.iter().map(|change| &*change.name).collect();
        assert_eq!(names, ["ofs_size", "ofs-size"]);
    }

    #[test]
    fn what_the_next_boot_will_be() {
        let next = |text| next_boot("x", &view(text));
        let nothing = next("");
        assert!(nothing.protected && nothing.protected_afterwards && !nothing.once);
        assert_eq!((nothing.overlayfs, &*nothing.size), (None, "20"));
        let off = next("overlayfs=off ofs_size=64M");
        assert!(!off.protected && !off.protected_afterwards);
        assert_eq!(off.size, "64M");
        let once = next("overlayfs=yes overlayfs_once=no");
        assert!(!once.protected && once.once && once.protected_afterwards);
        // Another value is no request; the hyphen wins; a bad value protects and is reported.
        let odd = next("overlayfs=never overlayfs_once=1 ofs-size=9 ofs_size=8");
        assert!(odd.protected && !odd.once);
        assert_eq!((&*odd.size, odd.warnings.len()), ("9", 1));
    }

    #[test]
    fn what_the_image_says_counts_where_nothing_is_set() {
        let image = "ofs_default_overlayfs=no ofs_default_size=64M";
        let mut open = view(image);
        open.own.clear();
        let next = next_boot("x", &open);
        assert!(!next.protected_afterwards);
        assert_eq!((next.overlayfs, &*next.size), (None, "64M"));
        assert_eq!(enable(&open)[0].to.as_deref(), Some("yes"));
        assert_eq!(once(&open).len(), 2);
        assert!(next_boot("x", &view(&format!("{image} overlayfs=yes"))).protected);
    }

    #[test]
    fn a_store_that_does_not_show_all() {
        let mut part = view("ofs_size=20");
        part.complete = false;
        assert_eq!(next_boot("x", &part).warnings.len(), 1);
        assert_eq!(applied("", &enable(&part)), "overlayfs=yes");
        assert_eq!(applied("ofs_size=20", &size(&part, "64M")), "ofs-size=64M");
    }

    #[test]
    fn changes_are_as_small_as_can_be() {
        assert_eq!(enable(&view("")), []);
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
        assert_eq!(once(&view("overlayfs=yes overlayfs_once=no")), []);
    }

    #[test]
    fn a_size_that_says_more_goes() {
        // A vertical tab is a blank to the kernel, and none to char::is_ascii_whitespace.
        for blank in [" ", "\t", "\x0b", "\n"] {
            let mut view = view("overlayfs=yes");
            for variables in [&mut view.own, &mut view.effective] {
                variables.insert("ofs_size".into(), format!("20{blank}overlayfs=no"));
            }
            assert!(!next_boot("", &view).protected);
            let changes = enable(&view);
            assert_eq!((&*changes[0].name, &changes[0].to), ("ofs_size", &None));
            assert_eq!(once(&view)[0], changes[0]);
            assert_eq!(disable(&view)[0], changes[0]);
        }
    }

    #[test]
    fn what_comes_behind_may_say_otherwise() {
        let with = |name: &str, value: &str| {
            let mut view = view("overlayfs=yes");
            for variables in [&mut view.own, &mut view.effective] {
                variables.insert(name.into(), value.into());
            }
            // It is the owner's, and stays.
            assert_eq!(enable(&view), []);
            next_boot("", &view)
        };
        for name in BEHIND.into_iter().flatten().chain([CMA]) {
            assert!(with(name, "x").protected);
            assert!(!with(name, "x overlayfs=no").protected, "{name}");
            assert!(!with(name, "x\"").protected_afterwards, "{name}");
        }
        // Between the script's own words these say nothing, unless they hide the last ones.
        for name in OWNERS.into_iter().chain(VERITY) {
            assert!(with(name, "x overlayfs=no").protected, "{name}");
            assert!(!with(name, "x overlayfs=no -- y").protected, "{name}");
            assert!(with(name, "x -- overlayfs=no").protected, "{name}");
            assert!(!with(name, "it's").protected, "{name}");
        }
        assert!(with("bootargs", "a=\"b c\"").protected);
        assert_eq!(with("ofs_fail", "resart").warnings.len(), 1);
        let both = "ofs-fail=restart ofs_fail=\\ cma=64M";
        assert!(next_boot("", &view(both)).protected);
    }

    #[test]
    fn a_size_that_protects_is_not_the_last_word() {
        let mut view = view("overlayfs=no");
        for variables in [&mut view.own, &mut view.effective] {
            variables.insert("ofs_size".into(), "25 overlayfs=on".into());
        }
        assert!(next_boot("", &view).protected);
        for changes in [enable(&view), once(&view)] {
            let names: Vec<_> = changes.iter().map(|change| &*change.name).collect();
            assert_eq!(names[..2], ["overlayfs", "ofs_size"]);
        }
    }

    #[test]
    fn each_step_of_a_change_protects_more_or_is_the_last() {
        // Tools that write one variable after the other may be cut between two.
        let first = |before: &str, changes: Vec<Change>| {
            assert_eq!(changes.len(), 2);
            next_boot("", &view(&applied(before, &changes[..1])))
        };
        let before = "overlayfs=no";
        assert!(first(before, once(&view(before))).protected);
        let before = "overlayfs=no overlayfs_once=no";
        assert!(!first(before, enable(&view(before))).once);
    }

    #[test]
    fn one_spelling_of_the_size() {
        let size = |before| after(before, |v| size(v, "64M"));
        assert_eq!(size(""), "ofs-size=64M");
        assert_eq!(size("ofs-size=20"), "ofs-size=64M");
        assert_eq!(size("ofs_size=20"), "ofs_size=64M");
        assert_eq!(size("ofs-size=20 ofs_size=30"), "ofs-size=64M");
    }
}
