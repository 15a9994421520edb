//! Running a program: operations one after another, what happens meanwhile, the end.

use crate::audit::Ledger;
use crate::host::resident_bytes;
use crate::op::Op;
use crate::setup::Setup;
use crate::space::Area;
use crate::world::World;
use heapwise_layout::state::HeapInfo;
use heapwise_malloc::os::Span;
use heapwise_malloc::tunables::Setting;
use std::collections::BTreeSet;
use std::sync::atomic::Ordering::Relaxed;

/// Runs `words` as operations in the world of `setup`, then ends the program.
/// Returns how many operations were done, the nested ones included.
///
/// With `HEAPWISE_TRACE` in the environment every operation and every call to
/// the kernel is printed; `HEAPWISE_CHECK=n` checks the heap after every n-th.
pub fn run(mut setup: Setup, words: impl IntoIterator<Item = u64>) -> u64 {
    if let Some(every) = std::env::var("HEAPWISE_CHECK").ok().and_then(|v| v.parse().ok()) {
        setup.check_every = every;
    }
    let trace = std::env::var_os("HEAPWISE_TRACE").is_some();
    let world = World::new(setup);
    world.tracing.set(trace);
    world.alloc.os.print_calls.store(trace, Relaxed);
    if trace {
        eprintln!("{:?}", world.setup);
    }
    for (count, word) in words.into_iter().enumerate() {
        world.apply(Op::decode(word));
        if (count + 1) % world.setup.check_every == 0 {
            world.check();
        }
    }
    world.check();
    world.finish();
    world.operations.get()
}

impl World {
    /// Does one operation.
    pub fn apply(&self, op: Op) {
        self.operations.set(self.operations.get() + 1);
        if self.tracing.get() {
            eprintln!("{} {op:?}", self.operations.get());
        }
        match op {
            Op::Malloc { thread, request } => self.unless_full(thread, request, || {
                self.malloc(thread, request);
            }),
            Op::Calloc { thread, count, each } => {
                self.unless_full(thread, count.saturating_mul(each), || {
                    self.calloc(thread, count, each);
                });
            }
            Op::Memalign { thread, align, request } => self.unless_full(thread, request, || {
                self.memalign(thread, align, request);
            }),
            Op::Realloc { thread, pick, request } => self.unless_full(thread, request, || {
                match self.pick(pick) {
                    Some(block) => self.realloc(thread, block, request),
                    None => self.malloc(thread, request),
                };
            }),
            Op::MallocMany { thread, request, count } => {
                for _ in 0..count {
                    self.unless_full(thread, request, || {
                        self.malloc(thread, request);
                    });
                }
            }
            Op::FreeOwn { thread, pick } => {
                if let Some(block) = self.pick_own(thread, pick) {
                    self.free(thread, block);
                }
            }
            Op::FreeAny { thread, pick } => {
                if let Some(block) = self.pick(pick) {
                    self.free(thread, block);
                }
            }
            Op::FreeMany { thread, pick, count } => self.free_many(thread, pick, count),
            Op::Look { pick } => _ = self.pick(pick).map(|block| self.verify(block)),
            Op::Exit { thread } => self.exit(thread),
            Op::Trim { thread, pad } => _ = self.alloc.trim(&self.slot(thread), pad),
            Op::Tick => _ = self.alloc.tick(),
            Op::Pass { ns } => self.alloc.os.pass_ns(ns),
            Op::Set { setting, value } => _ = self.alloc.settings.set(setting, value),
            Op::Share { thread } => self.alloc.share_own_arena(&self.slot(thread)),
            Op::Count { thread, on } => self.alloc.set_counting(&self.slot(thread), on),
            Op::Fork { thread, into_child } => self.fork(thread, into_child),
            Op::Awake { thread, awake } => {
                let id = self.enter(thread).id;
                let threads = &mut self.alloc.os.kernel().awake;
                if awake {
                    threads.insert(id)
                } else {
                    threads.remove(&id)
                };
            }
            Op::Helper { allowed } => self.alloc.os.helper_allowed.store(allowed, Relaxed),
            Op::ForeignBreak { .. }
            | Op::BreakRace { .. }
            | Op::BlockBreak { .. }
            | Op::Fail { .. }
            | Op::HealFaults => self.disturb(op),
        }
    }

    /// What makes the kernel refuse or the break jump.
    fn disturb(&self, op: Op) {
        if self.setup.kind_kernel {
            return;
        }
        let os = &self.alloc.os;
        match op {
            Op::ForeignBreak { delta } => _ = os.foreign_sbrk(delta),
            Op::BreakRace { delta } => os.kernel().race = delta,
            Op::BlockBreak { room } => os.kernel().brk.block(room),
            Op::Fail { nth, length, kinds } => os.kernel().faults.plan(nth, length, kinds),
            _ => os.kernel().faults.lift(),
        }
    }

    /// Frees a block instead of asking for more if the program holds its fill.
    fn unless_full(&self, thread: usize, request: usize, ask: impl FnOnce()) {
        let full = self.block_count() >= self.setup.max_blocks
            || self.held_bytes() >= self.setup.max_bytes
            || request > self.setup.max_bytes && request <= 1 << 38;
        if !full {
            ask();
        } else if let Some(block) = self.pick(request ^ self.block_count()) {
            self.free(thread, block);
        }
    }

    fn free_many(&self, thread: usize, pick: usize, count: usize) {
        for index in 0..count {
            let next = match pick % 3 {
                0 => self.pick(0x8000),
                1 => self.pick(0),
                _ => self.pick(pick.wrapping_add(index * 0x1235) & 0x7fff),
            };
            let Some(block) = next else { return };
            self.free(thread, block);
        }
    }

    /// The thread ends, after it may have used the allocator late; another takes its place.
    fn exit(&self, index: usize) {
        let thread = self.enter(index);
        self.alloc.detach(&thread.slot);
        if thread.id.is_multiple_of(2) {
            // A destructor that runs later still.
            self.malloc(index, 100);
            if let Some(block) = self.pick(0x8001) {
                self.free(index, block);
            }
            self.calloc(index, 1, 3000);
        }
        self.replace(index);
    }

    fn replace(&self, index: usize) {
        let fresh = self.new_thread();
        let mut threads = self.threads.borrow_mut();
        let index = index % threads.len();
        let old = std::mem::replace(&mut threads[index], fresh);
        self.alloc.os.kernel().awake.remove(&old.id);
    }

    /// Forks; the program goes on as the parent, or as the child with one thread.
    fn fork(&self, index: usize, into_child: bool) {
        let thread = self.enter(index);
        self.alone.set(true);
        self.alloc.before_fork();
        if into_child {
            let count = self.threads.borrow().len();
            let own = index % count;
            (0..count).filter(|&i| i != own).for_each(|i| self.replace(i));
            self.alloc.os.current.store(thread.id, Relaxed);
            self.alloc.after_fork_in_child(&thread.slot);
        } else {
            self.alloc.after_fork_in_parent();
        }
        self.alone.set(false);
    }

    /// From now on other threads run while one is in the kernel.
    pub(crate) fn interrupt_calls(&self) {
        if self.setup.interrupt_one_in == 0 {
            return;
        }
        let world = std::ptr::from_ref::<Self>(self);
        // SAFETY: the box outlives its allocator, and takes the closure back when it goes.
        self.alloc.os.on_call(move || unsafe { &*world }.meanwhile());
    }

    /// A thread is in the kernel: the helper looks, and others work where no lock stops them.
    fn meanwhile(&self) {
        if self.alone.get() || !self.chance.borrow_mut().one_in(self.setup.interrupt_one_in) {
            return;
        }
        let caller = self.alloc.os.current.load(Relaxed);
        let times = 1 + self.chance.borrow_mut().index(3);
        if self.tracing.get() {
            eprintln!("  meanwhile {{");
        }
        for _ in 0..times {
            self.one_more(caller);
        }
        if self.tracing.get() {
            eprintln!("  }}");
        }
        self.alloc.os.current.store(caller, Relaxed);
    }

    fn one_more(&self, caller: u32) {
        let word = self.chance.borrow_mut().word();
        let table_free = self.alloc.state.mapped.lock.load(Relaxed) == 0;
        let all_free = self.alloc.arenas().all(|a| a.lock.load(Relaxed) == 0);
        let index = word as usize >> 8 & 0xff;
        let thread = self.enter(index);
        if word.is_multiple_of(3)
            || thread.id == caller
            || !table_free
            || !self.can_run(&thread.slot)
        {
            self.alloc.tick();
            return;
        }
        match Op::decode(word.rotate_left(13)) {
            Op::Malloc { request, .. } if request < 1 << 24 => {
                self.apply(Op::Malloc { thread: index, request });
            }
            Op::Realloc { pick, request, .. } if request < 1 << 24 => {
                self.apply(Op::Realloc { thread: index, pick, request });
            }
            Op::Calloc { .. } => self.apply(Op::Calloc { thread: index, count: 1, each: 2000 }),
            Op::FreeOwn { pick, .. } => self.apply(Op::FreeOwn { thread: index, pick }),
            Op::FreeAny { pick, .. } => self.apply(Op::FreeAny { thread: index, pick }),
            _ if all_free => self.apply(Op::Trim { thread: index, pad: 0 }),
            _ => _ = self.alloc.tick(),
        }
    }

    /// Whether a thread has a cache and finds its arena's lock free.
    fn can_run(&self, slot: &heapwise_malloc::Slot) -> bool {
        // SAFETY: a slot always holds the address of a cache.
        let cache =
            unsafe { &*crate::host::address::<heapwise_layout::state::Cache>(slot.0.get()) };
        let own = self.alloc.arenas().find(|a| std::ptr::from_ref(*a).addr() == cache.arena.get());
        own.is_some_and(|arena| arena.lock.load(Relaxed) == 0)
    }

    /// The program ends: everything is freed and given back; what remains is accounted for.
    ///
    /// # Panics
    /// If something remains that nobody can explain.
    pub fn finish(&self) {
        self.alone.set(true);
        let os = &self.alloc.os;
        {
            let mut kernel = os.kernel();
            kernel.faults.lift();
            kernel.race = 0;
            kernel.brk.block(None);
            kernel.awake.clear();
        }
        self.alloc.settings.set(Setting::Purge, 1);
        // Where the helper is forbidden its tick serves commands alone, and inboxes keep what
        // the trim of another arena has sent.
        self.alloc.settings.set(Setting::PurgeHelper, 1);
        let threads = self.threads.borrow().len();
        for index in 0.. {
            let Some(block) = self.pick(0x8000) else { break };
            self.free(index, block);
        }
        for index in 0..threads {
            let thread = self.enter(index);
            self.alloc.detach(&thread.slot);
            self.replace(index);
        }
        // Outboxes of the last to go have filled inboxes of those before.
        for _ in 0..3 {
            self.alloc.tick();
            os.pass_ns(1_000_000_000);
        }
        self.alloc.trim(&self.slot(0), 0);
        let ledger = self.check();
        self.account(&ledger);
    }

    fn heaps(&self) -> impl Iterator<Item = &HeapInfo> {
        self.alloc.arenas().flat_map(|arena| self.alloc.heaps(arena))
    }

    /// What an empty heap may still have from the kernel.
    fn account(&self, ledger: &Ledger) {
        let f = self.alloc.figures();
        assert_eq!(
            f.live.count, ledger.cache_chunks,
            "live chunks are the caches of shared arenas"
        );
        assert_eq!((f.cached.count, f.fast.count), (0, 0), "a trim leaves nothing on its way");
        assert_eq!(f.dirty_bytes, 0, "a trim leaves no dirty page");
        let kernel = self.alloc.os.kernel();
        let page = self.alloc.state.page_bytes.load(Relaxed) as usize;
        // A heap keeps the page of its head and those at the ends of its free
        // chunks; an arena its state; a shared arena its caches; the table one mapping.
        let kept_pages = 6 * ledger.heaps + 3 * ledger.arenas + 3 * ledger.cache_chunks;
        let mut kept = 0;
        let mut tables = 0;
        let mut heaps = BTreeSet::new();
        for (span, area) in kernel.space.areas().filter(|(_, a)| !a.abandoned) {
            if self.is_table(span, area) {
                tables += 1;
            } else if self.heaps().any(|h| h.parts.get() == span.start) {
                kept += resident_bytes(span);
            } else if span.start == self.alloc.heap_map_address() {
                assert!(ledger.heaps > 0, "a map of no heaps");
            } else if self.heaps().any(|h| {
                let base = std::ptr::from_ref(h).addr();
                base <= span.start && span.start < h.reserved_end.get()
            }) {
                heaps.insert(area.id);
                kept += resident_bytes(span);
            } else {
                panic!("the mapping {span:x?} is nobody's");
            }
        }
        assert!(tables <= 1, "{tables} tables");
        assert!(heaps.len() <= ledger.heaps, "{} reserved heaps of {}", heaps.len(), ledger.heaps);
        let brk = Span::new(kernel.brk.start(), kernel.brk.now());
        let foreign = kernel.brk.own_and_foreign_bytes().1 + 2 * page * kernel.brk.foreign_pieces();
        kept += resident_bytes(brk).saturating_sub(foreign);
        let bound = (kept_pages + 2) * page + kernel.wiped_bytes;
        assert!(kept <= bound, "{kept} bytes kept by {ledger:?}");
    }

    fn is_table(&self, span: Span, area: Area) -> bool {
        area.usable && self.alloc.state.mapped.slots.load(Relaxed) == span.start
    }
}
