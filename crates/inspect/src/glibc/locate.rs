//! Finding `main_arena` and `mp_` in glibc's writable data.
//!
//! With symbols where there are any, else by shape: 127 pairs of words of which
//! an empty bin's both give the address of the pair − 16, and a filled bin's
//! come back to it. Then the ring of arenas must close. `mp_` is told by the
//! start of the heap in it, and by figures that must be possible.

use heapwise_layout::walk::Read;
use serde::{Deserialize, Serialize};

use super::symbols::Symbols;
use super::version::{Table, from_bins, params};
use crate::span::Span;

/// Bins of an arena.
const BIN_PAIRS: usize = 127;
/// So many of them must be sound for their shape alone to be believed.
const SOUND_BINS: usize = 64;
/// More arenas than any process has.
pub const MAX_ARENAS: usize = 1 << 16;
/// The dynamic threshold never rises above this (32 MiB), unless set by hand.
const MAX_SENSIBLE_THRESHOLD: u64 = 1 << 40;

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// Address of `main_arena`.
    pub main_arena: usize,
    /// Address of `mp_`.
    pub mp: Option<usize>,
    /// Whether by symbols.
    pub by_symbols: bool,
}

/// What `mp_` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parameters {
    /// Freed chunks of a mapping raise it.
    pub mmap_threshold: usize,
    /// Twice that, once raised.
    pub trim_threshold: usize,
    /// Whether the thresholds were set by hand and stay.
    pub fixed: bool,
    /// The most arenas, 0 for the default.
    pub arena_max: usize,
    /// Mapped chunks.
    pub n_mmaps: usize,
    /// Bytes in them.
    pub mmapped_bytes: usize,
    /// Start of the main heap.
    pub sbrk_base: usize,
    /// Size of huge pages in use by the heap, 0 if not.
    pub huge_page_bytes: usize,
}

/// Where to look.
pub struct Search<'a> {
    /// glibc's writable data.
    pub data: &'a [Span],
    /// Where the library was loaded.
    pub base: usize,
    /// What the symbols say.
    pub symbols: Symbols,
    /// The mappings of the break.
    pub breaks: &'a [Span],
}

/// Finds both; `None` if nothing looks like an arena (nothing allocated yet, perhaps).
pub fn find(memory: &impl Read, table: &Table, search: &Search<'_>) -> Option<Found> {
    let by_symbol = search
        .symbols
        .main_arena
        .map(|offset| search.base.wrapping_add(offset))
        .filter(|&arena| is_main_arena(memory, table, arena, 0));
    let main_arena = by_symbol.or_else(|| {
        let candidates = search.data.iter().flat_map(|span| bins_positions(*span));
        candidates
            .filter_map(|bins| bins.checked_sub(table.bins))
            .find(|&arena| is_main_arena(memory, table, arena, SOUND_BINS))
    })?;
    let mp = search
        .symbols
        .mp
        .map(|offset| search.base.wrapping_add(offset))
        .filter(|&mp| parameters(memory, table, mp).is_some_and(|p| is_possible(&p)))
        .or_else(|| find_parameters(memory, table, search));
    Some(Found { main_arena, mp, by_symbols: by_symbol.is_some() })
}

fn bins_positions(span: Span) -> impl Iterator<Item = usize> {
    let last = span.end.saturating_sub(BIN_PAIRS * 16);
    (span.start.next_multiple_of(8)..last).step_by(8)
}

/// Whether an arena stands at `arena`; `sound`: so many of its bins must come back to themselves.
fn is_main_arena(memory: &impl Read, table: &Table, arena: usize, sound: usize) -> bool {
    let bins = arena.wrapping_add(table.bins);
    let top = bins.checked_add_signed(from_bins::TOP).and_then(|at| memory.word(at));
    are_bins(memory, bins, sound)
        && top.is_some_and(|top| top != 0 && top % 8 == 0)
        && ring(memory, table, arena).is_some()
}

/// Whether 127 rings stand at `bins`. All are pairs of pointers; at least `sound` of them
/// come back: in a process that allocates meanwhile, those in use may not.
fn are_bins(memory: &impl Read, bins: usize, sound: usize) -> bool {
    let mut found = 0;
    for index in 0..BIN_PAIRS {
        let Some(at) = bins.checked_add(index * 16) else { return false };
        let ring = at.wrapping_sub(16);
        let (Some(fd), Some(bk)) = (memory.word(at), memory.word(at + 8)) else { return false };
        if fd == 0 || bk == 0 || fd % 8 != 0 || bk % 8 != 0 {
            return false;
        }
        if fd == ring as u64 && bk == ring as u64 {
            found += 1;
            continue;
        }
        // Too many strangers already: no need to follow them all.
        if index - found.min(index) > BIN_PAIRS - sound {
            return false;
        }
        let back = (fd as usize).checked_add(24).and_then(|at| memory.word(at));
        let forth = (bk as usize).checked_add(16).and_then(|at| memory.word(at));
        found += usize::from(back == Some(ring as u64) && forth == Some(ring as u64));
    }
    found >= sound
}

/// The arenas that `next` leads through, main first; `None` if it does not come back.
pub fn ring(memory: &impl Read, table: &Table, main: usize) -> Option<Vec<usize>> {
    let mut arenas = vec![main];
    loop {
        let last = *arenas.last()?;
        let at = last.checked_add(table.bins)?.checked_add_signed(from_bins::NEXT)?;
        let next = memory.word(at)? as usize;
        if next == main {
            return Some(arenas);
        }
        if next == 0 || !next.is_multiple_of(8) || arenas.len() == MAX_ARENAS {
            return None;
        }
        arenas.push(next);
    }
}

/// Reads `mp_`.
pub fn parameters(memory: &impl Read, table: &Table, mp: usize) -> Option<Parameters> {
    let word = |offset: usize| memory.word(mp.checked_add(offset)?);
    let int = |offset: usize| {
        let word = word(offset & !7)?;
        Some((word >> ((offset & 7) * 8)) as u32)
    };
    Some(Parameters {
        mmap_threshold: word(params::MMAP_THRESHOLD)? as usize,
        trim_threshold: word(params::TRIM_THRESHOLD)? as usize,
        fixed: int(table.no_dyn_threshold)? != 0,
        arena_max: word(params::ARENA_MAX)? as usize,
        n_mmaps: int(table.n_mmaps)? as usize,
        mmapped_bytes: word(table.mmapped_mem)? as usize,
        sbrk_base: word(table.sbrk_base)? as usize,
        huge_page_bytes: match table.hp_pagesize {
            Some(offset) => word(offset)? as usize,
            None => 0,
        },
    })
}

fn is_possible(found: &Parameters) -> bool {
    let threshold = found.mmap_threshold as u64;
    (found.n_mmaps == 0) == (found.mmapped_bytes == 0)
        && found.n_mmaps < 1 << 24
        && found.mmapped_bytes < 1 << 47
        && threshold < MAX_SENSIBLE_THRESHOLD
        && found.huge_page_bytes < 1 << 36
}

/// The word that is the start of the heap (its first 16 bytes will do), with possible figures around it.
fn find_parameters(memory: &impl Read, table: &Table, search: &Search<'_>) -> Option<usize> {
    let starts: Vec<usize> = search.breaks.iter().map(|span| span.start).collect();
    let is_start = |word: usize| starts.iter().any(|&start| word.wrapping_sub(start) < 16);
    let in_break = |word: usize| search.breaks.iter().any(|span| span.contains(word));
    let places = || {
        search.data.iter().flat_map(|span| (span.start..span.end).step_by(8)).filter_map(|at| {
            let word = memory.word(at)? as usize;
            let mp = at.checked_sub(table.sbrk_base)?;
            in_break(word).then_some((word, mp))
        })
    };
    let is_fit = |mp: usize| parameters(memory, table, mp).is_some_and(|found| is_possible(&found));
    let exact = places().find(|&(word, mp)| is_start(word) && is_fit(mp));
    // Somebody else may have moved the break first.
    exact
        .or_else(|| places().find(|&(_, mp)| is_fit(mp) && has_defaults(memory, table, mp)))
        .map(|(_, mp)| mp)
}

/// Where only the place in the break is known, the thresholds must look like glibc's.
fn has_defaults(memory: &impl Read, table: &Table, mp: usize) -> bool {
    parameters(memory, table, mp)
        .is_some_and(|found| found.mmap_threshold >= 4096 && found.trim_threshold >= 4096)
}
