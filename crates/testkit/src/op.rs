//! Operations of a simulated program, and how eight bytes become one.
//!
//! ```text
//! byte   0      1        2,3      4‥7
//!        kind   thread   pick     amount (a size, a time, a setting …)
//! ```
//! Everything decodes to something, so that a fuzzer's bytes, a shrinking
//! property test and a seed's random words all speak the same language.

use crate::faults::ALL;
use heapwise_malloc::tunables::Setting;

/// One operation. `thread` and `pick` are reduced to what there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "fields are the arguments of the calls")]
pub enum Op {
    Malloc {
        thread: usize,
        request: usize,
    },
    Calloc {
        thread: usize,
        count: usize,
        each: usize,
    },
    Realloc {
        thread: usize,
        pick: usize,
        request: usize,
    },
    Memalign {
        thread: usize,
        align: usize,
        request: usize,
    },
    /// Of a block that the thread itself got.
    FreeOwn {
        thread: usize,
        pick: usize,
    },
    /// Of any block.
    FreeAny {
        thread: usize,
        pick: usize,
    },
    /// Many of one size at once.
    MallocMany {
        thread: usize,
        request: usize,
        count: usize,
    },
    /// The newest first, the oldest first or in no order.
    FreeMany {
        thread: usize,
        pick: usize,
        count: usize,
    },
    /// Verifies a block that stays.
    Look {
        pick: usize,
    },
    /// The thread ends, another begins.
    Exit {
        thread: usize,
    },
    Trim {
        thread: usize,
        pad: usize,
    },
    Tick,
    Pass {
        ns: u64,
    },
    Set {
        setting: Setting,
        value: usize,
    },
    Share {
        thread: usize,
    },
    Count {
        thread: usize,
        on: bool,
    },
    Fork {
        thread: usize,
        into_child: bool,
    },
    ForeignBreak {
        delta: isize,
    },
    BreakRace {
        delta: isize,
    },
    /// Something stands above the break, or no longer.
    BlockBreak {
        room: Option<usize>,
    },
    Fail {
        nth: u64,
        length: u64,
        kinds: u32,
    },
    HealFaults,
    Awake {
        thread: usize,
        awake: bool,
    },
    Helper {
        allowed: bool,
    },
}

/// Sizes around which something changes, and sizes that cannot be had.
const EDGES: [usize; 32] = [
    0,
    1,
    24,
    25,
    120,
    121,
    1000,
    1016,
    1032,
    1033,
    1144,
    1145,
    4096,
    8184,
    57_344,
    65_528,
    65_529,
    65_544,
    65_545,
    65_560,
    131_048,
    131_056,
    131_057,
    131_064,
    135_160,
    1 << 20,
    4 << 20,
    33 << 20,
    65 << 20,
    1 << 40,
    isize::MAX as usize,
    usize::MAX,
];

/// A size: mostly small, now and then large, sometimes an edge.
fn size(amount: u32) -> usize {
    let (scale, rest) = (amount & 15, (amount >> 4) as usize);
    match scale {
        0..=6 => rest % 257,
        7..=9 => rest % 1100,
        10..=11 => rest % 8200,
        12 => rest % 70_000,
        13 => {
            if rest % 4 == 0 {
                rest % 600_000
            } else {
                rest % 140_000
            }
        }
        14 => 16 << (rest % 13),
        _ => EDGES[rest % if rest & 0x1f0_0000 == 0 { 32 } else { 26 }],
    }
}

/// Values worth setting while a program runs.
const SETTINGS: [(Setting, [usize; 4]); 12] = [
    (Setting::MxFast, [0, 64, 120, 160]),
    (Setting::TopPad, [0, 4096, 128 << 10, 1 << 20]),
    (Setting::TrimThreshold, [0, 64 << 10, 128 << 10, usize::MAX]),
    (Setting::MmapThreshold, [4096, 64 << 10, 128 << 10, 32 << 20]),
    (Setting::MmapMax, [0, 3, 65536, 65536]),
    (Setting::Perturb, [0, 0, 0x5a, 0xff]),
    (Setting::UnsortedLimit, [0, 1, 3, 100]),
    (Setting::Purge, [1, 1, 1, 0]),
    (Setting::PurgeBudget, [0, 16 << 10, 1 << 20, usize::MAX]),
    (Setting::PurgeHelper, [0, 1, 2, 1]),
    (Setting::CacheBytes, [0, 256 << 10, 8 << 20, 1 << 30]),
    (Setting::HugeTlb, [0, 1, 0, 1]),
];

/// A step of somebody else's break: bytes, pages, up and down.
fn step(amount: u32) -> isize {
    let bytes = match amount >> 2 & 3 {
        0 => 4096 * (1 + (amount >> 4) % 40),
        1 => 1 + (amount >> 4) % 100,
        _ => 1 + (amount >> 4) % 20_000,
    } as isize;
    if amount & 3 == 0 { -bytes } else { bytes }
}

impl Op {
    /// The operation that `word` stands for.
    #[must_use]
    pub fn decode(word: u64) -> Self {
        let kind = word as u8;
        let thread = usize::from((word >> 8) as u8);
        let pick = usize::from((word >> 16) as u16);
        let amount = (word >> 32) as u32;
        let high = (amount >> 16) as usize;
        match kind {
            0..=63 => Self::Malloc { thread, request: size(amount) },
            64..=79 => {
                let (count, request) = (1 + pick % 5, size(amount));
                let each = if pick & 0xff00 == 0 { request } else { request / count };
                Self::Calloc { thread, count, each }
            }
            80..=103 => Self::Realloc { thread, pick, request: size(amount) },
            104..=111 => {
                let align = 8usize << (pick % if pick & 0xf000 == 0 { 40 } else { 12 });
                Self::Memalign { thread, align, request: size(amount) }
            }
            112..=159 => Self::FreeOwn { thread, pick },
            160..=187 => Self::FreeAny { thread, pick },
            188..=193 => {
                Self::MallocMany { thread, request: size(amount & !8), count: 1 + pick % 150 }
            }
            194..=199 => Self::FreeMany { thread, pick, count: 1 + amount as usize % 200 },
            200..=207 => Self::Look { pick },
            208..=209 => Self::Exit { thread },
            210 => Self::Trim { thread, pad: if amount & 1 == 0 { 0 } else { size(amount >> 1) } },
            211..=217 => Self::Tick,
            218..=223 => Self::Pass { ns: 1 << (amount % 34) },
            224..=226 => {
                let (setting, values) = SETTINGS[pick % SETTINGS.len()];
                Self::Set { setting, value: values[amount as usize % 4] }
            }
            227 if high & 0xf00 == 0 => Self::Share { thread },
            227 => Self::Count { thread, on: amount & 7 == 0 },
            228 => Self::Fork { thread, into_child: amount & 1 == 0 },
            229..=231 => Self::ForeignBreak { delta: step(amount) },
            232 => Self::BreakRace { delta: step(amount | 1) },
            233 => Self::BlockBreak { room: Some(step(amount).unsigned_abs() / 16 * 16) },
            234..=235 => Self::BlockBreak { room: None },
            236..=238 => {
                let length = if amount & 7 == 0 { 1000 } else { 1 + u64::from(amount >> 3 & 3) };
                let kinds = match amount >> 8 & ALL {
                    0 => ALL,
                    some => some,
                };
                Self::Fail { nth: 1 + pick as u64 % 8, length, kinds }
            }
            239..=244 => Self::HealFaults,
            245..=252 => Self::Awake { thread, awake: amount & 1 == 0 },
            253 => Self::Helper { allowed: amount & 3 != 0 },
            254..=255 => Self::FreeMany { thread, pick, count: 2000 },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_decodes_and_sizes_stay_mostly_small() {
        for kind in 0..=255u64 {
            let _ = Op::decode(kind | 0xdead_beef_1234_0000);
        }
        let mut rng = heapwise_seed::Rng::new(3);
        let small = (0..10_000).filter(|_| size(rng.word() as u32) <= 8200).count();
        assert!(small > 7_000, "{small}");
    }
}
