// SPDX-License-Identifier: MIT
//! Standard output: text for people, JSON for programs; colours on a terminal only. What others made (names,
//! labels, messages) goes through [`quoting`].

use std::ffi::OsString;
use std::fmt;
use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use crate::error::{Error, Result};
use crate::quoting;

/// How to print.
pub struct Output {
    /// JSON instead of text.
    pub json: bool,
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
    /// To standard output.
    pub fn new(json: bool) -> Output {
        Output {
            json,
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

    /// Prints `value` as JSON, or what `text` writes.
    pub fn print(
        &self,
        value: &impl Serialize,
        text: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<()> {
        let mut out = io::BufWriter::new(io::stdout().lock());
        let written = if self.json {
            serde_json::to_string_pretty(value)
                .map_err(io::Error::from)
                .and_then(|text| writeln!(out, "{}", quoting::json(&text)))
        } else {
            text(&mut out)
        };
        unless_closed(written.and_then(|()| out.flush()))
    }

    /// Prints a text as it is.
    pub fn print_text(&self, text: &str) -> Result<()> {
        let mut out = io::stdout().lock();
        unless_closed(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
    }

    /// Prints `value` as one line of JSON: for programs that go on.
    pub fn print_line(&self, value: &impl Serialize) -> Result<()> {
        let mut out = io::stdout().lock();
        let written = serde_json::to_string(value)
            .map_err(io::Error::from)
            .and_then(|text| writeln!(out, "{}", quoting::json(&text)));
        written.and_then(|()| out.flush()).map_err(Error::Output)
    }

    /// Says what went wrong: text on standard error, and an object on standard output with `--json`.
    pub fn error(&self, error: &Error) {
        let (on, off) = if colored(&io::stderr()) {
            ("\x1b[31;1m", "\x1b[0m")
        } else {
            ("", "")
        };
        eprintln!("{on}error:{off} {}", quoting::line(&error.to_string()));
        if !error.remedy().is_empty() {
            eprintln!("remedy: {}", quoting::line(error.remedy()));
        }
        if self.json {
            let object = serde_json::json!({
                "error": error.to_string(),
                "remedy": error.remedy(),
                "exit_code": error.exit_code(),
            });
            let _ = self.print(&object, |_| Ok(())); // the text on standard error has said it
        }
    }
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
        other => other.map_err(Error::Output),
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
