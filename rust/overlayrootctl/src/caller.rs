// SPDX-License-Identifier: MIT
//! Who asked for what is done, and a note of it in the kernel's log, which journald and syslogd keep.

use std::fs;
use std::io::Write;
use std::path::Path;

use crate::quoting::{self, Quote};
use crate::writer::record::By;

/// As much of a command line as is kept, characters.
const LONGEST_COMMAND: usize = 300;
/// As much as one line of the kernel's log takes on every kernel, bytes (`LOG_LINE_MAX`, less its own words).
const LONGEST_LINE: usize = 800;
/// A notice (5) of a program (1 << 3).
const PRIORITY: &str = "<13>";

/// Who runs this program: the user who logged in, before sudo.
pub fn look() -> By {
    let words = std::env::args_os().map(|word| word.quoted().to_string());
    let command: Vec<String> = words.collect();
    By {
        user: user(),
        terminal: terminal(),
        command: command.join(" ").chars().take(LONGEST_COMMAND).collect(),
    }
}

/// The kernel's own mark of who logged in, which nobody can change; without one, what sudo says.
fn user() -> String {
    let number = fs::read_to_string("/proc/self/loginuid").ok();
    let number = number.and_then(|text| text.trim().parse::<u32>().ok());
    let passwd = || fs::read("/etc/passwd").unwrap_or_default();
    let login = number.filter(|number| *number != u32::MAX);
    let own = || rustix::process::getuid().as_raw();
    match (login, std::env::var("SUDO_USER")) {
        (None, Ok(user)) => user.chars().take(64).collect(),
        (number, _) => {
            let number = number.unwrap_or_else(own);
            let unnamed = || match number {
                0 => "root".to_owned(),
                number => format!("user {number}"),
            };
            name_of(&String::from_utf8_lossy(&passwd()), number).unwrap_or_else(unnamed)
        }
    }
}

fn name_of(passwd: &str, number: u32) -> Option<String> {
    let line = passwd.lines().find(|line| {
        let field = line.split(':').nth(2);
        field.and_then(|f| f.parse().ok()) == Some(number)
    });
    let name = line?.split(':').next()?;
    Some(name.chars().take(64).collect())
}

/// The terminal of this program, when it has one.
fn terminal() -> Option<String> {
    (0..3).find_map(|fd| {
        let path = fs::read_link(format!("/proc/self/fd/{fd}")).ok()?;
        let name = path.to_str()?.to_owned();
        let is_terminal = name.starts_with("/dev/tty") || name.starts_with("/dev/pts/");
        is_terminal.then_some(name)
    })
}

/// Says in the kernel's log what was done. Where there is none, nobody hears it.
pub fn note(by: &By, what: &str) {
    let terminal = by.terminal.as_deref().unwrap_or("no terminal");
    let text = format!("overlayrootctl: {what}; by {} ({terminal})", by.user);
    let mut line: String = quoting::line(&text).into_owned();
    if line.len() > LONGEST_LINE {
        let end = (0..=LONGEST_LINE)
            .rev()
            .find(|at| line.is_char_boundary(*at));
        line.truncate(end.unwrap_or(0));
    }
    let log = fs::OpenOptions::new()
        .write(true)
        .open(Path::new("/dev/kmsg"));
    let written = log.and_then(|mut log| log.write_all(format!("{PRIORITY}{line}\n").as_bytes()));
    if let Err(error) = written {
        log::debug!("cannot write to /dev/kmsg: {error}");
    }
}

/// Some paths, as many as fit, and how many there are besides.
pub fn some<'a>(paths: impl ExactSizeIterator<Item = &'a Path>) -> String {
    let (all, mut shown, mut text) = (paths.len(), 0, String::new());
    for path in paths {
        let name = path.quoted().to_string();
        if text.len() + name.len() > LONGEST_LINE / 2 {
            break;
        }
        text += if shown > 0 { ", " } else { "" };
        text += &name;
        shown += 1;
    }
    match all - shown {
        0 => text,
        more if shown == 0 => format!("{more} paths"),
        more => format!("{text} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_lists() {
        let passwd = "root:x:0:0::/root:/bin/sh\nalice:x:1000:1000::/:/bin/sh\n";
        assert_eq!(name_of(passwd, 1000).as_deref(), Some("alice"));
        assert_eq!(name_of(passwd, 7), None);
        let paths = ["/a", "/b c"].map(Path::new);
        assert_eq!(some(paths.into_iter()), "/a, \"/b c\"");
        let long = format!("/{}", "x".repeat(150));
        let many = vec![Path::new(&long); 100];
        let text = some(many.iter().copied());
        assert!(text.ends_with(" and 98 more") && text.len() < 400, "{text}");
        assert!(!look().command.is_empty());
    }
}
