//! JSON, an object a line; absent values are left out.

use std::io::{self, Write};

use super::Sink;
use super::rows::{FIELDS, Row, Value};

/// The lines.
pub struct Lines<W> {
    out: W,
}

impl<W: Write> Lines<W> {
    /// Nothing yet.
    pub fn new(out: W) -> Self {
        Self { out }
    }
}

impl<W: Write> Sink for Lines<W> {
    fn row(&mut self, row: &Row<'_>) -> io::Result<()> {
        let mut before = '{';
        for (field, value) in FIELDS.iter().zip(row.values()) {
            match value {
                Value::None => continue,
                Value::Unsigned(number) => write!(self.out, "{before}\"{}\":{number}", field.name)?,
                Value::Signed(number) => write!(self.out, "{before}\"{}\":{number}", field.name)?,
                Value::Text(text) => {
                    write!(self.out, "{before}\"{}\":", field.name)?;
                    serde_json::to_writer(&mut self.out, text)?;
                }
            }
            before = ',';
        }
        self.out.write_all(b"}\n")
    }

    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }
}
