//! Plays a script on our allocator over a simulated kernel.
//!
//! One thread plays all threads, in the order of the trace; the allocator is the real one,
//! its [`Os`](heapwise_malloc::os::Os) is [`os::SimOs`]. Nothing depends on the machine's load,
//! on its clock or on its kernel's mood: the same script gives the same figures. What it cannot
//! know is the allocator's own processor time, and how threads would have met.

pub mod os;
mod space;

use heapwise_layout::state::Cache;
use heapwise_malloc::cache::{Freed, free_fast, malloc_fast};
use heapwise_malloc::tunables::Setting;
use heapwise_malloc::{Allocator, Slot};

use self::os::{Prices, SimOs};
use crate::figures::Figures;
use crate::script::{Op, Script, Step};
use crate::streams::Touch;

/// The idle helper looks so often.
const TICK_NS: u64 = 500_000_000;

/// How it is played.
#[derive(Clone, Debug)]
pub struct Options {
    /// Settings of the allocator.
    pub settings: Vec<(Setting, usize)>,
    /// What is written into blocks; of whole blocks only a word a page is, which costs the
    /// same pages.
    pub touch: Touch,
    /// Whether time passes as in the trace; else as the prices say, one step after the other.
    pub paced: bool,
    /// Cores that the allocator may count on.
    pub cores: usize,
    /// What calls and faults cost.
    pub prices: Prices,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            settings: Vec::new(),
            touch: Touch::default(),
            paced: false,
            cores: 2,
            prices: Prices::default(),
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
/// The address space for the simulated one is not to be had; a setting is out of its range.
pub fn play(script: &Script, options: &Options) -> Result<Figures, Refused> {
    let os = SimOs::new(options.cores, options.prices)
        .ok_or_else(|| Refused("no address space for the simulated kernel".into()))?;
    let allocator = boxed(os);
    for &(setting, value) in &options.settings {
        if !allocator.settings.set(setting, value) {
            return Err(Refused(format!("{setting:?} cannot be {value}")));
        }
    }
    let threads = (0..script.threads).map(|_| Slot::new()).collect();
    let mut world = World {
        allocator,
        options,
        threads,
        blocks: vec![(0, 0); script.slots as usize],
        samples: Vec::with_capacity(script.samples as usize),
        next_tick_ns: TICK_NS,
        failed: 0,
    };
    for step in &script.steps {
        world.step(step);
    }
    Ok(world.figures())
}

/// An allocator on the heap: it is too large for a stack.
#[inline(never)]
fn boxed(os: SimOs) -> Box<Allocator<SimOs>> {
    Box::new(Allocator::new(os))
}

struct World<'a> {
    allocator: Box<Allocator<SimOs>>,
    options: &'a Options,
    threads: Vec<Slot>,
    /// Pointer and size of each block.
    blocks: Vec<(usize, usize)>,
    samples: Vec<u64>,
    next_tick_ns: u64,
    failed: u64,
}

impl World<'_> {
    fn step(&mut self, step: &Step) {
        let Self { allocator, threads, .. } = self;
        let slot = &threads[usize::from(step.thread)];
        let (size, number) = (step.size as usize, step.slot as usize);
        let os = &allocator.os;
        os.enter(step.thread);
        match step.op {
            Op::Malloc => {
                // SAFETY: the slot holds a cache, that of the thread that is played now.
                let fast = unsafe { malloc_fast(cache(slot), size) };
                let pointer = if fast == 0 { allocator.malloc(slot, size) } else { fast };
                self.obtain(number, pointer, size, 0, false);
            }
            Op::Calloc => {
                let pointer = allocator.calloc(slot, 1, size);
                self.obtain(number, pointer, size, 0, true);
            }
            Op::Aligned => {
                let pointer = allocator.memalign(slot, 1 << step.align_log2, size);
                self.obtain(number, pointer, size, 0, false);
            }
            Op::Realloc => {
                let (old, old_size) = self.blocks[number];
                let pointer = if old == 0 {
                    allocator.malloc(slot, size)
                } else {
                    allocator.realloc(slot, old, size)
                };
                if pointer == 0 && size > 0 {
                    self.failed += 1;
                } else {
                    self.obtain(number, pointer, size, old_size, false);
                }
            }
            Op::Free => {
                let (pointer, _) = std::mem::take(&mut self.blocks[number]);
                if pointer != 0 {
                    // SAFETY: as for malloc; the block is live.
                    match unsafe { free_fast(cache(slot), pointer) } {
                        Freed::Done => {}
                        Freed::Overflow => allocator.overflow_at(slot, pointer),
                        Freed::Not => allocator.free(slot, pointer),
                    }
                }
            }
            Op::Sample => self.samples.push(os.resident_bytes() as u64),
            Op::Time if self.options.paced => os.set_clock(step.size),
            Op::End => allocator.detach(slot),
            _ => {}
        }
        if !self.options.paced {
            self.allocator.os.pass_step(step);
        }
        self.tick();
    }

    /// The idle helper's looks that have come due.
    fn tick(&mut self) {
        while self.allocator.os.clock() >= self.next_tick_ns {
            self.next_tick_ns += TICK_NS;
            if self.allocator.os.helper_runs() {
                let goes_on = self.allocator.tick();
                self.allocator.os.keep_helper(goes_on);
            } else {
                // Nobody looks until one is asked for.
                self.next_tick_ns = self.next_tick_ns.max(self.allocator.os.clock());
            }
        }
    }

    fn obtain(&mut self, number: usize, pointer: usize, size: usize, from: usize, zeroed: bool) {
        self.blocks[number] = (pointer, size);
        if pointer == 0 {
            self.failed += u64::from(size > 0);
            return;
        }
        let leaves = match self.options.touch {
            Touch::Nothing => true,
            Touch::NotCalloc => zeroed,
            Touch::All | Touch::Pages => false,
        };
        if leaves || from >= size {
            return;
        }
        for offset in (from..size).step_by(os::PAGE_BYTES).chain([size - 1]) {
            // SAFETY: below `size`, in a block that is ours. Volatile: a write that nobody reads.
            unsafe { os::at::<u8>(pointer + offset).write_volatile(0xa5) };
        }
        self.allocator.os.touched(size - from);
    }

    fn figures(self) -> Figures {
        let samples = self.samples;
        let mut figures = self.allocator.os.figures();
        figures.rss_mean_bytes = samples.iter().sum::<u64>() / (samples.len() as u64).max(1);
        figures.rss_end_bytes = samples.last().copied().unwrap_or(0);
        figures.rss_peak_bytes =
            figures.rss_peak_bytes.max(samples.iter().copied().max().unwrap_or(0));
        figures.samples = samples;
        figures.failed = self.failed;
        figures
    }
}

fn cache(slot: &Slot) -> *mut Cache {
    os::at(slot.0.get())
}
