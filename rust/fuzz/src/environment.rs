// SPDX-License-Identifier: MIT
//! U-Boot's environment: what enabling, disabling and asking for one writable boot make of any variables,
//! cut after each change; blocks as U-Boot saves them; fw_env.config.

use overlayrootctl::bootenv::fwconfig::{classify, parse, Content};
use overlayrootctl::bootenv::fwenv::printed;
use overlayrootctl::bootenv::{
    apply, disable, enable, next_boot, once, size, Change, Variables, View, ONCE,
};

use crate::input::Input;
use crate::partition::crc32;

/// One input: a byte, fw_env.config, then variables as fw_printenv prints them, or a block.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let switches = input.byte();
    places(&input.text());
    let block = input.0;
    blocks(block);
    let mut own = printed(block);
    // The image's own default is what it is, and so is what comes behind.
    let odd = |c: char| c.is_whitespace() || "'\"\\$".contains(c);
    let ours = [
        ONCE,
        "overlayfs",
        "ofs-size",
        "ofs_size",
        "ofs_default_overlayfs",
    ];
    own.retain(|name, value| ours.contains(&name.as_str()) || !value.contains(odd));
    // What has no newline in its value is printed and read as it is.
    let text: String = own.iter().map(|(n, v)| format!("{n}={v}\n")).collect();
    assert_eq!(printed(text.as_bytes()), own);
    decisions(own, switches & 1 == 0);
}

fn places(text: &str) {
    let places = parse(text);
    assert!(places.len() <= text.lines().count());
    for place in places {
        assert!(place.device.starts_with('/'));
    }
}

fn blocks(data: &[u8]) {
    for (flags, expected) in [(None, Content::Single), (Some(1u8), Content::Redundant)] {
        let mut block = crc32(data).to_le_bytes().to_vec();
        block.extend(flags);
        block.extend_from_slice(data);
        // The checksum of one form may be that of the other by chance, once in four billion blocks.
        assert_eq!(classify(&block), expected);
        for bit in [0, 8 * block.len() / 2, 8 * block.len() - 1] {
            if let (Some(byte), false) = (block.get_mut(bit / 8), flags.is_some() && bit / 8 == 4) {
                *byte ^= 1 << (bit % 8);
                assert_ne!(classify(&block), expected);
                block[bit / 8] ^= 1 << (bit % 8);
            }
        }
    }
    let found = classify(data);
    if found == Content::Erased {
        assert!(data.iter().all(|&b| b == 0xff));
    }
}

fn view(own: Variables, complete: bool) -> View {
    View {
        effective: own.clone(),
        own,
        complete,
    }
}

fn after(view: &View, changes: &[Change]) -> View {
    let mut after = view.clone();
    apply(changes, &mut after.own);
    apply(changes, &mut after.effective);
    after
}

fn decisions(own: Variables, complete: bool) {
    let before = view(own, complete);
    let was = next_boot("", &before);
    let each_prefix = |changes: &[Change], holds: &dyn Fn(&View)| {
        for count in 0..changes.len() {
            holds(&after(&before, &changes[..count]));
        }
    };
    let changed = |changes: &[Change]| {
        let after = after(&before, changes);
        for (name, value) in &before.own {
            if changes.iter().all(|change| change.name != *name) {
                assert_eq!(after.own.get(name), Some(value));
            }
        }
        (next_boot("", &after), after)
    };

    let changes = enable(&before);
    let (next, after) = changed(&changes);
    assert!(next.protected && next.protected_afterwards && !next.once);
    assert_eq!(enable(&after), []);
    // A cut between two changes makes no board writable that was not.
    each_prefix(&changes, &|cut| {
        assert!(next_boot("", cut).protected || !was.protected_afterwards || was.once);
    });

    let changes = disable(&before);
    let (next, after) = changed(&changes);
    assert!(!next.protected && !next.protected_afterwards && !next.once);
    assert_eq!(disable(&after), []);

    let changes = once(&before);
    let (next, _) = changed(&changes);
    assert!(next.once && !next.protected && next.protected_afterwards);
    each_prefix(&changes, &|cut| {
        let now = next_boot("", cut);
        assert!(now.protected_afterwards || now.once == was.once, "{now:?}");
    });

    let (next, after) = changed(&size(&before, "64M"));
    assert_eq!(next.size, "64M");
    assert_eq!(next.once, was.once);
    let spellings = ["ofs-size", "ofs_size"].iter();
    assert_eq!(spellings.filter(|n| after.own.contains_key(**n)).count(), 1);
    assert_eq!(after.own.get(ONCE), before.own.get(ONCE));
}
