// SPDX-License-Identifier: MIT
//! `overlayroot.modules` in the initramfs: kernel modules to load, in order.

use crate::text::trim;

/// One module: where it is, and its parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Module<'a> {
    /// Path of the `.ko` file in the initramfs.
    pub path: &'a str,
    /// Parameters as `finit_module(2)` takes them: `a=1 b=2`, or empty.
    pub parameters: &'a str,
}

/// The modules of a list: one a line, path then parameters; `#` starts a comment line.
pub fn parse(list: &str) -> impl Iterator<Item = Module<'_>> {
    list.lines()
        .map(trim)
        .filter(|l| !l.is_empty() && !l.starts_with('#'))
        .map(|line| match line.split_once([' ', '\t']) {
            Some((path, parameters)) => Module {
                path,
                parameters: trim(parameters),
            },
            None => Module {
                path: line,
                parameters: "",
            },
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn paths_parameters_comments() {
        let found: Vec<_> = parse("# a\n/x.ko\n\n  /y.ko  a=1 b=2 \n")
            .map(|m| (m.path, m.parameters))
            .collect();
        assert_eq!(found, [("/x.ko", ""), ("/y.ko", "a=1 b=2")]);
    }
}
