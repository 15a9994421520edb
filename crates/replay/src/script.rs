//! A script: what one process of a trace did, ready to be done again.
//!
//! ```text
//!  0               8       12    14   15
//! ┌───────────────┬───────┬─────┬────┬───────┐
//! │ size or time  │ slot  │thrd │ op │ align │   16 bytes a step
//! └───────────────┴───────┴─────┴────┴───────┘
//! ```
//! Addresses are gone: a block lives in a *slot* from its allocation to its free,
//! and a slot is used again by the thread that emptied it. So a table of as many
//! slots as there were blocks alive at once is all that a player needs, and
//! threads never write one slot without an order between them.

/// What a step does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Op {
    /// Nothing.
    Nothing = 0,
    /// `malloc(size)` into `slot`.
    Malloc = 1,
    /// `calloc(1, size)`.
    Calloc = 2,
    /// `memalign(1 << align, size)`.
    Aligned = 3,
    /// `realloc(slot, size)`.
    Realloc = 4,
    /// `free(slot)`.
    Free = 5,
    /// Measure; `size` is what the program holds, `slot` the number of the sample.
    Sample = 6,
    /// It is `size` ns after the beginning.
    Time = 7,
    /// Thread `slot` begins.
    Spawn = 8,
    /// The thread ends.
    End = 9,
    /// Thread `slot` has ended and is waited for.
    Join = 10,
    /// Wait until thread `slot` has done `size` steps. In streams only.
    Wait = 11,
    /// Reach window `size`, and wait until nobody is more than one behind. In streams only.
    Window = 12,
    /// Of the block that the thread's next step allocates, only `size` bytes are ever touched.
    Touch = 13,
}

impl Op {
    /// From its number.
    #[must_use]
    pub const fn of(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Nothing,
            1 => Self::Malloc,
            2 => Self::Calloc,
            3 => Self::Aligned,
            4 => Self::Realloc,
            5 => Self::Free,
            6 => Self::Sample,
            7 => Self::Time,
            8 => Self::Spawn,
            9 => Self::End,
            10 => Self::Join,
            11 => Self::Wait,
            12 => Self::Window,
            13 => Self::Touch,
            _ => return None,
        })
    }
}

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Bytes, or as the operation says.
    pub size: u64,
    /// Which block, or as the operation says.
    pub slot: u32,
    /// Who.
    pub thread: u16,
    /// What.
    pub op: Op,
    /// Logarithm of the alignment.
    pub align_log2: u8,
}

impl Step {
    /// Length of its bytes.
    pub const BYTES: usize = 16;

    /// A step with neither size nor slot.
    #[must_use]
    pub const fn plain(thread: u16, op: Op) -> Self {
        Self { size: 0, slot: 0, thread, op, align_log2: 0 }
    }

    /// Its bytes.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&self.size.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.slot.to_le_bytes());
        bytes[12..14].copy_from_slice(&self.thread.to_le_bytes());
        bytes[14] = self.op as u8;
        bytes[15] = self.align_log2;
        bytes
    }

    /// From its bytes; `None` if they are no step.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; Self::BYTES]) -> Option<Self> {
        let [s0, s1, s2, s3, s4, s5, s6, s7, b0, b1, b2, b3, t0, t1, op, align_log2] = *bytes;
        Some(Self {
            size: u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]),
            slot: u32::from_le_bytes([b0, b1, b2, b3]),
            thread: u16::from_le_bytes([t0, t1]),
            op: Op::of(op)?,
            align_log2,
        })
    }
}

/// Calls to the kernel, by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// Moves of the break.
    pub brk: u64,
    /// New mappings, those of address space only too.
    pub mmap: u64,
    /// Mappings removed.
    pub munmap: u64,
    /// Mappings resized or moved.
    pub mremap: u64,
    /// Protections changed: how reserved heaps grow.
    pub mprotect: u64,
    /// Pages given back or advice, by `madvise` or `process_madvise`.
    pub madvise: u64,
}

impl Calls {
    /// All together.
    #[must_use]
    pub const fn sum(&self) -> u64 {
        self.brk + self.mmap + self.munmap + self.mremap + self.mprotect + self.madvise
    }
}

/// What the trace tells of the original run.
#[derive(Clone, Debug, Default)]
pub struct Original {
    /// The command line.
    pub command: Vec<String>,
    /// Its process.
    pub pid: u32,
    /// Largest sampled RSS, bytes; 0 if none was sampled.
    pub rss_peak_bytes: u64,
    /// What its allocator asked of the kernel.
    pub calls: Calls,
    /// Records that were lost.
    pub lost: u64,
}

/// What one process did.
#[derive(Clone, Debug, Default)]
pub struct Script {
    /// All steps, in the order of time.
    pub steps: Vec<Step>,
    /// Threads, the main one first; one that ends and another with its number are two.
    pub threads: u32,
    /// Slots.
    pub slots: u32,
    /// Samples.
    pub samples: u32,
    /// From the first event to the last.
    pub duration_ns: u64,
    /// Allocations, a realloc is one.
    pub allocations: u64,
    /// Frees.
    pub frees: u64,
    /// Events that were left out: frees of blocks whose allocation is not in the trace, and
    /// requests that failed.
    pub left_out: u64,
    /// Most bytes that the program held at once.
    pub live_peak_bytes: u64,
    /// What it held on average over time.
    pub live_mean_bytes: u64,
    /// The original run.
    pub original: Original,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_come_back() {
        let step = Step { size: 1 << 40, slot: 7, thread: 300, op: Op::Aligned, align_log2: 12 };
        assert_eq!(Step::from_bytes(&step.to_bytes()), Some(step));
        for number in 0..=255 {
            assert!(Op::of(number).is_none_or(|op| op as u8 == number));
        }
    }
}
