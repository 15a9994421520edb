//! The processor's own page table, in frames: four levels, through the direct map.
//!
//! ```text
//!   63 62…58   57…55 54…52  51 … 12   11…9     6     5    1 0
//!   NX         software     frame     software dirty acc. W present
//!                                     ANON LAZY ZERO … where EntryBits has them
//! ```
//! An entry that allows nothing is not present, but not 0 either.

use crate::cpu;
use crate::kernel::Frames;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use heapwise_pages::slab::Source;
use heapwise_pages::{Order, PAGE_OFFSET, PAGE_SHIFT, PAGE_SIZE, Pfn};
use heapwise_vm::{Entry, EntryBits, OutOfTables, PageTable, Span, VirtAddr};

const PRESENT: u64 = 1;
const WRITE: u64 = 1 << 1;
const ACCESSED: u64 = 1 << 5;
const DIRTY: u64 = 1 << 6;
const LARGE: u64 = 1 << 7;
const NO_EXEC: u64 = 1 << 63;
/// Software's own bit: an entry stands here, whatever it allows.
const STANDS: u64 = 1 << 9;
/// EntryBits from ZERO on, moved to bits 52 to 55.
const SOFTWARE: u64 = 0xf << 52;
const SOFTWARE_SHIFT: u32 = 52 - 5;
const FRAME: u64 = 0x000f_ffff_ffff_f000;

const LEVELS: u32 = 4;

/// One address space's table. The tables that the boot made are shared and stay.
pub struct X86Table {
    root: Pfn,
    frames: Frames,
    tables: u64,
}

type Table = [AtomicU64; 512];

fn table(pfn: Pfn) -> &'static Table {
    let at = PAGE_OFFSET + pfn.phys().0;
    // SAFETY: frames of tables are mapped by the direct map, and reached by atomic
    // words alone, as the processor reads and writes them too.
    unsafe { &*core::ptr::with_exposed_provenance::<Table>(at as usize) }
}

/// Which slot, `level` 3 at the root.
const fn slot(at: u64, level: u32) -> usize {
    (at >> (12 + 9 * level)) as usize & 511
}

const fn pfn_of(entry: u64) -> Pfn {
    Pfn::new(((entry & FRAME) >> PAGE_SHIFT) as u32)
}

const fn encode(entry: Entry) -> u64 {
    let bits = entry.bits;
    let mut word = entry.pfn.phys().0 | STANDS | NO_EXEC;
    if bits.has(EntryBits::READ) {
        word |= PRESENT;
    }
    if bits.has(EntryBits::WRITE) {
        word |= WRITE;
    }
    if bits.has(EntryBits::EXEC) {
        word &= !NO_EXEC;
    }
    if bits.has(EntryBits::ACCESSED) {
        word |= ACCESSED;
    }
    if bits.has(EntryBits::DIRTY) {
        word |= DIRTY;
    }
    word | ((bits.bits() as u64) << SOFTWARE_SHIFT) & SOFTWARE
}

const fn decode(word: u64) -> Option<Entry> {
    if word & STANDS == 0 {
        return None;
    }
    let mut bits = EntryBits::from_bits(((word & SOFTWARE) >> SOFTWARE_SHIFT) as u16);
    if word & PRESENT != 0 {
        bits = bits.with(EntryBits::READ);
    }
    if word & WRITE != 0 {
        bits = bits.with(EntryBits::WRITE);
    }
    if word & NO_EXEC == 0 {
        bits = bits.with(EntryBits::EXEC);
    }
    if word & ACCESSED != 0 {
        bits = bits.with(EntryBits::ACCESSED);
    }
    if word & DIRTY != 0 {
        bits = bits.with(EntryBits::DIRTY);
    }
    Some(Entry { pfn: pfn_of(word), bits })
}

impl X86Table {
    /// A handle on the table in use.
    pub fn current(frames: Frames) -> Self {
        Self { root: pfn_of(cpu::root()), frames, tables: 0 }
    }

    /// An empty table with the kernel's upper half and the identity map of `of`.
    pub fn beside(of: &Self) -> Option<Self> {
        let root = of.frames.zeroed()?;
        for nth in (0..1).chain(256..512) {
            table(root)[nth].store(table(of.root)[nth].load(Relaxed), Relaxed);
        }
        Some(Self { root, frames: of.frames, tables: 0 })
    }

    /// The root's physical address.
    pub fn root(&self) -> u64 {
        self.root.phys().0
    }

    /// Gives the root back, once nothing is in it any more.
    pub fn release(&mut self) {
        self.frames.give(self.root, Order::ZERO);
    }

    /// The word of a page, if there are tables all the way.
    fn word(&self, at: u64) -> Option<&'static AtomicU64> {
        let mut here = table(self.root);
        for level in (1..LEVELS).rev() {
            let next = here[slot(at, level)].load(Relaxed);
            if next & PRESENT == 0 || next & LARGE != 0 {
                return None;
            }
            here = table(pfn_of(next));
        }
        Some(&here[slot(at, 0)])
    }

    /// Frees empty tables under `here`; whether it is empty itself.
    fn prune_below(&mut self, here: Pfn, level: u32, base: u64, span: Span) -> bool {
        let under = PAGE_SIZE << (9 * level);
        let mut empty = true;
        for (nth, word) in table(here).iter().enumerate() {
            let next = word.load(Relaxed);
            if next == 0 {
                continue;
            }
            let start = base + nth as u64 * under;
            let covered = Span::at(VirtAddr::new(start), under).overlaps(span);
            if level > 0 && covered && self.prune_below(pfn_of(next), level - 1, start, span) {
                word.store(0, Relaxed);
                self.frames.give(pfn_of(next), Order::ZERO);
                self.tables -= 1;
            } else {
                empty = false;
            }
        }
        empty
    }
}

impl PageTable for X86Table {
    fn get(&self, at: VirtAddr) -> Option<Entry> {
        decode(self.word(at.get())?.load(Relaxed))
    }

    fn set(&mut self, at: VirtAddr, entry: Entry) -> Result<(), OutOfTables> {
        let at = at.get();
        let mut here = table(self.root);
        for level in (1..LEVELS).rev() {
            let word = &here[slot(at, level)];
            let mut next = word.load(Relaxed);
            if next & LARGE != 0 {
                return Err(OutOfTables);
            }
            if next & PRESENT == 0 {
                let new = self.frames.zeroed().ok_or(OutOfTables)?;
                self.tables += 1;
                next = new.phys().0 | PRESENT | WRITE;
                word.store(next, Relaxed);
            }
            here = table(pfn_of(next));
        }
        let word = &here[slot(at, 0)];
        // What allows more is not remembered as less; a changed entry must be forgotten.
        if word.swap(encode(entry), Relaxed) & PRESENT != 0 {
            cpu::forget(at);
        }
        Ok(())
    }

    fn clear(&mut self, at: VirtAddr) -> Option<Entry> {
        decode(self.word(at.get())?.swap(0, Relaxed))
    }

    fn first(&self, span: Span) -> Option<(VirtAddr, Entry)> {
        let (mut at, end) = (span.start.get(), span.end.get());
        'next: while at < end {
            let mut here = table(self.root);
            for level in (1..LEVELS).rev() {
                let next = here[slot(at, level)].load(Relaxed);
                if next & PRESENT == 0 || next & LARGE != 0 {
                    let under = PAGE_SIZE << (9 * level);
                    let beyond = (at / under + 1).checked_mul(under)?;
                    at = beyond;
                    continue 'next;
                }
                here = table(pfn_of(next));
            }
            if let Some(entry) = decode(here[slot(at, 0)].load(Relaxed)) {
                return Some((VirtAddr::new(at), entry));
            }
            at += PAGE_SIZE;
        }
        None
    }

    fn prune(&mut self, span: Span) {
        // The upper half is shared by all tables, and stays.
        let lower = span.clip(Span::new(VirtAddr::NULL, VirtAddr::new(1 << 47)));
        let root = self.root;
        for nth in 1..256 {
            let word = &table(root)[nth];
            let next = word.load(Relaxed);
            let start = nth as u64 * (PAGE_SIZE << 27);
            if next != 0
                && Span::at(VirtAddr::new(start), PAGE_SIZE << 27).overlaps(lower)
                && self.prune_below(pfn_of(next), 2, start, lower)
            {
                word.store(0, Relaxed);
                self.frames.give(pfn_of(next), Order::ZERO);
                self.tables -= 1;
            }
        }
    }

    fn flush(&mut self, span: Span) {
        if span.pages() > 64 {
            // SAFETY: the same table again.
            return unsafe { cpu::set_root(cpu::root()) };
        }
        for nth in 0..span.pages() {
            cpu::forget(span.start.get() + (nth << PAGE_SHIFT));
        }
    }

    fn tables(&self) -> u64 {
        self.tables
    }
}
