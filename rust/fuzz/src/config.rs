// SPDX-License-Identifier: MIT
//! `overlayroot.conf`: every line is an entry, a comment or a warning; the settings hold what they hold for
//! the command line.

use overlayroot::config::parse;
use overlayroot::settings::Settings;

/// One input: the file.
pub fn run(data: &[u8]) {
    let (entries, warnings) = parse(data);
    let text = String::from_utf8_lossy(data);
    let is_nothing = |line: &&str| {
        let line = line.trim_matches(|c: char| c.is_ascii_whitespace());
        line.is_empty() || line.starts_with('#')
    };
    let lines = text.lines().count();
    let nothing = text.lines().filter(is_nothing).count();
    assert_eq!(entries.len() + warnings.len() + nothing, lines);
    for entry in &entries {
        for part in [&entry.name, &entry.value] {
            assert!(!part.contains('\n') && text.contains(part.as_str()));
        }
        assert!(
            !entry.name.is_empty() && !entry.name.contains('=') && !entry.name.starts_with('#')
        );
    }
    let settings = Settings::merge(&entries, &[]);
    crate::cmdline::check(&settings, &entries, &[]);
}
