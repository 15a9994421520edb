//! Thrift's compact protocol, as far as Parquet's metadata needs it: written, never read.
//!
//! ```text
//! struct: field field … 0        field: ┌──────────┬────────┐ value
//!                                       │ id step:4│ type:4 │
//!                                       └──────────┴────────┘
//! ```
//! <https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md>

use heapwise_layout::record::zigzag;

const I32: u8 = 5;
const I64: u8 = 6;
const BINARY: u8 = 8;
const LIST: u8 = 9;
const STRUCT: u8 = 12;

/// A struct in the making. Fields are written in the order of their ids.
#[derive(Debug, Default)]
pub struct Struct {
    bytes: Vec<u8>,
    last: u8,
}

impl Struct {
    /// Its bytes.
    pub fn finish(mut self) -> Vec<u8> {
        self.bytes.push(0);
        self.bytes
    }

    fn head(&mut self, id: u8, kind: u8) {
        // All our steps are below 16.
        self.bytes.push((id - self.last) << 4 | kind);
        self.last = id;
    }

    /// A 32-bit number.
    pub fn i32(mut self, id: u8, value: i32) -> Self {
        self.head(id, I32);
        varint(&mut self.bytes, zigzag(value.into()));
        self
    }

    /// A 64-bit number.
    pub fn i64(mut self, id: u8, value: i64) -> Self {
        self.head(id, I64);
        varint(&mut self.bytes, zigzag(value));
        self
    }

    /// A string.
    pub fn text(mut self, id: u8, value: &str) -> Self {
        self.head(id, BINARY);
        text(&mut self.bytes, value);
        self
    }

    /// A struct.
    pub fn inner(mut self, id: u8, value: Self) -> Self {
        self.head(id, STRUCT);
        self.bytes.extend(value.finish());
        self
    }

    /// A list of structs.
    pub fn list(mut self, id: u8, values: Vec<Self>) -> Self {
        self.head(id, LIST);
        list_head(&mut self.bytes, values.len(), STRUCT);
        self.bytes.extend(values.into_iter().flat_map(Self::finish));
        self
    }

    /// A list of numbers.
    pub fn i32s(mut self, id: u8, values: &[i32]) -> Self {
        self.head(id, LIST);
        list_head(&mut self.bytes, values.len(), I32);
        values.iter().for_each(|&value| varint(&mut self.bytes, zigzag(value.into())));
        self
    }

    /// A list of strings.
    pub fn texts(mut self, id: u8, values: &[&str]) -> Self {
        self.head(id, LIST);
        list_head(&mut self.bytes, values.len(), BINARY);
        values.iter().for_each(|value| text(&mut self.bytes, value));
        self
    }
}

/// Seven bits a byte, the lowest first.
pub fn varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn text(bytes: &mut Vec<u8>, value: &str) {
    varint(bytes, value.len() as u64);
    bytes.extend_from_slice(value.as_bytes());
}

fn list_head(bytes: &mut Vec<u8>, length: usize, kind: u8) {
    if length < 15 {
        bytes.push((length as u8) << 4 | kind);
    } else {
        bytes.push(0xf0 | kind);
        varint(bytes, length as u64);
    }
}
