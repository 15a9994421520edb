//! pymalloc: CPython's allocator of objects up to 512 bytes, read by the heads of its pools.
//!
//! ```text
//! arena, one mapping: 256 KiB, from 3.10 on 1 MiB
//! │ pool │ pool │ pool …                        4 KiB, from 3.10 on 16 KiB, aligned to that
//!   │ count:4 .:4 │ freeblock │ next │ previous │ arena:4 class:4 │ next:4 last:4 │ blocks …
//!   0             8           16     24         32                40              48
//! ```
//! A pool's head gives itself away: its last word says where the last block may begin, which is
//! the pool's size less the class's. No symbols are needed, and no debug info; 3.6 to 3.13.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Language, Part, Runtime, joined};
use crate::glibc::mapped::gaps;
use crate::process::maps::Mapping;
use crate::process::memory::Image;
use crate::span::Span;
use crate::wire;

/// How full pools are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pools {
    /// Arenas with a pool.
    #[serde(deserialize_with = "wire::figure")]
    pub arenas: usize,
    /// Pools, those without an object too.
    #[serde(deserialize_with = "wire::figure")]
    pub pools: usize,
    /// Blocks that hold objects.
    #[serde(deserialize_with = "wire::figure")]
    pub objects: usize,
    /// Bytes of those.
    #[serde(deserialize_with = "wire::figure")]
    pub used: usize,
    /// Bytes of free blocks beside them.
    #[serde(deserialize_with = "wire::figure")]
    pub free: usize,
    /// Bytes of pools without an object, kept for any class.
    #[serde(deserialize_with = "wire::figure")]
    pub empty: usize,
}

/// The sizes that a pool has had.
const POOL_BYTES: [usize; 2] = [4 << 10, 16 << 10];
/// Bytes of a pool's head.
const HEAD_BYTES: usize = 48;
/// The words of the head that give it away.
const MARKS: usize = 32;
/// Alignment of blocks: 16, before 3.7 8.
const ALIGNMENTS: [usize; 2] = [16, 8];
/// Largest block.
const MOST_BLOCK: usize = 512;
/// Heads are read so many at a time.
const AT_ONCE: usize = 1024;
/// Until a pool is found so many places are looked at: 16 GiB.
const MOST_PROBES: usize = 4 << 20;

/// What a head says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    pool_bytes: usize,
    block_bytes: usize,
    arena: u32,
    /// Where the first block lies that was never used, up to behind the last one.
    next: usize,
}

/// Finds the pools in all private memory but `taken`.
#[must_use]
pub fn find(memory: &impl Image, maps: &[Mapping], taken: &[Span]) -> Runtime {
    let free = maps.iter().filter(|m| m.is_plain_data()).flat_map(|m| gaps(m.span, taken));
    let runs = free.flat_map(|span| memory.pages().runs_in(span).collect::<Vec<_>>());
    let spans: Vec<Span> = runs.filter(|run| !run.of_file).map(|run| run.span).collect();
    // The first one tells the size of all.
    let first = heads(memory, &spans, POOL_BYTES[0]).take(MOST_PROBES).flatten().next();
    let mut pools = Pools::default();
    let mut arenas = BTreeSet::new();
    let mut places = Vec::new();
    let all = first.iter().flat_map(|(_, first)| heads(memory, &spans, first.pool_bytes)).flatten();
    for (pool, head) in all {
        let Some(count) = objects(memory, pool, &head) else { continue };
        arenas.insert(head.arena);
        places.push(Span::new(pool, pool + head.pool_bytes));
        pools.pools += 1;
        pools.objects += count;
        pools.used += count * head.block_bytes;
        let most = (head.pool_bytes - HEAD_BYTES) / head.block_bytes;
        if count == 0 {
            pools.empty += head.pool_bytes;
        } else {
            pools.free += (most - count) * head.block_bytes;
        }
    }
    pools.arenas = arenas.len();
    let spans = joined(places.into_iter());
    let resident = spans.iter().map(|&span| memory.pages().resident(span)).sum();
    let part = Part { name: "pymalloc arenas".into(), spans, resident };
    let is_there = pools.pools > 0;
    Runtime {
        language: Language::Python,
        parts: if is_there { vec![part] } else { Vec::new() },
        pools: is_there.then_some(pools),
    }
}

/// Every place where a pool of `pool_bytes` or more may begin, and its head if it has one.
fn heads<'a>(
    memory: &'a impl Image,
    spans: &'a [Span],
    pool_bytes: usize,
) -> impl Iterator<Item = Option<(usize, Head)>> + 'a {
    let batches = spans.iter().flat_map(move |span| {
        let first = span.start.next_multiple_of(pool_bytes);
        (first..span.end).step_by(pool_bytes * AT_ONCE).map(move |at| (at, span.end))
    });
    batches.flat_map(move |(at, end)| {
        let end = end.min(at + pool_bytes * AT_ONCE);
        let marks: Vec<usize> = (at..end).step_by(pool_bytes).map(|pool| pool + MARKS).collect();
        let read = memory.heads(&marks);
        marks.into_iter().zip(read).map(move |(place, marks)| {
            let pool = place - MARKS;
            let head = marks.and_then(|marks| head(marks, pool_bytes));
            head.filter(|head| pool.is_multiple_of(head.pool_bytes)).map(|head| (pool, head))
        })
    })
}

/// The head with these last two words, of a pool of `least` bytes or more.
fn head((first, second): (u64, u64), least: usize) -> Option<Head> {
    let (arena, class) = (first as u32, (first >> 32) as usize);
    let (next, last) = (second as u32 as usize, (second >> 32) as usize);
    let of = |&alignment: &usize| {
        let block_bytes = class.checked_add(1)?.checked_mul(alignment)?;
        let pool_bytes = last.checked_add(block_bytes)?;
        let fits = block_bytes <= MOST_BLOCK
            && pool_bytes >= least
            && POOL_BYTES.contains(&pool_bytes)
            && (HEAD_BYTES + block_bytes..=pool_bytes).contains(&next)
            && (next - HEAD_BYTES).is_multiple_of(block_bytes);
        fits.then_some(Head { pool_bytes, block_bytes, arena, next })
    };
    ALIGNMENTS.iter().find_map(of)
}

/// How many objects the pool holds; `None` if its other words are not a pool's.
fn objects(memory: &impl Image, pool: usize, head: &Head) -> Option<usize> {
    let count = memory.word(pool)? as u32 as usize;
    let free = memory.word(pool + 8)? as usize;
    let is_block = free == 0
        || (pool + HEAD_BYTES..pool + head.next).contains(&free)
            && (free - pool - HEAD_BYTES).is_multiple_of(head.block_bytes);
    let used_once = (head.next - HEAD_BYTES) / head.block_bytes;
    (is_block && count <= used_once).then_some(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(arena: u32, class: u32, next: u32, last: u32) -> (u64, u64) {
        (u64::from(class) << 32 | u64::from(arena), u64::from(last) << 32 | u64::from(next))
    }

    #[test]
    fn a_pools_head_gives_itself_away() {
        // A pool of 16 KiB of blocks of 64 bytes, three of them handed out so far.
        let of_310 = head(marks(7, 3, 48 + 3 * 64, 16384 - 64), 4096).expect("a head");
        assert_eq!((of_310.pool_bytes, of_310.block_bytes, of_310.arena), (16384, 64, 7));
        let of_39 = head(marks(0, 0, 4096, 4096 - 16), 4096);
        // 48 + n × 16 reaches the end exactly.
        assert_eq!(of_39.map(|head| head.pool_bytes), Some(4096));
        let of_36 = head(marks(1, 2, 48 + 24, 4096 - 24), 4096).expect("blocks of 24 bytes");
        assert_eq!(of_36.block_bytes, 24);
        for bent in [
            marks(0, 3, 48 + 3 * 64 + 8, 16384 - 64),
            marks(0, 3, 48, 16384 - 64),
            marks(0, 3, 48 + 64, 16384 - 48),
            marks(0, 32, 48 + 528, 16384 - 528),
            (0, 0),
            (u64::MAX, u64::MAX),
        ] {
            assert_eq!(head(bent, 4096), None, "{bent:?}");
        }
        assert_eq!(head(marks(0, 0, 64, 4096 - 16), 16384), None);
    }
}
