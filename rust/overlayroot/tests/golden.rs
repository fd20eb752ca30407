// SPDX-License-Identifier: MIT
//! Plans as text: `golden/SCENARIO/{cmdline,conf,facts,plan}`. What a boot would do is reviewed as a diff.
//!
//! `facts` has lines `key=value`: memory (bytes), kernel, filesystems (of block devices), root (kernel name), fstype, state (clean, dirty, read-only-format, unknown), media (read-only), tree (verified
//! blocks of 4096 bytes), container (what the device is a member of).
//! After a wanted change, `OVERLAYROOT_BLESS=1 cargo test --test golden` writes the plans anew.

#![allow(clippy::unwrap_used, clippy::panic)] // a test; its helpers are not recognised as such

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use overlayroot::facts::Facts;
use overlayroot::settings::Settings;
use overlayroot::superblock::State;
use overlayroot::verity::Tree;
use overlayroot::{cmdline, config, ladder};

fn facts(text: &[u8]) -> Facts {
    let (entries, bad) = config::parse(text);
    assert!(bad.is_empty(), "{bad:?}");
    let get = |name: &str| {
        let entry = entries.iter().find(|e| e.name == name);
        entry.map(|e| e.value.clone())
    };
    let known = [
        "memory",
        "kernel",
        "filesystems",
        "root",
        "fstype",
        "state",
        "media",
        "tree",
        "container",
    ];
    for entry in &entries {
        assert!(known.contains(&&*entry.name), "unknown fact {}", entry.name);
    }
    let mut facts = Facts::default();
    if let Some(bytes) = get("memory") {
        facts.mem_total = bytes.parse().unwrap();
    }
    if let Some(kernel) = get("kernel") {
        facts.kernel = kernel;
    }
    if let Some(names) = get("filesystems") {
        facts.filesystems = names.split(' ').map(Into::into).collect();
    }
    let Some(root) = get("root") else {
        return facts;
    };
    let state = match get("state").as_deref() {
        Some("clean") => State::Clean,
        Some("dirty") => State::Dirty("the journal needs recovery"),
        Some("read-only-format") => State::ReadOnlyFormat,
        Some("unknown") => State::Unknown,
        other => panic!("state={other:?}"),
    };
    let fstype: Option<&'static str> = get("fstype").map(|name| &*name.leak());
    facts = facts.with_root(&root, fstype.unwrap_or_default(), state);
    let root = facts.root.as_mut().unwrap();
    root.fstype = fstype;
    root.media_read_only = get("media").as_deref() == Some("read-only");
    root.container = get("container").map(|name| &*name.leak());
    root.tree = get("tree").map(|blocks| Tree {
        data_blocks: blocks.parse().unwrap(),
        data_block: 4096,
        hash_block: 4096,
        salt: "5a17".into(),
    });
    facts
}

/// Everything that would be done, rung by rung.
fn describe(folder: &Path) -> String {
    let read = |name: &str| fs::read(folder.join(name)).unwrap_or_default();
    let (entries, mut warnings) = config::parse(&read("conf"));
    let settings = Settings::merge(&entries, &cmdline::words(&read("cmdline")));
    let facts = facts(&read("facts"));
    warnings.extend(settings.warnings.iter().cloned());

    let mut text = String::new();
    for warning in warnings {
        writeln!(text, "settings: {warning}").unwrap();
    }
    text.push_str(&ladder::describe(&settings, &facts));
    text
}

#[test]
fn plans_are_as_reviewed() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let bless = std::env::var_os("OVERLAYROOT_BLESS").is_some();
    let mut count = 0;
    for entry in fs::read_dir(golden).unwrap() {
        let folder = entry.unwrap().path();
        let found = describe(&folder);
        if bless {
            fs::write(folder.join("plan"), &found).unwrap();
        }
        let wanted = fs::read_to_string(folder.join("plan")).unwrap_or_default();
        assert_eq!(found, wanted, "{} (found, wanted)", folder.display());
        count += 1;
    }
    assert!(count >= 15, "only {count} scenarios were found");
}
