//! The bytes of a file: its header, and the header before each block.
//!
//! ```text
//! file    0  "HWTRACE\0"   8 version   12 0
//! block   0  "HWBK"        4 kind      5 packing   6 0 0
//!         8  process      12 stream   16 thread   20 records
//!        24  sequence (its number in the stream)  32 base time
//!        40  base address                         48 time of the last record
//!        56  raw bytes    60 stored bytes         64 checksum of the payload
//!        68  checksum of bytes 0 to 67            72 payload
//! ```
//! All little endian. The bases are what the coder of the first record starts
//! from, so a block can be read without the one before it.

use crate::error::Error;

/// The first bytes of a file.
pub const MAGIC: [u8; 8] = *b"HWTRACE\0";
/// Bumped when old readers would misread a new file.
///
/// 1: a process may say less of itself, no number of its fork. 2: it says all of
/// [`ProcessStart`](heapwise_layout::record::ProcessStart). 4: large blocks say how much of them was
/// touched, and most records are short ones. There was no 3: one flipped bit would make it a 2.
pub const FORMAT_VERSION: u32 = 4;
/// Length of the file's header.
pub const FILE_HEADER_BYTES: usize = 16;
/// Length of a block's header.
pub const BLOCK_HEADER_BYTES: usize = 72;
/// No block is longer than this, packed or not.
pub const MAX_BLOCK_BYTES: usize = 1 << 20;
const BLOCK_MAGIC: [u8; 4] = *b"HWBK";

/// What a block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum BlockKind {
    /// Records of one thread.
    Events = 1,
    /// Blob records: processes, modules, stacks, the recording.
    Definitions = 2,
    /// Readings of both clocks: ticks and nanoseconds, 8 bytes each.
    Clock = 3,
    /// The recorder came to its end.
    End = 4,
}

/// How a payload is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Packing {
    /// As it is.
    Raw = 0,
    /// An LZ4 block.
    Lz4 = 1,
}

/// The header of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockHeader {
    /// What it holds.
    pub kind: BlockKind,
    /// How; the writer decides.
    pub packing: Packing,
    /// Of which process.
    pub process: u32,
    /// Of which stream in it: a thread's, or the recorder's own.
    pub stream: u32,
    /// The thread's kernel id.
    pub thread: u32,
    /// How many records.
    pub records: u32,
    /// Number of the block in its stream, rising; gaps where a bounded recording let go of some.
    pub sequence: u64,
    /// Where the coder starts: ticks.
    pub base_time: u64,
    /// Where the coder starts: address.
    pub base_address: u64,
    /// Ticks of the last record.
    pub last_time: u64,
    /// Length of the payload once unpacked.
    pub raw_bytes: u32,
    /// Length of the payload in the file.
    pub stored_bytes: u32,
    /// CRC-32 of the payload as it is stored; the writer fills it in.
    pub payload_checksum: u32,
}

impl BlockHeader {
    /// A header without sizes, for [`crate::Writer`].
    #[must_use]
    pub fn new(kind: BlockKind) -> Self {
        Self {
            kind,
            packing: Packing::Raw,
            process: 0,
            stream: 0,
            thread: 0,
            records: 0,
            sequence: 0,
            base_time: 0,
            base_address: 0,
            last_time: 0,
            raw_bytes: 0,
            stored_bytes: 0,
            payload_checksum: 0,
        }
    }

    pub(crate) fn to_bytes(self) -> [u8; BLOCK_HEADER_BYTES] {
        let mut out = [0; BLOCK_HEADER_BYTES];
        out[..4].copy_from_slice(&BLOCK_MAGIC);
        out[4] = self.kind as u8;
        out[5] = self.packing as u8;
        let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
        put(8, &self.process.to_le_bytes());
        put(12, &self.stream.to_le_bytes());
        put(16, &self.thread.to_le_bytes());
        put(20, &self.records.to_le_bytes());
        put(24, &self.sequence.to_le_bytes());
        put(32, &self.base_time.to_le_bytes());
        put(40, &self.base_address.to_le_bytes());
        put(48, &self.last_time.to_le_bytes());
        put(56, &self.raw_bytes.to_le_bytes());
        put(60, &self.stored_bytes.to_le_bytes());
        put(64, &self.payload_checksum.to_le_bytes());
        let checksum = crc32fast::hash(&out[..68]);
        out[68..].copy_from_slice(&checksum.to_le_bytes());
        out
    }

    /// From its bytes, which stand at `at` in the file.
    pub(crate) fn from_bytes(bytes: &[u8; BLOCK_HEADER_BYTES], at: u64) -> Result<Self, Error> {
        let bent = |what| Error::Bent { at, what };
        if bytes[..4] != BLOCK_MAGIC {
            return Err(bent("no block begins here"));
        }
        if word(bytes, 68) != crc32fast::hash(&bytes[..68]) {
            return Err(bent("the header's checksum does not match"));
        }
        let header = Self {
            kind: match bytes[4] {
                1 => BlockKind::Events,
                2 => BlockKind::Definitions,
                3 => BlockKind::Clock,
                4 => BlockKind::End,
                _ => return Err(bent("a block of an unknown kind")),
            },
            packing: match bytes[5] {
                0 => Packing::Raw,
                1 => Packing::Lz4,
                _ => return Err(bent("a block packed in an unknown way")),
            },
            process: word(bytes, 8),
            stream: word(bytes, 12),
            thread: word(bytes, 16),
            records: word(bytes, 20),
            sequence: long(bytes, 24),
            base_time: long(bytes, 32),
            base_address: long(bytes, 40),
            last_time: long(bytes, 48),
            raw_bytes: word(bytes, 56),
            stored_bytes: word(bytes, 60),
            payload_checksum: word(bytes, 64),
        };
        let too_long = |bytes: u32| bytes as usize > MAX_BLOCK_BYTES;
        if too_long(header.raw_bytes) || too_long(header.stored_bytes) {
            return Err(bent("a block longer than any"));
        }
        if header.packing == Packing::Raw && header.raw_bytes != header.stored_bytes {
            return Err(bent("a block with two lengths"));
        }
        if header.last_time < header.base_time {
            return Err(bent("a block that ends before it begins"));
        }
        Ok(header)
    }
}

/// The file's header.
pub(crate) fn file_header() -> [u8; FILE_HEADER_BYTES] {
    let mut out = [0; FILE_HEADER_BYTES];
    out[..8].copy_from_slice(&MAGIC);
    out[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
    out
}

/// Whether this is the header of a file that can be read.
pub(crate) fn check_file_header(bytes: &[u8]) -> Result<(), Error> {
    if bytes.len() < 8 || bytes[..8] != MAGIC {
        return Err(Error::NotATrace);
    }
    if bytes.len() < FILE_HEADER_BYTES {
        return Err(Error::Cut { at: bytes.len() as u64 });
    }
    match word(bytes, 8) {
        1..=FORMAT_VERSION => Ok(()),
        version => Err(Error::Version(version)),
    }
}

/// Makes the checksums of a damaged file right again, so that a test reaches what lies behind them.
#[doc(hidden)]
pub fn reseal(file: &mut [u8]) {
    let mut at = FILE_HEADER_BYTES;
    while file.len() >= at + BLOCK_HEADER_BYTES {
        let (head, rest) = file[at..].split_at_mut(BLOCK_HEADER_BYTES);
        let stored = word(head, 60) as usize;
        head[..4].copy_from_slice(&BLOCK_MAGIC);
        if let Some(payload) = rest.get(..stored) {
            head[64..68].copy_from_slice(&crc32fast::hash(payload).to_le_bytes());
        }
        let checksum = crc32fast::hash(&head[..68]);
        head[68..72].copy_from_slice(&checksum.to_le_bytes());
        at = at.saturating_add(BLOCK_HEADER_BYTES).saturating_add(stored);
    }
}

/// Four bytes as a number; the caller knows that they are there.
pub(crate) fn word(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

/// Eight bytes as a number; the caller knows that they are there.
pub(crate) fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from(word(bytes, at)) | u64::from(word(bytes, at + 4)) << 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_comes_back_and_every_flipped_bit_is_noticed() {
        let header = BlockHeader {
            process: 1,
            stream: 2,
            thread: 3,
            records: 4,
            sequence: 5,
            base_time: 6,
            base_address: 7,
            last_time: 8,
            raw_bytes: 9,
            stored_bytes: 9,
            payload_checksum: 11,
            ..BlockHeader::new(BlockKind::Events)
        };
        let bytes = header.to_bytes();
        assert_eq!(BlockHeader::from_bytes(&bytes, 0).expect("whole"), header);
        for bit in 0..8 * bytes.len() {
            let mut bent = bytes;
            bent[bit / 8] ^= 1 << (bit % 8);
            assert!(BlockHeader::from_bytes(&bent, 0).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn strangers_are_told_from_traces() {
        assert!(matches!(check_file_header(b"\x7fELF...."), Err(Error::NotATrace)));
        assert!(matches!(check_file_header(b""), Err(Error::NotATrace)));
        assert!(matches!(check_file_header(&MAGIC), Err(Error::Cut { .. })));
        let mut newer = file_header();
        newer[8] = 9;
        assert!(matches!(check_file_header(&newer), Err(Error::Version(9))));
    }
}
