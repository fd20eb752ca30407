// SPDX-License-Identifier: MIT
//! JSON for the report: what serde hands over becomes text. serde_json can do more than the init can afford: this
//! knows structures, lists, text, numbers, truth values and null, which is what a report is made of.

use alloc::string::String;
use core::fmt::{self, Write};

use serde::ser::{Impossible, Serialize, SerializeSeq, SerializeStruct, Serializer};

use crate::text::{push_hex, Number};

type Result<T = ()> = core::result::Result<T, fmt::Error>;

/// The JSON text of a value.
pub fn text(value: &impl Serialize) -> String {
    let mut text = String::new();
    // Fails for types that a report does not have.
    let _ = value.serialize(Json(&mut text));
    text
}

struct Json<'a>(&'a mut String);

impl Json<'_> {
    /// RFC 8259, section 7.
    #[inline(never)]
    fn quote(self, value: &str) {
        self.0.push('"');
        for character in value.chars() {
            match character {
                '"' | '\\' => {
                    self.0.push('\\');
                    self.0.push(character);
                }
                '\0'..='\x1f' => {
                    self.0.push_str("\\u");
                    push_hex(self.0, u32::from(character), 4);
                }
                _ => self.0.push(character),
            }
        }
        self.0.push('"');
    }
}

/// A structure or a list that is being written, and how it ends.
struct Open<'a>(&'a mut String, char);

impl Open<'_> {
    fn comma(&mut self) {
        if !self.0.ends_with(['{', '[']) {
            self.0.push(',');
        }
    }

    fn close(self) -> Result {
        self.0.push(self.1);
        Ok(())
    }
}

/// Types that a report does not have.
macro_rules! none {
    ($($name:ident($($type:ty),*) -> $result:ty;)*) => {
        $(fn $name(self, $(_: $type),*) -> Result<$result> {
            Err(fmt::Error)
        })*
    };
}

impl<'a> Serializer for Json<'a> {
    type Ok = ();
    type Error = fmt::Error;
    type SerializeSeq = Open<'a>;
    type SerializeStruct = Open<'a>;
    type SerializeTuple = Impossible<(), fmt::Error>;
    type SerializeTupleStruct = Impossible<(), fmt::Error>;
    type SerializeTupleVariant = Impossible<(), fmt::Error>;
    type SerializeMap = Impossible<(), fmt::Error>;
    type SerializeStructVariant = Impossible<(), fmt::Error>;

    fn serialize_bool(self, value: bool) -> Result {
        self.0.push_str(if value { "true" } else { "false" });
        Ok(())
    }

    fn serialize_u64(self, value: u64) -> Result {
        write!(self.0, "{}", Number(value))
    }

    fn serialize_str(self, value: &str) -> Result {
        self.quote(value);
        Ok(())
    }

    fn serialize_none(self) -> Result {
        self.0.push_str("null");
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result {
        value.serialize(self)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Open<'a>> {
        self.0.push('[');
        Ok(Open(self.0, ']'))
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Open<'a>> {
        self.0.push('{');
        Ok(Open(self.0, '}'))
    }

    none! {
        serialize_i8(i8) -> ();
        serialize_i16(i16) -> ();
        serialize_i32(i32) -> ();
        serialize_i64(i64) -> ();
        serialize_u8(u8) -> ();
        serialize_u16(u16) -> ();
        serialize_u32(u32) -> ();
        serialize_f32(f32) -> ();
        serialize_f64(f64) -> ();
        serialize_char(char) -> ();
        serialize_bytes(&[u8]) -> ();
        serialize_unit() -> ();
        serialize_unit_struct(&'static str) -> ();
        serialize_unit_variant(&'static str, u32, &'static str) -> ();
        serialize_tuple(usize) -> Self::SerializeTuple;
        serialize_tuple_struct(&'static str, usize) -> Self::SerializeTupleStruct;
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> Self::SerializeTupleVariant;
        serialize_map(Option<usize>) -> Self::SerializeMap;
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> Self::SerializeStructVariant;
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, _: &T) -> Result {
        Err(fmt::Error)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result {
        Err(fmt::Error)
    }
}

impl SerializeSeq for Open<'_> {
    type Ok = ();
    type Error = fmt::Error;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result {
        self.comma();
        value.serialize(Json(self.0))
    }

    fn end(self) -> Result {
        self.close()
    }
}

impl SerializeStruct for Open<'_> {
    type Ok = ();
    type Error = fmt::Error;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result {
        self.comma();
        Json(self.0).quote(name);
        self.0.push(':');
        value.serialize(Json(self.0))
    }

    fn end(self) -> Result {
        self.close()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;
    use proptest::prelude::*;
    use serde::Serialize;

    #[derive(Serialize)]
    struct Inner {
        text: String,
    }

    #[derive(Serialize)]
    struct Outer {
        number: u64,
        yes: bool,
        none: Option<Inner>,
        some: Option<Inner>,
        list: Vec<Inner>,
        empty: Vec<Inner>,
        word: &'static str,
    }

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
            let value = outer(number, &word);
            let ours: serde_json::Value = serde_json::from_str(&text(&value)).unwrap();
            prop_assert_eq!(ours, serde_json::to_value(&value).unwrap());
        }
    }
}
