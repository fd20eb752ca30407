// SPDX-License-Identifier: MIT
//! Options of the overlay: what the kernel takes them apart to is what was put together.

use overlayroot::options::overlay;

use crate::input::Input;

/// One input: whether there is a work directory, lower, RAM layer.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let workdir = input.byte() & 1 != 0;
    let (lower, ram) = (input.text(), input.text());
    let options = overlay(&lower, &ram, workdir);
    let found: Vec<(String, String)> = split(&options)
        .into_iter()
        .map(|option| {
            let (name, value) = option.split_once('=').expect("name=value");
            (name.to_owned(), value.to_owned())
        })
        .collect();
    let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
    let expected = ["lowerdir", "upperdir", "workdir"];
    assert_eq!(names, expected[..2 + usize::from(workdir)]);
    assert_eq!(lowers(&found[0].1), [lower]);
    assert_eq!(unescape(&found[1].1), format!("{ram}/upper"));
    if workdir {
        assert_eq!(unescape(&found[2].1), format!("{ram}/work"));
    }
}

/// `ovl_next_opt()`: commas separate, unless there is a backslash before them.
fn split(options: &str) -> Vec<String> {
    let mut found = vec![String::new()];
    let mut characters = options.chars();
    while let Some(character) = characters.next() {
        match character {
            ',' => found.push(String::new()),
            other => {
                let last = found.last_mut().expect("one at least");
                last.push(other);
                if other == '\\' {
                    last.extend(characters.next());
                }
            }
        }
    }
    found
}

/// `ovl_parse_param_split_lowerdirs()`: colons separate, backslashes go.
fn lowers(value: &str) -> Vec<String> {
    let mut found = vec![String::new()];
    let mut characters = value.chars();
    while let Some(character) = characters.next() {
        let last = found.last_mut().expect("one at least");
        match character {
            '\\' => last.extend(characters.next()),
            ':' => found.push(String::new()),
            other => last.push(other),
        }
    }
    found
}

/// `ovl_unescape()`.
fn unescape(value: &str) -> String {
    let mut text = String::new();
    let mut characters = value.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => text.extend(characters.next()),
            other => text.push(other),
        }
    }
    text
}
