// SPDX-License-Identifier: MIT
//! U-Boot's environment through fw_printenv and fw_setenv: libubootenv's, or the older ones of u-boot-tools.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::bootpart::BootPartition;
use super::uenv::{import, Import};
use super::{apply, before_files, fwconfig, names, Change, Store, Variables, View, ONCE};
use crate::error::{Error, Result};
use crate::quoting::Quote;
use crate::waiting::Patience;

const CONFIG: &str = "/etc/fw_env.config";
const NAME: &str = "U-Boot's environment";
/// Searched besides PATH: a user's PATH often lacks them.
const FOLDERS: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"];
const INSTALL: &str =
    "install libubootenv-tool (Debian), u-boot-tools (older releases), or libubootenv-bin \
     (OpenEmbedded)";

/// The tools of this system, and the boot partition whose files win over the environment.
pub struct Tools {
    print: PathBuf,
    set: PathBuf,
    config: PathBuf,
    boot: Option<BootPartition>,
}

/// How fw_setenv reads several changes at once, which it writes in one go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Script {
    /// `name=value` (libubootenv).
    Equals,
    /// `name value` (u-boot-tools).
    Spaces,
    /// Not at all.
    No,
}

impl Tools {
    /// Finds the tools and their configuration, and waits for the flash that it names.
    pub fn find(config: Option<PathBuf>, patience: Patience) -> Result<Tools> {
        let config = config.unwrap_or_else(|| CONFIG.into());
        let tools = Tools {
            print: program("fw_printenv")?,
            set: program("fw_setenv")?,
            config,
            boot: None,
        };
        if !tools.config.exists() {
            return Err(Error::missing(
                format!("{} is missing, so that it is not known where U-Boot keeps its environment", tools.config.quoted()),
                "write it: a line with device, offset, size of the environment and of an erase block, as in \
                 \"/dev/mtd1 0x0 0x2000 0x1000\"; U-Boot was built with them (CONFIG_ENV_OFFSET, \
                 CONFIG_ENV_SIZE, CONFIG_ENV_SECT_SIZE)",
            ));
        }
        // Without it, the first look says what is missing.
        patience.until("the flash that fw_env.config names", || {
            Ok(fwconfig::is_there(&tools.config))
        })?;
        Ok(tools)
    }

    /// With the boot partition, if there is one.
    pub fn with_boot(mut self, boot: Option<BootPartition>) -> Tools {
        self.boot = boot;
        self
    }

    fn run(&self, program: &Path, arguments: &[&str], input: Option<&str>) -> Result<Output> {
        log::debug!("{} {arguments:?} {input:?}", program.quoted());
        let mut command = Command::new(program);
        command
            .arg("-c")
            .arg(&self.config)
            .args(arguments)
            .env("LC_ALL", "C");
        spawn(command, input).map_err(Error::system("run", program.quoted()))
    }

    /// What fw_printenv prints; `None` when it says that there is no such variable (u-boot-tools).
    fn print(&self, arguments: &[&str]) -> Result<Option<Vec<u8>>> {
        let output = self.run(&self.print, arguments, None)?;
        let said = String::from_utf8_lossy(&output.stderr);
        // Either tool goes on with variables of its own, and says so, when it finds none.
        if said.contains("using default") {
            return Err(self.unusable(said.trim()));
        }
        match output.status.success() {
            true => Ok(Some(output.stdout)),
            false if said.contains("not defined") => Ok(None),
            false => Err(self.unusable(said.trim())),
        }
    }

    fn script(&self) -> Script {
        let mut command = Command::new(&self.set);
        command.arg("-h");
        let Ok(help) = spawn(command, None) else {
            return Script::No;
        };
        let text = [help.stdout, help.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        // What libubootenv says of -s: newer releases, and older ones (0.3.2 of Debian 12).
        let equals = ["key=value", "read variables to be set from a script"];
        if equals.iter().any(|said| text.contains(said)) {
            Script::Equals
        } else if text.contains("key [space] value") {
            Script::Spaces
        } else {
            Script::No
        }
    }

    /// The environment cannot be used: what is wrong with it, or at least what the tool says.
    fn unusable(&self, said: &str) -> Error {
        match fwconfig::diagnose(&self.config) {
            Some(finding) => Error::Malformed {
                object: NAME.to_owned(),
                cause: finding.cause,
                remedy: finding.remedy,
            },
            None => Error::Malformed {
                object: NAME.to_owned(),
                cause: format!("fw_printenv says: {said}"),
                remedy: "compare fw_env.config with the place where U-Boot saves its environment",
            },
        }
    }
}

impl Store for Tools {
    fn name(&self) -> String {
        NAME.to_owned()
    }

    /// What matters of it. What the value of another variable has behind a newline looks like a variable of its
    /// own in the list of all; so the tool is asked for each that is listed by its name, too.
    fn read(&self) -> Result<Variables> {
        let listed = printed(&self.print(&[])?.unwrap_or_default());
        let mut variables = Variables::new();
        for name in names().filter(|name| listed.contains_key(*name)) {
            let value = self.print(&["-n", name])?.unwrap_or_default();
            let value = value.strip_suffix(b"\n").unwrap_or(&value);
            // No variable of U-Boot is empty. libubootenv prints nothing for those that are not there.
            if !value.is_empty() {
                let value = String::from_utf8_lossy(value).into_owned();
                variables.insert(name.to_owned(), value);
            }
        }
        Ok(variables)
    }

    fn write(&self, changes: &[Change]) -> Result<()> {
        let script = match changes {
            [_, _, ..] => self.script(),
            _ => Script::No,
        };
        let separator = match script {
            Script::Equals => '=',
            Script::Spaces => ' ',
            Script::No => {
                for change in changes {
                    let mut arguments = vec![change.name.as_str()];
                    arguments.extend(change.to.as_deref());
                    check(self.run(&self.set, &arguments, None)?)?;
                }
                return Ok(());
            }
        };
        let line = |c: &Change| format!("{}{separator}{}\n", c.name, c.to.as_deref().unwrap_or(""));
        let lines: String = changes.iter().map(line).collect();
        check(self.run(&self.set, &["-s", "-"], Some(&lines))?)
    }

    fn view(&self, changes: &[Change]) -> Result<View> {
        let mut own = self.read()?;
        apply(changes, &mut own);
        let mut effective = before_files(own.clone());
        for (_, file) in self.stronger()? {
            import(&file, &mut effective);
        }
        Ok(View {
            own,
            effective,
            complete: true,
        })
    }

    fn takes_requests(&self) -> Result<()> {
        match self.boot.as_ref().and_then(|boot| boot.script_has(ONCE)) {
            Some(false) => Err(Error::refused(
                format!("the boot script on this board does not know {ONCE}: the next boot would be protected"),
                "update boot.scr; or use overlayrootctl disable, and enable afterwards",
            )),
            _ => Ok(()),
        }
    }

    fn stronger(&self) -> Result<Vec<(&'static str, Import)>> {
        self.boot
            .as_ref()
            .map_or(Ok(Vec::new()), BootPartition::imported)
    }
}

/// Variables as fw_printenv lists them: lines `name=value`. What a value has behind a newline cannot be told
/// from another variable here.
pub fn printed(text: &[u8]) -> Variables {
    let text = String::from_utf8_lossy(text);
    let pairs = text.split('\n').filter_map(|line| line.split_once('='));
    pairs.map(|(n, v)| (n.to_owned(), v.to_owned())).collect()
}

fn check(output: Output) -> Result<()> {
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Error::Malformed {
        object: NAME.to_owned(),
        cause: format!("fw_setenv failed ({}): {said}", output.status),
        remedy: "look whether the flash is write-protected (its partition marked read-only in the device tree, \
                 or a switch), and whether you are root",
    })
}

/// Runs a command to its end.
fn spawn(mut command: Command, input: Option<&str>) -> io::Result<Output> {
    let stdin = if input.is_some() {
        Stdio::piped()
    } else {
        Stdio::null()
    };
    let mut child = command
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    if let (Some(text), Some(mut pipe)) = (input, child.stdin.take()) {
        match pipe.write_all(text.as_bytes()) {
            // It did not want to read: its exit status says why.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            other => other?,
        }
    }
    child.wait_with_output()
}

fn program(name: &'static str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(FOLDERS.iter().map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
        .ok_or_else(|| Error::missing(format!("{name} is not installed"), INSTALL))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// Stand-ins for both tools, which keep variables as lines of a file and note each call. The real ones
    /// are run by the tests on the board.
    const PRINT: &str = r#"#!/bin/sh
cd "$(dirname "$0")"
echo print >>calls
cat complaint >&2
[ "$3" != -n ] || { cat "value-$4" 2>/dev/null || sed -n "s/^$4=//p" env; exit; }
cat env
"#;
    const SET: &str = r#"#!/bin/sh
cd "$(dirname "$0")"
[ "$1" != -h ] || { cat help; exit 0; }
shift 2
echo "set $*" >>calls
[ ! -e broken ] || { echo "Cannot write" >&2; exit 1; }
change() {
    { grep -v "^$1=" env; [ -z "$2" ] || echo "$1=$2"; } >new
    mv new env
}
case $1 in
-s) IFS="$(cat separator)"; while read -r name value; do change "$name" "$value"; done ;;
*) change "$1" "$2" ;;
esac
"#;

    /// Makes a program, by another process: what a test beside this one starts would inherit our descriptor for
    /// a moment, and nothing is executed that somebody has open for writing (ETXTBSY).
    fn executable(path: &Path, text: &str) {
        let script = r#"printf %s "$2" >"$1" && chmod 755 "$1""#;
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script, "sh"]).arg(path).arg(text);
        assert!(command.status().unwrap().success());
    }

    fn tools(help: &str, separator: &str, env: &str) -> (tempfile::TempDir, Tools) {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for (name, text) in [("fw_printenv", PRINT), ("fw_setenv", SET)] {
            executable(&path(name), text);
        }
        for (name, text) in [
            ("help", help),
            ("separator", separator),
            ("env", env),
            ("complaint", ""),
            ("config", ""),
        ] {
            fs::write(path(name), text).unwrap();
        }
        let tools = Tools {
            print: path("fw_printenv"),
            set: path("fw_setenv"),
            config: path("config"),
            boot: None,
        };
        (folder, tools)
    }

    #[test]
    fn several_changes_are_one_call_where_the_tool_can() {
        for (help, separator, calls) in [
            (" key=value\n", "=", 1),
            (" -s : read variables to be set from a script\n", "=", 1),
            (" key [space] value\n", " ", 1),
            ("", "", 2),
        ] {
            let (folder, tools) = tools(help, separator, "a=1\noverlayfs=no\n");
            let changes = super::super::once(&tools.view(&[]).unwrap());
            assert_eq!(changes.len(), 2);
            super::super::change(&tools, &changes, &|next| next.once).unwrap();
            let env = fs::read_to_string(folder.path().join("env")).unwrap();
            assert_eq!(env, "a=1\noverlayfs=yes\noverlayfs_once=no\n", "{help:?}");
            let log = fs::read_to_string(folder.path().join("calls")).unwrap();
            assert_eq!(log.matches("set ").count(), calls, "{log}");
        }
    }

    #[test]
    fn removing_and_failing() {
        let (folder, tools) = tools("", "", "overlayfs_once=no\n");
        let changes = super::super::enable(&tools.view(&[]).unwrap());
        super::super::change(&tools, &changes, &|next| next.protected).unwrap();
        assert!(tools.read().unwrap().is_empty());
        fs::write(folder.path().join("broken"), "").unwrap();
        let error = tools
            .write(&super::super::disable(&super::super::View::default()))
            .unwrap_err();
        assert!(error
            .to_string()
            .ends_with("fw_setenv failed (exit status: 1): Cannot write"));
        assert!(error.remedy().contains("write-protected"));
    }

    #[test]
    fn what_follows_a_newline_in_a_value_is_no_variable() {
        let (folder, tools) = tools(
            "",
            "",
            "a=1\noverlayfs=no\nofs_size=20\noverlayfs_once=no\n",
        );
        for (name, value) in [
            ("value-overlayfs", "\n"),
            ("value-ofs_size", "20\noverlayfs_once=no\n"),
            ("value-overlayfs_once", "\n"),
        ] {
            fs::write(folder.path().join(name), value).unwrap();
        }
        let read = tools.read().unwrap();
        let read: Vec<_> = read.iter().map(|(n, v)| (&**n, &**v)).collect();
        assert_eq!(read, [("ofs_size", "20\noverlayfs_once=no")]);
        // As u-boot-tools has it.
        fs::write(folder.path().join("value-overlayfs"), "").unwrap();
        let failing = PRINT.replace(
            "exit; }",
            "echo '## Error: \"x\" not defined' >&2; exit 1; }",
        );
        executable(&folder.path().join("fw_printenv"), &failing);
        assert!(tools.read().unwrap().is_empty());
    }

    #[test]
    fn an_environment_that_the_tool_made_up_is_not_believed() {
        let (folder, tools) = tools("", "", "overlayfs=yes\n");
        fs::write(
            folder.path().join("complaint"),
            "Cannot read environment, using default\n",
        )
        .unwrap();
        let error = tools.read().unwrap_err();
        assert!(error.to_string().ends_with("config names no place"));
    }
}
