//! A zone: a span of frames, its free sets, and the types of its pageblocks.
//!
//! ```text
//!   frames   [AtomicU8]  one byte a frame: in use? which order? for whom?
//!   words    [u64]       free[type][order]: 3 × 11 bit sets   about 6 bits a frame
//!                        a word for each pageblock: its type
//!                        a bit a frame: given out by the zone itself (`out.rs`)
//! ```
//! Under 2 bytes a frame, from the caller; the frames themselves are never
//! touched, and may be unmapped or belong to a guest. The invariant: a frame is
//! in exactly one free block, in the run (`run.rs`), in one block in use, or absent;
//! a free block is in the set of the type of its (first) pageblock; no two buddies
//! are both free, the run aside.

use crate::atomic::AtomicU8;
use crate::bits::BitTree;
use crate::error::RegionError;
use crate::frame::{ORDERS, Order, PAGEBLOCK_ORDER, Pfn};
use crate::migrate::{MIGRATE_TYPES, MigrateType};
use crate::run::Run;
use crate::state::{FrameMap, State};
use crate::watermark::Watermarks;

/// Number of zone kinds.
pub const ZONES: usize = 3;

/// Which devices can reach a frame.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[repr(u8)]
pub enum ZoneKind {
    /// Below 16 MiB: ISA devices.
    Dma = 0,
    /// Below 4 GiB: devices with 32 address lines.
    Dma32 = 1,
    /// Everything above.
    #[default]
    Normal = 2,
}

impl ZoneKind {
    /// All of them, lowest first.
    pub const ALL: [Self; ZONES] = [Self::Dma, Self::Dma32, Self::Normal];

    /// As an index.
    #[inline]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The frames it has on a PC: first, and one past the last.
    pub const fn span(self) -> (Pfn, Pfn) {
        match self {
            Self::Dma => (Pfn::new(0), Pfn::new(1 << 12)),
            Self::Dma32 => (Pfn::new(1 << 12), Pfn::new(1 << 20)),
            Self::Normal => (Pfn::new(1 << 20), Pfn::new(u32::MAX)),
        }
    }

    /// As `/proc/buddyinfo` writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dma => "DMA",
            Self::Dma32 => "DMA32",
            Self::Normal => "Normal",
        }
    }
}

/// What the caller lends a zone to keep its books in.
pub struct Metadata<'m> {
    /// At least [`Metadata::frame_bytes`] long.
    pub frames: &'m [AtomicU8],
    /// At least [`Metadata::words`] long.
    pub words: &'m mut [u64],
}

impl Metadata<'_> {
    /// Length of `frames` for a zone from `start` to `end`.
    pub const fn frame_bytes(start: Pfn, end: Pfn) -> usize {
        end.get().saturating_sub(round_down(start)) as usize
    }

    /// Length of `words` for a zone from `start` to `end`.
    pub const fn words(start: Pfn, end: Pfn) -> usize {
        let span = span(Self::frame_bytes(start, end));
        let mut words = type_words(span) + out_words(span);
        let mut order = 0;
        while order < ORDERS {
            words += MIGRATE_TYPES * BitTree::words(span >> order);
            order += 1;
        }
        words
    }
}

/// Sets start at a multiple of the largest block, so that buddies are in one span.
const fn round_down(start: Pfn) -> u32 {
    start.get() & !(Order::MAX.frames() - 1)
}

const fn span(frames: usize) -> usize {
    frames.next_multiple_of(Order::MAX.frames() as usize)
}

const fn type_words(span: usize) -> usize {
    span >> PAGEBLOCK_ORDER.get()
}

const fn out_words(span: usize) -> usize {
    span / 64
}

/// Places for sets: 16 a type, so that finding one is a shift.
const SETS: usize = 64;

const _: () = assert!(ORDERS <= 16 && MIGRATE_TYPES <= 4);

#[inline(always)]
const fn place(migrate: MigrateType, order: usize) -> usize {
    (migrate.index() << 4 | order) & (SETS - 1)
}

/// A span of frames with a buddy allocator of its own.
pub struct Zone<'m> {
    pub(crate) kind: ZoneKind,
    pub(crate) map: FrameMap<'m>,
    pub(crate) words: &'m mut [u64],
    /// Where the marks of `out.rs` begin in `words`; they are the last.
    pub(crate) out: usize,
    sets: [BitTree; SETS],
    /// Bit k: the type has free blocks of order k.
    pub(crate) nonempty: [u32; MIGRATE_TYPES],
    pub(crate) run: Run,
    pub(crate) max_order: usize,
    /// Frames in the sets and the run, without those that came in by
    /// [`insert_lone`](Self::insert_lone); wraps.
    pub(crate) free: u32,
    pub(crate) managed: u32,
    pub(crate) marks: Watermarks,
}

impl<'m> Zone<'m> {
    /// An empty zone over `start..end`; memory comes with
    /// [`add_region`](Self::add_region). Blocks grow to `max_order` at most. New
    /// pageblocks are movable, as in Linux.
    ///
    /// O(frames / 12) to clear the metadata. [`RegionError::Empty`],
    /// [`RegionError::MetadataTooShort`].
    pub fn new(
        kind: ZoneKind,
        start: Pfn,
        end: Pfn,
        max_order: Order,
        metadata: Metadata<'m>,
    ) -> Result<Self, RegionError> {
        if start >= end {
            return Err(RegionError::Empty);
        }
        let frames = Metadata::frame_bytes(start, end);
        let needed = Metadata::words(start, end);
        let short = RegionError::MetadataTooShort;
        let frames = metadata.frames.get(..frames).ok_or(short)?;
        let words = metadata.words.get_mut(..needed).ok_or(short)?;
        words.fill(0);
        let map = FrameMap::new(Pfn::new(round_down(start)), frames);
        map.fill(0, frames.len(), State::ABSENT);
        let span = span(frames.len());
        let mut at = type_words(span);
        let mut sets = [BitTree::default(); SETS];
        for migrate in MigrateType::ALL {
            for order in 0..ORDERS {
                let bits = span >> order;
                sets[place(migrate, order)] = BitTree::at(at, bits);
                at += BitTree::words(bits);
            }
        }
        // Last, so that a frame past the zone is past the words, too.
        let out = at;
        words[..type_words(span)].fill(MigrateType::Movable as u64);
        Ok(Self {
            kind,
            map,
            words,
            out,
            sets,
            nonempty: [0; MIGRATE_TYPES],
            run: Run::default(),
            max_order: max_order.get(),
            free: 0,
            managed: 0,
            marks: Watermarks::default(),
        })
    }

    /// Brings memory in: `start..end`, free from now on. What is left out between
    /// regions is a hole. O(frames) to mark, O(log frames) blocks of each order.
    ///
    /// [`RegionError::Empty`], [`RegionError::Foreign`], [`RegionError::Overlap`].
    pub fn add_region(&mut self, start: Pfn, end: Pfn) -> Result<(), RegionError> {
        if start >= end {
            return Err(RegionError::Empty);
        }
        let (from, to) = (self.map.index(start), self.map.index(end));
        if from >= self.map.len() || to > self.map.len() || from >= to {
            return Err(RegionError::Foreign);
        }
        if (from..to).any(|index| !self.map.get(index).is_absent()) {
            return Err(RegionError::Overlap);
        }
        self.map.fill(from, to - from, State::PLAIN);
        self.managed += (to - from) as u32;
        self.free = self.free.wrapping_add((to - from) as u32);
        self.settle();
        self.run = Run { start: from, end: to, migrate: MigrateType::Movable };
        self.settle();
        Ok(())
    }

    /// Its kind.
    pub const fn kind(&self) -> ZoneKind {
        self.kind
    }

    /// The first frame of its books (its start, rounded down to 4 MiB) and one past
    /// the last.
    pub fn span(&self) -> (Pfn, Pfn) {
        (self.map.pfn(0), self.map.pfn(self.map.len()))
    }

    /// Frames it has been given.
    pub const fn managed_frames(&self) -> u32 {
        self.managed
    }

    /// Frames in its free sets (those in per-CPU lists are not).
    pub fn free_frames(&self) -> u32 {
        let lone = |free: u32, migrate| free.wrapping_add(self.set(migrate, 0).lone);
        MigrateType::ALL.into_iter().fold(self.free, lone)
    }

    /// Its watermarks.
    pub const fn watermarks(&self) -> &Watermarks {
        &self.marks
    }

    /// The type of the pageblock at `index`.
    #[inline]
    pub(crate) fn type_at(&self, index: usize) -> MigrateType {
        MigrateType::from_bits(self.type_bits(index) as u8)
    }

    #[inline(always)]
    fn type_bits(&self, index: usize) -> usize {
        self.words[index >> PAGEBLOCK_ORDER.get()] as usize
    }

    /// Retypes the pageblocks of `index..index + frames`, whose free blocks the
    /// caller has moved or holds.
    pub(crate) fn set_types(&mut self, index: usize, frames: usize, migrate: MigrateType) {
        let first = index >> PAGEBLOCK_ORDER.get();
        for block in first..(index + frames).div_ceil(1 << PAGEBLOCK_ORDER.get()) {
            self.words[block] = migrate as u64;
        }
    }

    /// The free set of a type and order.
    #[inline(always)]
    pub(crate) fn set(&self, migrate: MigrateType, order: usize) -> &BitTree {
        &self.sets[place(migrate, order)]
    }

    /// Puts a block into a free set.
    #[inline(always)]
    pub(crate) fn insert(&mut self, migrate: MigrateType, order: usize, index: usize) {
        let set = &mut self.sets[place(migrate, order)];
        set.insert(self.words, index >> order);
        set.count += 1;
        self.nonempty[migrate.index()] |= 1 << order;
    }

    /// Takes a block out of a free set.
    #[inline(always)]
    pub(crate) fn remove(&mut self, migrate: MigrateType, order: usize, index: usize) {
        let set = &mut self.sets[place(migrate, order)];
        set.remove(self.words, index >> order);
        set.count = set.count.wrapping_sub(1);
        if set.count == 0 {
            self.nonempty[migrate.index()] &= !(1 << order);
        }
    }

    /// Takes the lowest block of a free set out.
    #[inline(always)]
    pub(crate) fn remove_first(&mut self, migrate: MigrateType, order: usize) -> Option<usize> {
        let set = &mut self.sets[place(migrate, order)];
        let bit = set.take_first(self.words)?;
        set.count = set.count.wrapping_sub(1);
        if set.count == 0 {
            self.nonempty[migrate.index()] &= !(1 << order);
        }
        Some(bit << order)
    }

    /// Puts a block into a free set, unless its buddy is there: then takes that out
    /// and says so. Both are bits of one word.
    #[inline(always)]
    pub(crate) fn insert_or_pair(
        &mut self,
        migrate: MigrateType,
        order: usize,
        index: usize,
    ) -> bool {
        let set = &mut self.sets[place(migrate, order)];
        let bit = index >> order;
        let word = &mut self.words[set.word_of(bit)];
        let before = *word;
        let buddy = 1 << ((bit ^ 1) % 64);
        if before & buddy == 0 {
            *word = before | 1 << (bit % 64);
            set.count += 1;
            self.nonempty[migrate.index()] |= 1 << order;
            if before == 0 {
                set.summarise(self.words, bit / 64);
            }
            return false;
        }
        *word = before ^ buddy;
        set.count = set.count.wrapping_sub(1);
        if set.count == 0 {
            self.nonempty[migrate.index()] &= !(1 << order);
        }
        if before == buddy {
            set.unsummarise(self.words, bit / 64);
        }
        true
    }

    /// Puts a frame into its set, if that takes no more than its bit, as random frees have it:
    /// its buddy is not there, and another one of its word is. Counts it as free, too: beside
    /// the set's count, since each line that is written costs.
    #[inline(always)]
    pub(crate) fn insert_lone(&mut self, index: usize) -> bool {
        let set = &mut self.sets[(self.type_bits(index) << 4) & (SETS - 1)];
        let Some(word) = self.words.get_mut(set.word_of(index)) else { return false };
        let lone = *word != 0 && *word >> ((index ^ 1) % 64) & 1 == 0;
        if lone {
            *word |= 1 << (index % 64);
            set.count += 1;
            set.lone = set.lone.wrapping_add(1);
        }
        lone
    }

    /// Changes the count of a free set.
    #[inline]
    pub(crate) fn recount(&mut self, migrate: MigrateType, order: usize, by: i32) {
        let count = &mut self.sets[place(migrate, order)].count;
        *count = count.wrapping_add_signed(by);
        let bit = 1 << order;
        let nonempty = &mut self.nonempty[migrate.index()];
        *nonempty = if *count == 0 { *nonempty & !bit } else { *nonempty | bit };
    }

    /// Free blocks of each type and order, in the sets.
    pub(crate) fn counts(&self) -> [[u32; ORDERS]; MIGRATE_TYPES] {
        MigrateType::ALL.map(|migrate| core::array::from_fn(|order| self.set(migrate, order).count))
    }

    /// Whether a free block of this very order starts at `index`.
    #[inline]
    pub(crate) fn is_free_block(&self, migrate: MigrateType, order: usize, index: usize) -> bool {
        self.set(migrate, order).contains(self.words, index >> order)
    }

    /// The free block that covers a frame, in the sets. O(orders).
    pub(crate) fn free_block_over(&self, index: usize) -> Option<(usize, usize)> {
        (0..=self.max_order).find_map(|order| {
            let head = index >> order << order;
            self.is_free_block(self.type_at(head), order, head).then_some((head, order))
        })
    }
}
