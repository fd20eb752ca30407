// SPDX-License-Identifier: MIT
//! JSON for the report: objects, lists, text, numbers, truth values and null.

use alloc::string::String;
use alloc::vec::Vec;

use crate::text::{push_decimal, push_hex};

/// What can be a value in JSON.
pub trait Json {
    /// Appends the text of the value (RFC 8259).
    fn write(&self, text: &mut String);
}

/// The JSON text of a value.
pub fn text(value: &dyn Json) -> String {
    let mut text = String::new();
    value.write(&mut text);
    text
}

/// Makes a structure an object whose fields have the names of the structure's, all of them.
macro_rules! fields {
    ($type:ident { $($field:ident),* $(,)? }) => {
        impl $crate::json::Json for $type {
            fn write(&self, text: &mut String) {
                let $type { $($field),* } = self;
                let names = concat!($("\"", stringify!($field), "\":"),*);
                $crate::json::object(text, names, &[$($field),*]);
            }
        }
    };
}
pub(crate) use fields;

/// Appends an object; each of the names is in quotes and ends with its colon.
pub fn object(text: &mut String, names: &str, values: &[&dyn Json]) {
    let mut before = "{";
    let mut rest = names;
    for value in values {
        text.push_str(before);
        before = ",";
        let colon = rest.bytes().position(|byte| byte == b':');
        let end = colon.map_or(rest.len(), |at| at + 1);
        text.push_str(rest.get(..end).unwrap_or_default());
        rest = rest.get(end..).unwrap_or_default();
        value.write(text);
    }
    text.push('}');
}

/// RFC 8259, section 7.
fn quote(text: &mut String, value: &str) {
    text.push('"');
    let mut rest = value;
    // What needs no escape is appended in one go.
    while let Some(at) = rest.bytes().position(is_escaped) {
        text.push_str(rest.get(..at).unwrap_or_default());
        text.push_str("\\u");
        let byte = rest.as_bytes().get(at).copied().unwrap_or_default();
        push_hex(text, u32::from(byte), 4);
        rest = rest.get(at + 1..).unwrap_or_default();
    }
    text.push_str(rest);
    text.push('"');
}

fn is_escaped(byte: u8) -> bool {
    byte < b' ' || byte == b'"' || byte == b'\\'
}

impl Json for bool {
    fn write(&self, text: &mut String) {
        text.push_str(if *self { "true" } else { "false" });
    }
}

impl Json for u64 {
    fn write(&self, text: &mut String) {
        push_decimal(text, *self);
    }
}

impl Json for String {
    fn write(&self, text: &mut String) {
        quote(text, self);
    }
}

impl Json for &str {
    fn write(&self, text: &mut String) {
        quote(text, self);
    }
}

impl<T: Json> Json for Option<T> {
    fn write(&self, text: &mut String) {
        match self {
            Some(value) => value.write(text),
            None => text.push_str("null"),
        }
    }
}

impl<T: Json> Json for Vec<T> {
    fn write(&self, text: &mut String) {
        list(text, &mut self.iter().map(|value| value as &dyn Json));
    }
}

/// Appends a list; not a function for each type.
fn list(text: &mut String, values: &mut dyn Iterator<Item = &dyn Json>) {
    text.push('[');
    for (at, value) in values.enumerate() {
        if at > 0 {
            text.push(',');
        }
        value.write(text);
    }
    text.push(']');
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    struct Inner {
        text: String,
    }

    struct Outer {
        number: u64,
        yes: bool,
        none: Option<Inner>,
        some: Option<Inner>,
        list: Vec<Inner>,
        empty: Vec<Inner>,
        word: &'static str,
    }

    fields!(Inner { text });
    fields!(Outer {
        number,
        yes,
        none,
        some,
        list,
        empty,
        word
    });

    fn outer(number: u64, text: &str) -> Outer {
        let inner = || Inner { text: text.into() };
        Outer {
            number,
            yes: number > 9,
            none: None,
            some: Some(inner()),
            list: vec![inner(), inner()],
            empty: vec![],
            word: "x",
        }
    }

    #[test]
    fn exact_text() {
        assert_eq!(
            text(&outer(120, "\n[")),
            r#"{"number":120,"yes":true,"none":null,"some":{"text":"\u000a["},"list":[{"text":"\u000a["},{"text":"\u000a["}],"empty":[],"word":"x"}"#
        );
    }

    proptest! {
        /// The same as serde_json's, to who reads it.
        #[test]
        fn any_value(number in any::<u64>(), word in any::<String>()) {
            let ours: serde_json::Value = serde_json::from_str(&text(&outer(number, &word))).unwrap();
            let theirs = serde_json::json!({
                "number": number, "yes": number > 9, "none": null, "some": {"text": word},
                "list": [{"text": word}, {"text": word}], "empty": [], "word": "x",
            });
            prop_assert_eq!(ours, theirs);
        }
    }
}
