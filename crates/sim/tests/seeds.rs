//! The allocator's seeds on the simulated kernel: the same words as `crates/malloc/tests/model.rs`
//! decodes, with faults from below.
//!
//! ```text
//! HEAPWISE_SEEDS=500 cargo test -p heapwise-sim --test seeds     more of them
//! HEAPWISE_SEED=17 HEAPWISE_OPS=1000                             one, again
//! ```
//! Every block is full of a pattern of its own and looked at when it goes; null may come only
//! where a call was made to fail, or for more than the machine has. The allocator checks
//! itself after every step of the short runs.
#![allow(missing_docs)]

use heapwise_malloc::tunables::Setting;
use heapwise_seed::Rng;
use heapwise_sim::user::User;
use heapwise_sim::{Behind, Config, Fidelity, Injection, Kernel, Pid, boot_shared};
use heapwise_testkit::op::Op;
use heapwise_testkit::pattern::{damage, fill, first_nonzero};
use heapwise_testkit::setup::Setup;
use heapwise_vm::{Access, MapRequest, Prot};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

const RAM: u64 = 1 << 30;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[derive(Clone, Copy)]
struct Block {
    pointer: usize,
    bytes: usize,
    owner: usize,
    key: u64,
}

/// The program and the model of what it holds.
struct Program<'a, 'k, 'm> {
    setup: Setup,
    cell: &'a RefCell<Kernel<'m>>,
    user: &'a User<'k, 'm>,
    blocks: Vec<Block>,
    /// Start to end.
    spans: BTreeMap<usize, usize>,
    held: usize,
    keys: u64,
    /// Calls that were told to fail.
    failing: BTreeSet<u64>,
    /// Somebody whom the OOM killer likes better.
    victim: Option<Pid>,
    kills: u64,
    refused: u64,
}

impl Program<'_, '_, '_> {
    fn calls(&self) -> u64 {
        self.cell.borrow_mut().plan(|plan| plan.calls_seen)
    }

    /// Whether a call since the `before`th was made to fail.
    fn disturbed(&self, before: u64) -> bool {
        self.failing.range(before + 1..self.calls() + 1).next().is_some()
    }

    fn plan(&mut self, nth: u64, what: Injection) {
        let at = self.calls() + nth;
        if what == Injection::CallFails {
            self.failing.insert(at);
        }
        self.cell.borrow_mut().plan(|plan| plan.at_call(at, what));
    }

    fn obtain(&mut self, pointer: usize, bytes: usize, align: usize, owner: usize, before: u64) {
        if pointer == 0 {
            let excused = self.disturbed(before) || bytes as u64 > RAM / 2 || align > 1 << 24;
            assert!(excused, "{bytes} bytes refused");
            self.refused += 1;
            return;
        }
        assert_eq!(pointer % align, 0, "{pointer:#x} is not aligned to {align}");
        let below = self.spans.range(..pointer + bytes.max(1)).next_back();
        assert!(below.is_none_or(|(_, end)| *end <= pointer), "two blocks at {pointer:#x}");
        self.keys += 1;
        let key = self.keys;
        fill(pointer, bytes, key);
        self.spans.insert(pointer, pointer + bytes);
        self.held += bytes;
        self.blocks.push(Block { pointer, bytes, owner, key });
    }

    fn verify(&self, block: Block) {
        let flaw = damage(block.pointer, block.bytes, block.bytes, block.key);
        assert_eq!(flaw, None, "a block at {:#x} was written to", block.pointer);
    }

    fn forget(&mut self, index: usize) -> Block {
        let block = self.blocks.swap_remove(index);
        self.verify(block);
        self.spans.remove(&block.pointer);
        self.held -= block.bytes;
        block
    }

    fn pick(&self, pick: usize) -> Option<usize> {
        let count = self.blocks.len();
        let recent = count.saturating_sub(1 + pick % 16);
        let index = if pick & 0x8000 == 0 { pick * 0x9e37 % count.max(1) } else { recent };
        (index < count).then_some(index)
    }

    fn free_at(&mut self, thread: usize, index: Option<usize>) {
        if let Some(index) = index {
            let block = self.forget(index);
            self.user.free(thread, block.pointer);
        }
    }

    /// Whether there is room for so much; frees something if not.
    fn has_room(&mut self, thread: usize, request: usize) -> bool {
        let full = self.blocks.len() >= self.setup.max_blocks
            || self.held >= self.setup.max_bytes
            || request > self.setup.max_bytes && request <= 1 << 38;
        if full {
            let index = self.pick(request ^ self.blocks.len());
            self.free_at(thread, index);
        }
        !full
    }

    fn malloc(&mut self, thread: usize, request: usize) {
        if self.has_room(thread, request) {
            let before = self.calls();
            let pointer = self.user.malloc(thread, request);
            self.obtain(pointer, request, 16, thread, before);
        }
    }

    fn memalign(&mut self, thread: usize, align: usize, request: usize) {
        if self.has_room(thread, request) {
            let before = self.calls();
            let pointer = self.user.memalign(thread, align, request);
            self.obtain(pointer, request, align.max(16), thread, before);
        }
    }

    fn realloc_one(&mut self, thread: usize, pick: usize, request: usize) {
        if !self.has_room(thread, request) {
            return;
        }
        match self.pick(pick) {
            Some(index) => self.realloc(thread, index, request),
            None => self.malloc(thread, request),
        }
    }

    fn realloc(&mut self, thread: usize, index: usize, request: usize) {
        let before = self.calls();
        let block = self.forget(index);
        let pointer = self.user.realloc(thread, block.pointer, request);
        if pointer != 0 {
            let upto = block.bytes.min(request);
            let flaw = damage(pointer, block.bytes, upto, block.key);
            assert_eq!(flaw, None, "realloc({:#x}, {request}) lost something", block.pointer);
        } else if request > 0 {
            // It stays as it was.
            self.spans.insert(block.pointer, block.pointer + block.bytes);
            self.held += block.bytes;
            self.blocks.push(block);
        } else {
            return;
        }
        self.obtain(pointer, request, 16, thread, before);
    }

    fn apply(&mut self, op: Op) {
        let user = self.user;
        let threads = self.setup.threads;
        match op {
            Op::Malloc { thread, request } => self.malloc(thread % threads, request),
            Op::MallocMany { thread, request, count } => {
                (0..count).for_each(|_| self.malloc(thread % threads, request));
            }
            Op::Calloc { thread, count, each } => {
                let bytes = count.saturating_mul(each);
                if self.has_room(thread, bytes) {
                    let before = self.calls();
                    let pointer = user.calloc(thread % threads, count, each);
                    if pointer != 0 {
                        assert_eq!(first_nonzero(pointer, bytes), None, "calloc is not zero");
                    }
                    self.obtain(pointer, bytes, 16, thread % threads, before);
                }
            }
            Op::Memalign { thread, align, request } => {
                self.memalign(thread % threads, align, request);
            }
            Op::Realloc { thread, pick, request } => {
                self.realloc_one(thread % threads, pick, request);
            }
            Op::FreeOwn { thread, pick } => {
                let near = (0..8).filter_map(|nth| self.pick(pick.wrapping_add(nth)));
                let owner = thread % threads;
                let own = near.reduce(
                    |best, next| {
                        if self.blocks[best].owner == owner { best } else { next }
                    },
                );
                self.free_at(owner, own);
            }
            Op::FreeAny { thread, pick } => self.free_at(thread % threads, self.pick(pick)),
            Op::FreeMany { thread, pick, count } => {
                for nth in 0..count {
                    let next = match pick % 3 {
                        0 => self.pick(0x8000),
                        1 => self.pick(0),
                        _ => self.pick(pick.wrapping_add(nth * 0x1235) & 0x7fff),
                    };
                    self.free_at(thread % threads, next);
                }
            }
            Op::Look { pick } => {
                let block = self.pick(pick).map(|index| self.blocks[index]);
                block.into_iter().for_each(|block| self.verify(block));
            }
            Op::Exit { thread } => {
                user.end_thread(thread % threads);
                if thread & 0x80 != 0 {
                    // A destructor that runs later still.
                    self.malloc(thread % threads, 100);
                }
                user.next_thread(thread % threads);
            }
            Op::Trim { thread, pad } => _ = user.trim(thread % threads, pad),
            Op::Tick => _ = user.alloc.tick(),
            Op::Pass { ns } => self.cell.borrow_mut().pass_ns(ns),
            Op::Set { setting, value } => _ = user.alloc.settings.set(setting, value),
            Op::Helper { allowed } => user.alloc.os.helper_allowed.set(allowed),
            Op::Awake { awake, .. } => user.alloc.os.asleep_ns.set(if awake { 1 << 40 } else { 0 }),
            Op::Fork { .. } => {
                user.alloc.before_fork();
                user.alloc.after_fork_in_parent();
            }
            Op::ForeignBreak { .. }
            | Op::BreakRace { .. }
            | Op::BlockBreak { .. }
            | Op::Fail { .. }
                if !self.setup.kind_kernel =>
            {
                self.disturb(op);
            }
            _ => {}
        }
    }

    fn disturb(&mut self, op: Op) {
        match op {
            Op::ForeignBreak { delta } | Op::BreakRace { delta } if delta > 0 => {
                self.plan(1, Injection::ForeignSbrk(delta as i64));
            }
            Op::BlockBreak { .. } => self.plan(1, Injection::MappingInTheWay),
            Op::Fail { nth, length, kinds } if kinds & 1 == 0 => {
                (0..length.min(20)).for_each(|more| self.plan(nth + more, Injection::CallFails));
            }
            Op::Fail { nth, .. } => {
                // Only ever somebody else: the killer takes who has the adjustment.
                let mut kernel = self.cell.borrow_mut();
                if self.victim.is_none_or(|victim| kernel.process(victim).is_none()) {
                    let victim = kernel.spawn("victim").unwrap();
                    let request = MapRequest::anonymous(4096, Prot::RW);
                    let at = kernel.mmap(victim, request);
                    if let Ok(at) = at {
                        kernel.touch(victim, at, Access::Write).unwrap();
                        kernel.process_mut(victim).unwrap().oom_adjust = 1000;
                        self.victim = Some(victim);
                    }
                }
                let ready = self.victim.is_some_and(|victim| kernel.process(victim).is_some());
                drop(kernel);
                if ready {
                    self.plan(nth, Injection::OutOfMemory);
                    self.kills += 1;
                }
            }
            _ => {}
        }
    }

    fn check(&self, step: u64) {
        let found = self.user.alloc.check();
        found.unwrap_or_else(|flaw| panic!("after step {step}: {flaw:?}"));
        assert_eq!(self.user.ended(), None, "after step {step}");
    }

    /// All goes back: blocks, then pages, then the process.
    fn finish(mut self) {
        self.cell.borrow_mut().plan(|plan| plan.lift());
        self.user.alloc.os.asleep_ns.set(0);
        self.user.alloc.os.helper_allowed.set(true);
        self.user.alloc.settings.set(Setting::Purge, 1);
        self.user.alloc.settings.set(Setting::PurgeHelper, 1);
        self.free_all();
        for thread in 0..self.setup.threads {
            self.user.end_thread(thread);
            self.user.next_thread(thread);
        }
        for _ in 0..3 {
            self.user.alloc.tick();
            self.cell.borrow_mut().pass_ns(1_000_000_000);
        }
        self.user.trim(0, 0);
        let figures = self.user.alloc.figures();
        assert_eq!((figures.cached.count, figures.fast.count), (0, 0), "left on its way");
        assert_eq!(figures.dirty_bytes, 0, "a trim leaves no dirty page");
        self.user.settle().unwrap();
        let mut kernel = self.cell.borrow_mut();
        kernel.check().unwrap_or_else(|flaw| panic!("the kernel: {flaw}"));
        let _ = self.victim.map(|victim| kernel.exit(victim));
    }

    fn free_all(&mut self) {
        while let Some(index) = self.pick(0x8000) {
            self.free_at(0, Some(index));
        }
    }
}

/// Runs a seed; how often something was refused, and how often somebody was killed.
fn run(behind: Behind, seed: u64, operations: u64, every: Option<u64>) -> (u64, u64) {
    let setup = Setup::of_seed(seed);
    let every = every.unwrap_or(setup.check_every as u64);
    let config = Config {
        seed,
        ram_bytes: RAM,
        cpus: setup.boot.cores.min(8),
        window: Some(behind),
        fidelity: Fidelity::Bytes,
        ..Config::default()
    };
    boot_shared(&config, |cell| {
        let frames = cell.borrow().free_frames();
        let pid = cell.borrow_mut().spawn("program").unwrap();
        // The killer takes others.
        cell.borrow_mut().process_mut(pid).unwrap().oom_adjust = -1000;
        let user = User::new(cell, pid, setup.threads);
        for &(setting, value) in &setup.settings {
            assert!(user.alloc.settings.set(setting, value));
        }
        let mut program = Program {
            setup,
            cell,
            user: &user,
            blocks: Vec::new(),
            spans: BTreeMap::new(),
            held: 0,
            keys: 0,
            failing: BTreeSet::new(),
            victim: None,
            kills: 0,
            refused: 0,
        };
        let mut rng = Rng::new(seed);
        for step in 0..operations {
            program.apply(Op::decode(rng.word()));
            if step % every == 0 {
                program.check(step);
            }
        }
        let told = (program.refused, cell.borrow().counts.oom_kills);
        program.finish();
        drop(user);
        cell.borrow_mut().exit(pid);
        let kernel = cell.borrow();
        kernel.check().unwrap_or_else(|flaw| panic!("the kernel at the end: {flaw}"));
        // What its own objects keep ready.
        let kept = frames - kernel.free_frames();
        assert!(kept <= 64, "{kept} frames are lost");
        told
    })
    .unwrap()
}

fn seeds(behind: Behind, count: u64, operations: u64, every: Option<u64>) {
    let operations = number("HEAPWISE_OPS", operations);
    let (first, count) = match number("HEAPWISE_SEED", u64::MAX) {
        u64::MAX => (0, number("HEAPWISE_SEEDS", count)),
        seed => (seed, 1),
    };
    let mut all = (0, 0);
    for seed in first..first + count {
        println!("HEAPWISE_SEED={seed} HEAPWISE_OPS={operations} replays this");
        let (refused, kills) = run(behind, seed, operations, every);
        all = (all.0 + refused, all.1 + kills);
    }
    println!("{count} seeds: {} requests refused, {} processes killed", all.0, all.1);
    assert!(count < 8 || all.0 > 0 && all.1 > 0, "nothing went wrong: {all:?}");
}

#[test]
fn long_runs_on_memory() {
    seeds(Behind::Memory, 16, 10_000, None);
}

#[test]
fn short_runs_on_memory_checked_after_every_step() {
    seeds(Behind::Memory, 24, 400, Some(1));
}

#[test]
fn runs_on_real_faults_checked_after_every_step() {
    seeds(Behind::Frames, 12, 300, Some(1));
}
