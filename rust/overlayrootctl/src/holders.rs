// SPDX-License-Identifier: MIT
//! Who uses the real root in a way that keeps it writable.

use crate::quoting::Quote;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

/// As much of a command line as a message takes, characters.
const LONGEST: usize = 60;

/// How long processes are looked at: some do not let themselves be seen, for instance one whose file is on a
/// network or FUSE file system that does not answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Processes that have files of this device open for writing, or use deleted ones, each as text. Ends after
/// [`PATIENCE`], with those that were found until then.
pub fn writers(device: u64) -> Vec<String> {
    let seen = gather(PATIENCE, move |found| {
        for (pid, folder) in processes() {
            let what = open_file(&folder, device).or_else(|| mapped_file(&folder, device));
            let Some(what) = what else { continue };
            // An error: nobody waits any more.
            let _ = found.send(format!("{} (process {pid}: {what})", name(&folder)));
        }
    });
    seen.unwrap_or_else(|mut some| {
        some.push("perhaps others: not all processes could be looked at".to_owned());
        some
    })
}

/// What `look` sends; an error, with what was sent so far, when it takes longer than `patience`. A look that
/// never ends does so on a thread of its own, which ends with the program.
fn gather<T: Send + 'static>(
    patience: Duration,
    look: impl FnOnce(Sender<T>) + Send + 'static,
) -> Result<Vec<T>, Vec<T>> {
    let (sender, receiver) = mpsc::channel();
    let (start, mut found) = (Instant::now(), Vec::new());
    let thread = std::thread::Builder::new().spawn(move || look(sender));
    if thread.is_err() {
        return Err(found);
    }
    loop {
        match receiver.recv_timeout(patience.saturating_sub(start.elapsed())) {
            Ok(one) => found.push(one),
            Err(RecvTimeoutError::Disconnected) => return Ok(found),
            Err(RecvTimeoutError::Timeout) => return Err(found),
        }
    }
}

/// Processes, other than this one, in the same mount namespace.
pub fn companions() -> Vec<(i32, String)> {
    let namespace = |folder: &Path| fs::read_link(folder.join("ns/mnt")).ok();
    let Some(mine) = namespace(Path::new("/proc/self")) else {
        return Vec::new();
    };
    let own = std::process::id() as i32;
    processes()
        .filter(|(pid, folder)| *pid != own && namespace(folder).as_ref() == Some(&mine))
        .map(|(pid, folder)| (pid, name(&folder)))
        .collect()
}

fn processes() -> impl Iterator<Item = (i32, std::path::PathBuf)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        Some((pid, entry.path()))
    })
}

/// The command line of a process, shortened; the kernel's name for it when it has none.
fn name(folder: &Path) -> String {
    let line = fs::read(folder.join("cmdline")).unwrap_or_default();
    let words = line.split(|&b| b == 0).map(String::from_utf8_lossy);
    let line = words.collect::<Vec<_>>().join(" ");
    let line: String = line.trim_end().chars().take(LONGEST).collect();
    if !line.is_empty() {
        return line;
    }
    let name = fs::read_to_string(folder.join("comm")).unwrap_or_default();
    name.trim_end().to_owned()
}

fn open_file(folder: &Path, device: u64) -> Option<String> {
    for entry in fs::read_dir(folder.join("fd")).ok()?.flatten() {
        let Ok(meta) = fs::metadata(entry.path()) else {
            continue;
        };
        if meta.dev() != device {
            continue;
        }
        let path = fs::read_link(entry.path()).unwrap_or_default();
        if meta.nlink() == 0 {
            return Some(format!("{} is deleted and open", path.quoted()));
        }
        let info = folder.join("fdinfo").join(entry.file_name());
        if is_for_writing(&fs::read_to_string(info).unwrap_or_default()) {
            return Some(format!("{} is open for writing", path.quoted()));
        }
    }
    None
}

/// The line `flags:` of `/proc/PID/fdinfo/N`, octal, has the access mode in its last two bits.
fn is_for_writing(info: &str) -> bool {
    let flags = info.lines().find_map(|l| l.strip_prefix("flags:"));
    let flags = flags.and_then(|f| u32::from_str_radix(f.trim(), 8).ok());
    flags.is_some_and(|f| f & 0o3 != 0 && f & 0o3 != 0o3)
}

/// A line of `/proc/PID/maps`: a shared writable mapping, or one of a deleted file.
fn mapped_file(folder: &Path, device: u64) -> Option<String> {
    let maps = fs::read(folder.join("maps")).ok()?;
    let maps = String::from_utf8_lossy(&maps);
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let device = format!("{major:02x}:{minor:02x}");
    maps.lines().find_map(|line| mapping(line, &device))
}

fn mapping(line: &str, device: &str) -> Option<String> {
    let mut fields = line.split_ascii_whitespace();
    let (_, access, _, on) = (
        fields.next()?,
        fields.next()?,
        fields.next()?,
        fields.next()?,
    );
    if on != device {
        return None;
    }
    let path = line.find('/').and_then(|at| line.get(at..)).unwrap_or("/");
    match (
        access.contains('w') && access.ends_with('s'),
        path.ends_with(" (deleted)"),
    ) {
        (_, true) => Some(format!("{} is mapped", path.quoted())),
        (true, _) => Some(format!("{} is mapped for writing", path.quoted())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn what_cannot_be_looked_at_holds_nobody_up() {
        let patience = Duration::from_millis(200);
        let found = gather(patience, |found| {
            found.send(1).unwrap();
            std::thread::sleep(Duration::from_secs(3600));
            let _ = found.send(2);
        });
        assert_eq!(found, Err(vec![1]));
        let found = gather(Duration::from_secs(600), |found| {
            found.send(1).unwrap();
            found.send(2).unwrap();
        });
        assert_eq!(found, Ok(vec![1, 2]));
    }

    #[test]
    fn who_writes_and_who_keeps_deleted_files() {
        let folder = tempfile::tempdir().unwrap();
        let device = fs::metadata(folder.path()).unwrap().dev();
        let me = format!("process {}", std::process::id());
        let mut file = fs::File::create(folder.path().join("written")).unwrap();
        file.write_all(b"x").unwrap();
        let found = writers(device);
        assert!(found.iter().any(|f| f.contains(&me)), "{found:?}");
        assert!(!is_for_writing("pos:\t0\nflags:\t0100000\n"));
        assert!(is_for_writing("flags:\t0100002\n") && is_for_writing("flags:\t02100001"));
        assert_eq!(
            mapping("7f00-7f01 rw-s 00000000 62:00 12 /a b", "62:00").unwrap(),
            "\"/a b\" is mapped for writing"
        );
        assert_eq!(
            mapping(
                "7f00-7f01 r-xp 00000000 62:00 12  /lib/x (deleted)",
                "62:00"
            )
            .unwrap(),
            "\"/lib/x (deleted)\" is mapped"
        );
        assert_eq!(
            mapping("7f00-7f01 r-xp 00000000 62:00 12 /lib/x", "62:00"),
            None
        );
        assert_eq!(mapping("7f00-7f01 rw-p 00000000 00:00 0", "62:00"), None);
    }
}
