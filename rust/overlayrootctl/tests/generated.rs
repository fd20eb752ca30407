// SPDX-License-Identifier: MIT
//! Manual pages and completions in `files/`: for packages that are built where the program does not run.
//!
//! They are what the program writes. After a change of a command, `OVERLAYROOT_BLESS=1 cargo test
//! -p overlayrootctl --test generated` writes them anew.

#![allow(clippy::unwrap_used)] // a test; its helpers are not recognised as such

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

const LICENCE: &str = "SPDX-License-Identifier: MIT\n";

/// Standard output of the program.
fn output(arguments: &[&str]) -> String {
    let done = Command::new(env!("CARGO_BIN_EXE_overlayrootctl"))
        .args(arguments)
        .output()
        .unwrap();
    assert!(done.status.success(), "{arguments:?}");
    String::from_utf8(done.stdout).unwrap()
}

/// Files of a folder: name and text.
fn read(folder: &Path) -> BTreeMap<String, String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let name = |entry: &fs::DirEntry| entry.file_name().into_string().unwrap();
    entries
        .map(|e| (name(&e), fs::read_to_string(e.path()).unwrap()))
        .collect()
}

/// What the folder has to hold; its files, each with a licence line, are written when they are wanted so.
fn check(name: &str, wanted: &BTreeMap<String, String>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("files")
        .join(name);
    if std::env::var_os("OVERLAYROOT_BLESS").is_some() {
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        for (file, text) in wanted {
            fs::write(folder.join(file), text).unwrap();
        }
    }
    let found = read(&folder);
    let differ: BTreeSet<_> = wanted
        .keys()
        .chain(found.keys())
        .filter(|file| wanted.get(*file) != found.get(*file))
        .collect();
    assert!(
        differ.is_empty(),
        "files/{name} is out of date: {differ:?}; OVERLAYROOT_BLESS=1 cargo test -p overlayrootctl --test generated"
    );
}

#[test]
fn manual_pages() {
    let folder = tempfile::tempdir().unwrap();
    output(&["man", folder.path().to_str().unwrap()]);
    let mut pages = read(folder.path());
    for text in pages.values_mut() {
        text.insert_str(0, &format!(".\\\" {LICENCE}"));
    }
    check("man", &pages);
}

#[test]
fn completions() {
    let scripts = ["bash", "fish", "zsh"].map(|shell| {
        let mut script = output(&["completion", shell]);
        // zsh knows such a file by its first line.
        let at = if shell == "zsh" {
            script.find('\n').unwrap() + 1
        } else {
            0
        };
        script.insert_str(at, &format!("# {LICENCE}"));
        (shell.to_owned(), script)
    });
    check("completions", &scripts.into());
}
