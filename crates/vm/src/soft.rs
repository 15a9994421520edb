//! A page table in software: a radix tree of 4 levels, 9 bits each, in lent memory.
//!
//! ```text
//!   arena   [table][table][table]…        4 KiB + 4 bytes each, lent by the caller
//!   root ─► table ─► table ─► table ─► slot: pfn:32 │ 0:15 │ bits:16 │ present:1
//!            bits     bits     bits     bits
//!            47–39    38–30    29–21    20–12
//! ```
//! All address spaces of a machine share the arena, behind the caller's lock. A slot
//! of an upper table is the index of the next one plus one; 0 is empty everywhere.

use crate::addr::{Span, VirtAddr};
use crate::table::{Entry, EntryBits, OutOfTables, PageTable};
use core::marker::PhantomData;
use heapwise_pages::{Lock, PAGE_SIZE, Pfn};

const LEVELS: u32 = 4;
const BITS: u32 = 9;
const SLOTS: usize = 1 << BITS;
/// What a table of 4 levels covers.
const REACH: u64 = 1 << (12 + BITS * LEVELS);

/// One table. The caller lends a slice of these.
#[derive(Clone)]
pub struct Table {
    slots: [u64; SLOTS],
    used: u32,
}

impl Table {
    /// An empty one.
    pub const fn new() -> Self {
        Self { slots: [0; SLOTS], used: 0 }
    }
}

impl Default for Table {
    fn default() -> Self {
        Self::new()
    }
}

/// The tables of all address spaces.
pub struct TableArena<'m> {
    tables: &'m mut [Table],
    /// Of the free list, plus one; each free table's first slot has the next.
    free: u64,
    /// From here on no table was ever used.
    fresh: usize,
    left: usize,
}

impl<'m> TableArena<'m> {
    /// Over lent tables, whatever they held. O(1).
    pub fn new(tables: &'m mut [Table]) -> Self {
        let left = tables.len();
        Self { tables, free: 0, fresh: 0, left }
    }

    /// Tables not in use. O(1).
    pub fn free_tables(&self) -> usize {
        self.left
    }

    fn take(&mut self) -> Result<u64, OutOfTables> {
        let slot = if self.free != 0 {
            let slot = self.free;
            self.free = self.tables[slot as usize - 1].slots[0];
            slot
        } else if self.fresh < self.tables.len() {
            self.fresh += 1;
            self.fresh as u64
        } else {
            return Err(OutOfTables);
        };
        self.left -= 1;
        let table = &mut self.tables[slot as usize - 1];
        table.slots.fill(0);
        table.used = 0;
        Ok(slot)
    }

    fn give(&mut self, slot: u64) {
        self.tables[slot as usize - 1].slots[0] = self.free;
        self.free = slot;
        self.left += 1;
    }

    /// The value of a slot, and the bytes of address space under it, for the deepest
    /// table on the way to `at`: a leaf's slot, or the empty one that ends the way.
    fn descend(&self, root: u64, at: u64) -> (u64, u64) {
        let mut slot = root;
        let mut under = REACH;
        while slot != 0 && under > PAGE_SIZE {
            under >>= BITS;
            slot = self.tables[slot as usize - 1].slots[index(at, under)];
        }
        (slot, under)
    }
}

/// Which slot an address has in a table whose slots cover `under` bytes each.
#[inline]
const fn index(at: u64, under: u64) -> usize {
    (at / under) as usize % SLOTS
}

const PRESENT: u64 = 1;

const fn encode(entry: Entry) -> u64 {
    (entry.pfn.get() as u64) << 32 | (entry.bits.bits() as u64) << 1 | PRESENT
}

const fn decode(slot: u64) -> Option<Entry> {
    if slot & PRESENT == 0 {
        return None;
    }
    let bits = EntryBits::from_bits((slot >> 1) as u16);
    Some(Entry { pfn: Pfn::new((slot >> 32) as u32), bits })
}

/// One page table in a shared arena. Give its tables back by clearing all entries
/// and pruning, as [`Mm::exit`](crate::Mm::exit) does, or by [`destroy`](Self::destroy).
pub struct SoftTable<'l, 'm, L> {
    arena: &'l L,
    root: u64,
    tables: u64,
    arenas: PhantomData<TableArena<'m>>,
}

impl<'l, 'm, L: Lock<TableArena<'m>>> SoftTable<'l, 'm, L> {
    /// An empty table; takes none from the arena yet. O(1).
    pub const fn new(arena: &'l L) -> Self {
        Self { arena, root: 0, tables: 0, arenas: PhantomData }
    }

    /// Drops all entries (not the frames behind them) and gives all tables back.
    /// O(tables).
    pub fn destroy(&mut self) {
        let root = core::mem::take(&mut self.root);
        self.tables = 0;
        self.arena.with(|arena| drop_tables(arena, root, REACH));
    }
}

/// At most [`LEVELS`] deep.
fn drop_tables(arena: &mut TableArena<'_>, slot: u64, under: u64) {
    if slot == 0 {
        return;
    }
    let under = under >> BITS;
    if under > PAGE_SIZE {
        for nth in 0..SLOTS {
            drop_tables(arena, arena.tables[slot as usize - 1].slots[nth], under);
        }
    }
    arena.give(slot);
}

/// Gives back empty tables below `slot` that overlap `span`; whether it is now empty
/// itself. At most [`LEVELS`] deep.
fn prune(
    arena: &mut TableArena<'_>,
    slot: u64,
    base: u64,
    under: u64,
    span: (u64, u64),
    freed: &mut u64,
) -> bool {
    let under = under >> BITS;
    if under > PAGE_SIZE {
        let first = span.0.saturating_sub(base) / under;
        for nth in first..SLOTS as u64 {
            let start = base + nth * under;
            if start >= span.1 || arena.tables[slot as usize - 1].used == 0 {
                break;
            }
            let child = arena.tables[slot as usize - 1].slots[nth as usize];
            if child != 0 && prune(arena, child, start, under, span, freed) {
                arena.tables[slot as usize - 1].slots[nth as usize] = 0;
                arena.tables[slot as usize - 1].used -= 1;
                arena.give(child);
                *freed += 1;
            }
        }
    }
    arena.tables[slot as usize - 1].used == 0
}

impl<'m, L: Lock<TableArena<'m>>> PageTable for SoftTable<'_, 'm, L> {
    fn get(&self, at: VirtAddr) -> Option<Entry> {
        if at.get() >= REACH {
            return None;
        }
        self.arena.with(|arena| {
            let (slot, under) = arena.descend(self.root, at.get());
            if under == PAGE_SIZE { decode(slot) } else { None }
        })
    }

    fn set(&mut self, at: VirtAddr, entry: Entry) -> Result<(), OutOfTables> {
        let at = at.get();
        if at >= REACH {
            return Err(OutOfTables);
        }
        let (root, tables) = (&mut self.root, &mut self.tables);
        self.arena.with(|arena| {
            if *root == 0 {
                *root = arena.take()?;
                *tables += 1;
            }
            let (mut table, mut under) = (*root, REACH >> BITS);
            while under > PAGE_SIZE {
                let nth = index(at, under);
                let mut next = arena.tables[table as usize - 1].slots[nth];
                if next == 0 {
                    // Empty tables of an earlier failure are found again, or pruned.
                    next = arena.take()?;
                    *tables += 1;
                    let parent = &mut arena.tables[table as usize - 1];
                    parent.slots[nth] = next;
                    parent.used += 1;
                }
                table = next;
                under >>= BITS;
            }
            let leaf = &mut arena.tables[table as usize - 1];
            let slot = &mut leaf.slots[index(at, PAGE_SIZE)];
            leaf.used += u32::from(*slot == 0);
            *slot = encode(entry);
            Ok(())
        })
    }

    fn clear(&mut self, at: VirtAddr) -> Option<Entry> {
        let at = at.get();
        if at >= REACH {
            return None;
        }
        self.arena.with(|arena| {
            let (mut table, mut under) = (self.root, REACH >> BITS);
            while table != 0 && under > PAGE_SIZE {
                table = arena.tables[table as usize - 1].slots[index(at, under)];
                under >>= BITS;
            }
            if table == 0 {
                return None;
            }
            let leaf = &mut arena.tables[table as usize - 1];
            let entry = decode(core::mem::take(&mut leaf.slots[index(at, PAGE_SIZE)]));
            leaf.used -= u32::from(entry.is_some());
            entry
        })
    }

    fn first(&self, span: Span) -> Option<(VirtAddr, Entry)> {
        let (mut at, end) = (span.start.get(), span.end.get().min(REACH));
        self.arena.with(|arena| {
            while at < end {
                let (slot, under) = arena.descend(self.root, at);
                if under == PAGE_SIZE
                    && let Some(entry) = decode(slot)
                {
                    return Some((VirtAddr::new(at), entry));
                }
                at = (at / under + 1) * under;
            }
            None
        })
    }

    fn prune(&mut self, span: Span) {
        let (root, tables) = (&mut self.root, &mut self.tables);
        let span = (span.start.get(), span.end.get());
        self.arena.with(|arena| {
            if *root == 0 {
                return;
            }
            let mut freed = 0;
            if prune(arena, *root, 0, REACH, span, &mut freed) {
                arena.give(core::mem::take(root));
                freed += 1;
            }
            *tables -= freed;
        });
    }

    /// Nothing remembers a software table.
    fn flush(&mut self, _: Span) {}

    fn tables(&self) -> u64 {
        self.tables
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use core::cell::RefCell;
    use std::vec;

    fn entry(number: u32) -> Entry {
        Entry { pfn: Pfn::new(number), bits: EntryBits::READ }
    }

    #[test]
    fn entries_come_back_in_order_and_tables_are_given_back() {
        let mut tables = vec![Table::new(); 9];
        let arena = RefCell::new(TableArena::new(&mut tables));
        let mut table = SoftTable::new(&arena);
        let places = [0x1000, 0x2000, 0x7fff_ffff_f000, 0x5555_5555_4000];
        for (nth, at) in places.into_iter().enumerate() {
            let result = table.set(VirtAddr::new(at), entry(nth as u32));
            // root + 3 × 3 would be ten tables.
            assert_eq!(result.is_err(), nth == 3, "{nth}");
        }
        let all = Span::new(VirtAddr::NULL, VirtAddr::new(REACH));
        assert_eq!(table.first(all), Some((VirtAddr::new(0x1000), entry(0))));
        let rest = Span::new(VirtAddr::new(0x3000), all.end);
        assert_eq!(table.first(rest), Some((VirtAddr::new(places[2]), entry(2))));
        assert_eq!(table.get(VirtAddr::new(0x2000)), Some(entry(1)));
        assert_eq!(table.get(VirtAddr::new(REACH)), None);
        assert_eq!(table.clear(VirtAddr::new(places[2])), Some(entry(2)));
        assert_eq!(table.clear(VirtAddr::new(places[2])), None);
        table.prune(rest);
        assert_eq!(table.tables(), 4);
        assert_eq!(arena.borrow().free_tables(), 5);
        table.set(VirtAddr::new(places[3]), entry(3)).unwrap();
        table.clear(VirtAddr::new(0x1000));
        table.clear(VirtAddr::new(0x2000));
        table.prune(all);
        assert_eq!(table.tables(), 4);
        table.destroy();
        assert_eq!(arena.borrow().free_tables(), 9);
    }
}
