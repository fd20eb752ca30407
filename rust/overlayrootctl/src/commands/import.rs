// SPDX-License-Identifier: MIT
//! `import`: brings an archive of `export` into the RAM layer. The whole archive is looked at before anything is
//! changed.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};

use clap::{value_parser, Arg, ArgMatches, Command};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, CWD};
use serde::Serialize;
use tar::{Archive, Entry, EntryType};

use crate::archive::{self, Image, Manifest};
use crate::cli;
use crate::error::{Error, Result};
use crate::exit;
use crate::layers::copy;
use crate::layers::dir::{Dir, Held, Kind, Stat, Xattrs};
use crate::layers::view::{unshare_mounts, View};
use crate::live::Live;
use crate::output::{Output, Tone};
use crate::privilege::need_root;
use crate::progress::{self, Counted};
use crate::quoting::{self, Quote};
use crate::{ramlayer, signals};

/// The command.
pub const ENTRY: super::Entry = super::Entry {
    name: "import",
    define,
    run,
};

/// What to do when only a part of it is imported.
const AGAIN: &str =
    "a part of it is imported: import again, or restart the board, which forgets it";
/// Longest manifest, bytes.
const LONGEST: u64 = 64 << 10;

fn define() -> Command {
    Command::new("import")
        .about("Bring an archive of overlayrootctl export into the RAM layer")
        .arg(
            Arg::new("file")
                .value_name("FILE")
                .required(true)
                .value_parser(value_parser!(PathBuf))
                .help("The archive; - is standard input"),
        )
        .arg(cli::dry_run())
        .after_help(
            "It is in the running system then, and gone at the next boot: overlayrootctl diff shows it, \
             commit keeps it, revert takes it back.",
        )
}

/// What was done; field names are those of the JSON.
#[derive(Default, Serialize)]
struct Outcome {
    image: Image,
    #[serde(serialize_with = "crate::jsonpath::list")]
    imported: Vec<PathBuf>,
    #[serde(serialize_with = "crate::jsonpath::list")]
    deleted: Vec<PathBuf>,
    /// What is not as it was on the other board.
    warnings: Vec<String>,
    dry_run: bool,
}

/// An entry of the archive.
struct Item {
    path: PathBuf,
    what: What,
}

enum What {
    Delete,
    Link(PathBuf),
    Make(Kind),
}

fn run(matches: &ArgMatches, output: &Output) -> Result<u8> {
    need_root("to make files of others")?;
    let name = matches
        .get_one::<PathBuf>("file")
        .cloned()
        .unwrap_or_default();
    let live = Live::look()?;
    let layers = live.layers()?;
    let mut file = open(&name, layers.ram.target.as_ref())?;
    unshare_mounts(layers)?;
    let view = View::open(layers)?;
    let mut outcome = check(&mut file, &name, &view, &layers.ram.target)?;
    outcome.dry_run = matches.get_flag("dry-run");
    if !outcome.dry_run {
        file.rewind()
            .map_err(Error::system("read", name.quoted()))?;
        signals::held_back(|| apply(&mut file, &view, &mut outcome))?;
    }
    output.print(&outcome, |out| {
        for warning in &outcome.warnings {
            let word = output.tone(Tone::Warning, "warning:");
            writeln!(out, "{word} {}", quoting::line(warning))?;
        }
        let word = if outcome.dry_run { "would be " } else { "" };
        let (files, deleted) = (outcome.imported.len(), outcome.deleted.len());
        writeln!(
            out,
            "{files} entries {word}imported, {deleted} {word}deleted."
        )?;
        match outcome.dry_run {
            true => Ok(()),
            false => writeln!(out, "They are in RAM: overlayrootctl commit keeps them."),
        }
    })?;
    Ok(exit::DONE)
}

/// The archive, so that it can be read twice: standard input goes to a file in RAM without a name.
fn open(name: &Path, ram: &Path) -> Result<File> {
    if name != Path::new("-") {
        return File::open(name).map_err(Error::system("read", name.quoted()));
    }
    let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
    let spool = rustix::fs::openat(CWD, ram, flags, Mode::RUSR | Mode::WUSR)
        .map_err(Error::system("make a file in", ram.quoted()))?;
    let mut spool = File::from(spool);
    io::copy(&mut io::stdin(), &mut spool)
        .map_err(Error::system("copy", "standard input into the RAM layer"))?;
    spool
        .rewind()
        .map_err(Error::system("read", "standard input"))?;
    Ok(spool)
}

fn wrong(name: &Path, cause: impl Into<String>) -> Error {
    Error::Malformed {
        object: name.quoted().to_string(),
        cause: format!("{}; nothing was changed", cause.into()),
        remedy: "make it with overlayrootctl export, and transfer it whole",
    }
}

/// Looks at all of it. Changes nothing.
fn check(file: &mut File, name: &Path, view: &View, ram: &str) -> Result<Outcome> {
    let unreadable = |error: io::Error| wrong(name, format!("no whole archive ({error})"));
    let mut archive = Archive::new(file);
    let mut entries = archive.entries().map_err(unreadable)?;
    let mut outcome = Outcome::default();
    let first = entries.next().transpose().map_err(unreadable)?;
    outcome.image = manifest(first, name)?.image;
    let here = Image::here();
    if outcome.image != here {
        let (other, own) = (outcome.image.text(), here.text());
        outcome.warnings.push(format!(
            "the archive is of another image: {other}; this is {own}"
        ));
    }
    let mut reasons = Vec::new();
    // Whether it is a directory.
    let mut made: BTreeMap<PathBuf, bool> = BTreeMap::new();
    let mut needed = 0u64;
    progress::begin("looking at the archive", None);
    for entry in entries {
        progress::entry();
        let mut entry = entry.map_err(unreadable)?;
        let item = match item(&mut entry) {
            Ok(item) => item,
            Err(cause) => {
                let path =
                    OsString::from(String::from_utf8_lossy(&entry.path_bytes()).into_owned());
                reasons.push(format!("{}: {cause}", path.quoted()));
                continue;
            }
        };
        let of = |error| Error::system("look at", item.path.quoted())(error);
        if view.is_own(&item.path) {
            reasons.push(format!("{}: the layers are there", item.path.quoted()));
        } else if let Some(cause) = no_directory(view, &made, &item.path).map_err(of)? {
            reasons.push(format!("{}: {cause}", item.path.quoted()));
        }
        match &item.what {
            What::Delete => outcome.deleted.push(item.path),
            What::Link(to) if made.get(to) != Some(&false) => {
                let (path, to) = (item.path.quoted(), to.quoted());
                reasons.push(format!(
                    "{path}: a link to {to}, which is no file of the archive before it"
                ));
            }
            What::Link(_) | What::Make(_) => {
                needed = needed.saturating_add(entry.size());
                let is_dir = matches!(item.what, What::Make(Kind::Directory));
                made.insert(item.path.clone(), is_dir);
                outcome.imported.push(item.path);
            }
        }
        // To its end: an archive that was cut off is noticed now.
        io::copy(&mut Counted(&mut entry), &mut io::sink()).map_err(unreadable)?;
    }
    let free = ramlayer::free(ram)?;
    if needed > free {
        reasons.push(format!(
            "the files need {needed} bytes of the RAM layer, {free} are free"
        ));
    }
    match reasons.is_empty() {
        true => Ok(outcome),
        false => Err(Error::Refused {
            reasons,
            remedy: "import an archive that overlayrootctl export has made on a board with the same image"
                .to_owned(),
        }),
    }
}

fn manifest<R: Read>(entry: Option<Entry<'_, R>>, name: &Path) -> Result<Manifest> {
    let is_one = |e: &Entry<'_, R>| *e.path_bytes() == *archive::MANIFEST.as_bytes();
    let entry = entry.filter(is_one);
    let entry = entry.ok_or_else(|| wrong(name, "no archive of overlayrootctl export"))?;
    let mut text = Vec::new();
    let read = entry.take(LONGEST).read_to_end(&mut text);
    let manifest: Option<Manifest> = read.ok().and_then(|_| serde_json::from_slice(&text).ok());
    let manifest = manifest.ok_or_else(|| wrong(name, "its manifest cannot be read"))?;
    match manifest.format {
        archive::FORMAT => Ok(manifest),
        other => Err(Error::refused(
            format!(
                "{} has format {other}, this program knows {}",
                name.quoted(),
                archive::FORMAT
            ),
            "update overlayrootctl here",
        )),
    }
}

fn item<R: Read>(entry: &mut Entry<'_, R>) -> std::result::Result<Item, &'static str> {
    let path = archive::inside(&entry.path_bytes()).ok_or("the path leads elsewhere")?;
    if let Some(path) = archive::deleted(&path) {
        let what = What::Delete;
        return Ok(Item { path, what });
    }
    let what = match entry.header().entry_type() {
        EntryType::Regular | EntryType::Continuous => What::Make(Kind::File),
        EntryType::Directory => What::Make(Kind::Directory),
        EntryType::Symlink => What::Make(Kind::Symlink),
        EntryType::Char => What::Make(Kind::CharDevice),
        EntryType::Block => What::Make(Kind::BlockDevice),
        EntryType::Fifo => What::Make(Kind::Fifo),
        EntryType::Link => {
            let to = entry.link_name_bytes().and_then(|to| archive::inside(&to));
            What::Link(to.ok_or("the link leads elsewhere")?)
        }
        _ => return Err("of a type that is not known"),
    };
    if matches!(what, What::Make(Kind::CharDevice)) && device(entry) == Some((0, 0)) {
        return Err("a device that means a deleted file to overlayfs");
    }
    Ok(Item { path, what })
}

fn device<R: Read>(entry: &Entry<'_, R>) -> Option<(u32, u32)> {
    let number = |field: io::Result<Option<u32>>| field.ok().flatten();
    number(entry.header().device_major()).zip(number(entry.header().device_minor()))
}

/// What stands in the way of a directory for `path`.
fn no_directory(
    view: &View,
    made: &BTreeMap<PathBuf, bool>,
    path: &Path,
) -> io::Result<Option<String>> {
    let above: Vec<&Path> = path.ancestors().skip(1).collect();
    for folder in above.iter().rev() {
        let Some((parent, name)) = folder.parent().zip(folder.file_name()) else {
            continue; // the top
        };
        match made.get(*folder) {
            Some(true) => return Ok(None),
            Some(false) => {
                return Ok(Some(format!(
                    "{} is no directory in the archive",
                    folder.quoted()
                )))
            }
            None => {}
        }
        let there = match view.merged.walk(parent)? {
            Some(dir) => dir.stat(name)?,
            None => None,
        };
        match there {
            None => {} // it will be made
            Some(stat) if stat.kind == Kind::Directory => {}
            Some(_) => return Ok(Some(format!("{} is no directory here", folder.quoted()))),
        }
    }
    Ok(None)
}

fn apply(file: &mut File, view: &View, outcome: &mut Outcome) -> Result<()> {
    let mut folders: Vec<(PathBuf, Stat)> = Vec::new();
    let mut archive = Archive::new(file);
    let entries = archive
        .entries()
        .map_err(Error::system("read", "the archive"))?;
    let all = outcome.imported.len() + outcome.deleted.len();
    progress::begin("importing", Some(all));
    for (count, entry) in entries.skip(1).enumerate() {
        let done = || format!("{count} of {all} entries are imported");
        signals::give_up(done, AGAIN)?;
        progress::entry();
        let mut entry = entry.map_err(Error::system("read", "the archive"))?;
        let Ok(item) = item(&mut entry) else { continue }; // it was looked at
        let path = item.path.clone();
        let lost = one(view, &mut entry, &item, &mut folders);
        if lost.is_err() {
            remove_unfinished(view, &path);
            signals::give_up(done, AGAIN)?;
        }
        let lost = lost
            .map_err(Error::system("import", path.quoted()))
            .map_err(|e| e.with_remedy(AGAIN))?;
        outcome.warnings.extend(lost.iter().map(|name| {
            let (path, name) = (path.quoted(), name.quoted());
            format!("{path}: the RAM layer cannot hold the attribute {name}")
        }));
    }
    for (path, stat) in folders.iter().rev() {
        let times = |(dir, _): (Dir, &OsStr)| copy::set_own_times(stat, &dir);
        let name = path.file_name().unwrap_or_default();
        let set = view
            .merged
            .walk(path)
            .and_then(|dir| dir.map_or(Ok(()), |d| times((d, name))));
        set.map_err(Error::system("set the times of", path.quoted()))?;
    }
    Ok(())
}

/// Name of an entry that is being made, beside its place, so that programs find either the one or the other.
fn temporary() -> OsString {
    OsString::from(format!(".overlayrootctl-{}", std::process::id()))
}

/// Removes what was being made for a path.
fn remove_unfinished(view: &View, path: &Path) {
    let folder = path.parent().and_then(|p| view.merged.walk(p).ok()?);
    if let Some(folder) = folder {
        let _ = copy::remove(&folder, &temporary()); // the first error counts
    }
}

/// Brings one entry in. Returns the attributes that are lost.
fn one<R: Read>(
    view: &View,
    entry: &mut Entry<'_, R>,
    item: &Item,
    folders: &mut Vec<(PathBuf, Stat)>,
) -> io::Result<Vec<OsString>> {
    let gone = || io::Error::from(rustix::io::Errno::NOENT);
    let (parent, name) = item
        .path
        .parent()
        .zip(item.path.file_name())
        .ok_or_else(gone)?;
    let dir = make_folders(&view.merged, parent)?;
    let there = dir.stat(name)?.map(|s| s.kind);
    let temporary = temporary();
    let kind = match &item.what {
        What::Delete => {
            copy::remove(&dir, name)?;
            return Ok(Vec::new());
        }
        What::Link(to) => {
            let (parent, first) = to.parent().zip(to.file_name()).ok_or_else(gone)?;
            let from = view.merged.walk(parent)?.ok_or_else(gone)?;
            copy::remove(&dir, &temporary)?;
            rustix::fs::linkat(&from, first, &dir, &temporary, AtFlags::empty())?;
            take_place(&dir, &temporary, name, there)?;
            return Ok(Vec::new());
        }
        What::Make(kind) => *kind,
    };
    if kind == Kind::Directory && there == Some(kind) {
        let held = dir.hold(name)?;
        let (stat, lost) = furnish(view, entry, &held)?;
        folders.push((item.path.clone(), stat));
        return Ok(lost);
    }
    copy::remove(&dir, &temporary)?;
    let held = make(entry, kind, &dir, &temporary)?;
    let (stat, lost) = furnish(view, entry, &held)?;
    if kind == Kind::Directory {
        folders.push((item.path.clone(), stat));
    }
    take_place(&dir, &temporary, name, there)?;
    Ok(lost)
}

/// Gives a new entry its name; what has it goes.
fn take_place(dir: &Dir, new: &OsStr, name: &OsStr, there: Option<Kind>) -> io::Result<()> {
    let is_dir = dir.stat(new)?.is_some_and(|s| s.kind == Kind::Directory);
    if there == Some(Kind::Directory) || (is_dir && there.is_some()) {
        copy::remove(dir, name)?;
    }
    Ok(rustix::fs::renameat(dir, new, dir, name)?)
}

/// Opens a directory; those that are missing are made, as `tar` does.
fn make_folders(top: &Dir, path: &Path) -> io::Result<Dir> {
    let mut here = top.again()?;
    for part in path.components().skip(1) {
        let name = part.as_os_str();
        if here.stat(name)?.is_none() {
            rustix::fs::mkdirat(&here, name, Mode::from_raw_mode(0o755))?;
        }
        here = here.dir(name)?;
    }
    Ok(here)
}

/// Makes an entry for root only; it gets owner and mode later.
fn make<R: Read>(
    entry: &mut Entry<'_, R>,
    kind: Kind,
    dir: &Dir,
    name: &OsStr,
) -> io::Result<Held> {
    let mode = Mode::RUSR | Mode::WUSR;
    let node = |kind: FileType, device: (u32, u32)| {
        let device = rustix::fs::makedev(device.0, device.1);
        rustix::fs::mknodat(dir, name, kind, mode, device)
    };
    match kind {
        Kind::File => {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
            let file = rustix::fs::openat(dir, name, flags | OFlags::CLOEXEC, mode)?;
            let mut file = File::from(file);
            io::copy(&mut Counted(entry), &mut file)?;
            return Ok(Held::of(file.into()));
        }
        Kind::Directory => rustix::fs::mkdirat(dir, name, Mode::RWXU)?,
        Kind::Symlink => {
            let target = entry.link_name_bytes().unwrap_or_default().into_owned();
            rustix::fs::symlinkat(target, dir, name)?;
        }
        Kind::CharDevice => node(FileType::CharacterDevice, device(entry).unwrap_or_default())?,
        Kind::BlockDevice => node(FileType::BlockDevice, device(entry).unwrap_or_default())?,
        Kind::Fifo | Kind::Socket => node(FileType::Fifo, (0, 0))?,
    }
    dir.hold(name)
}

/// Owner, mode, times and attributes. Returns what was set, and which attributes the RAM layer cannot hold.
fn furnish<R: Read>(
    view: &View,
    entry: &mut Entry<'_, R>,
    held: &Held,
) -> io::Result<(Stat, Vec<OsString>)> {
    let number = |value: u64| u32::try_from(value).map_err(io::Error::other);
    let mut stat = held.stat()?;
    stat.mode = entry.header().mode()? & 0o7777;
    stat.uid = number(entry.header().uid()?)?;
    stat.gid = number(entry.header().gid()?)?;
    stat.modified = (i64::try_from(entry.header().mtime()?).unwrap_or(0), 0);
    let (mut xattrs, mut lost) = (Xattrs::new(), Vec::new());
    for record in entry.pax_extensions()?.into_iter().flatten() {
        let record = record?;
        if record.key_bytes() == b"mtime" {
            stat.modified = time(record.value_bytes()).unwrap_or(stat.modified);
        }
        let key = record.key().unwrap_or_default();
        let Some(name) = key.strip_prefix(archive::XATTR) else {
            continue;
        };
        // Marks of overlayfs are nobody's to set.
        if name.starts_with("trusted.overlay.") {
            continue;
        }
        let (name, value) = (OsString::from(name), archive::decode(record.value_bytes())?);
        match view.holds(&name, &value) {
            true => drop(xattrs.insert(name, value)),
            false => lost.push(name),
        }
    }
    copy::set_attributes(&stat, &xattrs, held)?;
    Ok((stat, lost))
}

/// `seconds.nanoseconds`.
fn time(text: &[u8]) -> Option<(i64, i64)> {
    let (seconds, rest) = std::str::from_utf8(text).ok()?.split_once('.')?;
    let nanoseconds = (rest.len() == 9).then(|| rest.parse().ok())?;
    Some((seconds.parse().ok()?, nanoseconds?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_nine_digits() {
        assert_eq!(time(b"12.000000345"), Some((12, 345)));
        assert_eq!(time(b"12.5"), None);
        assert_eq!(time(b"12"), None);
    }
}
