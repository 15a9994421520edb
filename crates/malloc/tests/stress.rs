//! Real threads over the allocator: each its slot, blocks handed around, a
//! helper that ticks all the time, somebody who trims.
//!
//! `HEAPWISE_STRESS_SECONDS` lengthens it.

use heapwise_layout::state::Cache;
use heapwise_malloc::tunables::Setting;
use heapwise_malloc::waiting::malloc_either;
use heapwise_malloc::{Allocator, Slot};
use heapwise_seed::Rng;
use heapwise_testkit::host::address;
use heapwise_testkit::pattern::first_nonzero;
use heapwise_testkit::real::{Parcel, RealOs};
use heapwise_testkit::world::free_as_process;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

const WORKERS: usize = 6;

struct Stage {
    alloc: Box<Allocator<RealOs>>,
    /// Blocks on their way from one thread to another.
    post: [Mutex<Vec<Parcel>>; WORKERS],
    /// Workers that have arrived at a barrier, ever.
    arrived: AtomicU64,
    end: AtomicBool,
    failed: AtomicBool,
    calls: AtomicU64,
}

#[inline(never)]
fn stage(settings: &[(Setting, usize)]) -> Stage {
    let alloc = Box::new(Allocator::new(RealOs::new()));
    for &(setting, value) in settings {
        assert!(alloc.settings.set(setting, value));
    }
    Stage {
        alloc,
        post: [const { Mutex::new(Vec::new()) }; WORKERS],
        arrived: AtomicU64::new(0),
        end: AtomicBool::new(false),
        failed: AtomicBool::new(false),
        calls: AtomicU64::new(0),
    }
}

/// A thread: its handle, its blocks.
struct Worker<'a> {
    stage: &'a Stage,
    index: usize,
    slot: Slot,
    rng: Rng,
    blocks: Vec<Parcel>,
}

impl Worker<'_> {
    fn malloc(&mut self, bytes: usize) {
        // SAFETY: this thread's slot holds a cache, its own if it is open.
        let fast = unsafe { malloc_either(address::<Cache>(self.slot.0.get()), bytes) };
        let pointer = if fast == 0 { self.stage.alloc.malloc(&self.slot, bytes) } else { fast };
        assert_ne!(pointer, 0);
        self.blocks.push(Parcel::pack(pointer, bytes));
    }

    fn calloc(&mut self, bytes: usize) {
        let pointer = self.stage.alloc.calloc(&self.slot, 1, bytes);
        assert_eq!(first_nonzero(pointer, bytes), None, "calloc({bytes}) is not zero");
        self.blocks.push(Parcel::pack(pointer, bytes));
    }

    fn free(&self, parcel: Parcel) {
        parcel.verify();
        // SAFETY: as in `malloc`; a live block.
        unsafe { free_as_process(&self.stage.alloc, &self.slot, parcel.pointer) };
    }

    fn resize(&mut self, bytes: usize) {
        let Some(parcel) = self.take_one() else { return };
        parcel.verify();
        let pointer = self.stage.alloc.realloc(&self.slot, parcel.pointer, bytes);
        assert_ne!(pointer, 0);
        self.blocks.push(Parcel::pack(pointer, bytes));
    }

    fn take_one(&mut self) -> Option<Parcel> {
        let count = self.blocks.len();
        (count > 0).then(|| self.blocks.swap_remove(self.rng.index(count)))
    }

    fn size(&mut self) -> usize {
        match self.rng.index(40) {
            0 => 1 + self.rng.index(300_000),
            1..=3 => 1 + self.rng.index(70_000),
            4..=10 => 1 + self.rng.index(5_000),
            _ => 1 + self.rng.index(400),
        }
    }

    fn step(&mut self) {
        let bytes = self.size();
        match self.rng.index(100) {
            0..=44 if self.blocks.len() < 400 => self.malloc(bytes),
            45..=49 => self.calloc(bytes),
            50..=54 if bytes > 0 => self.resize(bytes),
            55..=69 => {
                // Foreign frees: somebody else will do it.
                let to = self.rng.index(WORKERS);
                if let Some(parcel) = self.take_one() {
                    self.stage.post[to].lock().unwrap().push(parcel);
                }
            }
            70..=74 => {
                let arrived = std::mem::take(&mut *self.stage.post[self.index].lock().unwrap());
                arrived.into_iter().for_each(|parcel| self.free(parcel));
            }
            _ => {
                if let Some(parcel) = self.take_one() {
                    self.free(parcel);
                }
            }
        }
    }

    /// The thread ends, a new one takes over its blocks.
    fn reborn(&mut self) {
        self.stage.alloc.detach(&self.slot);
        self.malloc(100);
        self.slot = Slot::new();
    }

    fn work(&mut self) {
        let os = &self.stage.alloc.os;
        let mut rounds = 0;
        loop {
            for _ in 0..3_000 {
                self.step();
            }
            self.stage.calls.fetch_add(3_000, Relaxed);
            rounds += 1;
            if self.rng.one_in(4) {
                self.reborn();
            }
            if self.rng.one_in(20) {
                self.stage.alloc.trim(&self.slot, 0);
            }
            if self.rng.one_in(3) {
                os.asleep(|| std::thread::sleep(Duration::from_millis(3)));
            }
            // All stop at the same round, or none could pass the barrier.
            if rounds % 4 == 0 && os.asleep(|| self.everybody_ends()) {
                break;
            }
        }
        let left = std::mem::take(&mut self.blocks);
        left.into_iter().for_each(|parcel| self.free(parcel));
        let arrived = std::mem::take(&mut *self.stage.post[self.index].lock().unwrap());
        arrived.into_iter().for_each(|parcel| self.free(parcel));
        self.stage.alloc.detach(&self.slot);
    }

    fn everybody_ends(&self) -> bool {
        self.stage.meet();
        let end = self.stage.end.load(Relaxed);
        self.stage.meet();
        end
    }
}

impl Drop for Worker<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.stage.failed.store(true, Relaxed);
        }
    }
}

impl Stage {
    /// Waits for all workers; unlike the standard barrier not for one that has failed.
    fn meet(&self) {
        let number = self.arrived.fetch_add(1, Relaxed);
        let all = (number / WORKERS as u64 + 1) * WORKERS as u64;
        while self.arrived.load(Relaxed) < all {
            assert!(!self.failed.load(Relaxed), "another worker has failed");
            std::thread::sleep(Duration::from_micros(100));
        }
    }
}

fn play(settings: &[(Setting, usize)], share: bool) {
    let seconds = std::env::var("HEAPWISE_STRESS_SECONDS").ok().and_then(|s| s.parse().ok());
    let stage = stage(settings);
    let (done, looks) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        // The helper, far busier than in life.
        scope.spawn(|| {
            while !done.load(Relaxed) {
                stage.alloc.tick();
                looks.fetch_add(1, Relaxed);
                std::thread::sleep(Duration::from_micros(200));
            }
        });
        let workers: Vec<_> = (0..WORKERS)
            .map(|index| {
                let stage = &stage;
                scope.spawn(move || {
                    let rng = Rng::new(index as u64);
                    let slot = Slot::new();
                    let mut worker = Worker { stage, index, slot, rng, blocks: Vec::new() };
                    if share {
                        stage.alloc.share_own_arena(&worker.slot);
                    }
                    worker.work();
                })
            })
            .collect();
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(seconds.unwrap_or(3))
            && !workers.iter().any(|w| w.is_finished())
        {
            std::thread::sleep(Duration::from_millis(20));
            if let Err(flaw) = stage.alloc.check() {
                panic!("{flaw:x?}");
            }
        }
        stage.end.store(true, Relaxed);
        for worker in workers {
            worker.join().expect("no worker fails");
        }
        done.store(true, Relaxed);
    });
    let slot = Slot::new();
    for parcel in stage.post.iter().flat_map(|p| std::mem::take(&mut *p.lock().unwrap())) {
        stage.alloc.free(&slot, parcel.pointer);
    }
    (0..3).for_each(|_| _ = stage.alloc.tick());
    stage.alloc.trim(&slot, 0);
    stage.alloc.check().unwrap();
    let f = stage.alloc.figures();
    assert!(f.live.count <= WORKERS, "only caches of shared arenas are left: {f:?}");
    assert_eq!((f.mapped.count, f.dirty_bytes), (0, 0));
    println!("{} calls, {} looks of the helper", stage.calls.load(Relaxed), looks.load(Relaxed));
}

#[test]
fn arenas_of_their_own() {
    play(&[], false);
}

#[test]
fn few_arenas_for_many_threads() {
    play(&[(Setting::ArenaMax, 4), (Setting::PurgeBudget, 0)], false);
}

#[test]
fn one_arena_for_all() {
    play(&[(Setting::ArenaMax, 1), (Setting::MmapThreshold, 32 << 10)], true);
}
