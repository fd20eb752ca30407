// SPDX-License-Identifier: MIT
//! Values from the bytes that the fuzzer gives; when they run out, zeros.

/// What is left of the bytes.
pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Up to `count` bytes.
    pub fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// A byte.
    pub fn byte(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or(0)
    }

    /// A number, little-endian, of up to eight bytes.
    pub fn number(&mut self, bytes: usize) -> u64 {
        let taken = self.bytes(bytes);
        taken
            .iter()
            .rev()
            .fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    /// A piece: up to the next 0xFF, which no text has.
    pub fn piece(&mut self) -> &'a [u8] {
        let end = self.0.iter().position(|&b| b == 0xff);
        let piece = self.bytes(end.unwrap_or(self.0.len()));
        self.bytes(1);
        piece
    }

    /// The same as text.
    pub fn text(&mut self) -> String {
        String::from_utf8_lossy(self.piece()).into_owned()
    }
}
