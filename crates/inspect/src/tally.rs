//! The rows of the account, and sums over them.

use std::collections::BTreeMap;
use std::ops::{Index, IndexMut};

use serde::{Deserialize, Serialize};

use crate::wire;

/// What a resident byte is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(usize)]
pub enum Row {
    /// In chunks that the program holds, as `malloc_usable_size` counts.
    LiveUser,
    /// Header words of those chunks.
    Headers,
    /// Whole pages inside free chunks, neighbours taken together: what a trim returns.
    FreeWholePages,
    /// The rest of free chunks: on pages that something else lives on.
    FreePinned,
    /// Ready in thread caches (of ours also on the way to another arena).
    ThreadCaches,
    /// In fastbins, or in the inbox of one of our arenas.
    Fastbins,
    /// The wilderness at the end of a heap.
    Top,
    /// Chunks with a mapping of their own.
    MappedChunks,
    /// Heads of heaps and arenas, fenceposts, thread caches themselves, our tables.
    AllocatorMetadata,
    /// Free pages, all zero, that are resident as parts of huge pages.
    HugeExcess,
    /// Anonymous memory that is not malloc's.
    OtherAnonymous,
    /// Pages of files: programs, libraries, their data, mapped files.
    Files,
    /// Memory shared by name or by inheritance.
    SharedMemory,
    /// Stacks of threads, those kept for the next thread too.
    Stacks,
    /// Resident, but nobody knows what: a heap that could not be walked to its end.
    Unattributed,
}

/// All rows in the order in which they are shown.
pub const ROWS: [Row; 15] = [
    Row::LiveUser,
    Row::Headers,
    Row::FreeWholePages,
    Row::FreePinned,
    Row::ThreadCaches,
    Row::Fastbins,
    Row::Top,
    Row::MappedChunks,
    Row::AllocatorMetadata,
    Row::HugeExcess,
    Row::OtherAnonymous,
    Row::Files,
    Row::SharedMemory,
    Row::Stacks,
    Row::Unattributed,
];

const _: () = {
    let mut index = 0;
    while index < ROWS.len() {
        assert!(ROWS[index] as usize == index);
        index += 1;
    }
};

impl Row {
    /// The name that programs read.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::LiveUser => "live_user",
            Self::Headers => "headers",
            Self::FreeWholePages => "free_whole_pages",
            Self::FreePinned => "free_pinned",
            Self::ThreadCaches => "thread_caches",
            Self::Fastbins => "fastbins_inbox",
            Self::Top => "top",
            Self::MappedChunks => "mmapped_chunks",
            Self::AllocatorMetadata => "allocator_metadata",
            Self::HugeExcess => "huge_page_excess",
            Self::OtherAnonymous => "other_anonymous",
            Self::Files => "files",
            Self::SharedMemory => "shared_memory",
            Self::Stacks => "stacks",
            Self::Unattributed => "unattributed",
        }
    }

    /// The words that people read.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::LiveUser => "live: the program holds it",
            Self::Headers => "chunk headers",
            Self::FreeWholePages => "free: whole pages, a trim returns them",
            Self::FreePinned => "free, but on pages with something live",
            Self::ThreadCaches => "ready in thread caches",
            Self::Fastbins => "in fastbins and inboxes",
            Self::Top => "top of the heaps",
            Self::MappedChunks => "live: large chunks, each its own mapping",
            Self::AllocatorMetadata => "the allocator's own data",
            Self::HugeExcess => "free zero pages inside huge pages",
            Self::OtherAnonymous => "other anonymous memory",
            Self::Files => "programs, libraries, mapped files",
            Self::SharedMemory => "shared memory",
            Self::Stacks => "stacks",
            Self::Unattributed => "unattributed",
        }
    }

    /// Whether the row is part of a malloc heap.
    #[must_use]
    pub const fn of_heap(self) -> bool {
        (self as usize) <= Self::HugeExcess as usize
    }
}

/// Resident bytes by row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "BTreeMap<String, usize>", try_from = "BTreeMap<String, usize>")]
pub struct Tally([usize; ROWS.len()]);

impl Tally {
    /// All rows together.
    #[must_use]
    pub fn sum(&self) -> usize {
        self.0.iter().sum()
    }

    /// All rows of malloc heaps together.
    #[must_use]
    pub fn heap(&self) -> usize {
        ROWS.iter().filter(|row| row.of_heap()).map(|&row| self[row]).sum()
    }

    /// Adds row by row.
    pub fn add(&mut self, other: &Self) {
        for (own, more) in self.0.iter_mut().zip(other.0) {
            *own += more;
        }
    }

    /// Only `bytes` in `row`.
    #[must_use]
    pub fn of(row: Row, bytes: usize) -> Self {
        let mut tally = Self::default();
        tally[row] = bytes;
        tally
    }
}

/// By name, those that are not 0.
impl From<Tally> for BTreeMap<String, usize> {
    fn from(tally: Tally) -> Self {
        let filled = ROWS.into_iter().filter(|&row| tally[row] > 0);
        filled.map(|row| (row.name().to_owned(), tally[row])).collect()
    }
}

impl TryFrom<BTreeMap<String, usize>> for Tally {
    type Error = String;

    fn try_from(rows: BTreeMap<String, usize>) -> Result<Self, Self::Error> {
        let mut tally = Self::default();
        let mut sum = 0usize;
        for (name, bytes) in rows {
            let row = ROWS.into_iter().find(|row| row.name() == name);
            sum = sum.saturating_add(bytes);
            tally[row.ok_or_else(|| format!("no row is called {name:?}"))?] = bytes;
        }
        if sum > wire::MOST { Err(format!("rows of {sum} bytes")) } else { Ok(tally) }
    }
}

impl Index<Row> for Tally {
    type Output = usize;
    fn index(&self, row: Row) -> &usize {
        &self.0[row as usize]
    }
}

impl IndexMut<Row> for Tally {
    fn index_mut(&mut self, row: Row) -> &mut usize {
        &mut self.0[row as usize]
    }
}
