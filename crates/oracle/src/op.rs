//! One step of a script: who, what, with which arguments. Eight words on the wire.
//!
//! ```text
//!   word  0 who │ 1 opcode │ 2 … 7 arguments
//! ```

/// Words of a step.
pub const WORDS: usize = 8;

/// What a step does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Op {
    /// `brk(address)`.
    Brk(u64),
    /// `mmap(address, length, prot, flags, memfd or −1, offset)`.
    Mmap {
        /// Where.
        at: u64,
        /// Bytes.
        length: u64,
        /// `PROT_*`.
        prot: u64,
        /// `MAP_*`.
        flags: u64,
        /// Which of the script's memfds; `u64::MAX` for none.
        file: u64,
        /// From which byte.
        offset: u64,
    },
    /// `munmap(address, length)`.
    Munmap(u64, u64),
    /// `mremap(address, old, new, flags, to)`.
    Mremap {
        /// Where it is.
        at: u64,
        /// Bytes there.
        old: u64,
        /// Bytes wanted.
        new: u64,
        /// `MREMAP_*`.
        flags: u64,
        /// Where to.
        to: u64,
    },
    /// `mprotect(address, length, prot)`.
    Mprotect(u64, u64, u64),
    /// `madvise(address, length, advice)`.
    Madvise(u64, u64, u64),
    /// Loads the word at an address.
    Read(u64),
    /// Stores a word at an address.
    Write(u64, u64),
    /// `setrlimit`: 0 address space, 1 data, 2 stack; bytes.
    Limit(u64, u64),
    /// Makes the memfd of this number, of so many pages.
    Memfd(u64, u64),
    /// Makes a regular file in `/tmp`, under the same numbers, of so many pages of zeros that
    /// are all in the page cache.
    File(u64, u64),
    /// `ftruncate` of the file of this number to so many pages.
    Truncate(u64, u64),
    /// Forks; the steps of the other one follow.
    Fork,
    /// Reads `/proc/self/maps` and `status`, and nothing else.
    Look,
    /// The same with `smaps`, which has all of `maps` and more.
    Smaps,
}

/// A step of one of the two processes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Step {
    /// 0: the first process; 1: its child.
    pub who: u64,
    /// What it does.
    pub op: Op,
    /// Without a look at the maps afterwards.
    pub blind: bool,
}

impl Step {
    /// Of the first process, with a look afterwards.
    pub const fn new(op: Op) -> Self {
        Self { who: 0, op, blind: false }
    }

    /// As words.
    pub const fn encode(&self) -> [u64; WORDS] {
        let (code, a) = match self.op {
            Op::Brk(at) => (0, [at, 0, 0, 0, 0, 0]),
            Op::Mmap { at, length, prot, flags, file, offset } => {
                (1, [at, length, prot, flags, file, offset])
            }
            Op::Munmap(at, length) => (2, [at, length, 0, 0, 0, 0]),
            Op::Mremap { at, old, new, flags, to } => (3, [at, old, new, flags, to, 0]),
            Op::Mprotect(at, length, prot) => (4, [at, length, prot, 0, 0, 0]),
            Op::Madvise(at, length, advice) => (5, [at, length, advice, 0, 0, 0]),
            Op::Read(at) => (6, [at, 0, 0, 0, 0, 0]),
            Op::Write(at, value) => (7, [at, value, 0, 0, 0, 0]),
            Op::Limit(which, bytes) => (8, [which, bytes, 0, 0, 0, 0]),
            Op::Memfd(nth, pages) => (9, [nth, pages, 0, 0, 0, 0]),
            Op::File(nth, pages) => (13, [nth, pages, 0, 0, 0, 0]),
            Op::Truncate(nth, pages) => (14, [nth, pages, 0, 0, 0, 0]),
            Op::Fork => (10, [0; 6]),
            Op::Look => (11, [0; 6]),
            Op::Smaps => (12, [0; 6]),
        };
        let who = self.who | if self.blind { 1 << 8 } else { 0 };
        [who, code, a[0], a[1], a[2], a[3], a[4], a[5]]
    }

    /// From words; `None` if no step has this code.
    pub const fn decode(words: &[u64; WORDS]) -> Option<Self> {
        let [who, code, a, b, c, d, e, f] = *words;
        let op = match code {
            0 => Op::Brk(a),
            1 => Op::Mmap { at: a, length: b, prot: c, flags: d, file: e, offset: f },
            2 => Op::Munmap(a, b),
            3 => Op::Mremap { at: a, old: b, new: c, flags: d, to: e },
            4 => Op::Mprotect(a, b, c),
            5 => Op::Madvise(a, b, c),
            6 => Op::Read(a),
            7 => Op::Write(a, b),
            8 => Op::Limit(a, b),
            9 => Op::Memfd(a, b),
            10 => Op::Fork,
            11 => Op::Look,
            12 => Op::Smaps,
            13 => Op::File(a, b),
            14 => Op::Truncate(a, b),
            _ => return None,
        };
        Some(Self { who: who & 1, op, blind: who & 1 << 8 != 0 })
    }
}

/// What a load or store that ended in a signal returns.
pub const fn signal_result(signal: i64, code: i64) -> i64 {
    -(1000 + signal * 10 + code)
}
