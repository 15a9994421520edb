//! The allocator of one process: its arenas, its mapped chunks, its settings.
//!
//! Everything below works on `&Allocator`: one static in a real process, as
//! many as they like in the tests.

use crate::chunk::at;
use crate::fatal::Fault;
use crate::huge::Density;
use crate::kernel::KernelCalls;
use crate::os::{Os, Span};
use crate::purge::Budget;
use crate::tunables::{SETTINGS, Settings};
use core::sync::atomic::{
    AtomicPtr, AtomicU32, AtomicU64, AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
};
use heapwise_layout::header::{ALIGNMENT, HEADER_BYTES};
use heapwise_layout::report::ProcessRecord;
use heapwise_layout::state::{
    ARENA_MAGIC, ARENA_MAIN, ArenaState, HEAP_RESERVE, HeapInfo, LAYOUT_VERSION, PROCESS_MAGIC,
    ProcessState,
};

/// Bits of a user address on the platforms we know.
pub(crate) const ADDRESS_BITS: u32 = if cfg!(target_arch = "x86_64") { 47 } else { 48 };
/// One bit for each place where a secondary heap can stand.
const HEAP_MAP_WORDS: usize = (1 << (ADDRESS_BITS - HEAP_RESERVE.ilog2())) / 64;

/// Such a map: 256 KiB, made with the first secondary heap.
type HeapMap = [AtomicU64; HEAP_MAP_WORDS];

/// Slots of the mapped table before it needs memory of its own.
pub const FIRST_MAPPED_SLOTS_LOG2: u32 = 9;

/// An allocator over a platform.
#[repr(C)]
pub struct Allocator<O: Os> {
    /// The published root.
    pub state: ProcessState,
    /// The platform.
    pub os: O,
    /// The settings in force.
    pub settings: Settings,
    /// What purging may cost.
    pub(crate) budget: Budget,
    /// Whether large chunks are filled.
    pub(crate) density: Density,
    /// Calls to the kernel so far.
    pub(crate) kernel_calls: KernelCalls,
    /// Where the report goes, null without one.
    pub(crate) report: AtomicPtr<ProcessRecord>,
    /// Where the report's file is mapped, 0 without one.
    pub(crate) report_base: AtomicUsize,
    /// Publications so far: not every one samples the kernel's figures.
    pub(crate) publications: AtomicU32,
    /// 1 if every call is to be counted (or filled, or checked): fast paths stay closed.
    pub(crate) counting: AtomicU32,
    /// 1 while a profile counts bytes.
    pub(crate) sampling: AtomicU32,
    /// Watched chunks in heaps: while there are any, headers with a sampled tag may be live.
    pub(crate) watched: AtomicU32,
    /// How often a heap has shrunk or gone: what threads remember of heaps is then void.
    pub(crate) heap_epoch: AtomicUsize,
    /// Taken while an arena is made or changes hands.
    pub(crate) arenas_lock: AtomicU32,
    /// 0 raw, 1 in the making, 2 ready.
    ready: AtomicU32,
    /// When a thread last looked for idle memory in others' arenas.
    pub(crate) looked_ns: AtomicU64,
    /// Ticks of the helper without work.
    pub(crate) quiet_ticks: AtomicU32,
    pub(crate) secret: AtomicU64,
    pub(crate) main: ArenaState,
    pub(crate) first_mapped_slots: [AtomicU64; 1 << FIRST_MAPPED_SLOTS_LOG2],
    /// A bit for each place of a reserved heap; null until there is one.
    heap_map: AtomicPtr<AtomicU64>,
}

// SAFETY: `Cell` fields of arenas and caches are touched only under the arena's
// lock or by the owning thread (see `state`), the rest is atomic.
unsafe impl<O: Os> Sync for Allocator<O> {}

/// Where a user pointer points to.
#[derive(Clone, Copy)]
pub enum Place<'a> {
    /// Into a heap of this arena (not necessarily to a chunk).
    Heap(&'a ArenaState, &'a HeapInfo),
    /// To a chunk with a mapping of its own.
    Mapped,
    /// Nowhere of ours.
    Nowhere,
}

impl<O: Os> Allocator<O> {
    /// An allocator that has asked for nothing yet.
    ///
    /// All of it is zero if `os` is: a static one is no part of the program's file then, and takes
    /// memory only for the pages of it that are written to.
    #[must_use]
    pub const fn new(os: O) -> Self {
        Self {
            state: ProcessState::new(),
            os,
            settings: Settings::new(),
            budget: Budget::new(),
            density: Density::new(),
            kernel_calls: KernelCalls::new(),
            report: AtomicPtr::new(core::ptr::null_mut()),
            report_base: AtomicUsize::new(0),
            publications: AtomicU32::new(0),
            counting: AtomicU32::new(0),
            sampling: AtomicU32::new(0),
            watched: AtomicU32::new(0),
            heap_epoch: AtomicUsize::new(0),
            arenas_lock: AtomicU32::new(0),
            ready: AtomicU32::new(0),
            looked_ns: AtomicU64::new(0),
            quiet_ticks: AtomicU32::new(0),
            secret: AtomicU64::new(0),
            main: ArenaState::new(),
            first_mapped_slots: [const { AtomicU64::new(0) }; 1 << FIRST_MAPPED_SLOTS_LOG2],
            heap_map: AtomicPtr::new(core::ptr::null_mut()),
        }
    }

    /// Makes the allocator ready, once. Cheap afterwards.
    #[inline]
    pub fn prepare(&self) {
        if self.ready.load(Acquire) != 2 {
            self.prepare_once();
        }
    }

    #[cold]
    fn prepare_once(&self) {
        if self.ready.compare_exchange(0, 1, Acquire, Acquire).is_err() {
            // Another thread prepares: only possible before the first thread has
            // allocated anything, and short.
            while self.ready.load(Acquire) != 2 {
                core::hint::spin_loop();
            }
            return;
        }
        self.settings.fill();
        self.budget.fill();
        self.secret.store(self.os.random(), Relaxed);
        self.state.version.store(LAYOUT_VERSION, Relaxed);
        self.state.page_bytes.store(self.os.page_bytes() as u32, Relaxed);
        let slots = self.first_mapped_slots.as_ptr().expose_provenance();
        self.state.mapped.slots.store(slots, Relaxed);
        self.state.mapped.slots_log2.store(FIRST_MAPPED_SLOTS_LOG2, Relaxed);
        let settings = core::ptr::from_ref(&self.settings).expose_provenance();
        self.state.settings.store(settings, Relaxed);
        self.state.settings_count.store(SETTINGS, Relaxed);
        self.state.tokens.store(self.budget.address(), Relaxed);
        self.main.flags.set(ARENA_MAIN);
        self.register_arena(&self.main);
        self.state.magic.store(PROCESS_MAGIC, Release);
        self.ready.store(2, Release);
    }

    /// The main arena.
    pub(crate) fn main_arena(&self) -> &ArenaState {
        &self.main
    }

    /// Bytes of a page.
    #[inline]
    pub(crate) fn page_bytes(&self) -> usize {
        self.state.page_bytes.load(Relaxed) as usize
    }

    /// `address` rounded up to a page.
    #[inline]
    pub(crate) fn page_up(&self, address: usize) -> usize {
        (address + self.page_bytes() - 1) & !(self.page_bytes() - 1)
    }

    /// `address` rounded down to a page.
    #[inline]
    pub(crate) fn page_down(&self, address: usize) -> usize {
        address & !(self.page_bytes() - 1)
    }

    /// All arenas, main first.
    pub fn arenas(&self) -> impl Iterator<Item = &ArenaState> {
        let count = self.state.arena_count.load(Acquire) as usize;
        self.state.arenas[..count].iter().map(|slot| {
            // SAFETY: a slot below `arena_count` holds the address of an arena
            // that lives as long as the allocator.
            unsafe { &*at::<ArenaState>(slot.load(Relaxed)) }
        })
    }

    /// The heaps of an arena, newest first.
    pub fn heaps<'a>(&'a self, arena: &'a ArenaState) -> impl Iterator<Item = &'a HeapInfo> {
        let mut next = arena.heap.load(Acquire);
        core::iter::from_fn(move || {
            if next == 0 {
                return None;
            }
            // SAFETY: the list holds heads of mapped heaps; one is unlinked
            // before it is unmapped, under the lock.
            let heap = unsafe { &*at::<HeapInfo>(next) };
            next = heap.older.load(Acquire);
            Some(heap)
        })
    }

    /// Where `pointer` points to: decided from our own tables, without reading it.
    pub fn locate(&self, pointer: usize) -> Place<'_> {
        if pointer < HEADER_BYTES {
            return Place::Nowhere;
        }
        if self.heap_bit(pointer) {
            // SAFETY: the bit says that a reserved heap begins there, and its
            // first page holds the head for as long as the bit is set.
            let heap = unsafe { &*at::<HeapInfo>(pointer & !(HEAP_RESERVE - 1)) };
            if !holds(heap, pointer) {
                return Place::Nowhere;
            }
            // SAFETY: set when the heap was made, valid as long as the heap.
            return Place::Heap(unsafe { &*at::<ArenaState>(heap.arena.get()) }, heap);
        }
        let main = self.main_arena();
        let break_heap = self.heaps(main).find(|h| h.on_break.get() == 1 && holds(h, pointer));
        if let Some(heap) = break_heap {
            return Place::Heap(main, heap);
        }
        if self.is_mapped(pointer) { Place::Mapped } else { Place::Nowhere }
    }

    /// The word and the bit of the place at `address`, if there is a map and it is in it.
    fn heap_place(&self, address: usize) -> Option<(&AtomicU64, u64)> {
        let index = address / HEAP_RESERVE;
        let map = self.heap_map.load(Acquire);
        if map.is_null() || index / 64 >= HEAP_MAP_WORDS {
            return None;
        }
        // SAFETY: that many words, which stay.
        Some((unsafe { &*map.add(index / 64) }, 1 << (index % 64)))
    }

    /// Where the map of heaps stands, 0 if there is none.
    pub fn heap_map_address(&self) -> usize {
        self.heap_map.load(Acquire).expose_provenance()
    }

    fn heap_bit(&self, address: usize) -> bool {
        self.heap_place(address).is_some_and(|(word, bit)| word.load(Relaxed) & bit != 0)
    }

    /// Notes that a reserved heap stands at `base`, or no longer does.
    pub(crate) fn set_heap_bit(&self, base: usize, present: bool) {
        if let Some((word, bit)) = self.heap_place(base) {
            if present {
                word.fetch_or(bit, Release);
            } else {
                word.fetch_and(!bit, Release);
            }
        }
    }

    /// Whether a reserved heap at `base` can be noted.
    pub(crate) fn heap_fits_map(&self, base: usize) -> bool {
        if self.heap_map.load(Relaxed).is_null() {
            let bytes = self.page_up(size_of::<HeapMap>());
            let Some(address) = self.map(bytes) else { return false };
            let none = core::ptr::null_mut();
            let map = at::<AtomicU64>(address);
            if self.heap_map.compare_exchange(none, map, Release, Relaxed).is_err() {
                // SAFETY: fresh, and another thread's stands there already.
                unsafe { self.unmap(Span::new(address, address + bytes)) };
            }
        }
        self.heap_place(base).is_some()
    }

    /// Ends the program: one line, then abort.
    #[cold]
    pub(crate) fn fatal(&self, fault: Fault) -> ! {
        self.os.fatal(fault.line())
    }

    /// Notes a new arena and gives it its secret.
    pub(crate) fn register_arena(&self, arena: &ArenaState) {
        let index = self.state.arena_count.load(Relaxed);
        arena.magic.set(ARENA_MAGIC);
        arena.version.set(LAYOUT_VERSION);
        arena.index.set(index);
        let mixed =
            (self.secret.load(Relaxed) ^ u64::from(index)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        arena.key.set(mixed ^ (mixed >> 32));
        crate::arena::init_bins(arena);
        arena.cache.waiting.init();
        let address = core::ptr::from_ref(arena).expose_provenance();
        self.state.arenas[index as usize].store(address, Release);
        self.state.arena_count.store(index + 1, Release);
    }
}

/// Whether `pointer` can be a user pointer in `heap`.
fn holds(heap: &HeapInfo, pointer: usize) -> bool {
    pointer.is_multiple_of(ALIGNMENT)
        && pointer >= heap.start.get() + HEADER_BYTES
        && pointer < heap.end.load(Acquire)
}
