//! The parts that an account is drawn in: one table of their order, names, signs and colours.
//!
//! The rows of an account are too many to be told apart at a glance, so that rows with
//! the same consequence share a part:
//!
//! ```text
//!   unattributed │ nobody knows                                   ▲ top of the stack
//!   free         │ a trim returns it                              │
//!   cached       │ ready for the next request                     │
//!   pinned       │ free, but something lives on the same page     │
//!   mapped, live │ the program holds it                           │
//!   own          │ the allocator's own data                       │
//!   other, files │ not malloc's                                   ▼ bottom
//! ```
//! What is held stands below what could go, so that the upper edge shows what a trim would do.
//! Each part has a sign, so that none is told by its colour alone.

use anstyle::AnsiColor;
use heapwise_inspect::{ROWS, Row};

/// A part of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Part {
    /// Pages of files, and shared memory.
    Files,
    /// Anonymous memory and stacks: not malloc's.
    Other,
    /// The allocator's own data.
    Own,
    /// Chunks that the program holds, with their headers.
    Live,
    /// The same, each with a mapping of its own.
    Mapped,
    /// Free bytes on pages with something live.
    Pinned,
    /// In thread caches, fastbins, inboxes.
    Cached,
    /// Free whole pages, tops.
    Free,
    /// Nobody knows.
    Unattributed,
}

/// All parts, from the bottom of the stack up.
pub const PARTS: [Part; 9] = [
    Part::Files,
    Part::Other,
    Part::Own,
    Part::Live,
    Part::Mapped,
    Part::Pinned,
    Part::Cached,
    Part::Free,
    Part::Unattributed,
];

impl Part {
    /// The part that a row belongs to.
    pub const fn of(row: Row) -> Self {
        match row {
            Row::LiveUser | Row::Headers => Self::Live,
            Row::MappedChunks => Self::Mapped,
            Row::FreePinned => Self::Pinned,
            Row::ThreadCaches | Row::Fastbins => Self::Cached,
            Row::FreeWholePages | Row::Top | Row::HugeExcess => Self::Free,
            Row::AllocatorMetadata => Self::Own,
            Row::OtherAnonymous | Row::Stacks => Self::Other,
            Row::Files | Row::SharedMemory => Self::Files,
            Row::Unattributed => Self::Unattributed,
        }
    }

    /// Its rows.
    pub fn rows(self) -> impl Iterator<Item = Row> {
        ROWS.into_iter().filter(move |row| Self::of(*row) == self)
    }

    /// A word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Files => "files",
            Self::Other => "other",
            Self::Own => "own",
            Self::Live => "live",
            Self::Mapped => "mapped",
            Self::Pinned => "pinned",
            Self::Cached => "cached",
            Self::Free => "free",
            Self::Unattributed => "unknown",
        }
    }

    /// A few words for a legend: two legends fit side by side into 80 columns.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Files => "programs, libraries",
            Self::Other => "not malloc's; stacks",
            Self::Own => "the allocator's own data",
            Self::Live => "the program holds it",
            Self::Mapped => "the same, mapped alone",
            Self::Pinned => "free, beside what lives",
            Self::Cached => "ready in thread caches",
            Self::Free => "whole pages and tops",
            Self::Unattributed => "nobody knows",
        }
    }

    /// One ASCII character, for terminals without colour.
    pub const fn letter(self) -> char {
        match self {
            Self::Files => 'f',
            Self::Other => 'a',
            Self::Own => '+',
            Self::Live => '#',
            Self::Mapped => 'M',
            Self::Pinned => 'o',
            Self::Cached => 'c',
            Self::Free => '.',
            Self::Unattributed => '?',
        }
    }

    /// One of the sixteen colours that every terminal has.
    pub const fn ansi(self) -> AnsiColor {
        match self {
            Self::Files => AnsiColor::BrightBlack,
            Self::Other => AnsiColor::White,
            Self::Own => AnsiColor::Magenta,
            Self::Live => AnsiColor::BrightBlue,
            Self::Mapped => AnsiColor::BrightMagenta,
            Self::Pinned => AnsiColor::Yellow,
            Self::Cached => AnsiColor::Cyan,
            Self::Free => AnsiColor::Green,
            Self::Unattributed => AnsiColor::Red,
        }
    }

    /// Colours of a page, on light and on dark ground. Neighbours in the stack differ in
    /// lightness too, for eyes that tell hues apart badly and for printers.
    pub const fn css(self) -> (&'static str, &'static str) {
        match self {
            Self::Files => ("#aab4c0", "#5b6673"),
            Self::Other => ("#8a7f72", "#8f8375"),
            Self::Own => ("#4b5563", "#b9c2cd"),
            Self::Live => ("#2f6fdb", "#5b93f5"),
            Self::Mapped => ("#7a4fd0", "#a487f0"),
            Self::Pinned => ("#e2952a", "#f0b04f"),
            Self::Cached => ("#17a2b8", "#3fc6d6"),
            Self::Free => ("#3d9a55", "#5cc07a"),
            Self::Unattributed => ("#d1383d", "#f2686c"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_a_part_and_every_part_a_sign_of_its_own() {
        let rows: usize = PARTS.iter().map(|part| part.rows().count()).sum();
        assert_eq!(rows, ROWS.len());
        for (index, part) in PARTS.iter().enumerate() {
            assert_eq!(*part as usize, index);
            for other in &PARTS[index + 1..] {
                assert_ne!(part.letter(), other.letter());
                assert_ne!(part.name(), other.name());
                assert_ne!(part.ansi(), other.ansi());
                assert_ne!(part.css().0, other.css().0);
                assert_ne!(part.css().1, other.css().1);
            }
        }
    }
}
