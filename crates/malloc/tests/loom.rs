//! Every interleaving of the lock-free parts, by loom.
//!
//! ```text
//! RUSTFLAGS="--cfg loom" cargo test -p heapwise-malloc --release --test loom
//! ```
//! The inbox and the lock are the real code over loom's words. The loan of a
//! sleeping thread's cache is an extract, step by step, of `threads.rs` (enter,
//! take back) and `idle.rs` (borrow).
#![cfg(loom)]

use heapwise_malloc::atomic::Atomic;
use heapwise_malloc::inbox::{push, take_all};
use heapwise_malloc::lock::{self, Sleep};
use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

/// A word of loom's.
struct Word<A>(A);

macro_rules! loom_word {
    ($word:ty, $value:ty) => {
        impl Atomic<$value> for Word<$word> {
            fn load(&self, order: Ordering) -> $value {
                self.0.load(order)
            }

            fn swap(&self, value: $value, order: Ordering) -> $value {
                self.0.swap(value, order)
            }

            fn compare_exchange(
                &self,
                current: $value,
                new: $value,
                ok: Ordering,
                not: Ordering,
            ) -> Result<$value, $value> {
                self.0.compare_exchange(current, new, ok, not)
            }
        }
    };
}

loom_word!(AtomicU32, u32);
loom_word!(AtomicUsize, usize);

/// A futex as the kernel has it: the look at the word and going to sleep are one step.
struct Futex {
    queue: Mutex<usize>,
    awake: Condvar,
}

impl Futex {
    fn new() -> Self {
        Self { queue: Mutex::new(0), awake: Condvar::new() }
    }
}

impl Sleep<Word<AtomicU32>> for Futex {
    const SPINS: u32 = 1;

    fn wait(&self, word: &Word<AtomicU32>, value: u32) {
        let mut sleepers = self.queue.lock().unwrap();
        if word.0.load(Ordering::SeqCst) == value {
            *sleepers += 1;
            drop(self.awake.wait(sleepers).unwrap());
        }
    }

    fn wake(&self, _: &Word<AtomicU32>) {
        let mut sleepers = self.queue.lock().unwrap();
        if *sleepers > 0 {
            *sleepers -= 1;
            self.awake.notify_one();
        }
    }
}

/// Chunks: chunk `i` stands at address `i`, its cells hold the next of its parcel and, in a
/// parcel's first, the parcel below.
struct Nodes([[UnsafeCell<usize>; 2]; 7]);

/// The cell of the next chunk.
const NEXT: usize = 0;
/// The cell of the parcel below.
const BELOW: usize = 1;

impl Nodes {
    fn new() -> Self {
        Self(std::array::from_fn(|_| std::array::from_fn(|_| UnsafeCell::new(0))))
    }

    fn read(&self, node: usize, cell: usize) -> usize {
        // SAFETY: loom checks that nobody writes it meanwhile.
        self.0[node][cell].with(|p| unsafe { *p })
    }

    fn link(&self, node: usize, cell: usize, to: usize) {
        // SAFETY: loom checks that nobody else touches it meanwhile.
        self.0[node][cell].with_mut(|p| unsafe { *p = to });
    }

    /// What follows `first` by one of the cells, itself included.
    fn along(&self, first: usize, cell: usize) -> impl Iterator<Item = usize> {
        std::iter::successors(Some(first).filter(|&f| f != 0), move |&node| {
            Some(self.read(node, cell)).filter(|&next| next != 0)
        })
    }

    /// The chunks of all parcels taken from an inbox.
    fn list(&self, first: usize) -> Vec<usize> {
        self.along(first, BELOW).flat_map(|parcel| self.along(parcel, NEXT)).collect()
    }
}

/// Threads push batches while another takes: every node arrives once, batches in order.
///
/// The first thread pushes and a later one takes, not the other way round: loom
/// remembers only the last access to a word, and the look before a push would
/// hide the taker's from it.
fn batches_arrive(batches: &'static [&'static [usize]]) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(if batches.len() > 2 { 2 } else { 5 });
    model.check(move || {
        let shared = Arc::new((Word(AtomicUsize::new(0)), Nodes::new()));
        let send = |shared: &(Word<AtomicUsize>, Nodes), batch: &[usize]| {
            let (head, nodes) = shared;
            for pair in batch.windows(2) {
                nodes.link(pair[0], NEXT, pair[1]);
            }
            push(head, batch[0], |old| nodes.link(batch[0], BELOW, old));
        };
        let taker = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let (head, nodes) = &*shared;
                let mut taken = nodes.list(take_all(head));
                taken.extend(nodes.list(take_all(head)));
                taken
            })
        };
        let pushers: Vec<_> = batches[1..]
            .iter()
            .map(|batch| {
                let shared = Arc::clone(&shared);
                thread::spawn(move || send(&shared, batch))
            })
            .collect();
        send(&shared, batches[0]);
        let mut arrived = taker.join().unwrap();
        pushers.into_iter().for_each(|p| p.join().unwrap());
        arrived.extend(shared.1.list(take_all(&shared.0)));
        for batch in batches {
            let at = arrived.iter().position(|node| *node == batch[0]).expect("a batch arrives");
            assert_eq!(&arrived[at..at + batch.len()], *batch, "in one piece");
        }
        arrived.sort_unstable();
        let all: Vec<usize> = batches.concat();
        assert_eq!(arrived, all, "each once");
    });
}

#[test]
fn two_threads_push_while_one_takes() {
    batches_arrive(&[&[1, 2, 3], &[4, 5]]);
}

#[test]
fn three_threads_push_while_one_takes() {
    batches_arrive(&[&[1], &[2, 3], &[4]]);
}

#[test]
fn the_push_into_an_empty_inbox_says_so() {
    loom::model(|| {
        let shared = Arc::new((Word(AtomicUsize::new(0)), Nodes::new()));
        let pushers: Vec<_> = [1, 2]
            .map(|node| {
                let shared = Arc::clone(&shared);
                thread::spawn(move || push(&shared.0, node, |old| shared.1.link(node, BELOW, old)))
            })
            .into_iter()
            .collect();
        let first = pushers.into_iter().map(|p| p.join().unwrap()).filter(|&f| f).count();
        assert_eq!(first, 1, "just one found it empty");
    });
}

/// Threads count under the lock: nobody is inside together, nobody sleeps for ever.
fn the_lock_excludes(threads: usize, rounds: usize) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(move || {
        let shared = Arc::new((Futex::new(), Word(AtomicU32::new(0)), UnsafeCell::new(0)));
        let work = move |shared: &(Futex, Word<AtomicU32>, UnsafeCell<usize>)| {
            let (futex, word, count) = shared;
            for _ in 0..rounds {
                lock::lock(futex, word);
                // SAFETY: loom checks that nobody else is here.
                count.with_mut(|c| unsafe { *c += 1 });
                lock::unlock(futex, word);
            }
        };
        let others: Vec<_> = (1..threads)
            .map(|_| {
                let shared = Arc::clone(&shared);
                thread::spawn(move || work(&shared))
            })
            .collect();
        work(&shared);
        others.into_iter().for_each(|t| t.join().unwrap());
        // SAFETY: all others have ended.
        assert_eq!(shared.2.with(|c| unsafe { *c }), threads * rounds);
        assert_eq!(shared.1.0.load(Ordering::SeqCst), 0, "free at the end");
    });
}

#[test]
fn two_threads_lock() {
    the_lock_excludes(2, 2);
}

#[test]
fn three_threads_lock() {
    the_lock_excludes(3, 1);
}

#[test]
fn a_failed_attempt_does_not_unlock() {
    loom::model(|| {
        let shared = Arc::new((Futex::new(), Word(AtomicU32::new(0)), UnsafeCell::new(0)));
        let other = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                if lock::try_lock(&shared.1) {
                    // SAFETY: loom checks that nobody else is here.
                    shared.2.with_mut(|c| unsafe { *c += 1 });
                    lock::unlock(&shared.0, &shared.1);
                }
            })
        };
        lock::lock(&shared.0, &shared.1);
        // SAFETY: as above.
        shared.2.with_mut(|c| unsafe { *c += 1 });
        lock::unlock(&shared.0, &shared.1);
        other.join().unwrap();
    });
}

const OPEN: u32 = 1;
const LENT: u32 = 3;

/// A cache that can be lent, its arena's lock, and what the kernel knows of its thread.
struct Loan {
    mode: AtomicU32,
    /// Not 0 while the fast paths are open.
    limit: AtomicUsize,
    busy: AtomicU32,
    arena: Mutex<()>,
    /// Whether the owner is blocked in a system call; the kernel's own lock orders it.
    blocked: Mutex<bool>,
    /// The lists of the cache.
    cache: UnsafeCell<usize>,
}

impl Loan {
    fn new() -> Self {
        Self {
            mode: AtomicU32::new(OPEN),
            limit: AtomicUsize::new(1),
            busy: AtomicU32::new(0),
            arena: Mutex::new(()),
            blocked: Mutex::new(false),
            cache: UnsafeCell::new(0),
        }
    }

    fn touch(&self) {
        // SAFETY: loom checks that nobody else is here.
        self.cache.with_mut(|c| unsafe { *c += 1 });
    }

    /// A system call that blocks: others see so between its begin and its end.
    fn system_call(&self, meanwhile: impl FnOnce()) {
        *self.blocked.lock().unwrap() = true;
        meanwhile();
        *self.blocked.lock().unwrap() = false;
    }

    /// The owner's malloc: the fast path, or the slow one.
    fn owner_call(&self) {
        if self.limit.load(Ordering::Relaxed) != 0 {
            self.touch();
            return;
        }
        self.owner_slow();
    }

    /// `Allocator::enter`, a refill under the lock, and a pop after it.
    fn owner_slow(&self) {
        self.busy.store(1, Ordering::Relaxed);
        if self.mode.load(Ordering::Acquire) == LENT {
            self.take_back();
        }
        // Waiting for the lock is a system call, too: in it the thread looks asleep.
        self.with_arena(|| self.touch());
        self.touch();
        self.busy.store(0, Ordering::Relaxed);
    }

    fn with_arena(&self, work: impl FnOnce()) {
        let mut held = None;
        self.system_call(|| held = Some(self.arena.lock().unwrap()));
        work();
        drop(held);
    }

    fn take_back(&self) {
        self.with_arena(|| self.reopen());
    }

    fn reopen(&self) {
        if self.mode.load(Ordering::Relaxed) == LENT {
            self.mode.store(OPEN, Ordering::Relaxed);
            self.limit.store(1, Ordering::Relaxed);
        }
    }

    /// `Held::borrow` under the arena's lock, and the helper's work on the cache.
    fn helper_look(&self) {
        let _held = self.arena.lock().unwrap();
        if self.mode.load(Ordering::Relaxed) != LENT {
            self.mode.store(LENT, Ordering::SeqCst);
            self.limit.store(0, Ordering::SeqCst);
            let parked = *self.blocked.lock().unwrap();
            if !(parked && self.busy.load(Ordering::SeqCst) == 0) {
                self.reopen();
                return;
            }
        }
        self.touch();
    }
}

/// The owner runs `work`, the helper looks `looks` times: never both at the cache.
fn loan_model(looks: usize, work: impl Fn(&Loan) + Copy + Send + Sync + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(move || {
        let loan = Arc::new(Loan::new());
        let helper = {
            let loan = Arc::clone(&loan);
            thread::spawn(move || (0..looks).for_each(|_| loan.helper_look()))
        };
        work(&loan);
        helper.join().unwrap();
    });
}

#[test]
fn a_cache_is_lent_only_while_its_thread_sleeps() {
    loan_model(1, |loan| {
        loan.owner_call();
        loan.system_call(|| ());
        loan.owner_call();
    });
}

#[test]
fn a_cache_is_lent_twice_and_taken_back_between() {
    loan_model(2, |loan| {
        loan.system_call(|| ());
        loan.owner_call();
    });
}

#[test]
fn a_thread_that_waits_for_the_arenas_lock_lends_nothing() {
    loan_model(2, |loan| {
        loan.owner_slow();
        loan.owner_call();
    });
}
