// SPDX-License-Identifier: MIT
//! The kernel command line, and what it makes of the settings: only a valid `overlayfs=no` takes the
//! protection away, the origin of each value is right, and no size is more than a board can live with.

use overlayroot::cmdline::{same_name, words, Word};
use overlayroot::config::{self, Entry};
use overlayroot::device::DeviceSpec;
use overlayroot::facts::Facts;
use overlayroot::plan::{plan, Mode};
use overlayroot::settings::{DirtyPolicy, Origin, Settings};
use overlayroot::size::SMALLEST;
use overlayroot::step::Step;
use overlayroot::superblock::State;

use crate::input::Input;

/// One input: a byte of facts, a configuration, a command line.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let facts = facts(input.byte());
    let (entries, _) = config::parse(input.piece());
    let line = input.0;
    let found = words(line);
    assert_eq!(found, kernels_words(line));
    let settings = Settings::merge(&entries, &found);
    check(&settings, &entries, &found);
    for mode in [Mode::Ram, Mode::Writable, Mode::ReadOnly] {
        check_plan(mode, &settings, &facts);
    }
}

/// What holds for settings, whatever they were made of.
pub fn check(settings: &Settings, entries: &[Entry], words: &[Word]) {
    protection(settings, entries, words);
    assert!((1..=3600).contains(&settings.wait) && settings.reboot_delay <= 3600);
    assert!(settings
        .init
        .as_ref()
        .map_or(true, |path| path.starts_with('/')));
    assert!(settings.warnings.len() <= entries.len() + words.len());
    for said in &settings.said {
        let others = settings.said.iter().filter(|other| other.name == said.name);
        assert_eq!(others.count(), 1, "{} is said twice", said.name);
    }
    // (A name that is in quotes itself is shown as it is, and a boot loader's quotes are taken off.)
    let quoted = |root: &DeviceSpec| root.to_string().contains("=\"");
    if let Some(root) = settings.root.as_ref().filter(|root| !quoted(root)) {
        assert_eq!(
            DeviceSpec::parse(&root.to_string()).as_ref(),
            Some(root),
            "{root}"
        );
    }
    for memory in [0, 1 << 20, 64 << 20, 1 << 30, 1 << 40, u64::MAX] {
        let (limits, warning) = settings.size.limits(memory);
        // A quarter is left to the board, also when each file takes 2 KiB of memory beside its pages.
        let most = (memory / 4 * 3 + 3).max(2 * SMALLEST);
        assert!(
            limits.bytes >= SMALLEST && limits.inodes > 0 && limits.bytes % 4096 == 0,
            "{limits:?} of {memory}"
        );
        assert!(
            limits.bytes + limits.inodes * 2048 <= most,
            "{limits:?} of {memory}"
        );
        assert!(warning.map_or(true, |text| text.len() < 300));
    }
}

/// `overlayfs` is what the last valid value says, and says where that was.
fn protection(settings: &Settings, entries: &[Entry], words: &[Word]) {
    let is_ours = |name: &str| same_name(name, "overlayfs");
    let mut wanted = (true, Origin::Default);
    let said = entries
        .iter()
        .filter(|entry| is_ours(&entry.name))
        .map(|entry| (entry.value.as_str(), Origin::Config));
    let words = words.iter().filter(|word| is_ours(&word.name));
    let words = words.map(|word| (word.value.as_deref().unwrap_or(""), Origin::CommandLine));
    for (value, origin) in said.chain(words) {
        match value {
            "yes" | "on" | "1" | "y" | "true" => wanted = (true, origin),
            "no" | "off" | "0" | "n" | "false" => wanted = (false, origin),
            _ => {}
        }
    }
    assert_eq!((settings.overlay, settings.origin("overlayfs")), wanted);
    let mode = if wanted.0 { Mode::Ram } else { Mode::Writable };
    assert_eq!(Mode::wanted(settings), mode);
}

fn facts(switches: u8) -> Facts {
    let fstype = ["ext4", "ext3", "f2fs", "btrfs", "squashfs", "vfat"];
    let fstype = fstype[usize::from(switches >> 5) % fstype.len()];
    let journal = !matches!(fstype, "squashfs" | "vfat");
    let state = match switches & 3 {
        0 => State::Clean,
        1 if journal => State::Dirty("the journal needs recovery"),
        2 => State::Unknown,
        _ => State::ReadOnlyFormat,
    };
    let mut facts = Facts::default();
    if switches & 8 == 0 {
        facts = facts.with_root("mmcblk0p2", fstype, state);
    }
    if let Some(root) = &mut facts.root {
        root.media_read_only = switches & 16 != 0;
    }
    facts
}

/// Protected modes never mount writable; only a dirty journal that may be replayed leaves the device open.
fn check_plan(mode: Mode, settings: &Settings, facts: &Facts) {
    let (Ok(plan), Some(root)) = (plan(mode, settings, facts), &facts.root) else {
        return;
    };
    assert!(plan.to_string().len() < 1 << 20);
    let Some(Step::MountRoot { ways, .. }) = plan.steps.first() else {
        panic!("{plan}");
    };
    assert!(!ways.is_empty());
    if mode == Mode::Writable {
        assert!(root.state != State::ReadOnlyFormat);
        return;
    }
    assert!(ways.iter().all(|way| way.read_only));
    // generic_parse_monolithic() and vfs_parse_sb_flag() of the kernel's fs/fs_context.c.
    let names = |options: &str| {
        let name = |option: &str| option.split('=').next().map(str::to_owned);
        options.split(',').filter_map(name).collect::<Vec<_>>()
    };
    assert!(ways
        .iter()
        .all(|way| !names(&way.options).contains(&"rw".to_owned())));
    let formats_cannot = root.media_read_only || root.state == State::ReadOnlyFormat;
    let replays = matches!(root.state, State::Dirty(_)) && settings.dirty == DirtyPolicy::Replay;
    assert!(ways[0].lock_device || formats_cannot || replays);
    if settings.dirty != DirtyPolicy::Replay {
        assert!(ways.iter().all(|way| way.lock_device || formats_cannot));
    }
    if settings.lock || mode == Mode::ReadOnly {
        let opens = |step: &Step| {
            matches!(
                step,
                Step::SetDeviceReadOnly {
                    read_only: false,
                    ..
                }
            )
        };
        assert!(!plan.steps.iter().any(opens));
    }
}

/// `next_arg()` of the kernel's lib/cmdline.c, and `parse_args()`'s end at `--`.
fn kernels_words(line: &[u8]) -> Vec<Word> {
    let line = &line[..line.iter().position(|&b| b == 0).unwrap_or(line.len())];
    let is_space = |b: u8| matches!(b, b' ' | 9..=13);
    let byte = |at: usize| line.get(at).copied().unwrap_or(0);
    let mut found = Vec::new();
    let mut at = 0;
    loop {
        while is_space(byte(at)) {
            at += 1;
        }
        if byte(at) == 0 {
            return found;
        }
        let quoted = byte(at) == b'"';
        if quoted {
            at += 1;
        }
        let start = at;
        let (mut in_quotes, mut equals) = (quoted, None);
        while byte(at) != 0 && (in_quotes || !is_space(byte(at))) {
            // (One at the start is part of the name there, which no name of ours begins with.)
            if equals.is_none() && byte(at) == b'=' {
                equals = Some(at);
            }
            if byte(at) == b'"' {
                in_quotes = !in_quotes;
            }
            at += 1;
        }
        let value = equals.map(|equals| equals + 1 + usize::from(byte(equals + 1) == b'"'));
        let in_value = equals.is_some_and(|equals| byte(equals + 1) == b'"');
        let end = at - usize::from((quoted || in_value) && at > start && byte(at - 1) == b'"');
        let text = |from: usize, to: usize| {
            let piece = line.get(from..to).unwrap_or_default();
            String::from_utf8_lossy(piece).into_owned()
        };
        let word = Word {
            name: text(start, equals.unwrap_or(end)),
            value: value.map(|from| text(from, end)),
        };
        if word.name == "--" && word.value.is_none() {
            return found;
        }
        found.push(word);
    }
}
