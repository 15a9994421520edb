//! Finding our [`ProcessState`] in a process, and what it says.

use std::mem::offset_of;

use heapwise_layout::control::Control;
use heapwise_layout::settings::Setting;
use heapwise_layout::state::{
    ARENA_MAGIC, ArenaState, LAYOUT_VERSION, MAX_ARENAS, MappedTable, PROCESS_MAGIC, ProcessState,
};
use heapwise_layout::walk::Read;
use serde::{Deserialize, Serialize};

use crate::span::Span;
use crate::wire;

/// The root as read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    /// Its address.
    pub address: usize,
    /// Addresses of the arenas, main first.
    #[serde(deserialize_with = "wire::list")]
    pub arenas: Vec<usize>,
    /// The table of mapped chunks: its slots.
    pub slots: Span,
    /// Mapped chunks by its counter.
    pub mapped_count: usize,
    /// Bytes in them by its counter.
    pub mapped_bytes: usize,
    /// Its settings.
    pub settings: Settings,
    /// Bytes that giving back may cost before it waits: may be below 0.
    pub tokens: Option<i64>,
    /// Thread id of the idle helper, 0 without one.
    pub helper_tid: u32,
}

/// The settings' values, as far as they could be read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    #[serde(deserialize_with = "wire::list")]
    values: Vec<usize>,
    /// Whether the mmap threshold moves by itself.
    pub is_dynamic: bool,
}

impl Settings {
    /// The value of one.
    #[must_use]
    pub fn get(&self, setting: Setting) -> Option<usize> {
        self.values.get(setting as usize).copied()
    }

    fn read(memory: &impl Read, address: usize, count: usize) -> Option<Self> {
        // A newer allocator may have more of them; the dynamic word stands behind all.
        let count = count.min(MAX_SETTINGS);
        let word = |index: usize| Some(memory.word(address.checked_add(index * 8)?)? as usize);
        let values = (0..count).map(word).collect::<Option<_>>()?;
        Some(Self { values, is_dynamic: word(count)? == 1 })
    }
}

/// More there are never.
const MAX_SETTINGS: usize = 1 << 10;

/// What stands where a root was looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Ours, readable.
    Root(Root),
    /// Ours, of another layout version.
    OtherVersion(u32),
}

/// Tables larger than this are no tables: 2^28 mapped chunks.
const MAX_SLOTS_LOG2: u32 = 28;

/// Searches `data`, the writable data of a library or program.
pub fn find(memory: &impl Read, data: &[Span]) -> Option<Found> {
    data.iter()
        .flat_map(|span| (span.start.next_multiple_of(8)..span.end).step_by(8))
        .filter(|&at| memory.word(at) == Some(PROCESS_MAGIC))
        .find_map(|at| read(memory, at))
}

/// Reads the root at `address`; `None` if it is none.
pub fn read(memory: &impl Read, address: usize) -> Option<Found> {
    let word = |offset: usize| memory.word(address.checked_add(offset)?);
    let half = |offset: usize| Some((word(offset & !7)? >> ((offset & 7) * 8)) as u32);
    let version = half(offset_of!(ProcessState, version))?;
    if word(offset_of!(ProcessState, magic))? != PROCESS_MAGIC {
        return None;
    }
    if version != LAYOUT_VERSION {
        // The magic alone also stands where a program keeps it as a constant.
        return (1..1000).contains(&version).then_some(Found::OtherVersion(version));
    }
    let page_bytes = half(offset_of!(ProcessState, page_bytes))?;
    let count = half(offset_of!(ProcessState, arena_count))? as usize;
    if !page_bytes.is_power_of_two() || !(1..=MAX_ARENAS).contains(&count) {
        return None;
    }
    let arenas: Vec<usize> = (0..count)
        .map(|index| Some(word(offset_of!(ProcessState, arenas) + index * 8)? as usize))
        .collect::<Option<_>>()?;
    // Another one may just have been made, its memory not resident when the pages were walked.
    if !is_arena(memory, arenas[0]) {
        return None;
    }
    const TABLE: usize = offset_of!(ProcessState, mapped);
    let log2 = half(TABLE + offset_of!(MappedTable, slots_log2))?;
    let slots = word(TABLE + offset_of!(MappedTable, slots))? as usize;
    let slot_bytes = if log2 <= MAX_SLOTS_LOG2 { 8usize << log2 } else { 0 };
    Some(Found::Root(Root {
        address,
        arenas,
        slots: Span::new(slots, slots.saturating_add(slot_bytes)),
        mapped_count: word(TABLE + offset_of!(MappedTable, count))? as usize,
        mapped_bytes: word(TABLE + offset_of!(MappedTable, bytes))? as usize,
        settings: Settings::read(
            memory,
            word(offset_of!(ProcessState, settings))? as usize,
            word(offset_of!(ProcessState, settings_count))? as usize,
        )
        .unwrap_or_default(),
        tokens: memory.word(word(offset_of!(ProcessState, tokens))? as usize).map(u64::cast_signed),
        helper_tid: half(offset_of!(ProcessState, control) + offset_of!(Control, helper_tid))?,
    }))
}

fn is_arena(memory: &impl Read, arena: usize) -> bool {
    let at = arena.checked_add(offset_of!(ArenaState, magic));
    at.and_then(|at| memory.word(at)) == Some(ARENA_MAGIC)
}
