// SPDX-License-Identifier: MIT
//! What U-Boot will tell the init at the next boot, and how it is changed.
//!
//! [`settings`] decides, without touching anything; a [`Store`] reads and writes: U-Boot's environment
//! through its own tools ([`fwenv`]), or the [`file`] that the boot script imports.

mod bootdisk;
mod bootpart;
mod file;
pub mod fwconfig;
pub mod fwenv;
mod outcome;
mod settings;
pub mod uenv;

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Arg, ArgMatches, Command};
use serde::Serialize;

pub use outcome::carry_out;
pub use settings::{
    before_files, disable, enable, names, next_boot, once, size, NextBoot, View, ONCE,
};

use crate::error::{Error, Result};
use crate::quoting::Quote;
use crate::waiting::Patience;
use bootpart::BootPartition;
use uenv::Import;

/// Why the commands that write to a [`Store`] need root.
pub const WHY_ROOT: &str = "to change what U-Boot reads at the next boot";

/// Names and values as the boot script sees them.
pub type Variables = BTreeMap<String, String>;

/// A change of one variable; `to` is `None` when it is removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Name of the variable.
    pub name: String,
    /// Value before.
    pub from: Option<String>,
    /// Value after.
    pub to: Option<String>,
}

/// A change of which only what it makes matters.
#[cfg(test)]
fn set(name: &str, to: Option<&str>) -> Change {
    Change {
        name: name.into(),
        from: None,
        to: to.map(str::to_owned),
    }
}

/// Whether the next boot is what was asked for.
pub type Wanted<'a> = dyn Fn(&NextBoot) -> bool + 'a;

/// A place where variables are kept.
pub trait Store {
    /// What it is, for messages.
    fn name(&self) -> String;
    /// Reads it.
    fn read(&self) -> Result<Variables>;
    /// Writes all changes at once where that is possible, and in their order otherwise: the order is such
    /// that a cut between two of them leaves a protected board.
    fn write(&self, changes: &[Change]) -> Result<()>;
    /// Its variables as they will be after `changes`, and what the boot script will make of them.
    fn view(&self, changes: &[Change]) -> Result<View>;
    /// Refuses where U-Boot cannot use up a request for one writable boot that is written here.
    fn takes_requests(&self) -> Result<()>;
    /// Files of the boot partition that win over this store, the strongest last, and what they do.
    fn stronger(&self) -> Result<Vec<(&'static str, Import)>>;
}

/// Where to look; the defaults fit a running board.
#[derive(Debug, Default)]
pub struct Choice {
    /// `environment` or `file`; the first that is there otherwise.
    pub store: Option<String>,
    /// Configuration of fw_printenv and fw_setenv.
    pub fw_config: Option<PathBuf>,
    /// Folder where the boot partition is mounted.
    pub boot: Option<PathBuf>,
    /// How long to wait for the flash.
    pub patience: Patience,
}

impl Choice {
    /// Adds the arguments to a command.
    pub fn define(command: Command) -> Command {
        let path = || clap::value_parser!(PathBuf);
        Patience::define(command, "the flash with U-Boot's environment")
            .arg(
                Arg::new("store")
                    .long("store")
                    .value_name("STORE")
                    .value_parser(["environment", "file"])
                    .help("Where to write: U-Boot's environment, or uEnv.txt on the boot partition [default: the first that this board has]"),
            )
            .arg(
                Arg::new("fw-config")
                    .long("fw-config")
                    .value_name("FILE")
                    .value_parser(path())
                    .help("Configuration of fw_printenv and fw_setenv [default: /etc/fw_env.config]"),
            )
            .arg(
                Arg::new("boot")
                    .long("boot")
                    .value_name("FOLDER")
                    .value_parser(path())
                    .help("Where the boot partition is mounted [default: it is looked for on the disk of the root, and where fstab mounts it at /boot or below]"),
            )
    }

    /// Takes the arguments of [`Choice::define`].
    pub fn from_matches(matches: &ArgMatches) -> Choice {
        Choice {
            store: matches.get_one::<String>("store").cloned(),
            fw_config: matches.get_one::<PathBuf>("fw-config").cloned(),
            boot: matches.get_one::<PathBuf>("boot").cloned(),
            patience: Patience::from_matches(matches),
        }
    }

    /// The store of this board.
    pub fn open(self) -> Result<Box<dyn Store>> {
        let named = self.fw_config.is_some();
        let tools = fwenv::Tools::find(self.fw_config, self.patience);
        let is_file = match (self.store.as_deref(), &tools) {
            (Some(store), _) => store == "file",
            (None, tools) => tools.is_err() && !named,
        };
        if !is_file {
            return Ok(Box::new(tools?.with_boot(beside(self.boot)?)));
        }
        match (BootPartition::find(self.boot), tools) {
            (Ok(boot), _) => Ok(Box::new(file::File::new(boot))),
            (Err(no_boot), Err(no_tools)) if self.store.is_none() => Err(Error::Missing {
                remedy: format!("{}; or {}", no_tools.remedy(), no_boot.remedy()),
                what: vec![no_tools.to_string(), no_boot.reason()],
            }),
            (Err(no_boot), _) => Err(no_boot),
        }
    }
}

/// The boot partition whose files win over the environment. There may be none; but not one of two, or
/// another one than was named.
fn beside(folder: Option<PathBuf>) -> Result<Option<BootPartition>> {
    let named = folder.is_some();
    match BootPartition::find(folder) {
        Ok(boot) => Ok(Some(boot)),
        Err(Error::Missing { .. }) if !named => Ok(None),
        Err(error) => Err(error),
    }
}

/// Makes of variables what they are after changes.
pub fn apply(changes: &[Change], variables: &mut Variables) {
    for Change { name, to, .. } in changes {
        match to {
            Some(value) => variables.insert(name.clone(), value.clone()),
            None => variables.remove(name),
        };
    }
}

/// What the next boot will be, for `status`: values, or why they cannot be known and what to do about it.
pub fn look() -> Result<NextBoot> {
    look_at(Choice::default().open()?.as_ref())
}

/// What the next boot will be according to a store and the files around it.
pub fn look_at(store: &dyn Store) -> Result<NextBoot> {
    Ok(next_boot(&store.name(), &store.view(&[])?))
}

/// Carries changes out: writes, reads back, compares. Refuses, and writes nothing, where the next boot would not
/// be what is `wanted` after that: a stronger file, or a default of the image, may say something else.
pub fn change(store: &dyn Store, changes: &[Change], wanted: &Wanted<'_>) -> Result<()> {
    if let Some(refused) = in_the_way(store, changes, wanted)? {
        return Err(refused);
    }
    if changes.is_empty() {
        return Ok(());
    }
    store.write(changes)?;
    let now = store.read()?;
    for change in changes {
        let value = now.get(&change.name);
        if value != change.to.as_ref() {
            return Err(Error::Malformed {
                object: store.name(),
                cause: format!(
                    "{} was set to {}, but reads {}",
                    change.name,
                    quoted(change.to.as_ref()),
                    quoted(value)
                ),
                remedy:
                    "look whether the flash is write-protected and whether another program changes \
                         the same variables, then try again",
            });
        }
    }
    Ok(())
}

/// What keeps the next boot from being what is wanted after `changes`; nothing when it will be.
fn in_the_way(store: &dyn Store, changes: &[Change], wanted: &Wanted<'_>) -> Result<Option<Error>> {
    let view = store.view(changes)?;
    if wanted(&next_boot("", &view)) {
        return Ok(None);
    }
    let stronger = store.stronger()?;
    let is_in_the_way = |name: &str| {
        let mut without = view.clone();
        without.effective.remove(name);
        let mut with_own = without.clone();
        let own = view.own.get(name).cloned();
        let own = own.map(|value| (name.to_owned(), value));
        with_own.effective.extend(own);
        [without, with_own]
            .iter()
            .any(|view| wanted(&next_boot("", view)))
    };
    let mut reasons = Vec::new();
    let mut remedy = "look into overlayroot.env and uEnv.txt";
    for name in names().filter(|name| is_in_the_way(name)) {
        let value = view.effective.get(name);
        let value = value.map(String::as_str).unwrap_or_default().quoted();
        let file = stronger.iter().rfind(|(_, file)| file.contains_key(name));
        let reason;
        (reason, remedy) = match file {
            Some((file, _)) => (
                format!(
                    "{name}={value} in {file} on the boot partition wins over {}",
                    store.name()
                ),
                "use --store file, or take that line out of the file",
            ),
            None if view.own.contains_key(name) => (
                format!("{name}={value} in {} says otherwise", store.name()),
                "give it a value without blanks and quotes",
            ),
            None => (
                format!("the image's default is {name}={value}"),
                "take that line out of overlayroot.env on the boot partition",
            ),
        };
        reasons.push(reason);
    }
    if reasons.is_empty() {
        reasons.push("files on the boot partition say otherwise, in more than one line".to_owned());
    }
    Ok(Some(Error::Refused {
        reasons,
        remedy: remedy.to_owned(),
    }))
}

fn quoted(value: Option<&String>) -> String {
    value.map_or("nothing".to_owned(), |value| format!("'{value}'"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    /// A store in memory; `stuck` writes nothing and claims to have.
    #[derive(Default)]
    struct Memory {
        variables: RefCell<Variables>,
        stronger: Variables,
        stuck: bool,
    }

    impl Store for Memory {
        fn name(&self) -> String {
            "memory".into()
        }
        fn read(&self) -> Result<Variables> {
            Ok(self.variables.borrow().clone())
        }
        fn write(&self, changes: &[Change]) -> Result<()> {
            if !self.stuck {
                apply(changes, &mut self.variables.borrow_mut());
            }
            Ok(())
        }
        fn view(&self, changes: &[Change]) -> Result<View> {
            let mut own = self.read()?;
            apply(changes, &mut own);
            let mut effective = own.clone();
            effective.extend(self.stronger.clone());
            Ok(View {
                own,
                effective,
                complete: true,
            })
        }
        fn takes_requests(&self) -> Result<()> {
            Ok(())
        }
        fn stronger(&self) -> Result<Vec<(&'static str, Import)>> {
            let set = |(n, v): (&String, &String)| (n.clone(), Some(v.clone()));
            Ok(vec![("uEnv.txt", self.stronger.iter().map(set).collect())])
        }
    }

    fn one(name: &str, value: &str) -> Variables {
        Variables::from([(name.to_owned(), value.to_owned())])
    }

    const PROTECTED: &Wanted<'_> = &|next| next.protected && next.protected_afterwards;
    const WRITABLE: &Wanted<'_> = &|next| !next.protected && !next.protected_afterwards;
    const ONE_WRITABLE: &Wanted<'_> = &|next| next.once && next.protected_afterwards;

    #[test]
    fn what_is_written_is_read_back() {
        let store = Memory::default();
        change(&store, &disable(&store.view(&[]).unwrap()), WRITABLE).unwrap();
        assert!(!look_at(&store).unwrap().protected);
        let stuck = Memory {
            stuck: true,
            ..Memory::default()
        };
        let error = change(&stuck, &disable(&View::default()), WRITABLE).unwrap_err();
        assert_eq!(
            error.to_string(),
            "memory: overlayfs was set to 'no', but reads nothing"
        );
    }

    #[test]
    fn a_file_that_wins_is_named_and_nothing_is_written() {
        let store = Memory {
            stronger: one("overlayfs", "yes"),
            ..Memory::default()
        };
        let error = change(&store, &disable(&View::default()), WRITABLE).unwrap_err();
        assert_eq!(
            error.to_string(),
            "refused, nothing was changed: overlayfs=yes in uEnv.txt on the boot partition wins over memory"
        );
        assert!(store.variables.borrow().is_empty());
        // It is no hindrance to a request for one boot, and it decides about the boots after.
        *store.variables.borrow_mut() = one("overlayfs", "no");
        assert!(look_at(&store).unwrap().protected);
        let changes = once(&store.view(&[]).unwrap());
        change(&store, &changes, ONE_WRITABLE).unwrap();
        assert!(look_at(&store).unwrap().once);
    }

    #[test]
    fn nothing_to_change_does_not_mean_that_it_is_so() {
        for (name, value) in [("overlayfs", "no"), ("ofs_size", "20 overlayfs=no")] {
            let store = Memory {
                variables: one("overlayfs", "yes").into(),
                stronger: one(name, value),
                ..Memory::default()
            };
            let changes = enable(&store.view(&[]).unwrap());
            assert_eq!(changes, []);
            let error = change(&store, &changes, PROTECTED).unwrap_err();
            let error = error.to_string();
            assert!(
                error.contains(&format!("{name}=")) && error.contains("uEnv.txt"),
                "{error}"
            );
        }
        let store = Memory {
            variables: one("cma", "64M overlayfs=no").into(),
            ..Memory::default()
        };
        let error = change(&store, &[], PROTECTED).unwrap_err();
        assert!(
            error.to_string().contains("in memory says otherwise"),
            "{error}"
        );
        let both = Variables::from([
            ("ofs_size".into(), "20 overlayfs=no".into()),
            ("overlayfs".into(), "no".into()),
        ]);
        let store = Memory {
            stronger: both,
            ..Memory::default()
        };
        let error = change(&store, &[], PROTECTED).unwrap_err();
        assert!(error.to_string().contains("more than one line"), "{error}");
    }
}
