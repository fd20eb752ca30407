// SPDX-License-Identifier: MIT
//! What the next boot will be, compared with the boot script in a real U-Boot: boot-script.json holds what that made
//! of variables and files (tests/virt/test_boot_script.py).

use std::collections::BTreeMap;

use overlayroot::cmdline::words;
use overlayroot::settings::Settings;
use overlayrootctl::bootenv::uenv::{import, parse};
use overlayrootctl::bootenv::{before_files, names, next_boot, View};
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    environment: BTreeMap<String, String>,
    #[serde(rename = "overlayroot.env")]
    image: Option<String>,
    #[serde(rename = "uEnv.txt")]
    own: Option<String>,
    command_line: String,
}

#[test]
fn the_next_boot_is_as_u_boot_makes_it() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("boot-script.json")).unwrap();
    assert!(cases.len() > 200);
    let (mut protected, mut untold, mut wrong) = (0, 0, Vec::new());
    for (number, case) in cases.iter().enumerate() {
        let mut own = case.environment.clone();
        own.retain(|name, _| names().any(|known| known == name));
        let mut effective = before_files(own.clone());
        for file in [&case.image, &case.own].into_iter().flatten() {
            import(&parse(file.as_bytes()), &mut effective);
        }
        let view = View {
            own,
            effective,
            complete: true,
        };
        let next = next_boot("", &view);
        let real = Settings::merge(&[], &words(case.command_line.as_bytes()));
        protected += usize::from(real.overlay);
        // Where U-Boot's shell has its own way with a value, nothing is promised.
        let told = !next.warnings.iter().any(|w| w.contains("U-Boot's shell"));
        untold += usize::from(!told);
        if next.protected && !real.overlay || told && next.protected != real.overlay {
            wrong.push(format!(
                "{number}: {:?}, {:?}, {:?}: protected: {}, but U-Boot passes {}",
                case.environment, case.image, case.own, next.protected, case.command_line
            ));
        }
    }
    assert!(wrong.is_empty(), "{}\n{}", wrong.len(), wrong.join("\n"));
    // All kinds are among them.
    assert!((50..cases.len() - 50).contains(&protected), "{protected}");
    assert!((20..cases.len() / 2).contains(&untold), "{untold}");
}
