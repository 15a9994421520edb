//! Apache Parquet, the plain part of it: what every reader reads.
//!
//! ```text
//! "PAR1" │ row group: a column chunk a field │ row group … │ footer │ its length │ "PAR1"
//!                     └ one page: header, then snappy of
//!                       [levels: which are absent] values, plain
//! ```
//! One table, flat, known beforehand: so this is two hundred lines, and the library that can do
//! all of Parquet would be half a minute of every build.
//! <https://parquet.apache.org/docs/file-format/>

use std::io::{self, Write};

use super::Sink;
use super::rows::{FIELDS, Field, Kind, Row, Value};
use super::thrift::{Struct, varint};

const MAGIC: &[u8; 4] = b"PAR1";
/// Rows of a row group: some 10 MiB in memory.
const GROUP_ROWS: usize = 128 << 10;

// Numbers of parquet.thrift.
const INT32: i32 = 1;
const INT64: i32 = 2;
const BYTE_ARRAY: i32 = 6;
const REQUIRED: i32 = 0;
const OPTIONAL: i32 = 1;
const UTF8: i32 = 0;
const UINT_32: i32 = 13;
const UINT_64: i32 = 14;
const PLAIN: i32 = 0;
const RLE: i32 = 3;
const SNAPPY: i32 = 1;
const DATA_PAGE: i32 = 0;

/// Values of one field on their way to a page.
#[derive(Debug, Default)]
struct Column {
    values: Vec<u8>,
    /// A bit a row: whether it has a value.
    present: Vec<u8>,
}

impl Column {
    fn push(&mut self, row: usize, field: &Field, value: Value<'_>) {
        if field.optional {
            if row.is_multiple_of(8) {
                self.present.push(0);
            }
            if let Some(last) = self.present.last_mut() {
                *last |= u8::from(value != Value::None) << (row % 8);
            }
        }
        match value {
            Value::None => {}
            Value::Unsigned(number) if field.kind == Kind::U32 => {
                let number = u32::try_from(number).unwrap_or(u32::MAX);
                self.values.extend_from_slice(&number.to_le_bytes());
            }
            Value::Unsigned(number) => self.values.extend_from_slice(&number.to_le_bytes()),
            Value::Signed(number) => self.values.extend_from_slice(&number.to_le_bytes()),
            Value::Text(text) => {
                self.values.extend_from_slice(&(text.len() as u32).to_le_bytes());
                self.values.extend_from_slice(text.as_bytes());
            }
        }
    }

    /// Levels and values as a page holds them; empties the column.
    fn take_page(&mut self, optional: bool) -> Vec<u8> {
        let mut page = Vec::with_capacity(self.values.len() + self.present.len() + 16);
        if optional {
            // One run of groups of eight, a bit each.
            let mut levels = Vec::with_capacity(self.present.len() + 8);
            varint(&mut levels, (self.present.len() as u64) << 1 | 1);
            levels.append(&mut self.present);
            page.extend_from_slice(&(levels.len() as u32).to_le_bytes());
            page.append(&mut levels);
        }
        page.append(&mut self.values);
        page
    }
}

/// The table.
pub struct Table<W> {
    out: W,
    at: u64,
    columns: Vec<Column>,
    rows: usize,
    all_rows: u64,
    groups: Vec<Struct>,
}

impl<W: Write> Table<W> {
    /// An empty table.
    pub fn new(mut out: W) -> io::Result<Self> {
        out.write_all(MAGIC)?;
        let columns = FIELDS.iter().map(|_| Column::default()).collect();
        Ok(Self { out, at: 4, columns, rows: 0, all_rows: 0, groups: Vec::new() })
    }

    fn end_group(&mut self) -> io::Result<()> {
        if self.rows == 0 {
            return Ok(());
        }
        let mut chunks = Vec::new();
        let mut bytes = 0;
        for (field, column) in FIELDS.iter().zip(&mut self.columns) {
            let page = column.take_page(field.optional);
            let packed = snap::raw::Encoder::new().compress_vec(&page)?;
            let data_page =
                Struct::default().i32(1, self.rows as i32).i32(2, PLAIN).i32(3, RLE).i32(4, RLE);
            let header = Struct::default()
                .i32(1, DATA_PAGE)
                .i32(2, page.len() as i32)
                .i32(3, packed.len() as i32)
                .inner(5, data_page)
                .finish();
            self.out.write_all(&header)?;
            self.out.write_all(&packed)?;
            let plain = (header.len() + page.len()) as i64;
            let written = (header.len() + packed.len()) as u64;
            let meta = Struct::default()
                .i32(1, physical(field.kind))
                .i32s(2, &[PLAIN, RLE])
                .texts(3, &[field.name])
                .i32(4, SNAPPY)
                .i64(5, self.rows as i64)
                .i64(6, plain)
                .i64(7, written as i64)
                .i64(9, self.at as i64);
            chunks.push(Struct::default().i64(2, self.at as i64).inner(3, meta));
            self.at += written;
            bytes += plain;
        }
        let group = Struct::default().list(1, chunks).i64(2, bytes).i64(3, self.rows as i64);
        self.groups.push(group);
        self.all_rows += self.rows as u64;
        self.rows = 0;
        Ok(())
    }
}

impl<W: Write> Sink for Table<W> {
    fn row(&mut self, row: &Row<'_>) -> io::Result<()> {
        for ((field, column), value) in FIELDS.iter().zip(&mut self.columns).zip(row.values()) {
            column.push(self.rows, field, value);
        }
        self.rows += 1;
        if self.rows == GROUP_ROWS { self.end_group() } else { Ok(()) }
    }

    fn finish(&mut self) -> io::Result<()> {
        self.end_group()?;
        let mut schema = vec![Struct::default().text(4, "events").i32(5, FIELDS.len() as i32)];
        schema.extend(FIELDS.iter().map(|field| {
            let repetition = if field.optional { OPTIONAL } else { REQUIRED };
            let element = Struct::default()
                .i32(1, physical(field.kind))
                .i32(3, repetition)
                .text(4, field.name);
            match field.kind {
                Kind::U32 => element.i32(6, UINT_32),
                Kind::U64 => element.i32(6, UINT_64),
                Kind::Text => element.i32(6, UTF8),
                Kind::I64 => element,
            }
        }));
        let version = concat!("heapwise ", env!("CARGO_PKG_VERSION"));
        let footer = Struct::default()
            .i32(1, 1)
            .list(2, schema)
            .i64(3, self.all_rows as i64)
            .list(4, std::mem::take(&mut self.groups))
            .text(6, version)
            .finish();
        self.out.write_all(&footer)?;
        self.out.write_all(&(footer.len() as u32).to_le_bytes())?;
        self.out.write_all(MAGIC)
    }
}

fn physical(kind: Kind) -> i32 {
    match kind {
        Kind::U32 => INT32,
        Kind::U64 | Kind::I64 => INT64,
        Kind::Text => BYTE_ARRAY,
    }
}
