// SPDX-License-Identifier: MIT
//! The program as a whole: help, exit codes, completions, manual pages.

#![allow(clippy::unwrap_used, clippy::panic)] // a test; its helpers are not recognised as such

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_overlayrootctl"))
        .args(arguments)
        .env_remove("RUST_LOG")
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Commands that people see, as the help lists them.
fn commands() -> Vec<String> {
    let help = text(&run(&["--help"]).stdout);
    let list = help.split("Commands:\n").nth(1).unwrap();
    let list = list.split("\n\n").next().unwrap();
    let names = list.lines().filter_map(|l| l.strip_prefix("  "));
    let names = names.filter(|l| !l.starts_with(' '));
    names
        .filter_map(|l| l.split(' ').next())
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect()
}

#[test]
fn each_command_has_help() {
    let commands = commands();
    assert!(commands.len() >= 9, "{commands:?}");
    for command in &commands {
        let help = run(&[command, "--help"]);
        assert_eq!(help.status.code(), Some(0), "{command}");
        assert!(text(&help.stdout).contains("--json"), "{command}");
    }
    assert!(!commands.contains(&"man".to_owned()));
}

#[test]
fn help_is_a_command_too() {
    for (command, option) in [
        (&["help"][..], &["--help"][..]),
        (&["help", "size"], &["size", "--help"]),
    ] {
        let (command, option) = (run(command), run(option));
        assert_eq!(command.status.code(), Some(0));
        assert_eq!(text(&command.stdout), text(&option.stdout));
    }
    assert_eq!(run(&["help", "bogus"]).status.code(), Some(64));
}

#[test]
fn help_that_cannot_be_printed_is_an_error() {
    for arguments in [
        &["--help"][..],
        &["size", "--help"],
        &["help"],
        &["--version"],
    ] {
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let done = Command::new(env!("CARGO_BIN_EXE_overlayrootctl"))
            .args(arguments)
            .stdout(full)
            .output()
            .unwrap();
        assert_eq!(done.status.code(), Some(1), "{arguments:?}");
        let said = text(&done.stderr);
        assert!(
            said.starts_with("error: cannot write to standard output: "),
            "{said}"
        );
    }
}

#[test]
fn long_arguments_are_not_repeated_as_a_whole() {
    let long = "a".repeat(100_000);
    for arguments in [
        &["size", &long][..],
        &["--json", "size", &long],
        &[&long],
        &[&format!("--{long}")],
        &["enable", "--store", &long],
        &["watch", "--warning", &long],
        &["completion", &long],
    ] {
        let done = run(arguments);
        assert_eq!(done.status.code(), Some(64));
        let said = text(&done.stderr);
        assert!(said.starts_with("error: "), "{}", said.len());
        assert!(said.len() < 1000 && done.stdout.len() < 1000);
    }
    let said = text(&run(&["size", &long]).stderr);
    let start = "a".repeat(40);
    assert!(said.starts_with(&format!("error: \"{start}…\" is no size\n")));
}

#[test]
fn exit_codes_of_wrong_command_lines() {
    for arguments in [&["bogus"][..], &[], &["status", "--bogus"], &["commit"]] {
        let done = run(arguments);
        assert_eq!(done.status.code(), Some(64), "{arguments:?}");
        assert!(done.stdout.is_empty());
        let done = run(&[&["--json"], arguments].concat());
        assert_eq!(done.status.code(), Some(64), "{arguments:?}");
        let object: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
        assert_eq!(object["exit_code"], 64, "{arguments:?}");
        assert!(!object["error"].as_str().unwrap().is_empty());
    }
}

#[test]
fn wrong_values_are_wrong_command_lines() {
    for (arguments, what) in [
        (&["size", "abc"][..], "\"abc\" is no size"),
        (&["size", "--now", "0"], "\"0\" is no size"),
        (
            &["watch", "--warning", "90", "--critical", "80"],
            "--warning 90 is above --critical 80",
        ),
    ] {
        let done = run(&[&["--json"], arguments].concat());
        assert_eq!(done.status.code(), Some(64), "{arguments:?}");
        let said = text(&done.stderr);
        assert!(
            said.starts_with(&format!("error: {what}\nremedy: ")),
            "{said}"
        );
        let object: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
        assert_eq!(object["exit_code"], 64);
    }
}

/// `edit` passes on the exit code of its command, which may be any but these.
#[test]
fn failures_of_edit_itself_are_not_those_of_its_command() {
    for arguments in [
        &["edit", "--", "/bin/true"][..],
        &["edit", "--bogus"],
        &["--json", "edit", "apt-get", "install"],
    ] {
        let done = run(arguments);
        assert_eq!(done.status.code(), Some(125), "{arguments:?}");
    }
    let done = run(&["--json", "edit", "apt-get", "install"]);
    let hint = "write -- before the command: overlayrootctl edit -- COMMAND ...";
    assert!(text(&done.stderr).contains(&format!("\nremedy: {hint}\n")));
    let object: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(
        object,
        serde_json::json!({
            "version": 1,
            "command": "edit",
            "error": "unexpected argument 'apt-get' found",
            "remedy": hint,
            "exit_code": 125,
        })
    );
}

/// What follows `--` is not ours: it neither asks for JSON nor names our command.
#[test]
fn words_of_a_command_in_edit_are_its_own() {
    let done = run(&["edit", "--bogus", "--", "status", "--json"]);
    assert_eq!(done.status.code(), Some(125));
    assert!(done.stdout.is_empty());
}

#[test]
fn a_standard_error_that_cannot_be_written_changes_nothing() {
    for (arguments, code) in [
        (&["size", "abc"][..], 64),
        (&["--json", "size", "abc"], 64),
        (&["--bogus"], 64),
        (&["edit", "--", "/bin/true"], 125),
    ] {
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let done = Command::new(env!("CARGO_BIN_EXE_overlayrootctl"))
            .args(arguments)
            .stderr(full)
            .output()
            .unwrap();
        assert_eq!(done.status.code(), Some(code), "{arguments:?}");
        assert_eq!(done.stdout.is_empty(), arguments[0] != "--json");
    }
}

#[test]
fn refusals_carry_a_remedy_in_text_and_json() {
    let done = run(&["--json", "revert", "/proc/version"]);
    assert_eq!(done.status.code(), Some(3));
    let object: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(object["exit_code"], 3);
    assert!(!object["remedy"].as_str().unwrap().is_empty());
    let said = text(&done.stderr);
    assert!(said.starts_with("error: refused, nothing was changed: "));
    assert!(said.contains("\nremedy: "));
    assert!(!said.contains('\x1b'), "colours without a terminal");
}

#[test]
fn what_is_said_about_arguments_drives_no_terminal() {
    for arguments in [
        &["revert", "/proc/a\x1b[2J\nerror: all is lost"][..],
        &["size", "9\u{9b}2J\r"],
        &["--\x1b[2J"],
        &["status", "\x1b[2J\nerror: all is lost"],
    ] {
        let done = run(arguments);
        assert_ne!(done.status.code(), Some(0), "{arguments:?}");
        let said = text(&done.stderr);
        assert!(said.starts_with("error: "), "{said:?}");
        assert!(!said.contains("\nerror"), "{said:?}");
        let harmless = |c: char| !c.is_control() || c == '\n';
        assert!(said.chars().all(harmless), "{said:?}");
    }
}

#[test]
fn completions_know_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let script = text(&run(&["completion", shell]).stdout);
        for command in commands() {
            assert!(script.contains(&command), "{shell}: {command}");
        }
        // Neither what is hidden nor what stands for a value.
        assert!(!script.contains("manual page"), "{shell}");
        assert!(!script.contains("overlayrootctl,man)"), "{shell}");
        assert!(
            !script.contains("--help [") && !script.contains("--help <"),
            "{shell}"
        );
    }
}

#[test]
fn a_reader_that_has_gone_is_no_error() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_overlayrootctl"))
        .args(["completion", "zsh"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let done = child.wait_with_output().unwrap();
    assert_eq!(text(&done.stderr), "");
    assert_eq!(done.status.code(), Some(0));
}

#[test]
fn a_manual_page_for_each_command() {
    let folder = tempfile::tempdir().unwrap();
    let done = run(&["man", folder.path().to_str().unwrap()]);
    assert_eq!(done.status.code(), Some(0), "{}", text(&done.stderr));
    let page = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    assert!(page("overlayrootctl.8").contains(".SH \"EXIT STATUS\"\n0 done"));
    for command in commands() {
        let page = page(&format!("overlayrootctl-{command}.8"));
        let synopsis = format!(".SH \"SYNOPSIS\"\noverlayrootctl {command} [OPTIONS]");
        assert!(page.contains(&synopsis), "{command}");
    }
    // As they are typed: with the value, and with what comes before a command.
    assert!(page("overlayrootctl-size.8").contains("size [OPTIONS] <VALUE>\n"));
    assert!(page("overlayrootctl-edit.8").contains("edit [OPTIONS] [\\-\\- [COMMAND]...]\n"));
    assert!(page("overlayrootctl-status.8").contains("2 critical"));
}

#[test]
fn who_is_not_root_is_told_so() {
    // As somebody else where this is root, from a folder that everybody can enter.
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = folder.path().join("overlayrootctl");
    fs::copy(env!("CARGO_BIN_EXE_overlayrootctl"), &program).unwrap();
    for arguments in [
        &["enable"][..],
        &["disable"],
        &["disable", "--once"],
        &["size", "64M"],
        &["size", "--now", "64M"],
        &["plan"],
        &["commit", "/etc/motd"],
    ] {
        let mut command = Command::new(&program);
        command.args(arguments);
        if rustix::process::geteuid().is_root() {
            command.uid(65534);
        }
        let done = command.output().unwrap();
        let said = text(&done.stderr);
        assert!(
            said.starts_with("error: refused, nothing was changed: root is needed to "),
            "{arguments:?}: {said}"
        );
        assert_eq!(done.status.code(), Some(3), "{arguments:?}");
    }
}
