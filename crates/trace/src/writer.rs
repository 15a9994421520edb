//! Writes a file, block by block.

use crate::clock::Anchor;
use crate::definitions::Definitions;
use crate::format::{
    BLOCK_HEADER_BYTES, BlockHeader, BlockKind, MAX_BLOCK_BYTES, Packing, file_header,
};
use std::io::{self, IoSlice, Write};

/// A trace on its way to a file.
///
/// Each block is handed to `out` in one piece, so a file that ends early ends
/// between two blocks, or in the last one.
#[derive(Debug)]
pub struct Writer<W: Write> {
    out: W,
    bytes: u64,
}

impl<W: Write> Writer<W> {
    /// Begins a file.
    ///
    /// # Errors
    /// Those of `out`, as for all that writes.
    pub fn new(mut out: W) -> io::Result<Self> {
        let header = file_header();
        out.write_all(&header)?;
        Ok(Self { out, bytes: header.len() as u64 })
    }

    /// Writes one block: `raw` is its payload, the header's sizes and checksums are filled in.
    pub fn block(&mut self, header: BlockHeader, raw: &[u8]) -> io::Result<()> {
        let packed = pack(header, raw)?;
        self.packed(&packed)
    }

    /// Writes one block, its payload as it is, without a copy: see [`wrap`].
    pub fn unpacked(&mut self, header: BlockHeader, raw: &[u8]) -> io::Result<()> {
        let head = sealed(header, Packing::Raw, raw.len(), raw)?;
        let mut parts = [IoSlice::new(&head), IoSlice::new(raw)];
        let whole = head.len() + raw.len();
        // In one piece, if `out` can.
        let written = self.out.write_vectored(&parts)?;
        if written < whole {
            let mut rest = &mut parts[..];
            IoSlice::advance_slices(&mut rest, written);
            for part in rest {
                self.out.write_all(part)?;
            }
        }
        self.bytes += whole as u64;
        Ok(())
    }

    /// Writes a block that [`pack`] made.
    pub fn packed(&mut self, block: &[u8]) -> io::Result<()> {
        self.out.write_all(block)?;
        self.bytes += block.len() as u64;
        Ok(())
    }

    /// Writes definitions, in as many blocks as they take, and empties them.
    pub fn definitions(&mut self, definitions: &mut Definitions) -> io::Result<()> {
        definitions.drain(|header, raw| self.block(header, raw))
    }

    /// Writes a reading of both clocks. Times before the first are 0.
    pub fn clock(&mut self, anchor: Anchor) -> io::Result<()> {
        let mut raw = [0; 16];
        raw[..8].copy_from_slice(&anchor.ticks.to_le_bytes());
        raw[8..].copy_from_slice(&anchor.ns.to_le_bytes());
        self.block(BlockHeader::new(BlockKind::Clock), &raw)
    }

    /// Bytes written so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What it writes to.
    pub fn get_ref(&self) -> &W {
        &self.out
    }

    /// Sends what is buffered on its way.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Ends the file: whoever reads it knows that nothing is missing.
    pub fn finish(mut self) -> io::Result<W> {
        self.end()?;
        Ok(self.out)
    }

    /// The same for whoever wants to know the file's length; nothing must follow.
    ///
    /// # Errors
    /// Of the file.
    pub fn end(&mut self) -> io::Result<()> {
        self.block(BlockHeader::new(BlockKind::End), &[])?;
        self.out.flush()
    }
}

/// A block as it stands in the file, header and payload.
///
/// # Errors
/// A payload over [`MAX_BLOCK_BYTES`].
pub fn pack(header: BlockHeader, raw: &[u8]) -> io::Result<Vec<u8>> {
    let packed = lz4_flex::block::compress(raw);
    if packed.len() < raw.len() {
        stored(header, Packing::Lz4, raw.len(), &packed)
    } else {
        wrap(header, raw)
    }
}

/// As [`pack`], but the payload stays as it is: five times as fast, and a third longer.
///
/// # Errors
/// As [`pack`].
pub fn wrap(header: BlockHeader, raw: &[u8]) -> io::Result<Vec<u8>> {
    stored(header, Packing::Raw, raw.len(), raw)
}

fn stored(
    header: BlockHeader,
    packing: Packing,
    raw_bytes: usize,
    payload: &[u8],
) -> io::Result<Vec<u8>> {
    let head = sealed(header, packing, raw_bytes, payload)?;
    Ok([&head, payload].concat())
}

/// A header's bytes, with sizes and checksums.
fn sealed(
    mut header: BlockHeader,
    packing: Packing,
    raw_bytes: usize,
    payload: &[u8],
) -> io::Result<[u8; BLOCK_HEADER_BYTES]> {
    if raw_bytes > MAX_BLOCK_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a block of a trace over 1 MiB"));
    }
    header.packing = packing;
    header.raw_bytes = raw_bytes as u32;
    header.stored_bytes = payload.len() as u32;
    header.payload_checksum = crc32fast::hash(payload);
    Ok(header.to_bytes())
}
