// SPDX-License-Identifier: MIT
//! `enable`: every boot protects the root, from the next one on.

use clap::{ArgMatches, Command};

use crate::bootenv::{self, Choice};
use crate::error::Result;
use crate::output::Output;
use crate::privilege::need_root;

/// The command.
pub const ENTRY: super::Entry = super::Entry {
    name: "enable",
    define,
    run,
};

fn define() -> Command {
    Choice::define(
        Command::new("enable")
            .about("Protect the root at every boot, from the next one on")
            .long_about(
                "Protects the root at every boot, from the next one on, and takes back a request for one \
                 writable boot. The running system stays as it is.",
            ),
    )
}

fn run(matches: &ArgMatches, output: &Output) -> Result<u8> {
    need_root(bootenv::WHY_ROOT)?;
    let store = Choice::from_matches(matches).open()?;
    let changes = bootenv::enable(&store.view(&[])?);
    bootenv::carry_out(
        store.as_ref(),
        &changes,
        output,
        &|next| next.protected && next.protected_afterwards,
        "The next boot and all after it protect the root. Undo: overlayrootctl disable",
    )
}
