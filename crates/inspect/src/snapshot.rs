//! A look, kept in a file: what `heapwise snapshot` writes and every command reads.
//!
//! ```text
//! 0        8         12
//! │ magic  │ version │ one gzip member: the Survey as JSON …        version: little endian
//! ```
//! JSON, so that `tail -c +13 FILE | zcat` shows all of it; gzip, whose checksum
//! tells a damaged file. New fields of [`Survey`] and of what is in it carry
//! `#[serde(default)]` and need no new version; a version is new when an old
//! reader would misread the rest, and such a reader says so.
//!
//! A file may come from anybody. Its content is bounded before it is parsed, and
//! checked before it is used: see `wire.rs` and `check` below.

use std::fmt;
use std::io::{self, Read, Write};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;

use crate::survey::{Depth, Survey};
use crate::wire::MOST;

/// How a snapshot begins. The first byte is no text, the last one shows conversions of lines.
pub const MAGIC: [u8; 8] = *b"\x89HWSNAP\n";
/// The version that is written, and the newest that is read.
pub const VERSION: u32 = 1;
/// No snapshot is longer before compression: a few million runs of pages.
const MAX_BYTES: usize = 128 << 20;

/// Why a snapshot could not be read, or written.
#[derive(Debug)]
pub enum SnapshotError {
    /// It begins otherwise.
    Foreign,
    /// A later heapwise made it: its version.
    Newer(u32),
    /// It is cut, bent, or says what cannot be.
    Damaged(String),
    /// More content than a snapshot may have, 128 MiB.
    TooLarge,
    /// It could not be read or written.
    Io(io::Error),
}

impl fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign => write!(f, "not a snapshot of heapwise"),
            Self::Newer(version) => write!(
                f,
                "a snapshot of format {version}, made by a newer heapwise; this one reads up to \
                 {VERSION}"
            ),
            Self::Damaged(why) => write!(f, "a damaged snapshot: {why}"),
            Self::TooLarge => write!(f, "a snapshot of more than {} MiB", MAX_BYTES >> 20),
            Self::Io(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for SnapshotError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for SnapshotError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Writes a survey. Needs memory for nothing but the compressor's window.
///
/// # Errors
/// What `to` says; [`SnapshotError::TooLarge`] for what [`read`] would refuse.
pub fn write(seen: &Survey, mut to: impl Write) -> Result<(), SnapshotError> {
    to.write_all(&MAGIC)?;
    to.write_all(&VERSION.to_le_bytes())?;
    let encoder = GzEncoder::new(to, Compression::default());
    let mut counted = Counted { to: io::BufWriter::new(encoder), left: MAX_BYTES };
    match serde_json::to_writer(&mut counted, seen) {
        Err(_) if counted.left == 0 => return Err(SnapshotError::TooLarge),
        other => other.map_err(io::Error::from)?,
    }
    let encoder = counted.to.into_inner().map_err(io::IntoInnerError::into_error)?;
    encoder.finish()?.flush()?;
    Ok(())
}

/// Writes at most so many bytes.
struct Counted<W: Write> {
    to: W,
    left: usize,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > self.left {
            self.left = 0;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let written = self.to.write(bytes)?;
        self.left -= written;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Whether a file that begins so is a snapshot.
#[must_use]
pub fn is_snapshot(first: &[u8]) -> bool {
    first.starts_with(&MAGIC)
}

/// Reads a survey. Whatever stands there, it needs some hundred MiB at most.
///
/// # Errors
/// Foreign, newer, damaged, too large; what `from` says.
pub fn read(mut from: impl Read) -> Result<Survey, SnapshotError> {
    let mut head = [0; MAGIC.len() + 4];
    let got = read_up_to(&mut from, &mut head)?;
    if !is_snapshot(&head[..got]) {
        return Err(SnapshotError::Foreign);
    }
    if got < head.len() {
        return Err(SnapshotError::Damaged("it ends in its head".into()));
    }
    let [.., a, b, c, d] = head;
    let version = u32::from_le_bytes([a, b, c, d]);
    if version > VERSION {
        return Err(SnapshotError::Newer(version));
    }
    if version == 0 {
        return Err(SnapshotError::Damaged("format 0".into()));
    }
    let mut content = Vec::new();
    // To the end, behind which the checksum is looked at.
    let read = GzDecoder::new(from).take(MAX_BYTES as u64 + 1).read_to_end(&mut content);
    read.map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::UnexpectedEof => {
            SnapshotError::Damaged(error.to_string())
        }
        _ => SnapshotError::Io(error),
    })?;
    if content.len() > MAX_BYTES {
        return Err(SnapshotError::TooLarge);
    }
    let seen: Survey = serde_json::from_slice(&content)
        .map_err(|error| SnapshotError::Damaged(error.to_string()))?;
    check(&seen).map_err(SnapshotError::Damaged)?;
    Ok(seen)
}

fn read_up_to(from: &mut impl Read, into: &mut [u8]) -> io::Result<usize> {
    let mut got = 0;
    while got < into.len() {
        match from.read(&mut into[got..]) {
            Ok(0) => break,
            Ok(bytes) => got += bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(got)
}

/// What no field alone can tell: that the account is one, and the mappings are in order.
fn check(seen: &Survey) -> Result<(), String> {
    let sum = seen.account.tally.sum();
    if sum != seen.rss {
        return Err(format!("its rows sum to {sum}, not to {}", seen.rss));
    }
    let resident = seen.pages.total();
    if resident > MOST || seen.depth != Depth::Counters && resident != seen.rss {
        return Err(format!("its pages come to {resident} bytes, not to {}", seen.rss));
    }
    if !seen.maps.is_sorted_by(|a, b| a.span.end <= b.span.start) {
        return Err("its mappings overlap".into());
    }
    Ok(())
}
