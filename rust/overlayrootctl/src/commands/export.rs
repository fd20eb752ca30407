// SPDX-License-Identifier: MIT
//! `export`: writes changes into an archive, for other boards.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use clap::{value_parser, Arg, ArgMatches, Command};
use serde::Serialize;
use tar::{Builder, EntryType, Header};

use crate::archive::{self, Image, Manifest};
use crate::commitlist::CommitList;
use crate::error::{Error, Result};
use crate::exit;
use crate::layers::changes::{changes, no_such_path, Change, Found, How, Renames};
use crate::layers::compare::{wanted_xattrs, At};
use crate::layers::dir::{Dir, Held, Kind, Stat};
use crate::layers::view::{unshare_mounts, View};
use crate::live::Live;
use crate::output::{tell, Output};
use crate::paths;
use crate::privilege::need_root;
use crate::progress::{self, Counted};
use crate::quoting::Quote;
use crate::signals;

/// The command.
pub const ENTRY: super::Entry = super::Entry {
    name: "export",
    define,
    run,
};

/// What makes a board that one board, besides what `commit --all` leaves out.
const IDENTITY: &str = "exclude /etc/ssh/ssh_host_*\nexclude /etc/dropbear/*_host_key\n";

fn define() -> Command {
    Command::new("export")
        .about("Write changes into an archive, for overlayrootctl import on other boards")
        .arg(
            Arg::new("file")
                .value_name("FILE")
                .required(true)
                .value_parser(value_parser!(PathBuf))
                .help("The archive, a tar file; - is standard output"),
        )
        .arg(
            Arg::new("paths")
                .value_name("PATH")
                .num_args(1..)
                .value_parser(value_parser!(PathBuf))
                .help("Only these, directories with all that is below [default: everything but what commit --all leaves out, and host keys]"),
        )
}

/// What was written; field names are those of the JSON.
#[derive(Default, Serialize)]
struct Outcome {
    #[serde(with = "crate::jsonpath")]
    file: PathBuf,
    #[serde(serialize_with = "crate::jsonpath::list")]
    exported: Vec<PathBuf>,
    #[serde(serialize_with = "crate::jsonpath::list")]
    deleted: Vec<PathBuf>,
    skipped: Vec<Skipped>,
}

#[derive(Serialize)]
struct Skipped {
    #[serde(with = "crate::jsonpath")]
    path: PathBuf,
    reason: String,
}

fn run(matches: &ArgMatches, output: &Output) -> Result<u8> {
    need_root("to read every file, and the marks of the upper layer")?;
    let file = matches
        .get_one::<PathBuf>("file")
        .cloned()
        .unwrap_or_default();
    let to_stdout = file == Path::new("-");
    if to_stdout && (output.json || io::stdout().is_terminal()) {
        return Err(Error::Usage {
            what: "the archive would go where something else goes".to_owned(),
            remedy: "name a file; or send standard output into one, without --json",
        });
    }
    let live = Live::look()?;
    let layers = live.layers()?;
    let named = matches.get_many::<PathBuf>("paths").into_iter().flatten();
    let named: Vec<PathBuf> = named
        .map(|p| paths::inside_root(p))
        .collect::<Result<_>>()?;
    let mut list = CommitList::default();
    if named.is_empty() {
        list = CommitList::read()?;
        list.add(Path::new(env!("CARGO_PKG_NAME")), IDENTITY.as_bytes())?;
    }
    unshare_mounts(layers)?;
    let view = View::open(layers)?;
    let mut found = Found::default();
    for path in match named.is_empty() {
        true => vec![PathBuf::from("/")],
        false => named,
    } {
        let below = changes(&view, &path, Renames::Expanded)?;
        let below = below.ok_or_else(|| no_such_path(&path))?;
        found.changes.extend(below.changes);
        found.left_out.extend(below.left_out);
    }
    let code = match found.left_out.is_empty() {
        true => exit::DONE,
        false => exit::FAILED,
    };
    let outcome = match to_stdout {
        true => write(&view, Box::new(io::stdout()), &file, found, &list)?,
        false => {
            let to = File::create(&file).map_err(Error::system("write", file.quoted()))?;
            let is_file = to.metadata().is_ok_and(|m| m.is_file());
            let write = || write(&view, Box::new(to), &file, found, &list);
            // A pipe may have nobody who reads from it: there nothing is held back.
            let written = if is_file {
                signals::held_back(write)
            } else {
                write()
            };
            if written.is_err() && is_file {
                let _ = std::fs::remove_file(&file); // half an archive, which import would refuse
            }
            written?
        }
    };
    if to_stdout {
        for skipped in &outcome.skipped {
            tell(&format!(
                "left out {}: {}",
                skipped.path.quoted(),
                skipped.reason
            ));
        }
        return Ok(code);
    }
    output.print(&outcome, |out| {
        for skipped in &outcome.skipped {
            writeln!(
                out,
                "left out {}: {}",
                skipped.path.quoted(),
                skipped.reason
            )?;
        }
        let (files, deleted) = (outcome.exported.len(), outcome.deleted.len());
        writeln!(
            out,
            "{}: {files} entries, {deleted} deletions",
            file.quoted()
        )
    })?;
    Ok(code)
}

/// Writes all of it.
fn write(
    view: &View,
    to: Box<dyn Write>,
    file: &Path,
    found: Found,
    list: &CommitList,
) -> Result<Outcome> {
    let mut writer = Writer {
        view,
        tar: Builder::new(io::BufWriter::new(to)),
        first_names: HashMap::new(),
        own: std::fs::metadata(file).map(|m| (m.dev(), m.ino())).ok(),
        outcome: Outcome {
            file: file.to_owned(),
            ..Outcome::default()
        },
    };
    writer
        .manifest()
        .map_err(Error::system("write", file.quoted()))?;
    for one in found.left_out {
        writer.skip(one.path, &one.reason);
    }
    progress::begin("exporting", Some(found.changes.len()));
    for change in found.changes {
        let give_up = || signals::give_up(|| "no archive was written".to_owned(), "");
        give_up()?;
        progress::entry();
        match objection(&change, list) {
            Some(reason) => writer.skip(change.path, reason),
            None => {
                let added = writer.add(&change);
                if added.is_err() {
                    give_up()?;
                }
                added.map_err(Error::system("export", change.path.quoted()))?;
            }
        }
    }
    writer
        .finish()
        .map_err(Error::system("write", file.quoted()))
}

fn objection(change: &Change, list: &CommitList) -> Option<&'static str> {
    let name = change.path.file_name().unwrap_or_default();
    if change.from_init {
        Some("the init's copy: the original has entries that are not for this system")
    } else if change.kind == Kind::Socket {
        Some("a socket")
    } else if archive::deleted(Path::new(name)).is_some() {
        Some("such a name means a deleted file in an archive")
    } else if list.excludes(&change.path, change.kind == Kind::Directory) {
        Some("a line of commit.d, or a host key; name it to export it")
    } else {
        None
    }
}

struct Writer<'a> {
    view: &'a View,
    tar: Builder<io::BufWriter<Box<dyn Write>>>,
    /// Of files with several names.
    first_names: HashMap<(u64, u64), PathBuf>,
    /// The archive itself.
    own: Option<(u64, u64)>,
    outcome: Outcome,
}

/// A path as it is in the archive.
fn below(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}

impl Writer<'_> {
    fn skip(&mut self, path: PathBuf, reason: &str) {
        let reason = reason.to_owned();
        self.outcome.skipped.push(Skipped { path, reason });
    }

    fn manifest(&mut self) -> io::Result<()> {
        let manifest = Manifest {
            format: archive::FORMAT,
            overlayrootctl: env!("CARGO_PKG_VERSION").to_owned(),
            image: Image::here(),
        };
        let text = serde_json::to_vec_pretty(&manifest)?;
        let mut header = Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(text.len() as u64);
        self.tar.append_data(&mut header, archive::MANIFEST, &*text)
    }

    fn add(&mut self, change: &Change) -> io::Result<()> {
        let path = below(&change.path);
        let mut header = Header::new_gnu();
        header.set_size(0);
        if change.how == How::Deleted {
            header.set_mode(0);
            let path = archive::whiteout(path);
            self.tar.append_data(&mut header, path, io::empty())?;
            self.outcome.deleted.push(change.path.clone());
            return Ok(());
        }
        let gone = || io::Error::from(io::ErrorKind::NotFound);
        let (parent, name) = change
            .path
            .parent()
            .zip(change.path.file_name())
            .ok_or_else(gone)?;
        let dir = self.view.merged.walk(parent)?.ok_or_else(gone)?;
        let held = dir.hold(name)?;
        let stat = held.stat()?;
        if self.own == Some(stat.id) {
            self.skip(change.path.clone(), "the archive itself");
            return Ok(());
        }
        if stat.kind != Kind::Directory && stat.links > 1 {
            if let Some(first) = self.first_names.get(&stat.id) {
                header.set_entry_type(EntryType::Link);
                self.tar.append_link(&mut header, path, below(first))?;
                self.outcome.exported.push(change.path.clone());
                return Ok(());
            }
            self.first_names.insert(stat.id, change.path.clone());
        }
        fill(&mut header, &stat)?;
        self.records(&held, &stat, parent, name)?;
        match stat.kind {
            Kind::Symlink => {
                let target = held.link()?;
                match header.set_link_name_literal(target.as_bytes()) {
                    Ok(()) => self.tar.append_data(&mut header, path, io::empty())?,
                    Err(_) => self.tar.append_link(&mut header, path, &target)?,
                }
            }
            Kind::File => {
                // As long as the header says, whatever is done to the file meanwhile.
                let data = Counted(held.file()?).chain(io::repeat(0)).take(stat.size);
                self.tar.append_data(&mut header, path, data)?;
                if !stat.is_unchanged(&held.stat()?) {
                    return Err(io::Error::from(rustix::io::Errno::TXTBSY));
                }
            }
            _ => self.tar.append_data(&mut header, path, io::empty())?,
        }
        self.outcome.exported.push(change.path.clone());
        Ok(())
    }

    /// What a header has no place for: attributes, and parts of a second.
    fn records(&mut self, held: &Held, stat: &Stat, parent: &Path, name: &OsStr) -> io::Result<()> {
        let old: Option<Dir> = self.view.lower.walk(parent)?;
        let old = match &old {
            Some(old) if old.stat(name)?.is_some_and(|s| s.kind == stat.kind) => {
                Some(At::new(old, name))
            }
            _ => None,
        };
        let holds = |name: &OsStr, value: &[u8]| self.view.holds(name, value);
        let xattrs = wanted_xattrs(held.xattrs()?, old, &holds)?;
        let (seconds, nanoseconds) = stat.modified;
        let mut records = Vec::new();
        if seconds >= 0 {
            records.push(("mtime".to_owned(), format!("{seconds}.{nanoseconds:09}")));
        }
        for (name, value) in &xattrs {
            let name = name.to_str().ok_or_else(|| {
                io::Error::other(
                    "the name of an extended attribute is not UTF-8, as an archive needs it",
                )
            })?;
            records.push((format!("{}{name}", archive::XATTR), archive::encode(value)));
        }
        let records = records
            .iter()
            .map(|(key, value)| (&**key, value.as_bytes()));
        self.tar.append_pax_extensions(records)
    }

    fn finish(self) -> io::Result<Outcome> {
        let buffer = self.tar.into_inner()?;
        buffer
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?
            .flush()?;
        Ok(self.outcome)
    }
}

fn fill(header: &mut Header, stat: &Stat) -> io::Result<()> {
    header.set_mode(stat.mode);
    header.set_uid(stat.uid.into());
    header.set_gid(stat.gid.into());
    header.set_mtime(u64::try_from(stat.modified.0).unwrap_or(0));
    header.set_entry_type(match stat.kind {
        Kind::Directory => EntryType::Directory,
        Kind::Symlink => EntryType::Symlink,
        Kind::CharDevice => EntryType::Char,
        Kind::BlockDevice => EntryType::Block,
        Kind::Fifo => EntryType::Fifo,
        Kind::File | Kind::Socket => EntryType::Regular,
    });
    if stat.kind == Kind::File {
        header.set_size(stat.size);
    }
    if matches!(stat.kind, Kind::CharDevice | Kind::BlockDevice) {
        header.set_device_major(stat.device.0)?;
        header.set_device_minor(stat.device.1)?;
    }
    Ok(())
}
