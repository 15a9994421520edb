//! The first look at a file: every block's header, no events.
//!
//! What is kept is a few words a block, one for about five thousand events.

use crate::clock::{Anchor, Clock};
use crate::definitions::Known;
use crate::error::Error;
use crate::format::{
    BLOCK_HEADER_BYTES, BlockHeader, BlockKind, FILE_HEADER_BYTES, Packing, check_file_header, long,
};
use std::collections::HashMap;
use std::io::{self, Read, Seek, SeekFrom};

/// Where a block of events is.
#[derive(Clone, Copy, Debug)]
pub struct BlockPlace {
    /// Where its header begins.
    pub at: u64,
    /// Ticks before its first record.
    pub base_time: u64,
    sequence: u64,
}

/// The blocks of one stream, in order.
#[derive(Debug)]
pub struct StreamPlaces {
    pub process: u32,
    pub blocks: Vec<BlockPlace>,
}

/// What the headers say.
#[derive(Debug, Default)]
pub struct Index {
    pub known: Known,
    pub clock: Clock,
    pub streams: Vec<StreamPlaces>,
    /// Records in all blocks of events.
    pub records: u64,
    /// Ticks of the last record.
    pub last_time: u64,
    /// What is wrong with the file, behind all that is in the index.
    pub damage: Option<Error>,
}

impl Index {
    /// Reads the headers of a whole file.
    pub fn read(source: &mut (impl Read + Seek)) -> Result<Self, Error> {
        let length = source.seek(SeekFrom::End(0))?;
        source.seek(SeekFrom::Start(0))?;
        let mut head = Vec::new();
        source.by_ref().take(FILE_HEADER_BYTES as u64).read_to_end(&mut head)?;
        check_file_header(&head)?;
        let mut index = Self::default();
        index.damage = match index.scan(source, length) {
            Ok(()) => None,
            Err(Error::Io(error)) => return Err(Error::Io(error)),
            Err(damage) => Some(damage),
        };
        Ok(index)
    }

    fn scan(&mut self, source: &mut (impl Read + Seek), length: u64) -> Result<(), Error> {
        let mut numbers: HashMap<(u32, u32), usize> = HashMap::new();
        let mut payload = Vec::new();
        let mut at = FILE_HEADER_BYTES as u64;
        loop {
            let header = read_header(source, at, length)?;
            let behind = at + (BLOCK_HEADER_BYTES as u64) + u64::from(header.stored_bytes);
            if behind > length {
                return Err(Error::Cut { at });
            }
            match header.kind {
                BlockKind::Events => self.note_events(&header, at, &mut numbers)?,
                BlockKind::Definitions => {
                    read_payload(source, &header, at, &mut payload)?;
                    let taken = self.known.take(header.process, &payload);
                    taken.map_err(|what| Error::Bent { at, what })?;
                }
                BlockKind::Clock => {
                    read_payload(source, &header, at, &mut payload)?;
                    for pair in payload.chunks_exact(16) {
                        let anchor = Anchor { ticks: long(pair, 0), ns: long(pair, 8) };
                        if !self.clock.add(anchor) {
                            return Err(Error::Bent { at, what: "a clock that runs backwards" });
                        }
                    }
                }
                BlockKind::End if behind == length => return Ok(()),
                BlockKind::End => return Err(Error::Bent { at, what: "more behind the end" }),
            }
            at = behind;
        }
    }

    fn note_events(
        &mut self,
        header: &BlockHeader,
        at: u64,
        numbers: &mut HashMap<(u32, u32), usize>,
    ) -> Result<(), Error> {
        let number = *numbers.entry((header.process, header.stream)).or_insert_with(|| {
            self.streams.push(StreamPlaces { process: header.process, blocks: Vec::new() });
            self.streams.len() - 1
        });
        let blocks = &mut self.streams[number].blocks;
        if let Some(last) = blocks.last()
            && (header.sequence <= last.sequence || header.base_time < last.base_time)
        {
            return Err(Error::Bent { at, what: "a thread's blocks out of their order" });
        }
        blocks.push(BlockPlace { at, base_time: header.base_time, sequence: header.sequence });
        self.records += u64::from(header.records);
        self.last_time = self.last_time.max(header.last_time);
        Ok(())
    }
}

/// The header at `at`, of a file of `length` bytes.
pub(crate) fn read_header(
    source: &mut (impl Read + Seek),
    at: u64,
    length: u64,
) -> Result<BlockHeader, Error> {
    if length.saturating_sub(at) < BLOCK_HEADER_BYTES as u64 {
        return Err(Error::Cut { at });
    }
    source.seek(SeekFrom::Start(at))?;
    let mut bytes = [0; BLOCK_HEADER_BYTES];
    source.read_exact(&mut bytes).map_err(|error| cut(error, at))?;
    BlockHeader::from_bytes(&bytes, at)
}

/// The payload behind the header at `at`, unpacked into `out`. The source stands behind the header.
pub(crate) fn read_payload(
    source: &mut (impl Read + Seek),
    header: &BlockHeader,
    at: u64,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    let mut stored = vec![0; header.stored_bytes as usize];
    source.read_exact(&mut stored).map_err(|error| cut(error, at))?;
    if crc32fast::hash(&stored) != header.payload_checksum {
        return Err(Error::Bent { at, what: "the checksum does not match" });
    }
    if header.packing == Packing::Raw {
        *out = stored;
        return Ok(());
    }
    out.resize(header.raw_bytes as usize, 0);
    match lz4_flex::block::decompress_into(&stored, out) {
        Ok(length) if length == out.len() => Ok(()),
        _ => Err(Error::Bent { at, what: "a block that cannot be unpacked" }),
    }
}

fn cut(error: io::Error, at: u64) -> Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => Error::Cut { at },
        _ => Error::Io(error),
    }
}
