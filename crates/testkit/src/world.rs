//! A simulated program over the allocator: its threads, and the model of what it holds.
//!
//! ```text
//! World ─ threads: one Slot each, one at a time runs
//!       ─ blocks:  what the program holds, each filled with its own pattern
//!       ─ alloc:   Allocator<MemoryOs>
//! ```
//! Every block is verified when it is freed, moved or looked at; no two may
//! overlap; null may come only after the kernel refused something. While one
//! thread is in the kernel, others may run (`interrupt`), as far as the locks
//! it holds let them.

use crate::audit::{Ledger, audit};
use crate::host::address;
use crate::os::MemoryOs;
use crate::pattern::{damage, fill, first_nonzero};
use crate::setup::Setup;
use heapwise_layout::size::chunk_size;
use heapwise_layout::state::Cache;
use heapwise_malloc::cache::{Resized, realloc_fast};
use heapwise_malloc::foreign::{Elsewhere, free_elsewhere};
use heapwise_malloc::os::Os;
use heapwise_malloc::waiting::{Waited, free_either, malloc_either};
use heapwise_malloc::{Allocator, Slot};
use heapwise_seed::Rng;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;

/// free as a process does it: the fast paths first.
///
/// # Safety
/// The slot is the calling thread's, `pointer` a live chunk's.
pub unsafe fn free_as_process<O: Os>(alloc: &Allocator<O>, slot: &Slot, pointer: usize) {
    let cache = address::<Cache>(slot.0.get());
    // SAFETY: the slot holds a cache, this thread's if it is open; no heap goes meanwhile that
    // the epoch does not tell of.
    unsafe {
        let pointer = match free_either(cache, pointer) {
            Waited::Done => return,
            Waited::Overflow(pointer) => return alloc.overflow_at(slot, pointer),
            Waited::Other(pointer) => pointer,
        };
        match free_elsewhere(cache, pointer, alloc.heap_epoch()) {
            Elsewhere::Done => {}
            Elsewhere::Overflow => alloc.overflow_at(slot, pointer),
            Elsewhere::Full(index) => alloc.foreign_full_at(slot, index),
            Elsewhere::Not => alloc.free(slot, pointer),
        }
    }
}

/// A block that the program holds.
#[derive(Clone, Copy, Debug)]
pub struct Block {
    /// Its address.
    pub pointer: usize,
    /// Bytes that may be used, all in the pattern.
    pub usable: usize,
    /// The thread that got it.
    pub owner: u32,
    key: u64,
}

/// A thread of the program.
#[derive(Clone)]
pub(crate) struct Thread {
    pub(crate) slot: Rc<Slot>,
    pub(crate) id: u32,
}

/// The program.
pub struct World {
    /// The allocator under test.
    pub alloc: Box<Allocator<MemoryOs>>,
    pub(crate) setup: Setup,
    pub(crate) threads: RefCell<Vec<Thread>>,
    blocks: RefCell<Vec<Block>>,
    /// The same blocks: start to end.
    spans: RefCell<BTreeMap<usize, usize>>,
    held_bytes: Cell<usize>,
    keys: Cell<u64>,
    next_id: Cell<u32>,
    pub(crate) chance: RefCell<Rng>,
    /// No other thread runs meanwhile.
    pub(crate) alone: Cell<bool>,
    pub(crate) tracing: Cell<bool>,
    /// Operations done, the nested ones included.
    pub operations: Cell<u64>,
}

impl World {
    /// A program that has done nothing yet.
    ///
    /// # Panics
    /// If a setting is out of range.
    #[must_use]
    pub fn new(setup: Setup) -> Box<Self> {
        let alloc = boxed(MemoryOs::new(setup.boot));
        for &(setting, value) in &setup.settings {
            assert!(alloc.settings.set(setting, value), "{setting:?} cannot be {value}");
        }
        let world = Box::new(Self {
            alloc,
            chance: RefCell::new(Rng::new(setup.seed ^ 0xc4a2)),
            threads: RefCell::new(Vec::new()),
            blocks: RefCell::new(Vec::new()),
            spans: RefCell::new(BTreeMap::new()),
            held_bytes: Cell::new(0),
            keys: Cell::new(setup.seed),
            next_id: Cell::new(1),
            alone: Cell::new(false),
            tracing: Cell::new(false),
            operations: Cell::new(0),
            setup,
        });
        for _ in 0..world.setup.threads {
            let thread = world.new_thread();
            world.threads.borrow_mut().push(thread);
        }
        if world.setup.share_first {
            world.alloc.share_own_arena(&world.enter(0).slot);
        }
        world.interrupt_calls();
        world
    }

    pub(crate) fn new_thread(&self) -> Thread {
        let id = self.next_id.replace(self.next_id.get() + 1);
        Thread { slot: Rc::new(Slot::new()), id }
    }

    /// Lets thread `index` run; its handle.
    pub(crate) fn enter(&self, index: usize) -> Thread {
        let threads = self.threads.borrow();
        let thread = threads[index % threads.len()].clone();
        self.alloc.os.current.store(thread.id, Relaxed);
        thread
    }

    /// The slot of thread `index`, which runs from now on.
    #[must_use]
    pub fn slot(&self, index: usize) -> Rc<Slot> {
        self.enter(index).slot
    }

    /// Number of blocks held.
    #[must_use]
    pub fn block_count(&self) -> usize {
        self.blocks.borrow().len()
    }

    /// Bytes held.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.held_bytes.get()
    }

    /// malloc as a program calls it: the fast path, then the other.
    pub fn malloc(&self, thread: usize, request: usize) -> usize {
        let thread = self.enter(thread);
        let refused = self.refused();
        // SAFETY: the slot holds a cache, this thread's if it is open.
        let fast = unsafe { malloc_either(address::<Cache>(thread.slot.0.get()), request) };
        let pointer = if fast == 0 { self.alloc.malloc(&thread.slot, request) } else { fast };
        self.obtain(pointer, request, 16, thread.id, refused);
        pointer
    }

    /// calloc, its zeros checked.
    ///
    /// # Panics
    /// If the memory is not zero.
    pub fn calloc(&self, thread: usize, count: usize, each: usize) -> usize {
        let thread = self.enter(thread);
        let refused = self.refused();
        let pointer = self.alloc.calloc(&thread.slot, count, each);
        let Some(bytes) = count.checked_mul(each) else {
            assert_eq!(pointer, 0, "calloc({count}, {each}) overflows");
            return 0;
        };
        if pointer != 0
            && let Some(offset) = first_nonzero(pointer, bytes)
        {
            panic!("calloc({count}, {each}) = {pointer:#x} is not zero at {offset}");
        }
        self.obtain(pointer, bytes, 16, thread.id, refused);
        pointer
    }

    /// memalign.
    pub fn memalign(&self, thread: usize, align: usize, request: usize) -> usize {
        let thread = self.enter(thread);
        let refused = self.refused();
        let pointer = self.alloc.memalign(&thread.slot, align, request);
        // Alignments beyond all memory may fail without a word to the kernel.
        let refused = if align > 1 << 32 { u64::MAX } else { refused };
        self.obtain(pointer, request, align.max(16), thread.id, refused);
        pointer
    }

    /// realloc of a held block; null leaves it as it is.
    ///
    /// # Panics
    /// If the contents did not come along.
    pub fn realloc(&self, thread: usize, block: Block, request: usize) -> usize {
        let thread = self.enter(thread);
        let refused = self.refused();
        self.forget(block);
        // SAFETY: as in `malloc`; the block is live.
        let pointer = match unsafe {
            realloc_fast(address::<Cache>(thread.slot.0.get()), block.pointer, request)
        } {
            Resized::Stays => block.pointer,
            Resized::Moved(new) => new,
            Resized::MovedOverflow(new) => {
                self.alloc.overflow_at(&thread.slot, block.pointer);
                new
            }
            Resized::Not => self.alloc.realloc(&thread.slot, block.pointer, request),
        };
        if pointer == 0 && request > 0 {
            self.hold(block);
            self.check_null(request, refused);
            return 0;
        }
        if pointer != 0 {
            let upto = block.usable.min(request);
            if let Some(at) = damage(pointer, block.usable, upto, block.key) {
                panic!("realloc({block:x?}, {request}) = {pointer:#x} lost what was at {at}");
            }
            self.obtain(pointer, request, 16, thread.id, refused);
        }
        pointer
    }

    /// free of a held block, verified before.
    pub fn free(&self, thread: usize, block: Block) {
        let thread = self.enter(thread);
        self.forget(block);
        // SAFETY: the thread's slot, and the block is live.
        unsafe { free_as_process(&self.alloc, &thread.slot, block.pointer) };
    }

    /// A block, by a number that prefers new ones: the top bit set picks among the last 16.
    #[must_use]
    pub fn pick(&self, pick: usize) -> Option<Block> {
        let blocks = self.blocks.borrow();
        let index = if pick & 0x8000 == 0 {
            pick.wrapping_mul(0x9e37) % blocks.len().max(1)
        } else {
            blocks.len().saturating_sub(1 + pick % 16)
        };
        blocks.get(index).copied()
    }

    /// A block of thread `index`, if one is found nearby.
    #[must_use]
    pub fn pick_own(&self, index: usize, pick: usize) -> Option<Block> {
        let id = self.enter(index).id;
        let candidates = (0..8).filter_map(|i| self.pick(pick.wrapping_add(i)));
        candidates.reduce(|best, next| if best.owner == id { best } else { next })
    }

    /// The held block that starts at `pointer`.
    #[must_use]
    pub fn block_at(&self, pointer: usize) -> Option<Block> {
        self.blocks.borrow().iter().find(|b| b.pointer == pointer).copied()
    }

    fn refused(&self) -> u64 {
        self.alloc.os.kernel().faults.refused
    }

    fn check_null(&self, request: usize, refused: u64) {
        let excused = chunk_size(request).is_none_or(|s| s > 1 << 46) || self.refused() != refused;
        assert!(excused, "{request} bytes refused, and the kernel refused nothing");
    }

    /// The allocator gave `pointer` for `request`: checks and fills it.
    fn obtain(&self, pointer: usize, request: usize, align: usize, owner: u32, refused: u64) {
        if pointer == 0 {
            self.check_null(request, refused);
            return;
        }
        assert_eq!(pointer % align, 0, "{pointer:#x} for {request} is not aligned to {align}");
        let usable = self.alloc.usable_size(pointer);
        assert!(usable >= request, "{usable} bytes at {pointer:#x} for {request}");
        let key = self.keys.replace(self.keys.get().wrapping_add(0x1_0000_0001));
        let block = Block { pointer, usable, owner, key };
        if self.tracing.get() {
            eprintln!("    {request} -> {block:x?}");
        }
        self.hold(block);
        fill(pointer, usable, key);
    }

    fn hold(&self, block: Block) {
        let end = block.pointer + block.usable.max(1);
        let mut spans = self.spans.borrow_mut();
        let below = spans.range(..end).next_back();
        if let Some((&start, &other)) = below.filter(|(_, other)| **other > block.pointer) {
            panic!("{block:x?} overlaps the block {start:x}..{other:x}");
        }
        spans.insert(block.pointer, end);
        self.blocks.borrow_mut().push(block);
        self.held_bytes.set(self.held_bytes.get() + block.usable);
    }

    /// The program gives `block` up, after a look at it.
    fn forget(&self, block: Block) {
        if self.tracing.get() {
            eprintln!("    gives up {block:x?}");
        }
        self.verify(block);
        self.spans.borrow_mut().remove(&block.pointer);
        let mut blocks = self.blocks.borrow_mut();
        let index = blocks.iter().rposition(|b| b.pointer == block.pointer);
        blocks.swap_remove(index.expect("a held block"));
        self.held_bytes.set(self.held_bytes.get() - block.usable);
    }

    /// Checks that nobody else wrote into `block`.
    ///
    /// # Panics
    /// If somebody did.
    pub fn verify(&self, block: Block) {
        if let Some(at) = damage(block.pointer, block.usable, block.usable, block.key) {
            panic!("{block:x?} was overwritten at {at}");
        }
    }

    /// Verifies every block.
    pub fn verify_all(&self) {
        let blocks = self.blocks.borrow().clone();
        blocks.into_iter().for_each(|block| self.verify(block));
    }

    /// The checker, then the audit, then both against the model.
    ///
    /// # Panics
    /// If anything does not add up.
    pub fn check(&self) -> Ledger {
        if let Err(flaw) = self.alloc.check() {
            if self.tracing.get() {
                crate::audit::dump(&self.alloc);
            }
            panic!("check: {flaw:x?}");
        }
        let ledger = audit(&self.alloc).unwrap_or_else(|flaw| panic!("audit: {flaw}"));
        let blocks = self.blocks.borrow();
        let mapped = blocks.iter().filter(|b| !ledger.live.contains_key(&b.pointer)).count();
        assert_eq!(mapped + ledger.live.len(), blocks.len(), "a live chunk that nobody holds");
        let counted = self.alloc.state.mapped.count.load(Relaxed);
        assert_eq!(mapped, counted, "blocks outside the heaps, and mapped chunks");
        ledger
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // It points to this world.
        self.alloc.os.on_call(|| ());
    }
}

/// An allocator on the heap: it is too large for a stack.
#[inline(never)]
#[must_use]
pub fn boxed(os: MemoryOs) -> Box<Allocator<MemoryOs>> {
    Box::new(Allocator::new(os))
}
