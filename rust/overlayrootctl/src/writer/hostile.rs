// SPDX-License-Identifier: MIT
//! Trees that are made to lead `commit` astray: whatever is in upper, lower and running system, and whatever
//! takes its place meanwhile, nothing outside is changed, and no file is made of two.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{symlink, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use rustix::fs::{mknodat, FileType, Mode, RenameFlags, CWD};

use super::planning::Plan;
use super::publishing::Written;
use super::record::Header;
use super::staging;
use crate::layers::dir::Dir;
use crate::layers::view::View;

const TREES: [&str; 3] = ["upper", "lower", "merged"];

/// The trees, and what nothing may touch.
struct Rig {
    folder: tempfile::TempDir,
}

impl Rig {
    fn new() -> Rig {
        let folder = tempfile::tempdir().unwrap();
        let rig = Rig { folder };
        for name in TREES.into_iter().chain(["ram", "outside"]) {
            fs::create_dir(rig.at(name)).unwrap();
        }
        fs::create_dir(rig.at("outside/folder")).unwrap();
        for name in ["secret", "folder/secret"] {
            let path = rig.at("outside").join(name);
            fs::write(&path, "secret").unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
        }
        rig
    }

    fn at(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn view(&self) -> View {
        let at = |name| self.at(name);
        View::of(&at("upper"), &at("lower"), &at("merged"), &at("ram"))
    }

    /// Everything about what is outside, as text.
    fn outside(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut todo = vec![self.at("outside")];
        while let Some(path) = todo.pop() {
            let meta = fs::symlink_metadata(&path).unwrap();
            let content = match meta.is_dir() {
                true => {
                    todo.extend(fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
                    Vec::new()
                }
                false => fs::read(&path).unwrap(),
            };
            let times = (meta.mtime(), meta.mtime_nsec());
            found.push(format!(
                "{path:?} {:o} {} {times:?} {content:?}",
                meta.mode(),
                meta.uid()
            ));
        }
        found.sort();
        found
    }

    /// Plans and writes all changes, as `commit --all` does. It may be refused, or stop.
    fn commit(&self) -> crate::error::Result<Written> {
        let view = self.view();
        let paths = [PathBuf::from("/")];
        let plan = Plan::make(&view, &paths)?;
        staging::write(&view, &plan, &paths, Header::default())
    }
}

/// An entry to put somewhere.
#[derive(Clone, Debug)]
struct Entry {
    tree: usize,
    place: Vec<usize>,
    what: u8,
    target: Vec<usize>,
}

fn name(number: usize) -> OsString {
    match number {
        0 => "etc".into(),
        1 => "fstab".into(),
        2 => "a\nb".into(),
        3 => OsString::from_vec(b"\xff\x1b[31m".to_vec()),
        4 => "x".repeat(255).into(),
        5 => ".overlayroot".into(),
        6 => "new".into(),
        _ => "d".into(),
    }
}

/// Makes it, unless something is in the way. Links lead out of the trees in every way.
fn put(rig: &Rig, entry: &Entry) {
    let mut path = rig.at(TREES[entry.tree]);
    for (at, part) in entry.place.iter().enumerate() {
        // What is made lies in the tree, behind no link.
        if !path.symlink_metadata().is_ok_and(|m| m.is_dir()) {
            return;
        }
        path.push(name(*part));
        if at + 1 < entry.place.len() {
            let _ = fs::create_dir(&path); // or it is there
        }
    }
    let outside = rig.at("outside");
    if path.symlink_metadata().is_ok() {
        return; // writing to a pipe would wait
    }
    let mut target = match entry.what & 1 {
        0 => outside.clone(),
        _ => PathBuf::from("../".repeat(entry.place.len())).join("outside"),
    };
    target.extend(
        entry
            .target
            .iter()
            .map(|n| ["folder", "secret", ".."][n % 3]),
    );
    // Whatever of this cannot be done here is not part of the tree.
    let _ = match entry.what >> 1 & 7 {
        0 => fs::create_dir(&path),
        1 | 2 => symlink(&target, &path),
        3 => fs::hard_link(outside.join("secret"), &path),
        4 => mknodat(CWD, &path, FileType::Fifo, Mode::RWXU, 0).map_err(Into::into),
        5 => mknodat(CWD, &path, FileType::CharacterDevice, Mode::RWXU, 0).map_err(Into::into),
        6 => {
            let redirect = target.as_os_str().as_encoded_bytes();
            let flags = rustix::fs::XattrFlags::empty();
            let marked = fs::create_dir(&path);
            for (mark, value) in [("opaque", &b"y"[..]), ("redirect", redirect)] {
                let mark = format!("user.overlay.{mark}");
                let _ = rustix::fs::lsetxattr(&path, mark, value, flags); // a file system without them
            }
            marked
        }
        _ => fs::write(&path, [entry.what]),
    };
}

fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let places = proptest::collection::vec(0usize..8, 1..4);
    let targets = proptest::collection::vec(0usize..3, 0..4);
    let entry = (0usize..3, places, any::<u8>(), targets);
    let entry = entry.prop_map(|(tree, place, what, target)| Entry {
        tree,
        place,
        what,
        target,
    });
    proptest::collection::vec(entry, 0..24)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn no_tree_leads_out(entries in entries()) {
        let rig = Rig::new();
        for entry in &entries {
            put(&rig, entry);
        }
        let before = rig.outside();
        // Refusals are right; what counts is what it did.
        let _ = rig.commit();
        let _ = rig.commit();
        prop_assert_eq!(rig.outside(), before);
    }
}

/// Does `change` over and over, on another thread, while `work` runs again and again: for a while, and until it
/// says that it has seen enough, which may take long on a busy machine.
///
/// Storms of changes and quiet times of the same length take turns, from 0.1 ms to 0.4 s: where each change is
/// seen in the times of a file (kernels since 6.13), a copy in a storm never comes to an end.
fn race(change: impl Fn() + Sync, mut work: impl FnMut() -> bool) {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for turn in (0..13).cycle() {
                let (start, length) = (Instant::now(), Duration::from_micros(100 << turn));
                while start.elapsed() < length && !done.load(Ordering::Relaxed) {
                    change();
                }
                if done.load(Ordering::Relaxed) {
                    return;
                }
                std::thread::sleep(length);
            }
        });
        let (start, mut enough) = (Instant::now(), false);
        let left = |seconds: f32| start.elapsed() < Duration::from_secs_f32(seconds);
        while left(2.0) || !enough && left(60.0) {
            enough = work();
        }
        done.store(true, Ordering::Relaxed);
    });
}

fn exchange(a: &Path, b: &Path) {
    // Gone for a moment, or one of the names is busy: the next time it works.
    let _ = rustix::fs::renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE);
}

/// A directory that is committed changes places with a link to the outside, again and again.
#[test]
fn a_directory_that_becomes_a_link_meanwhile() {
    let rig = Rig::new();
    for tree in ["upper", "merged"] {
        fs::create_dir_all(rig.at(tree).join("home/folder")).unwrap();
        fs::write(rig.at(tree).join("home/folder/secret"), "mine").unwrap();
        symlink(rig.at("outside/folder"), rig.at(tree).join("other")).unwrap();
    }
    let before = rig.outside();
    let (folder, other) = (rig.at("merged/home/folder"), rig.at("merged/other"));
    race(
        || exchange(&folder, &other),
        || {
            let _ = rig.commit(); // an error as often as not
            let copied = fs::read_to_string(rig.at("lower/home/folder/secret"));
            let is_link = rig.at("lower/home/folder").symlink_metadata();
            if !is_link.is_ok_and(|m| m.is_symlink()) {
                assert!(
                    copied.map_or(true, |text| text == "mine"),
                    "read through a link"
                );
            }
            let _ = fs::remove_dir_all(rig.at("lower/home")); // from the start again
            true
        },
    );
    assert_eq!(rig.outside(), before);
}

/// Two files of the same length and time take turns under one name: a copy is the one or the other, never
/// the contents of the one with the owner, mode or attributes of the other.
#[test]
fn no_file_is_made_of_two() {
    let rig = Rig::new();
    for tree in ["upper", "merged"] {
        for (name, mode) in [("one", 0o600), ("two", 0o4755)] {
            let path = rig.at(tree).join(name);
            fs::write(&path, name).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let file = fs::File::open(&path).unwrap();
            file.set_modified(std::time::UNIX_EPOCH).unwrap();
        }
    }
    let (one, two) = (rig.at("merged/one"), rig.at("merged/two"));
    let view = rig.view();
    let mut seen = [0, 0];
    race(
        || exchange(&one, &two),
        || {
            let held = view.merged.hold(std::ffi::OsStr::new("one")).unwrap();
            let xattrs = held.xattrs().unwrap();
            let to = std::ffi::OsStr::new("copy");
            if crate::layers::copy::copy(&held, &xattrs, &view.lower, to).is_ok() {
                let text = fs::read_to_string(rig.at("lower/copy")).unwrap();
                let mode = fs::metadata(rig.at("lower/copy")).unwrap().mode() & 0o7777;
                let expected = [("one", 0o600), ("two", 0o4755)];
                let which = expected.iter().position(|e| *e == (&*text, mode));
                seen[which.unwrap_or_else(|| panic!("{text} with mode {mode:o}"))] += 1;
            }
            let _ = fs::remove_file(rig.at("lower/copy")); // none, when it was renamed meanwhile
            seen[0] > 0 && seen[1] > 0
        },
    );
    assert!(
        seen[0] > 0 && seen[1] > 0,
        "they did not take turns: {seen:?}"
    );
}

/// Somebody puts a link or a second name of another file where a copy is being made, in a directory of his
/// own: owner, mode and times go to what was made, not to what has its name.
#[test]
fn a_copy_whose_name_is_taken_meanwhile() {
    let rig = Rig::new();
    let source = rig.at("lower/file");
    fs::write(&source, "original").unwrap();
    fs::set_permissions(&source, fs::Permissions::from_mode(0o4777)).unwrap();
    fs::create_dir(rig.at("lower/dir")).unwrap();
    fs::set_permissions(rig.at("lower/dir"), fs::Permissions::from_mode(0o777)).unwrap();
    let before = rig.outside();
    let (name, secret) = (rig.at("merged/copy"), rig.at("outside/secret"));
    let (link, names) = (rig.at("ram/link"), rig.at("ram/second"));
    symlink(&secret, &link).unwrap();
    fs::hard_link(&secret, &names).unwrap();
    let view = rig.view();
    let to = std::ffi::OsStr::new("copy");
    race(
        || {
            exchange(&name, &link);
            exchange(&name, &names);
        },
        || {
            for original in ["file", "dir"] {
                let held = view.lower.hold(std::ffi::OsStr::new(original)).unwrap();
                let xattrs = held.xattrs().unwrap();
                // Errors are right: another one was faster.
                let _ = crate::layers::copy::copy(&held, &xattrs, &view.merged, to);
                if original == "dir" {
                    let stat = held.stat().unwrap();
                    let set = crate::layers::copy::copy_directory_attributes;
                    let _ = set(&stat, &xattrs, &view.merged, to); // the same
                }
                let _ = crate::layers::copy::remove(&view.merged, to); // the same
                for path in [&link, &names] {
                    // What was taken away from there is put back.
                    let is_dir = path.symlink_metadata().is_ok_and(|m| m.is_dir());
                    let gone = match is_dir {
                        true => fs::remove_dir(path),
                        false => fs::remove_file(path),
                    };
                    let _ = gone.and_then(|()| match path == &link {
                        true => symlink(&secret, path),
                        false => fs::hard_link(&secret, path),
                    });
                }
            }
            true
        },
    );
    let changed = |lines: &[String]| -> Vec<String> {
        let same = |line: &&String| !line.contains("\"outside\"");
        lines.iter().filter(same).cloned().collect()
    };
    assert_eq!(changed(&rig.outside()), changed(&before));
}

#[test]
fn attributes_of_a_directory_go_to_no_other_entry() {
    let rig = Rig::new();
    fs::create_dir(rig.at("lower/dir")).unwrap();
    symlink(rig.at("outside/folder"), rig.at("merged/link")).unwrap();
    fs::hard_link(rig.at("outside/secret"), rig.at("merged/second")).unwrap();
    let before = rig.outside();
    let view = rig.view();
    let held = view.lower.hold(std::ffi::OsStr::new("dir")).unwrap();
    for name in ["link", "second"] {
        let name = std::ffi::OsStr::new(name);
        let (stat, xattrs) = (held.stat().unwrap(), held.xattrs().unwrap());
        let set = crate::layers::copy::copy_directory_attributes;
        assert!(set(&stat, &xattrs, &view.merged, name).is_err());
    }
    assert_eq!(rig.outside(), before);
}

/// Deeper than files may be open at once, than the stack is, and than a path can be long: what the kernel can name
/// is kept, what is below is left out and named, and the rest is kept.
#[test]
fn deep_trees_block_nothing() {
    let rig = Rig::new();
    let long = "x".repeat(200);
    for tree in ["upper", "merged"] {
        fs::write(rig.at(tree).join("file"), "x").unwrap();
        for (name, depth) in [("d", 1100), ("deep", 2000), (&*long, 22)] {
            let mut here = Dir::open(&rig.at(tree)).unwrap();
            for _ in 0..depth {
                let name = std::ffi::OsStr::new(name);
                rustix::fs::mkdirat(&here, name, Mode::RWXU).unwrap();
                here = here.dir(name).unwrap();
            }
        }
    }
    let written = rig.commit().unwrap();
    let left_out: Vec<_> = written
        .left_out
        .iter()
        .map(|l| (&*l.path, &*l.reason))
        .collect();
    let why = "has 1 entries whose paths are longer than 4095 bytes";
    let wanted = [("deep", 819), (&*long, 20)]
        .map(|(name, depth)| (PathBuf::from(format!("/{name}").repeat(depth)), why));
    assert_eq!(
        left_out,
        wanted.iter().map(|(p, w)| (&**p, *w)).collect::<Vec<_>>()
    );
    assert_eq!(written.done.len(), 1 + 1100 + 819 + 20);
    let lower = Dir::open(&rig.at("lower")).unwrap();
    for path in ["file".to_owned(), "d/".repeat(1100), "deep/".repeat(819)] {
        let path = Path::new(&path);
        let dir = lower.walk(path.parent().unwrap()).unwrap().unwrap();
        assert!(dir.stat(path.file_name().unwrap()).unwrap().is_some());
    }
    assert!(rig.commit().unwrap().done.is_empty());
    // Taken away again, it goes as a whole.
    for tree in ["upper", "merged"] {
        let tree = Dir::open(&rig.at(tree)).unwrap();
        for name in ["d", "deep", &long] {
            crate::layers::copy::remove(&tree, name.as_ref()).unwrap();
        }
    }
    for name in ["d", "deep", &long] {
        fs::write(rig.at("upper").join(name), "").unwrap();
        let mark = "user.overlay.whiteout";
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::lsetxattr(rig.at("upper").join(name), mark, b"y", flags).unwrap();
    }
    assert_eq!(rig.commit().unwrap().done.len(), 3);
    let names = rig.view().lower.names().unwrap();
    assert_eq!(names, [".overlayroot", "file"]);
    for tree in TREES {
        let top = Dir::open(&rig.at(tree)).unwrap();
        for name in top.names().unwrap() {
            crate::layers::copy::remove(&top, &name).unwrap();
        }
    }
}

/// What chattr(1) has fixed in the real root is left out and named, and what it has set in the running system is
/// noted. On file systems that know such flags, as root.
#[test]
fn flags_of_chattr() {
    use rustix::fs::{ioctl_getflags, ioctl_setflags, IFlags};
    let rig = Rig::new();
    // Those that the file system has set itself have to stay.
    let set = |path: &str, flag, on| {
        let file = fs::File::open(rig.at(path)).unwrap();
        let mut flags = ioctl_getflags(&file)?;
        flags.set(flag, on);
        ioctl_setflags(&file, flags)
    };
    for tree in TREES {
        fs::create_dir(rig.at(tree).join("log")).unwrap();
        for name in ["fixed", "free", "log/file", "noted"] {
            fs::write(rig.at(tree).join(name), tree).unwrap();
        }
    }
    for tree in ["upper", "merged"] {
        fs::write(rig.at(tree).join("log/file"), "same").unwrap();
    }
    let fixed = [
        ("lower/fixed", IFlags::IMMUTABLE),
        ("lower/log", IFlags::APPEND),
    ];
    for (path, flags) in fixed {
        if let Err(error) = set(path, flags, true) {
            return eprintln!("SKIPPED: no flags of chattr here: {error}");
        }
    }
    set("merged/noted", IFlags::NODUMP, true).unwrap();
    let written = rig.commit();
    let view = rig.view();
    let named = Plan::make(&view, &[PathBuf::from("/fixed")]);
    for (path, flags) in fixed {
        set(path, flags, false).unwrap();
    }
    let written = written.unwrap();
    let left_out: Vec<_> = written
        .left_out
        .iter()
        .map(|l| (&*l.path, &*l.reason))
        .collect();
    let why = "in the real root (lsattr), which keeps it from being changed";
    let wanted = [
        ("/fixed", format!("is +i {why}")),
        ("/log/file", format!("is in a directory that is +a {why}")),
    ];
    let wanted: Vec<_> = wanted.iter().map(|(p, r)| (Path::new(*p), &**r)).collect();
    assert_eq!(left_out, wanted);
    let read = |name: &str| fs::read_to_string(rig.at("lower").join(name)).unwrap();
    assert_eq!((&*read("free"), &*read("fixed")), ("merged", "lower"));
    assert!(named.unwrap_err().to_string().contains("/fixed is +i"));
    fs::write(rig.at("merged/noted"), "again").unwrap();
    let plan = Plan::make(&view, &[PathBuf::from("/noted")]).unwrap();
    let note = &plan.notes[0];
    assert_eq!(note.reason, "is kept without its flags of chattr, +d");
}
