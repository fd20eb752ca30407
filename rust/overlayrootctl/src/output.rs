// SPDX-License-Identifier: MIT
//! Standard output: text for people, JSON for programs; colours on a terminal only. What others made (names,
//! labels, messages) goes through [`quoting`].
//!
//! JSON is always one object: [`VERSION`], the name of the command, and the command's own fields, or `error`,
//! `remedy` and `exit_code`. `docs/schema/` has a schema for each command.

use std::ffi::OsString;
use std::fmt;
use std::io::{self, IsTerminal, Write};

use serde::Serialize;
use serde_json::json;

use crate::error::{Error, Result};
use crate::{progress, quoting};

/// Version of the JSON: raised when a field goes or means something else, not when one is added.
pub const VERSION: u32 = 1;

/// How to print.
pub struct Output {
    /// JSON instead of text.
    pub json: bool,
    /// Name of the command; empty when the command line names none.
    command: String,
    color: bool,
}

/// What a piece of text means, for its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// As it should be.
    Good,
    /// To look at.
    Warning,
    /// Wrong.
    Bad,
    /// A heading or a name.
    Strong,
}

/// Text in a colour.
pub struct Colored<'a> {
    text: &'a str,
    code: Option<&'static str>,
}

impl fmt::Display for Colored<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code {
            Some(code) => write!(f, "\x1b[{code}m{}\x1b[0m", self.text),
            None => f.write_str(self.text),
        }
    }
}

impl Output {
    /// To standard output, for a command.
    pub fn new(json: bool, command: &str) -> Output {
        Output {
            json,
            command: command.to_owned(),
            color: colored(&io::stdout()),
        }
    }

    /// `text` in the colour of `tone`, on a terminal.
    pub fn tone<'a>(&self, tone: Tone, text: &'a str) -> Colored<'a> {
        let code = match tone {
            Tone::Good => "32",
            Tone::Warning => "33",
            Tone::Bad => "31;1",
            Tone::Strong => "1",
        };
        Colored {
            text,
            code: self.color.then_some(code),
        }
    }

    /// A command's fields in the object that all commands print.
    fn object<'a, T: Serialize>(&'a self, fields: &'a T) -> Object<'a, T> {
        Object {
            version: VERSION,
            command: &self.command,
            fields,
        }
    }

    /// Prints `value`, which has fields, as JSON, or what `text` writes.
    pub fn print(
        &self,
        value: &impl Serialize,
        text: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<()> {
        progress::erase();
        let mut out = io::BufWriter::new(io::stdout().lock());
        let written = if self.json {
            serde_json::to_string_pretty(&self.object(value))
                .map_err(io::Error::from)
                .and_then(|text| writeln!(out, "{}", quoting::json(&text)))
        } else {
            text(&mut out)
        };
        unless_closed(written.and_then(|()| out.flush())).map_err(|error| match error {
            Error::System { cause, .. } => Error::Output(cause),
            other => other,
        })
    }

    /// Prints a text as it is.
    pub fn print_text(&self, text: &str) -> Result<()> {
        let mut out = io::stdout().lock();
        unless_closed(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
    }

    /// Prints `value` as one line of JSON: for programs that go on.
    pub fn print_line(&self, value: &impl Serialize) -> Result<()> {
        let mut out = io::stdout().lock();
        let written = serde_json::to_string(&self.object(value))
            .map_err(io::Error::from)
            .and_then(|text| writeln!(out, "{}", quoting::json(&text)));
        let written = written.and_then(|()| out.flush());
        written.map_err(Error::system("write to", "standard output"))
    }

    /// Says what went wrong: text on standard error, and an object on standard output with `--json`.
    pub fn error(&self, error: &Error) {
        let (on, off) = if colored(&io::stderr()) {
            ("\x1b[31;1m", "\x1b[0m")
        } else {
            ("", "")
        };
        tell(&format!(
            "{on}error:{off} {}",
            quoting::line(&error.to_string())
        ));
        if !error.remedy().is_empty() {
            tell(&format!("remedy: {}", quoting::line(error.remedy())));
        }
        self.error_object(&error.to_string(), error.remedy(), error.exit_code());
    }

    /// The object of an error, with `--json`.
    pub fn error_object(&self, error: &str, remedy: &str, exit_code: u8) {
        if self.json {
            let fields = json!({ "error": error, "remedy": remedy, "exit_code": exit_code });
            let _ = self.print(&fields, |_| Ok(())); // the text on standard error has said it
        }
    }
}

/// What every command prints with `--json`.
#[derive(Serialize)]
struct Object<'a, T> {
    version: u32,
    command: &'a str,
    #[serde(flatten)]
    fields: &'a T,
}

/// A line on standard error. Where that cannot be written either, no place is left to say so.
pub fn tell(line: &str) {
    progress::erase();
    let _ = writeln!(io::stderr(), "{line}");
}

/// Whether a stream gets colours: a terminal does that knows them, unless `NO_COLOR` has a value.
pub fn colored(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && colors_wanted(|name| std::env::var_os(name))
}

fn colors_wanted(variable: impl Fn(&str) -> Option<OsString>) -> bool {
    let unwanted = variable("NO_COLOR").is_some_and(|value| !value.is_empty());
    !unwanted && variable("TERM").map_or(true, |term| term != "dumb")
}

/// `overlayrootctl diff | head` is no error.
pub fn unless_closed(written: io::Result<()>) -> Result<()> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.map_err(Error::system("write to", "standard output")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colors_are_for_terminals_that_know_them_and_people_who_want_them() {
        for (no_color, term, wanted) in [
            (None, None, true),
            (None, Some("vt102"), true),
            (Some(""), Some("xterm"), true),
            (Some("1"), Some("xterm"), false),
            (None, Some("dumb"), false),
        ] {
            let variable = |name: &str| match name {
                "NO_COLOR" => no_color,
                _ => term,
            };
            let found = colors_wanted(|name| variable(name).map(OsString::from));
            assert_eq!(found, wanted, "{no_color:?} {term:?}");
        }
    }
}
