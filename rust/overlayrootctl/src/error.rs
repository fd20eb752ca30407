// SPDX-License-Identifier: MIT
//! What can go wrong: each error names the operation, the object and the cause, and carries the remedy.

use std::fmt;
use std::io;

use nix::sys::signal::Signal;

use crate::exit;
use crate::quoting::Quote;

/// Result of everything here.
pub type Result<T> = std::result::Result<T, Error>;

/// An error.
#[derive(Debug)]
pub enum Error {
    /// The system said no.
    System {
        /// What was tried: a verb, such as `read` or `mount`.
        operation: &'static str,
        /// On what: a path, a device.
        object: String,
        /// What the system said.
        cause: io::Error,
        /// What to do about it; empty when the cause says it all.
        remedy: &'static str,
    },
    /// A file does not hold what it should.
    Malformed {
        /// The file.
        object: String,
        /// What is wrong with it.
        cause: String,
        /// What to do about it.
        remedy: &'static str,
    },
    /// Nothing was changed, because the outcome could not be right.
    Refused {
        /// Each thing that stands against it.
        reasons: Vec<String>,
        /// What to do about it.
        remedy: String,
    },
    /// The command line is wrong in a way that its parser does not see.
    Usage {
        /// What is wrong with it.
        what: String,
        /// What to write instead.
        remedy: &'static str,
    },
    /// What the command needs is not on this system; nothing was changed.
    Missing {
        /// Each thing that is missing.
        what: Vec<String>,
        /// What to do about it.
        remedy: String,
    },
    /// Some of it was done, then something failed.
    Partly {
        /// What could not be done.
        object: String,
        /// Why.
        cause: String,
        /// What was done before.
        done: Vec<std::path::PathBuf>,
    },
    /// Somebody asked the program to end.
    Interrupted {
        /// How.
        signal: Signal,
        /// What was done before; the rest was not.
        done: String,
        /// What to do about it; empty where there is nothing to put right.
        remedy: &'static str,
    },
    /// What another process of ours reports.
    Reported {
        /// Its message.
        message: String,
        /// What to do about it.
        remedy: String,
        /// Its exit code.
        exit_code: u8,
    },
    /// The real root could not be made read-only again.
    StillWritable {
        /// Its device.
        device: String,
        /// Who holds it.
        holders: Vec<String>,
        /// What went wrong before that.
        before: Option<String>,
        /// Where it is mounted.
        mounted_at: String,
    },
    /// What was done could not be printed.
    Output(io::Error),
}

impl Error {
    /// For `map_err`: the system refused `operation` on `object`.
    pub fn system<E: Into<io::Error>>(
        operation: &'static str,
        object: impl fmt::Display,
    ) -> impl FnOnce(E) -> Error {
        move |cause| Error::System {
            operation,
            object: object.to_string(),
            cause: cause.into(),
            remedy: "",
        }
    }

    /// A refusal for one reason.
    pub fn refused(reason: impl Into<String>, remedy: impl Into<String>) -> Error {
        Error::Refused {
            reasons: vec![reason.into()],
            remedy: remedy.into(),
        }
    }

    /// One thing is missing.
    pub fn missing(what: impl Into<String>, remedy: impl Into<String>) -> Error {
        Error::Missing {
            what: vec![what.into()],
            remedy: remedy.into(),
        }
    }

    /// The same error with a remedy, where the system was the cause.
    pub fn with_remedy(mut self, text: &'static str) -> Error {
        if let Error::System { remedy, .. } = &mut self {
            *remedy = text;
        }
        self
    }

    /// What to do about it; may be empty.
    pub fn remedy(&self) -> &str {
        match self {
            Error::System { remedy, .. }
            | Error::Malformed { remedy, .. }
            | Error::Usage { remedy, .. }
            | Error::Interrupted { remedy, .. } => remedy,
            Error::Refused { remedy, .. }
            | Error::Missing { remedy, .. }
            | Error::Reported { remedy, .. } => remedy,
            Error::Partly { .. } => {
                "look at dmesg, then commit again: what is done already is skipped"
            }
            Error::StillWritable { .. } => {
                "stop these programs and run `mount -o remount,ro` on it, or reboot; \
                 only power cuts until then are less safe"
            }
            Error::Output(_) => "what was to be done is done, only its report could not be written",
        }
    }

    /// Why, without saying that nothing was changed: for commands that change nothing anyway.
    pub fn reason(&self) -> String {
        match self {
            Error::Refused { reasons, .. } => reasons.join("; "),
            other => other.to_string(),
        }
    }

    /// Exit code of the program.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Refused { .. } | Error::Missing { .. } => exit::REFUSED,
            Error::Usage { .. } => exit::USAGE,
            Error::Interrupted { signal, .. } => exit::of_signal(*signal),
            Error::Reported { exit_code, .. } => *exit_code,
            Error::StillWritable { .. } => exit::STILL_WRITABLE,
            _ => exit::FAILED,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::System {
                operation,
                object,
                cause,
                ..
            } => write!(f, "cannot {operation} {object}: {cause}"),
            Error::Malformed { object, cause, .. } => write!(f, "{object}: {cause}"),
            Error::Refused { reasons, .. } => {
                write!(f, "refused, nothing was changed: {}", reasons.join("; "))
            }
            Error::Missing { what, .. } => f.write_str(&what.join("; ")),
            Error::Partly {
                object,
                cause,
                done,
            } => {
                write!(f, "cannot write {object}: {cause}; done before that: ")?;
                match done.is_empty() {
                    true => f.write_str("nothing"),
                    false => {
                        for (at, path) in done.iter().enumerate() {
                            let comma = if at == 0 { "" } else { ", " };
                            write!(f, "{comma}{}", path.quoted())?;
                        }
                        Ok(())
                    }
                }
            }
            Error::Usage { what, .. } => f.write_str(what),
            Error::Interrupted { signal, done, .. } => write!(f, "interrupted ({signal}): {done}"),
            Error::Reported { message, .. } => f.write_str(message),
            Error::StillWritable {
                device,
                holders,
                before,
                mounted_at,
            } => {
                if let Some(before) = before {
                    write!(f, "{before}; and then ")?;
                }
                write!(
                    f,
                    "{device} ({mounted_at}) is STILL WRITABLE: it cannot be made read-only while it is used by {}",
                    match holders.is_empty() {
                        true => "somebody who could not be found".to_owned(),
                        false => holders.join(", "),
                    }
                )
            }
            Error::Output(cause) => write!(f, "cannot write to standard output: {cause}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::System { cause, .. } | Error::Output(cause) => Some(cause),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_name_operation_object_and_cause() {
        let cause = io::Error::from_raw_os_error(2);
        let error = Error::system("read", "/x")(cause).with_remedy("make it");
        assert_eq!(
            error.to_string(),
            "cannot read /x: No such file or directory (os error 2)"
        );
        assert_eq!(error.remedy(), "make it");
        assert_eq!(error.exit_code(), exit::FAILED);
        let error = Error::refused("a is full", "free some");
        assert_eq!(error.to_string(), "refused, nothing was changed: a is full");
        assert_eq!(error.exit_code(), exit::REFUSED);
    }
}
