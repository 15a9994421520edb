//! The simulated kernel: [`Os`] over one host reservation, strict and obedient.
//!
//! Strict: every unmap, commit, purge and lowering of the break must be of
//! ranges that the caller owns, whole pages of one mapping; anything else
//! panics, and pages given back are inaccessible. Obedient: a test decides
//! which call fails, what the clock says, who sleeps, and what happens
//! meanwhile (`interrupt`: other threads run while the caller is in the kernel).

use crate::breaks::Break;
use crate::faults::{Faults, Kind};
use crate::host::{Host, resident_bytes};
use crate::space::Space;
use heapwise_malloc::os::{Os, Span};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{
    AtomicBool, AtomicU32, AtomicU64, AtomicUsize,
    Ordering::{Relaxed, SeqCst},
};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Room for the break; mappings stand above it.
const BREAK_BYTES: usize = 8 << 30;

/// The line with which the allocator ends a program, thrown as a panic.
struct Fatal(String);

/// A call that the kernel saw, if it is told to write them down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the methods of Os; bytes, or bytes and what came of it")]
pub enum Seen {
    Sbrk(isize),
    Map(usize),
    Reserve(usize),
    Commit(usize),
    Unmap(usize),
    Remap(usize, usize),
    Purge(usize),
    Huge(usize),
}

/// What the kernel knows.
#[derive(Debug)]
pub struct Kernel {
    /// The mappings.
    pub space: Space,
    /// The break.
    pub brk: Break,
    /// What fails.
    pub faults: Faults,
    /// What the allocator asked for, in order, while `tracing`.
    pub seen: Vec<Seen>,
    /// Whether to write it down.
    pub tracing: bool,
    /// Somebody else moves the break by this just before the allocator does, once.
    pub race: isize,
    /// Bytes in memory that purges have given back while `tracing`.
    pub given_back_bytes: usize,
    /// Mappings of just this many bytes are refused.
    pub refused_bytes: usize,
    /// Bytes that it would not take back and zeroed instead.
    pub wiped_bytes: usize,
    /// Threads that run rather than sleep whenever somebody asks.
    pub awake: BTreeSet<u32>,
}

type Interrupt = Box<dyn Fn()>;

/// A kernel in memory.
pub struct MemoryOs {
    host: Host,
    kernel: Mutex<Kernel>,
    page_bytes: usize,
    cores: AtomicUsize,
    address_space_limited: bool,
    clock_ns: AtomicU64,
    secret: u64,
    /// The thread that runs.
    pub current: AtomicU32,
    /// Whether a helper can be had.
    pub helper_allowed: AtomicBool,
    /// How often one was asked for.
    pub helper_starts: AtomicU32,
    /// A test waits for the line that ends the program.
    expects_fatal: AtomicBool,
    /// Whether calls are printed.
    pub print_calls: AtomicBool,
    interrupt: RefCell<Option<Interrupt>>,
}

// SAFETY: shared between threads of a test only while `interrupt` is not set
// (worlds with real threads never set it); the rest is atomic or locked.
unsafe impl Sync for MemoryOs {}

/// How a kernel starts.
#[derive(Clone, Copy, Debug)]
pub struct Boot {
    /// Bytes of a page, a multiple of the host's.
    pub page_bytes: usize,
    /// How far into its page the break starts.
    pub break_offset: usize,
    /// Pages that are taken above the first mapping: shifts all alignments.
    pub skew_pages: usize,
    /// Cores that can be used.
    pub cores: usize,
    /// Whether it says that address space is limited.
    pub address_space_limited: bool,
    /// The secret's seed.
    pub secret: u64,
    /// Where in the host's address space, if it is free there.
    pub place: usize,
}

impl Default for Boot {
    fn default() -> Self {
        Self {
            page_bytes: 4096,
            break_offset: 0,
            skew_pages: 3,
            cores: 2,
            address_space_limited: false,
            secret: 1,
            place: 0,
        }
    }
}

impl MemoryOs {
    /// A kernel that has given nothing out.
    #[must_use]
    pub fn new(boot: Boot) -> Self {
        let host = Host::new(boot.place);
        let all = host.span();
        let first = all.start + boot.page_bytes + boot.break_offset;
        let break_end = all.start + BREAK_BYTES;
        let top = all.end - boot.skew_pages * boot.page_bytes;
        let brk = Break::new(first, break_end - boot.page_bytes);
        // The page that the break starts in is the program's, as its bss.
        host.open(Span::new(all.start + boot.page_bytes, all.start + 2 * boot.page_bytes));
        Self {
            kernel: Mutex::new(Kernel {
                space: Space::new(Span::new(break_end, top), boot.page_bytes),
                brk,
                faults: Faults::none(),
                seen: Vec::new(),
                tracing: false,
                race: 0,
                refused_bytes: 0,
                given_back_bytes: 0,
                wiped_bytes: 0,
                awake: BTreeSet::new(),
            }),
            host,
            page_bytes: boot.page_bytes,
            cores: AtomicUsize::new(boot.cores),
            address_space_limited: boot.address_space_limited,
            clock_ns: AtomicU64::new(1),
            secret: boot.secret,
            current: AtomicU32::new(1),
            helper_allowed: AtomicBool::new(true),
            helper_starts: AtomicU32::new(0),
            expects_fatal: AtomicBool::new(false),
            print_calls: AtomicBool::new(false),
            interrupt: RefCell::new(None),
        }
    }

    /// What the kernel knows, to look at and to change.
    pub fn kernel(&self) -> MutexGuard<'_, Kernel> {
        // A panic of the strict kernel poisons the lock; its state is whole.
        self.kernel.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The line with which `misuse` ends the program; `None` if it does not.
    pub fn fatal_line(&self, misuse: impl FnOnce()) -> Option<String> {
        self.expects_fatal.store(true, Relaxed);
        let end = catch_unwind(AssertUnwindSafe(misuse));
        self.expects_fatal.store(false, Relaxed);
        match end.err()?.downcast::<Fatal>() {
            Ok(fatal) => Some(fatal.0),
            Err(other) => resume_unwind(other),
        }
    }

    /// Writes calls down from now on; what was written so far.
    pub fn trace(&self) -> Vec<Seen> {
        let mut kernel = self.kernel();
        kernel.tracing = true;
        std::mem::take(&mut kernel.seen)
    }

    /// Runs `interrupt` whenever a thread is in the kernel.
    pub fn on_call(&self, interrupt: impl Fn() + 'static) {
        *self.interrupt.borrow_mut() = Some(Box::new(interrupt));
    }

    /// Lets time pass.
    pub fn pass_ns(&self, ns: u64) {
        self.clock_ns.fetch_add(ns, Relaxed);
    }

    /// Somebody else moves the break; false if it will not move so.
    pub fn foreign_sbrk(&self, delta: isize) -> bool {
        let mut kernel = self.kernel();
        if delta < 0 && kernel.brk.foreign_top() < delta.unsigned_abs() {
            return false;
        }
        self.shift_break(&mut kernel, delta, true).is_some()
    }

    /// Somebody else lowers the break below what the allocator owns.
    pub fn pull_break_down(&self, bytes: usize) {
        let mut kernel = self.kernel();
        let new = kernel.brk.now() - bytes;
        kernel.brk.pull_down(new);
    }

    fn shift_break(&self, kernel: &mut Kernel, delta: isize, foreign: bool) -> Option<usize> {
        let old = kernel.brk.shift(delta, foreign)?;
        let page_up = |address: usize| (address + self.page_bytes - 1) & !(self.page_bytes - 1);
        let (before, after) = (page_up(old), page_up(kernel.brk.now()));
        if before < after {
            // The page that the break starts in has been open all the time.
            let fresh = before.max(page_up(kernel.brk.start() + 1));
            if fresh < after {
                self.host.open(Span::new(fresh, after));
            }
        } else if after < before {
            let kept = after.max(page_up(kernel.brk.start() + 1));
            if kept < before {
                self.host.close(Span::new(kept, before));
            }
        }
        if foreign && delta > 0 {
            // Not zero, and not ours to rely on.
            crate::pattern::fill(old, delta as usize, 0xf0e1_90f0);
        }
        Some(old)
    }

    /// Counts a call; true if it fails.
    fn enter(&self, kind: Kind, seen: Seen) -> bool {
        let fails = {
            let mut kernel = self.kernel();
            if kernel.tracing {
                kernel.seen.push(seen);
            }
            kernel.faults.strikes(kind)
        };
        if self.print_calls.load(Relaxed) {
            eprintln!("  {seen:?}{}", if fails { " fails" } else { "" });
        }
        // Not re-entered: what runs meanwhile is not interrupted in turn.
        if let Ok(mut place) = self.interrupt.try_borrow_mut()
            && let Some(interrupt) = place.take()
        {
            drop(place);
            interrupt();
            *self.interrupt.borrow_mut() = Some(interrupt);
        }
        fails
    }
}

// SAFETY: memory is pages of the host reservation, opened for one caller (the
// space hands out disjoint areas, the break its own region), zeroed by the
// host, and closed only when given back.
unsafe impl Os for MemoryOs {
    fn page_bytes(&self) -> usize {
        self.page_bytes
    }

    fn sbrk(&self, delta: isize) -> Option<usize> {
        if delta == 0 {
            return Some(self.kernel().brk.now());
        }
        if self.enter(Kind::Sbrk, Seen::Sbrk(delta)) {
            return None;
        }
        // Against a race on the way down nothing helps: nobody can lower the break
        // only if it is still where it was.
        if delta > 0 {
            let race = std::mem::take(&mut self.kernel().race);
            if race != 0 {
                self.foreign_sbrk(race);
            }
        }
        let mut kernel = self.kernel();
        let moved = self.shift_break(&mut kernel, delta, false);
        if moved.is_none() {
            kernel.faults.refused += 1;
        }
        moved
    }

    fn map(&self, bytes: usize) -> Option<usize> {
        if self.enter(Kind::Map, Seen::Map(bytes)) {
            return None;
        }
        let mut kernel = self.kernel();
        let wanted = bytes != kernel.refused_bytes;
        let Some(start) = wanted.then(|| kernel.space.place(bytes, true)).flatten() else {
            kernel.faults.refused += 1;
            return None;
        };
        self.host.open(Span::new(start, start + bytes));
        Some(start)
    }

    fn reserve(&self, bytes: usize) -> Option<usize> {
        if self.enter(Kind::Reserve, Seen::Reserve(bytes)) {
            return None;
        }
        let mut kernel = self.kernel();
        let start = kernel.space.place(bytes, false);
        kernel.faults.refused += u64::from(start.is_none());
        start
    }

    unsafe fn commit(&self, range: Span) -> bool {
        if self.enter(Kind::Commit, Seen::Commit(range.bytes())) {
            return false;
        }
        let mut kernel = self.kernel();
        kernel.space.assert_owned(range, "commit");
        kernel.space.assert_usable(range, false, "commit");
        kernel.space.set_usable(range);
        self.host.open(range);
        true
    }

    unsafe fn unmap(&self, range: Span) -> bool {
        let fails = self.enter(Kind::Unmap, Seen::Unmap(range.bytes()));
        let mut kernel = self.kernel();
        kernel.space.assert_owned(range, "unmap");
        if fails {
            kernel.space.abandon(range);
            return false;
        }
        kernel.space.remove(range);
        self.host.close(range);
        true
    }

    unsafe fn remap(&self, old: Span, new_bytes: usize) -> Option<usize> {
        let fails = self.enter(Kind::Remap, Seen::Remap(old.bytes(), new_bytes));
        let mut kernel = self.kernel();
        kernel.space.assert_whole(old, "remap");
        if fails {
            return None;
        }
        let new_end = old.start + new_bytes;
        if kernel.space.stretch(old, new_bytes) {
            if new_end > old.end {
                self.host.open(Span::new(old.end, new_end));
            } else if new_end < old.end {
                self.host.close(Span::new(new_end, old.end));
            }
            return Some(old.start);
        }
        let Some(start) = kernel.space.place(new_bytes, true) else {
            kernel.faults.refused += 1;
            return None;
        };
        self.host.open(Span::new(start, start + new_bytes));
        self.host.copy(old.start, start, old.bytes().min(new_bytes));
        kernel.space.remove(old);
        self.host.close(old);
        Some(start)
    }

    unsafe fn purge(&self, ranges: &[Span]) -> bool {
        let bytes = ranges.iter().map(|r| r.bytes()).sum();
        let fails = self.enter(Kind::Purge, Seen::Purge(bytes));
        let mut kernel = self.kernel();
        for &range in ranges {
            if range.start < kernel.brk.now() {
                let pages = range.start % self.page_bytes == 0 && range.end % self.page_bytes == 0;
                assert!(pages && kernel.brk.owns(range), "purge of {range:x?}: not the caller's");
            } else {
                kernel.space.assert_owned(range, "purge");
                kernel.space.assert_usable(range, true, "purge");
            }
            if self.print_calls.load(Relaxed) {
                eprintln!("    purged {range:x?}");
            }
            if kernel.tracing {
                kernel.given_back_bytes += resident_bytes(range);
            }
            if fails {
                kernel.wiped_bytes += range.bytes();
                self.host.wipe(range);
            } else {
                self.host.purge(range);
            }
        }
        !fails
    }

    fn advise_huge(&self, range: Span) {
        let mut kernel = self.kernel();
        kernel.space.assert_owned(range, "advice");
        if kernel.tracing {
            kernel.seen.push(Seen::Huge(range.bytes()));
        }
    }

    unsafe fn populate_huge(&self, range: Span) -> bool {
        const HUGE_BYTES: usize = 2 << 20;
        let first = range.start.next_multiple_of(HUGE_BYTES);
        let blocks = Span::new(first, range.end & !(HUGE_BYTES - 1));
        let mut kernel = self.kernel();
        if range.start < kernel.brk.now() {
            assert!(kernel.brk.owns(range), "huge pages at {range:x?}: not the caller's");
        } else {
            kernel.space.assert_owned(range, "huge pages");
            kernel.space.assert_usable(range, true, "huge pages");
        }
        if kernel.tracing {
            kernel.seen.push(Seen::Huge(blocks.bytes()));
        }
        assert_eq!(crate::audit::dirt(blocks), None, "huge pages over data");
        self.host.wipe(blocks);
        blocks.bytes() > 0
    }

    fn resident(&self, page: usize) -> bool {
        resident_bytes(Span::new(page, page + self.page_bytes)) > 0
    }

    fn now_ns(&self) -> u64 {
        self.clock_ns.load(Relaxed)
    }

    fn usable_cores(&self) -> usize {
        self.cores.load(Relaxed)
    }

    fn address_space_limited(&self) -> bool {
        self.address_space_limited
    }

    fn random(&self) -> u64 {
        heapwise_seed::Rng::new(self.secret).word()
    }

    fn thread_id(&self) -> u32 {
        self.current.load(Relaxed)
    }

    fn thread_attached(&self) {}

    /// A thread that waits for its turn is asleep unless a test says otherwise;
    /// so is the one whose call to the kernel is interrupted.
    fn parked(&self, thread_id: u32) -> bool {
        !self.kernel().awake.contains(&thread_id)
    }

    fn wait(&self, word: &AtomicU32, value: u32) {
        // One thread at a time runs: nobody would ever wake this one.
        assert_ne!(word.load(SeqCst), value, "waits for a lock that nobody will release");
    }

    fn wake(&self, _: &AtomicU32) {}

    fn start_helper(&self) -> bool {
        self.helper_starts.fetch_add(1, Relaxed);
        self.helper_allowed.load(Relaxed)
    }

    fn sample(&self, _: &heapwise_layout::report::ProcessRecord) {}

    fn fatal(&self, line: &str) -> ! {
        if self.expects_fatal.load(Relaxed) {
            // Without a word on stderr.
            resume_unwind(Box::new(Fatal(line.to_owned())))
        }
        panic!("the allocator ends the program: {line}")
    }
}
