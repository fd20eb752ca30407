// SPDX-License-Identifier: MIT
//! `disable`: writable boots, from the next one on; `disable --once`: one of them.

use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::bootenv::{self, Choice};
use crate::error::Result;
use crate::output::Output;
use crate::privilege::need_root;

/// The command.
pub const ENTRY: super::Entry = super::Entry {
    name: "disable",
    define,
    run,
};

fn define() -> Command {
    Choice::define(
        Command::new("disable")
            .about("Make boots writable, from the next one on; with --once, the next one only")
            .long_about(
                "Makes boots writable, from the next one on: what they write to the root stays, and a cut of \
                 power may harm it. The running system stays as it is.",
            )
            .arg(
                Arg::new("once")
                    .long("once")
                    .action(ArgAction::SetTrue)
                    .help("Only the next boot; U-Boot uses the request up before it starts the kernel"),
            ),
    )
}

fn run(matches: &ArgMatches, output: &Output) -> Result<u8> {
    need_root(bootenv::WHY_ROOT)?;
    let store = Choice::from_matches(matches).open()?;
    if matches.get_flag("once") {
        store.takes_requests()?;
        let changes = bootenv::once(&store.view(&[])?);
        return bootenv::carry_out(
            store.as_ref(),
            &changes,
            output,
            &|next| next.once && !next.protected && next.protected_afterwards,
            "The next boot is writable; the ones after it protect the root again, also when the power is \
             cut. Undo: overlayrootctl enable",
        );
    }
    let changes = bootenv::disable(&store.view(&[])?);
    bootenv::carry_out(
        store.as_ref(),
        &changes,
        output,
        &|next| !next.protected && !next.protected_afterwards,
        "The next boot and all after it are writable and NOT PROTECTED. Undo: overlayrootctl enable",
    )
}
