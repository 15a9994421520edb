//! One record of a trace: what a thread did, packed as the target writes it and the file keeps it.
//!
//! ```text
//! head:16                                    then the fields, little endian, each as long as
//! ┌────────┬────────┬────────┬────────┬────────┐  the head says (0 to 7 bytes; absent means 0)
//! │ kind:4 │ time:3 │  a:3   │  b:3   │  c:3   │  time… a… b… c…
//! └────────┴────────┴────────┴────────┴────────┘
//! ```
//! `time` is the distance from the record before in ticks of the recording's
//! clock, never negative; absent in a run of records that one reading of the clock serves. `b` of the records marked *address* is the distance
//! from the last address in multiples of 16, zigzag.
//!
//! A malloc or free as most are has a form of its own, written by one store:
//! ```text
//! ┌────────┬───────┬────────────────────────┬─────────┐
//! │ 15 : 4 │ m : 1 │ distance, signed : 27  │ size:16 │   m: a malloc, which has a size; 6 or 4 bytes
//! └────────┴───────┴────────────────────────┴─────────┘
//! ```
//! It is at the time of the last record, and has no stack.
//!
//! | kind | a | b | c |
//! |---|---|---|---|
//! | `Malloc`, `Calloc` | requested bytes | address | stack id |
//! | `Aligned` | bytes × 64 + log2 of the alignment | address | stack id |
//! | `ReallocFrom` | 1 if the block stayed in the room that it had | old address | – |
//! | `Realloc` | requested bytes | new address | stack id |
//! | `Free` | – | address | – |
//! | `Kernel` | op + 16 × cause + 256 if it failed | address | bytes (brk: zigzag) |
//! | `KernelTo` | – | where an mremap went | new bytes; stands before its `Kernel` |
//! | `Sample` | RSS in KiB, shared memory left out | minor faults so far | major faults so far |
//! | `Thread` | 1 begins, 2 ends | – | – |
//! | `Process` | 1 begins, 2 forked a child, 3 ends, 4 is gone | the child's pid | number of the fork |
//! | `Blob` | what it is, see [`blob`] | bytes that follow the record | id |
//! | `Lost` | records that found no room | – | – |
//! | `Touched` | bytes of its pages that are in memory | address | – |
//!
//! A realloc is two records, at its end, one behind the other; kernel calls
//! that it makes stand before them. An allocation is one, at its end; a free
//! one, at its start: so the address a thread frees is never seen taken before
//! it is seen freed. A `Touched` stands before the end of its block, or before
//! the realloc that makes it smaller, or before the end of its process; only
//! large blocks have one.

/// Longest record without the bytes of a blob.
pub const RECORD_MAX_BYTES: usize = 2 + 4 * 7;
/// What [`Coder::encode`] wants to write to: it stores whole words.
pub const RECORD_ROOM_BYTES: usize = 40;
/// Addresses of chunks and pages are multiples of this.
const UNIT_LOG2: u32 = 4;
/// The low bits of a short malloc or free.
const SHORT: u32 = 0xf;
/// Bytes of a short malloc.
const SHORT_MALLOC_BYTES: usize = 6;
/// Bytes of a short free.
const SHORT_FREE_BYTES: usize = 4;
/// The bit that tells a short malloc from a short free.
const SHORT_MALLOC: u32 = 0x10;
/// The distance of a short one stands above that, and is a multiple of 16 of its own.
const SHORT_SHIFT: u32 = 1;
/// It is no larger than this, either way.
const SHORT_REACH: u64 = 1 << 30;
/// Largest value of a field.
pub const FIELD_MAX: u64 = (1 << 56) - 1;

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs, reason = "the table above")]
pub enum Kind {
    Malloc = 1,
    Calloc = 2,
    Aligned = 3,
    ReallocFrom = 4,
    Realloc = 5,
    Free = 6,
    Kernel = 7,
    KernelTo = 8,
    Sample = 9,
    Thread = 10,
    Process = 11,
    Blob = 12,
    Lost = 13,
    Touched = 14,
}

impl Kind {
    /// The kind of a head; `None` for a number that is none.
    #[must_use]
    pub const fn of(number: u16) -> Option<Self> {
        Some(match number {
            1 => Self::Malloc,
            2 => Self::Calloc,
            3 => Self::Aligned,
            4 => Self::ReallocFrom,
            5 => Self::Realloc,
            6 => Self::Free,
            7 => Self::Kernel,
            8 => Self::KernelTo,
            9 => Self::Sample,
            10 => Self::Thread,
            11 => Self::Process,
            12 => Self::Blob,
            13 => Self::Lost,
            14 => Self::Touched,
            _ => return None,
        })
    }

    /// Whether `b` is an address.
    #[must_use]
    pub const fn has_address(self) -> bool {
        (self as u8) <= Self::KernelTo as u8 || matches!(self, Self::Touched)
    }
}

/// `a` of a [`Kind::Blob`] record: what its bytes are.
pub mod blob {
    /// A [`super::ProcessStart`] by [`super::ProcessStart::to_bytes`].
    pub const PROCESS: u64 = 1;
    /// The command line, arguments separated by NUL.
    pub const COMMAND: u64 = 2;
    /// `name=value` lines: the settings in force.
    pub const SETTINGS: u64 = 3;
    /// A mapped file: start, end, file offset (8 bytes each), length of the build id (1), the
    /// build id, the path.
    pub const MODULE: u64 = 4;
    /// Return addresses, innermost first, 8 bytes each; `c` is the stack's id.
    pub const STACK: u64 = 5;
    /// Instruction, stack and frame pointer, then the stack's bytes from the stack pointer up;
    /// `c` is the id by which the next record refers to it. In the live stream only.
    pub const SNIPPET: u64 = 6;
    /// `name=value` lines about the recording as a whole.
    pub const RECORDING: u64 = 7;
    /// Lines of `/proc/self/maps` that are mapped files. In the live stream only.
    pub const MAPS: u64 = 8;
}

/// Which kernel call a [`Kind::Kernel`] record is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs, reason = "the kernel's names")]
pub enum KernelOp {
    Brk = 1,
    Mmap = 2,
    Munmap = 3,
    Mremap = 4,
    Mprotect = 5,
    Madvise = 6,
    /// `mmap` of address space only.
    Reserve = 7,
}

impl KernelOp {
    /// From a record's number.
    #[must_use]
    pub const fn of(number: u64) -> Option<Self> {
        Some(match number {
            1 => Self::Brk,
            2 => Self::Mmap,
            3 => Self::Munmap,
            4 => Self::Mremap,
            5 => Self::Mprotect,
            6 => Self::Madvise,
            7 => Self::Reserve,
            _ => return None,
        })
    }

    /// The call's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Brk => "brk",
            Self::Mmap | Self::Reserve => "mmap",
            Self::Munmap => "munmap",
            Self::Mremap => "mremap",
            Self::Mprotect => "mprotect",
            Self::Madvise => "madvise",
        }
    }
}

/// The call of the program during which a kernel call was made.
///
/// An allocation that caused it is the next one of the thread, a free or a
/// realloc the last one that began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
#[allow(missing_docs, reason = "the call's names")]
pub enum Cause {
    /// None of the program's: the idle helper, a thread's start or end, `malloc_trim`.
    #[default]
    Other = 0,
    Malloc = 1,
    Calloc = 2,
    Aligned = 3,
    Realloc = 4,
    Free = 5,
}

impl Cause {
    /// From a record's number.
    #[must_use]
    pub const fn of(number: u64) -> Option<Self> {
        Some(match number {
            0 => Self::Other,
            1 => Self::Malloc,
            2 => Self::Calloc,
            3 => Self::Aligned,
            4 => Self::Realloc,
            5 => Self::Free,
            _ => return None,
        })
    }
}

/// `a` of a [`Kind::Thread`] and [`Kind::Process`] record: it begins.
pub const BEGINS: u64 = 1;
/// `a` of a [`Kind::Thread`] record: the thread ends.
pub const THREAD_ENDS: u64 = 2;
/// `a` of a [`Kind::Process`] record: it has forked the child whose pid is `b`, or, if that is 0,
/// the one whose [`ProcessStart::fork_number`] is `c`.
pub const FORKED: u64 = 2;
/// `a` of a [`Kind::Process`] record: it has run its exit handlers.
pub const PROCESS_ENDS: u64 = 3;
/// `a` of a [`Kind::Process`] record of the recorder: the process, or its image, is no more.
pub const PROCESS_GONE: u64 = 4;

/// A record before it is packed: times and addresses absolute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// What it says.
    pub kind: Kind,
    /// When, in ticks.
    pub time: u64,
    /// See the table of this file.
    pub a: u64,
    /// See the table; an address is absolute here, a multiple of 16.
    pub b: u64,
    /// See the table.
    pub c: u64,
}

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordError {
    /// They end too early.
    Short,
    /// There is no such kind.
    Kind,
}

/// Zigzag: small numbers of either sign become small.
#[must_use]
#[inline]
pub const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// [`zigzag`] undone.
#[must_use]
#[inline]
pub const fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// What both sides remember between two records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Coder {
    /// Time of the last record, ticks.
    pub time: u64,
    /// Last address.
    pub address: u64,
}

impl Coder {
    /// Packs a record into the front of `out`; the bytes it takes. Fields over
    /// [`FIELD_MAX`] become that, a time before the last one becomes the last.
    #[inline]
    pub fn encode(&mut self, record: Record, out: &mut [u8; RECORD_ROOM_BYTES]) -> usize {
        let time = record.time.saturating_sub(self.time);
        self.time += time;
        let b = if record.kind.has_address() {
            let step = (record.b as i64).wrapping_sub(self.address as i64);
            self.address = record.b;
            zigzag(step >> UNIT_LOG2)
        } else {
            record.b
        };
        let mut head = record.kind as u16;
        let mut at = 2;
        let mut shift = 4;
        for field in [time, record.a, b, record.c] {
            let field = field.min(FIELD_MAX);
            let bytes = (71 - (field | 1).leading_zeros()) / 8 * u32::from(field != 0);
            // `at` is 23 at most here: 2, and 7 for each field before the last.
            out[at & 31..(at & 31) + 8].copy_from_slice(&field.to_le_bytes());
            head |= (bytes as u16) << shift;
            at += bytes as usize;
            shift += 3;
        }
        out[..2].copy_from_slice(&head.to_le_bytes());
        at
    }

    /// [`encode`](Self::encode) of a call as most are, at the time of the last record: below 64 KiB,
    /// of an address within 32 GiB of the last one, without a stack. 0 for any other, and nothing
    /// is changed then. A free has no size.
    ///
    /// Fields have the same lengths in all of them: one store, and nothing to find out.
    #[inline(always)]
    pub fn encode_short(
        &mut self,
        kind: Kind,
        size: u64,
        address: u64,
        out: &mut [u8; RECORD_ROOM_BYTES],
    ) -> usize {
        let step = zigzag((address as i64).wrapping_sub(self.address as i64) >> UNIT_LOG2);
        if size >> 16 | step >> 32 != 0 {
            return 0;
        }
        self.address = address;
        let has_size = !matches!(kind, Kind::Free | Kind::ReallocFrom);
        let (head, length) = if has_size { (2 << 7 | 4 << 10, 8) } else { (4 << 10, 6) };
        let fields = if has_size { size | step << 16 } else { step };
        let word = u64::from(kind as u16 | head) | fields << 16;
        out[..8].copy_from_slice(&word.to_le_bytes());
        length
    }

    /// [`encode`](Self::encode) of a malloc, at the time of the last record: below 64 KiB, within 1 GiB
    /// of the last address, without a stack. 0 for any other, and nothing is changed then.
    #[inline(always)]
    pub fn encode_malloc(
        &mut self,
        size: u64,
        address: u64,
        out: &mut [u8; RECORD_ROOM_BYTES],
    ) -> usize {
        let Some(step) = self.short_step(address) else { return 0 };
        if size >> 16 != 0 {
            return 0;
        }
        self.address = address;
        let word = u64::from(step | SHORT_MALLOC | SHORT) | size << 32;
        out[..8].copy_from_slice(&word.to_le_bytes());
        SHORT_MALLOC_BYTES
    }

    /// [`encode_malloc`](Self::encode_malloc), but of a free.
    #[inline(always)]
    pub fn encode_free(&mut self, address: u64, out: &mut [u8; RECORD_ROOM_BYTES]) -> usize {
        let Some(step) = self.short_step(address) else { return 0 };
        self.address = address;
        out[..4].copy_from_slice(&(step | SHORT).to_le_bytes());
        SHORT_FREE_BYTES
    }

    /// The distance to an address as a short record has it, all bits below it 0.
    #[inline(always)]
    fn short_step(&self, address: u64) -> Option<u32> {
        let step = address.wrapping_sub(self.address);
        (step.wrapping_add(SHORT_REACH) < 2 * SHORT_REACH).then_some((step as u32) << SHORT_SHIFT)
    }

    /// Unpacks a short malloc or free.
    #[inline]
    fn decode_short(&mut self, bytes: &[u8]) -> Result<(Record, usize), RecordError> {
        let word = bytes.first_chunk::<4>().ok_or(RecordError::Short)?;
        let word = u32::from_le_bytes(*word);
        let (kind, size, length) = if word & SHORT_MALLOC == 0 {
            (Kind::Free, 0, SHORT_FREE_BYTES)
        } else {
            let size = bytes.get(4..SHORT_MALLOC_BYTES).ok_or(RecordError::Short)?;
            (Kind::Malloc, u64::from(size[0]) | u64::from(size[1]) << 8, SHORT_MALLOC_BYTES)
        };
        let step = (word & !(SHORT | SHORT_MALLOC)) as i32 >> SHORT_SHIFT;
        self.address = self.address.wrapping_add(i64::from(step) as u64);
        Ok((Record { kind, time: self.time, a: size, b: self.address, c: 0 }, length))
    }

    /// Unpacks the record in front of `bytes`; it and the bytes it took, those of a blob not
    /// counted. Never panics.
    ///
    /// # Errors
    /// See [`RecordError`].
    #[inline]
    pub fn decode(&mut self, bytes: &[u8]) -> Result<(Record, usize), RecordError> {
        let Some((head, rest)) = bytes.split_first_chunk::<2>() else {
            return Err(RecordError::Short);
        };
        let head = u16::from_le_bytes(*head);
        if u32::from(head) & SHORT == SHORT {
            return self.decode_short(bytes);
        }
        let kind = Kind::of(head & 0xf).ok_or(RecordError::Kind)?;
        let mut fields = [0; 4];
        let mut at = 0;
        for (index, field) in fields.iter_mut().enumerate() {
            let length = usize::from(head >> (4 + 3 * index) & 7);
            let Some(part) = rest.get(at..at + length) else { return Err(RecordError::Short) };
            let mut word = [0; 8];
            word[..length].copy_from_slice(part);
            *field = u64::from_le_bytes(word);
            at += length;
        }
        let [time, a, mut b, c] = fields;
        self.time = self.time.saturating_add(time);
        if kind.has_address() {
            let step = unzigzag(b).wrapping_shl(UNIT_LOG2);
            self.address = self.address.wrapping_add(step as u64);
            b = self.address;
        }
        Ok((Record { kind, time: self.time, a, b, c }, 2 + at))
    }
}

/// What a process says of itself when it begins, 44 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ProcessStart {
    /// Its pid.
    pub pid: u32,
    /// Its parent's.
    pub parent_pid: u32,
    /// The process of the recording that forked it, [`NO_PROCESS`] for a fresh image.
    pub forked_from: u32,
    /// Bytes of a page.
    pub page_bytes: u32,
    /// Mean distance of two samples in bytes; 0 if everything is recorded.
    pub sample_bytes: u64,
    /// Most frames of a stack; 0 without stacks.
    pub stack_depth: u32,
    /// Usable cores.
    pub cores: u32,
    /// Start of the break at that moment, 0 if unknown.
    pub break_start: u64,
    /// Which fork of its parent's it comes from, counted from 1; 0 if unknown.
    pub fork_number: u32,
}

/// [`ProcessStart::forked_from`]: nobody of this recording.
pub const NO_PROCESS: u32 = u32::MAX;

impl ProcessStart {
    /// Length of its bytes.
    pub const BYTES: usize = 44;

    /// Its bytes.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut out = [0; Self::BYTES];
        let words = [self.pid, self.parent_pid, self.forked_from, self.page_bytes];
        for (to, word) in out.chunks_exact_mut(4).zip(words) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        out[16..24].copy_from_slice(&self.sample_bytes.to_le_bytes());
        out[24..28].copy_from_slice(&self.stack_depth.to_le_bytes());
        out[28..32].copy_from_slice(&self.cores.to_le_bytes());
        out[32..40].copy_from_slice(&self.break_start.to_le_bytes());
        out[40..44].copy_from_slice(&self.fork_number.to_le_bytes());
        out
    }

    /// Length of its bytes in the first version of the format: without `fork_number`.
    pub const FIRST_BYTES: usize = 40;

    /// From its bytes; `None` if they are too few. What an older version did not say is 0.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut whole = [0; Self::BYTES];
        let known = bytes.len().min(Self::BYTES);
        if known < Self::FIRST_BYTES {
            return None;
        }
        whole[..known].copy_from_slice(&bytes[..known]);
        let bytes = whole;
        let word = |at: usize| {
            let mut word = [0; 4];
            word.copy_from_slice(&bytes[at..at + 4]);
            u32::from_le_bytes(word)
        };
        let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
        Some(Self {
            pid: word(0),
            parent_pid: word(4),
            forked_from: word(8),
            page_bytes: word(12),
            sample_bytes: long(16),
            stack_depth: word(24),
            cores: word(28),
            break_start: long(32),
            fork_number: word(40),
        })
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec::Vec;

    fn there_and_back(records: &[Record]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut coder = Coder::default();
        for record in records {
            let mut room = [0xaa; RECORD_ROOM_BYTES];
            let length = coder.encode(*record, &mut room);
            assert!(length <= RECORD_MAX_BYTES);
            bytes.extend_from_slice(&room[..length]);
        }
        let mut coder = Coder::default();
        let mut at = 0;
        for record in records {
            let (back, length) = coder.decode(&bytes[at..]).expect("a record");
            assert_eq!(back, *record);
            at += length;
        }
        assert_eq!(at, bytes.len());
        bytes
    }

    #[test]
    fn records_come_back() {
        let record = |kind, time, a, b, c| Record { kind, time, a, b, c };
        let bytes = there_and_back(&[
            record(Kind::Malloc, 1000, 24, 0x7f12_3456_7010, 0),
            record(Kind::Free, 1007, 0, 0x7f12_3456_7010, 0),
            record(Kind::Malloc, 1014, 24, 0x7f12_3456_7010, 0),
            record(Kind::Calloc, 1014, FIELD_MAX, 0x5555_0000_0010, 17),
            record(Kind::Aligned, 1 << 40, 64 << 6 | 12, 0x10, FIELD_MAX),
            record(Kind::Free, 1 << 40, 0, 0x7fff_ffff_fff0, 0),
            record(Kind::Kernel, (1 << 40) + 1, 0x13, 0x7f00_0000_0000, 4096),
            record(Kind::Sample, (1 << 40) + 2, 1 << 20, 77, 3),
            record(Kind::Touched, (1 << 40) + 2, 8 << 12, 0x7f00_0000_0010, 0),
            record(Kind::Blob, (1 << 40) + 2, blob::STACK, 16, 5),
        ]);
        // A pair from a cache: 2 + 1 + 1 and 2 + 1.
        let mut coder = Coder { time: 1000, address: 0x1000 };
        let mut room = [0; RECORD_ROOM_BYTES];
        assert_eq!(coder.encode(record(Kind::Malloc, 1005, 24, 0x1000, 0), &mut room), 4);
        assert_eq!(coder.encode(record(Kind::Free, 1009, 0, 0x1000, 0), &mut room), 3);
        for cut in 0..bytes.len() {
            let mut coder = Coder::default();
            let mut at = 0;
            while let Ok((_, length)) = coder.decode(&bytes[at..cut]) {
                at += length;
            }
            assert!(at <= cut);
        }
    }

    #[test]
    fn short_records_say_the_same() {
        let edges =
            |bits: u32| (0..bits).flat_map(|b| [(1u64 << b) - 1, 1 << b]).collect::<Vec<_>>();
        let mut short = 0;
        for kind in [Kind::Malloc, Kind::Free, Kind::Realloc, Kind::Calloc, Kind::ReallocFrom] {
            for size in edges(18) {
                for step in edges(34) {
                    let has_size = !matches!(kind, Kind::Free | Kind::ReallocFrom);
                    let size = if has_size { size } else { 0 };
                    let address = 0x5555_0000_0000u64.wrapping_add_signed(unzigzag(step) << 4);
                    let start = Coder { time: 1000, address: 0x5555_0000_0000 };
                    let mut coder = start;
                    let mut room = [0xaa; RECORD_ROOM_BYTES];
                    let length = coder.encode_short(kind, size, address, &mut room);
                    if length == 0 {
                        assert_eq!(coder, start);
                        assert!(size > 0xffff || step > 0xffff_ffff);
                        continue;
                    }
                    short += 1;
                    let mut reader = start;
                    let (back, taken) = reader.decode(&room[..length]).expect("a record");
                    assert_eq!(back, Record { kind, time: 1000, a: size, b: address, c: 0 });
                    assert_eq!((taken, reader), (length, coder));
                }
            }
        }
        assert!(short > 5_000, "{short}");
        let start = Coder { time: 1000, address: 0x5555_0000_0000 };
        let near = 1i64 << 30;
        for step in [0, 16, -16, 4096, near - 16, -near, near, -near - 16, 1 << 40, i64::MIN] {
            let address = start.address.wrapping_add_signed(step);
            for size in [0, 1, 24, 0xffff, 0x1_0000, u64::MAX] {
                for free in [false, true] {
                    let (mut coder, mut room) = (start, [0xaa; RECORD_ROOM_BYTES]);
                    let length = match free {
                        true => coder.encode_free(address, &mut room),
                        false => coder.encode_malloc(size, address, &mut room),
                    };
                    let fits = (-near..near).contains(&step) && (free || size <= 0xffff);
                    assert_eq!(length != 0, fits, "{step} {size} {free}");
                    if length == 0 {
                        assert_eq!(coder, start);
                        continue;
                    }
                    let mut reader = start;
                    let (back, taken) = reader.decode(&room[..length]).expect("a record");
                    let (kind, a) = if free { (Kind::Free, 0) } else { (Kind::Malloc, size) };
                    assert_eq!(back, Record { kind, time: 1000, a, b: address, c: 0 });
                    assert_eq!((taken, reader), (length, coder));
                    for cut in 0..length {
                        let cut = Coder::default().decode(&room[..cut]);
                        assert_eq!(cut, Err(RecordError::Short));
                    }
                }
            }
        }
        let mut coder = Coder { time: 9, address: 0 };
        assert_eq!(coder.encode_short(Kind::Free, 0, 16, &mut [0; 40]), 6);
        assert_eq!(coder.encode_short(Kind::Malloc, 9, 16, &mut [0; 40]), 8);
    }

    #[test]
    fn what_does_not_fit_is_clamped() {
        let mut coder = Coder { time: 100, address: 0 };
        let mut room = [0; RECORD_ROOM_BYTES];
        let length = coder
            .encode(Record { kind: Kind::Malloc, time: 50, a: u64::MAX, b: 0, c: 0 }, &mut room);
        let (back, _) = Coder { time: 100, address: 0 }.decode(&room[..length]).expect("a record");
        assert_eq!((back.time, back.a), (100, FIELD_MAX));
    }

    #[test]
    fn heads_of_no_kind_are_refused() {
        for head in [0u16, 0x3230] {
            assert_eq!(Coder::default().decode(&head.to_le_bytes()), Err(RecordError::Kind));
        }
        assert_eq!(Coder::default().decode(&[1]), Err(RecordError::Short));
    }

    #[test]
    fn a_process_start_comes_back() {
        let start = ProcessStart {
            pid: 1,
            parent_pid: 2,
            forked_from: NO_PROCESS,
            page_bytes: 4096,
            sample_bytes: 512 << 10,
            stack_depth: 64,
            cores: 2,
            break_start: 0x5555_5555_0000,
            fork_number: 3,
        };
        assert_eq!(ProcessStart::from_bytes(&start.to_bytes()), Some(start));
        let older = ProcessStart { fork_number: 0, ..start };
        assert_eq!(ProcessStart::from_bytes(&start.to_bytes()[..40]), Some(older));
        assert_eq!(ProcessStart::from_bytes(&[0; 39]), None);
    }
}
