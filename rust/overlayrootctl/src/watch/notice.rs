// SPDX-License-Identifier: MIT
//! A change of level, told to the kernel log (and with it to the journal), to a command, and as JSON.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::level::Level;
use super::writers::Writer;
use crate::output::tell;
use crate::quoting::{self, Quote};
use crate::ramlayer::Layer;

/// The kernel log; journald and syslog daemons read it.
const KMSG: &str = "/dev/kmsg";
/// The longest that a command may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A change of level.
#[derive(Debug, Serialize)]
pub struct Notice {
    /// The new level.
    pub level: Level,
    /// Percent in use, of bytes or inodes, whichever is more.
    pub percent: u64,
    /// The layer.
    pub layer: Layer,
    /// What has grown most since the last change of level, or since the start.
    pub writers: Vec<Writer>,
}

impl Notice {
    /// One line.
    pub fn text(&self) -> String {
        let mut text = format!("RAM layer {} % full: {}", self.percent, self.layer);
        if self.level == Level::Normal {
            return format!("{text}: enough is free again");
        }
        if !self.writers.is_empty() {
            let names = self.writers.iter().map(with_growth);
            text.push_str(&format!(
                "; most grown: {}",
                names.collect::<Vec<_>>().join(", ")
            ));
        }
        text.push_str(". Remove files, or enlarge it: overlayrootctl size --now VALUE");
        text
    }

    /// To the kernel log, or to standard error where that cannot be written.
    pub fn log(&self) {
        let (priority, word) = match self.level {
            Level::Normal => (6, ""),
            Level::Warning => (4, "warning: "),
            Level::Critical => (2, "critical: "),
        };
        let text = self.text();
        let text = quoting::line(&text);
        let line = format!("<{priority}>overlayroot: {word}{text}\n");
        let written = OpenOptions::new()
            .write(true)
            .open(KMSG)
            .and_then(|mut log| log.write_all(line.as_bytes()));
        if let Err(error) = written {
            log::debug!("{KMSG}: {error}");
            tell(&format!("overlayroot: {word}{text}"));
        }
    }

    /// Runs a command of the owner with the facts in its environment. One that does not end is killed.
    pub fn run(&self, command: &str) -> io::Result<()> {
        let writers: Vec<String> = self
            .writers
            .iter()
            .map(|writer| writer.path.quoted().to_string())
            .collect();
        let mut child = Command::new("/bin/sh")
            .args(["-c", command])
            .env("OVERLAYROOT_LEVEL", self.level.as_str())
            .env("OVERLAYROOT_PERCENT", self.percent.to_string())
            .env("OVERLAYROOT_TEXT", self.text())
            .env("OVERLAYROOT_WRITERS", writers.join("\n"))
            .stdin(Stdio::null())
            .spawn()?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            match child.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(io::Error::other(status.to_string())),
                None if Instant::now() < deadline => sleep(Duration::from_millis(50)),
                None => {
                    child.kill()?;
                    child.wait()?;
                    let text = format!("it took more than {} s and was killed", PATIENCE.as_secs());
                    return Err(io::Error::new(io::ErrorKind::TimedOut, text));
                }
            }
        }
    }
}

/// `/srv/data 40 MiB 7 inodes`
fn with_growth(writer: &Writer) -> String {
    let mut text = writer.path.quoted().to_string();
    match writer.grown.bytes >> 10 {
        0 => {}
        kib if kib < 1 << 10 => text.push_str(&format!(" {kib} KiB")),
        kib => text.push_str(&format!(" {} MiB", kib >> 10)),
    }
    if writer.grown.inodes > 1 {
        text.push_str(&format!(" {} inodes", writer.grown.inodes));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::writers::Use;
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;

    fn notice(level: Level) -> Notice {
        Notice {
            level,
            percent: 81,
            layer: Layer {
                path: "/mnt/root-RW".into(),
                size_bytes: 64 << 20,
                used_bytes: 52 << 20,
                size_inodes: 16384,
                used_inodes: 120,
            },
            writers: vec![Writer {
                path: "/srv/data".into(),
                grown: Use {
                    bytes: 40 << 20,
                    inodes: 7,
                },
            }],
        }
    }

    #[test]
    fn the_text_names_writers_and_the_remedy() {
        assert_eq!(
            notice(Level::Warning).text(),
            "RAM layer 81 % full: 64 MiB (52 used), 16384 inodes (120 used); most grown: /srv/data 40 MiB \
             7 inodes. Remove files, or enlarge it: overlayrootctl size --now VALUE"
        );
        assert!(notice(Level::Normal)
            .text()
            .ends_with("enough is free again"));
    }

    #[test]
    fn a_name_forges_no_line() {
        let mut notice = notice(Level::Warning);
        for writer in &mut notice.writers {
            writer.path = OsString::from_vec(b"/srv/\xff\n<0>gone\x1b[2J".to_vec()).into();
        }
        let name = "\"/srv/\\377\\n<0>gone\\033[2J\"";
        assert!(notice
            .text()
            .contains(&format!("most grown: {name} 40 MiB")));
        let json = serde_json::to_string(&notice).unwrap();
        assert!(
            json.contains("\"path\":[47,115,114,118,47,255,10,"),
            "{json}"
        );
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("said");
        let command = format!("printf %s \"$OVERLAYROOT_WRITERS\" >{}", file.quoted());
        notice.run(&command).unwrap();
        assert_eq!(std::fs::read_to_string(file).unwrap(), name);
    }

    #[test]
    fn a_command_gets_the_facts() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("said");
        let command = format!(
            "echo $OVERLAYROOT_LEVEL $OVERLAYROOT_PERCENT $OVERLAYROOT_WRITERS >{}",
            file.quoted()
        );
        notice(Level::Critical).run(&command).unwrap();
        assert_eq!(
            std::fs::read_to_string(file).unwrap(),
            "critical 81 /srv/data\n"
        );
        assert_eq!(
            notice(Level::Normal).run("exit 3").unwrap_err().to_string(),
            "exit status: 3"
        );
    }
}
