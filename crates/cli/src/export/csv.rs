//! Comma-separated values by RFC 4180, names in the first line, absent values empty.

use std::io::{self, Write};

use super::Sink;
use super::rows::{FIELDS, Row, Value};

/// The table.
pub struct Table<W> {
    out: W,
}

impl<W: Write> Table<W> {
    /// Writes the names.
    pub fn new(mut out: W) -> io::Result<Self> {
        let names: Vec<&str> = FIELDS.iter().map(|field| field.name).collect();
        write!(out, "{}\r\n", names.join(","))?;
        Ok(Self { out })
    }
}

impl<W: Write> Sink for Table<W> {
    fn row(&mut self, row: &Row<'_>) -> io::Result<()> {
        for (index, value) in row.values().iter().enumerate() {
            if index > 0 {
                self.out.write_all(b",")?;
            }
            match value {
                Value::None => {}
                Value::Unsigned(number) => write!(self.out, "{number}")?,
                Value::Signed(number) => write!(self.out, "{number}")?,
                Value::Text(text) if text.contains(['"', ',', '\r', '\n']) => {
                    write!(self.out, "\"{}\"", text.replace('"', "\"\""))?;
                }
                Value::Text(text) => self.out.write_all(text.as_bytes())?,
            }
        }
        self.out.write_all(b"\r\n")
    }

    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_and_quotes_in_names_are_quoted() {
        let mut out = Vec::new();
        let mut table = Table::new(&mut out).unwrap();
        table.row(&Row { event: "free", site: Some("a,\"b\"+0x1"), ..Row::default() }).unwrap();
        let text = String::from_utf8(out).unwrap();
        let line = text.lines().nth(1).unwrap();
        assert_eq!(line, "0,0,0,0,free,,,,,,,,\"a,\"\"b\"\"+0x1\",0,,,,,,");
    }
}
