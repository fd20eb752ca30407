// SPDX-License-Identifier: MIT
//! The mount table: any text is survived; what the kernel writes is read as it was meant; and nothing that
//! is mounted somewhere else passes for the layers.

use overlayroot::mountinfo::{at, parse, Mount};
use overlayrootctl::live::Live;

use crate::input::Input;

/// One input: a byte, then text as it is (even) or mounts to write as the kernel would (odd).
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    if input.byte() & 1 == 0 {
        let text = String::from_utf8_lossy(input.0);
        let mounts = parse(&text);
        assert!(mounts.len() <= text.lines().count());
        live(&text, &mounts);
        return;
    }
    let mut mounts = Vec::new();
    while !input.is_empty() && mounts.len() < 16 {
        mounts.push(mount(&mut input, mounts.len() as u32 + 1));
    }
    let text: String = mounts.iter().map(line).collect();
    assert_eq!(parse(&text), mounts);
    live(&text, &mounts);
}

fn live(text: &str, mounts: &[Mount]) {
    let live = Live::parse(text);
    assert_eq!(live.is_some(), at(mounts, "/").is_some());
    let Some(live) = live else { return };
    assert!(mounts.contains(&live.root) && live.root.target == "/");
    if let Some(layers) = &live.layers {
        assert!(live.root.is_overlay());
        for mount in [&layers.lower, &layers.ram] {
            assert!(mount.target != "/" && mounts.contains(mount));
        }
        assert!(layers.upper.starts_with(&layers.ram.target));
    }
}

fn mount(input: &mut Input<'_>, id: u32) -> Mount {
    const TARGETS: [&str; 6] = [
        "/",
        "/mnt/root-RO",
        "/mnt/root-RW",
        "/mnt",
        "/mnt/root-RW/upper",
        "/boot",
    ];
    let choice = usize::from(input.byte());
    let super_options = match choice & 8 {
        0 => input.text(),
        _ => {
            "rw,lowerdir=/mnt/root-RO,upperdir=/mnt/root-RW/upper,workdir=/mnt/root-RW/work".into()
        }
    };
    // A name that is empty has no place in the table.
    let named = |text: String| if text.is_empty() { "none".into() } else { text };
    Mount {
        id,
        parent: u32::from(input.byte()),
        major: u32::from(input.byte()),
        minor: u32::from(input.byte()),
        root: format!("/{}", input.text()),
        target: match TARGETS.get(choice & 7) {
            Some(target) => (*target).to_owned(),
            None => format!("/{}", input.text()),
        },
        options: if choice & 16 == 0 {
            "rw"
        } else {
            "ro,relatime"
        }
        .to_owned(),
        fstype: if choice & 32 == 0 { "overlay" } else { "ext4" }.to_owned(),
        source: named(input.text()),
        super_options: named(super_options),
    }
}

/// `show_mountinfo()` of fs/proc_namespace.c.
fn line(mount: &Mount) -> String {
    format!(
        "{} {} {}:{} {} {} {} shared:7 - {} {} {}\n",
        mount.id,
        mount.parent,
        mount.major,
        mount.minor,
        mangle(&mount.root),
        mangle(&mount.target),
        mount.options,
        mangle(&mount.fstype),
        mangle(&mount.source),
        mangle(&mount.super_options),
    )
}

fn mangle(text: &str) -> String {
    let mut mangled = String::new();
    for character in text.chars() {
        match character {
            ' ' | '\t' | '\n' | '\\' | '#' => {
                mangled.push_str(&format!("\\{:03o}", character as u32))
            }
            other => mangled.push(other),
        }
    }
    mangled
}
