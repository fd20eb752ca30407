// SPDX-License-Identifier: MIT
//! Mount option strings; the only place that escapes.

use alloc::format;
use alloc::string::String;

/// Options that stack `ram` on `lower`; without a work directory for the oldest kernels.
///
/// Escapes as `fs/overlayfs/params.c` undoes it: `\` before `\`, `,` and, in `lowerdir=`, `:`.
pub fn overlay(lower: &str, ram: &str, workdir: bool) -> String {
    let (lower, ram) = (escape(lower, ":"), escape(ram, ""));
    let mut options = format!("lowerdir={lower},upperdir={ram}/upper");
    if workdir {
        options.push_str(",workdir=");
        options.push_str(&ram);
        options.push_str("/work");
    }
    options
}

fn escape(path: &str, more: &str) -> String {
    let mut escaped = String::with_capacity(path.len());
    for character in path.chars() {
        if matches!(character, '\\' | ',') || more.contains(character) {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_paths_stay_plain() {
        assert_eq!(
            overlay("/mnt/root-RO", "/mnt/root-RW", true),
            "lowerdir=/mnt/root-RO,upperdir=/mnt/root-RW/upper,workdir=/mnt/root-RW/work"
        );
        assert_eq!(overlay("/a", "/b", false), "lowerdir=/a,upperdir=/b/upper");
    }

    #[test]
    fn separators_are_escaped() {
        assert_eq!(
            overlay("/a:b,c\\d", "/e:f", false),
            "lowerdir=/a\\:b\\,c\\\\d,upperdir=/e:f/upper"
        );
    }
}
