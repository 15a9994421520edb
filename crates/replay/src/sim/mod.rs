//! Plays a script on our allocator over the simulated kernel of [`heapwise_sim`].
//!
//! ```text
//!   steps ─► User: malloc, free, writes ─► Kernel: calls, faults, frames, each with its price
//!                                            └─► Figures: RSS, faults, calls, time · Machine
//! ```
//! One thread plays all threads, in the order of the trace, on the real allocator. Nothing depends
//! on the machine's load, on its clock or on its kernel's mood: the same script gives the same
//! figures. What it cannot know is the allocator's own processor time, and how threads would
//! have met.

mod machine;

use std::cell::RefCell;

use heapwise_malloc::tunables::Setting;
use heapwise_sim::user::User;
use heapwise_sim::{Behind, Config, Fidelity, Kernel, TouchError, boot_shared};
use heapwise_vm::Overcommit;

pub use self::machine::{Machine, Peak};
pub use heapwise_sim::Prices;

use crate::figures::Figures;
use crate::script::{Calls, Op, Script, Step};
use crate::streams::Touch;

/// The idle helper looks so often.
const TICK_NS: u64 = 500_000_000;
/// A thread counts as asleep when it has done nothing for so long.
const ASLEEP_NS: u64 = 100_000_000;
/// The allocator's own stores are looked up once it may have touched so much, in parts of the
/// peak; the program's own are known at once.
const PEAK_PART: u64 = 512;
/// And not before so much.
const PEAK_MIN_BYTES: u64 = 256 << 10;
/// What the machine has beyond twice what the program holds.
const SPARE_BYTES: u64 = 64 << 20;
/// A program that does not fit gets a machine twice as large, up to so much: the addresses that
/// a program can have.
const MOST_BYTES: u64 = 64 << 30;
/// `VmRSS` is told in these.
const PAGE_BYTES: u64 = 4096;

/// How it is played.
#[derive(Clone, Debug)]
pub struct Options {
    /// Settings of the allocator.
    pub settings: Vec<(Setting, usize)>,
    /// What is written into blocks; of whole blocks only a byte a page is, which costs the
    /// same pages.
    pub touch: Touch,
    /// Whether time passes as in the trace; else as the prices say, one step after the other.
    pub paced: bool,
    /// Processors; threads run on them in turn.
    pub cores: usize,
    /// What calls and faults cost.
    pub prices: Prices,
    /// What a step costs that stays out of the kernel.
    pub step_ns: u64,
    /// What a KiB costs that the program writes.
    pub write_ns_a_kib: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            settings: Vec::new(),
            touch: Touch::default(),
            paced: false,
            cores: 2,
            prices: Prices::default(),
            step_ns: 22,
            write_ns_a_kib: 60,
        }
    }
}

/// A script that cannot be played: why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused(pub String);

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

/// Plays it.
///
/// # Errors
/// The host has no room for the machine; the program does not fit into the largest one; a
/// setting is out of its range.
pub fn play(script: &Script, options: &Options) -> Result<Figures, Refused> {
    let mut ram_bytes = (2 * script.live_peak_bytes + SPARE_BYTES).min(MOST_BYTES);
    loop {
        match attempt(script, options, ram_bytes)? {
            Ok(figures) => return Ok(figures),
            Err(TouchError::Killed | TouchError::Deadlock) if ram_bytes < MOST_BYTES => {
                ram_bytes = (2 * ram_bytes).min(MOST_BYTES);
            }
            Err(error) => return Err(Refused(format!("the simulated program ends: {error}"))),
        }
    }
}

/// Plays it on a machine with so much memory.
fn attempt(
    script: &Script,
    options: &Options,
    ram_bytes: u64,
) -> Result<Result<Figures, TouchError>, Refused> {
    let config = Config {
        ram_bytes,
        cpus: options.cores.clamp(1, 64),
        // What a program asks for and never touches is granted, as by a host with enough.
        overcommit: Overcommit::Always,
        prices: options.prices,
        fidelity: Fidelity::Nothing,
        window: Some(Behind::Memory),
        huge_pages: true,
        ..Config::default()
    };
    let played = boot_shared(&config, |kernel| {
        let pid = kernel.borrow_mut().spawn("replay");
        let pid = pid.map_err(|error| Refused(format!("the simulated program: {error}")))?;
        let user = User::new(kernel, pid, script.threads.max(1) as usize);
        user.alloc.os.asleep_ns.set(ASLEEP_NS);
        for &(setting, value) in &options.settings {
            if !user.alloc.settings.set(setting, value) {
                return Err(Refused(format!("{setting:?} cannot be {value}")));
            }
        }
        let mut world = World::new(kernel, user, script, options);
        let played = script.steps.iter().try_for_each(|step| world.step(step));
        Ok(played.and_then(|()| world.figures()))
    });
    played.map_err(|error| Refused(error.to_string()))?
}

/// The program and its machine while they run.
struct World<'k, 'm, 'a> {
    kernel: &'k RefCell<Kernel<'m>>,
    user: User<'k, 'm>,
    options: &'a Options,
    /// Pointer of each block, and as far as it was written to.
    blocks: Vec<(usize, usize)>,
    /// By thread: how much of its next block is touched.
    limits: Vec<usize>,
    samples: Vec<u64>,
    /// When the first step begins.
    begun_ns: u64,
    /// Of the time since: what passed outside the kernel.
    program_ns: u64,
    next_tick_ns: u64,
    /// How often the allocator had asked for its helper when it was last looked at, and
    /// whether it runs.
    helper: (u32, bool),
    /// Resident before the first step.
    base_pages: u64,
    /// Faults before the first step.
    base_faults: u64,
    peak_pages: u64,
    peak: Peak,
    /// Bytes that the allocator may have touched since it was last looked up.
    unseen: u64,
    failed: u64,
    most_vmas: u64,
}

impl<'k, 'm, 'a> World<'k, 'm, 'a> {
    fn new(
        kernel: &'k RefCell<Kernel<'m>>,
        user: User<'k, 'm>,
        script: &Script,
        options: &'a Options,
    ) -> Self {
        let mut world = Self {
            kernel,
            user,
            options,
            blocks: vec![(0, 0); script.slots as usize],
            limits: vec![usize::MAX; script.threads.max(1) as usize],
            samples: Vec::with_capacity(script.samples as usize),
            begun_ns: kernel.borrow().now_ns(),
            program_ns: 0,
            next_tick_ns: 0,
            helper: (0, false),
            base_pages: 0,
            base_faults: kernel.borrow().counts.faults,
            peak_pages: 0,
            peak: Peak::default(),
            unseen: 0,
            failed: 0,
            most_vmas: 0,
        };
        world.base_pages = world.anonymous_pages();
        world.next_tick_ns = world.begun_ns + TICK_NS;
        world
    }

    fn step(&mut self, step: &Step) -> Result<(), TouchError> {
        let (size, number) = (step.size as usize, step.slot as usize);
        let thread = usize::from(step.thread);
        self.kernel.borrow_mut().on_cpu(thread % self.options.cores.clamp(1, 64));
        match step.op {
            Op::Malloc => {
                let pointer = self.user.malloc(thread, size);
                self.obtain(step, pointer, 0)?;
            }
            Op::Calloc => {
                let pointer = self.user.calloc(thread, 1, size);
                self.obtain(step, pointer, 0)?;
            }
            Op::Aligned => {
                let pointer = self.user.memalign(thread, 1 << step.align_log2, size);
                self.obtain(step, pointer, 0)?;
            }
            Op::Realloc => {
                let (old, old_size) = self.blocks[number];
                let pointer = match old {
                    0 => self.user.malloc(thread, size),
                    old => self.user.realloc(thread, old, size),
                };
                if pointer == 0 && size > 0 {
                    self.failed += 1;
                } else {
                    self.obtain(step, pointer, old_size)?;
                }
            }
            Op::Free => {
                let (pointer, bytes) = std::mem::take(&mut self.blocks[number]);
                if pointer != 0 {
                    if bytes as u64 >= PEAK_MIN_BYTES {
                        self.look(false)?;
                    }
                    self.user.free(thread, pointer);
                }
            }
            Op::Sample => self.sample(step.size)?,
            Op::Time if self.options.paced => {
                let since = self.kernel.borrow().now_ns() - self.begun_ns;
                self.pass(step.size.saturating_sub(since));
            }
            Op::End => self.user.end_thread(thread),
            Op::Touch => self.limits[thread] = size,
            _ => {}
        }
        if !self.options.paced {
            self.pass(self.price(step));
        }
        self.tick();
        self.user.ended().map_or(Ok(()), Err)
    }

    /// What the program itself takes for a step.
    fn price(&self, step: &Step) -> u64 {
        let written = match step.op {
            Op::Malloc | Op::Calloc | Op::Aligned | Op::Realloc => step.size >> 10,
            Op::Free => 0,
            _ => return 0,
        };
        let written = if self.options.touch == Touch::All { written } else { 0 };
        self.options.step_ns + written.saturating_mul(self.options.write_ns_a_kib)
    }

    fn pass(&mut self, ns: u64) {
        self.program_ns += ns;
        self.kernel.borrow_mut().pass_ns(ns);
    }

    /// The idle helper's looks that have come due.
    fn tick(&mut self) {
        let now = self.kernel.borrow().now_ns();
        while now >= self.next_tick_ns {
            self.next_tick_ns += TICK_NS;
            let starts = self.user.alloc.os.helper_starts.get();
            let runs = self.helper.1 || starts != self.helper.0;
            if !runs {
                // Nobody looks until one is asked for.
                self.next_tick_ns = self.next_tick_ns.max(now);
                continue;
            }
            // It is a thread of its own: all others may be asleep.
            self.user.alloc.os.run_thread(0);
            self.helper = (starts, self.user.alloc.tick());
        }
    }

    /// A step has its block, of which `from` bytes were written before.
    fn obtain(&mut self, step: &Step, pointer: usize, from: usize) -> Result<(), TouchError> {
        let size = step.size as usize;
        let limit = &mut self.limits[usize::from(step.thread)];
        let until = size.min(std::mem::replace(limit, usize::MAX));
        self.blocks[step.slot as usize] = (pointer, until);
        if pointer == 0 {
            self.failed += u64::from(size > 0);
            return Ok(());
        }
        self.unseen += until.saturating_sub(from) as u64 + PAGE_BYTES;
        let leaves = match self.options.touch {
            Touch::Nothing => true,
            Touch::NotCalloc => step.op == Op::Calloc,
            Touch::All | Touch::Pages => false,
        };
        if leaves || from >= until {
            return Ok(());
        }
        self.user.write(pointer + from, until - from, 0xa5)
    }

    /// Resident anonymous pages of the program, the heap's and those that it began with.
    fn anonymous_pages(&self) -> u64 {
        let kernel = self.kernel.borrow();
        kernel.process(self.user.pid()).map_or(0, |process| process.mm.rss().anon)
    }

    /// What the heap has in memory, bytes; unless `exact`, the allocator's own stores are looked
    /// up only if they may matter.
    fn look(&mut self, exact: bool) -> Result<u64, TouchError> {
        let least = PEAK_MIN_BYTES.max(self.peak_pages * PAGE_BYTES / PEAK_PART);
        if (exact && self.unseen > 0) || self.unseen >= least {
            self.user.settle()?;
            self.unseen = 0;
        }
        let pages = self.anonymous_pages() - self.base_pages;
        self.peak_pages = self.peak_pages.max(pages);
        Ok(pages * PAGE_BYTES)
    }

    fn sample(&mut self, held_bytes: u64) -> Result<(), TouchError> {
        let rss_bytes = self.look(true)?;
        self.samples.push(rss_bytes);
        let vmas = self.kernel.borrow().process(self.user.pid()).map_or(0, |p| p.mm.map_count());
        self.most_vmas = self.most_vmas.max(u64::from(vmas));
        if self.peak.is_beaten_by(rss_bytes) {
            self.peak = Peak::new(rss_bytes, held_bytes, &self.user.alloc.figures());
        }
        Ok(())
    }

    fn figures(mut self) -> Result<Figures, TouchError> {
        let end = self.look(true)?;
        let samples = self.samples;
        let kernel = self.kernel.borrow();
        let counts = kernel.counts;
        let wall_ns = kernel.now_ns() - self.begun_ns;
        let sampled = samples.iter().copied().max().unwrap_or(0);
        Ok(Figures {
            wall_ns,
            user_ns: 0,
            system_ns: wall_ns - self.program_ns,
            rss_peak_bytes: sampled.max(self.peak_pages * PAGE_BYTES),
            rss_mean_bytes: samples.iter().sum::<u64>() / (samples.len() as u64).max(1),
            rss_end_bytes: samples.last().copied().unwrap_or(end),
            faults: counts.faults - self.base_faults,
            calls: Some(Calls {
                brk: counts.brk,
                mmap: counts.mmap,
                munmap: counts.munmap,
                mremap: counts.mremap,
                mprotect: counts.mprotect,
                madvise: counts.madvise,
            }),
            machine: Some(Machine::of(&kernel, self.user.pid(), self.most_vmas, self.peak)),
            samples,
            failed: self.failed,
        })
    }
}
