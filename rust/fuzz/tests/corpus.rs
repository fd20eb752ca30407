// SPDX-License-Identifier: MIT
//! Every target on its seeds, without libFuzzer: `cargo test --no-default-features`.

use std::fs;
use std::path::Path;

#[test]
fn seeds_hold() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (name, run) in overlayroot_fuzz::TARGETS {
        let entries =
            fs::read_dir(seeds.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut count = 0;
        for entry in entries {
            let path = entry.unwrap().path();
            println!("{}", path.display());
            run(&fs::read(path).unwrap());
            count += 1;
        }
        assert!(count > 0, "{name} has no seeds");
        for length in [0, 1, 2, 64, 4096] {
            run(&vec![0; length]);
            run(&vec![b'=', b'/', b'\n', 0xff][..].repeat(length / 4));
        }
    }
}
