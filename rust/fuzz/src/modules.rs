// SPDX-License-Identifier: MIT
//! The list of kernel modules: a path and parameters from each line that is no comment, in order.

use overlayroot::modules::parse;

/// One input: the list.
pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut lines = text.lines();
    for module in parse(&text) {
        assert!(!module.path.is_empty() && !module.path.starts_with('#'));
        assert!(!module.path.contains([' ', '\t', '\n']));
        let ends = |c: char| c.is_ascii_whitespace();
        assert!(!module.parameters.starts_with(ends) && !module.parameters.ends_with(ends));
        let is_its_line = |line: &str| {
            let line = line.trim_matches(ends);
            line.starts_with(module.path) && line.ends_with(module.parameters)
        };
        assert!(lines.any(is_its_line), "{module:?}");
    }
}
