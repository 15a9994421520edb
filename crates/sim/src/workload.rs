//! Programs made up by a seed, many at once, on all processors.
//!
//! ```text
//!   each step: a processor (in turn) ─► its process, or after a quantum the next ─► one operation
//! ```
//! The kinds differ in what their processes like to do. One seed, one run.

use crate::event::Pid;
use crate::kernel::Kernel;
use crate::touch::TouchError;
use heapwise_pages::PAGE_SIZE;
use heapwise_seed::Rng;
use heapwise_vm::{Access, Advice, MapFlags, MapRequest, Prot, RemapRequest, VirtAddr};

/// What the processes like to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Buffers that come, are filled and go, beside a heap that grows and shrinks.
    Server,
    /// Many children that write a little and end.
    Forks,
    /// Heaps that only grow, until the OOM killer comes.
    Hungry,
    /// All calls alike, shared memory too.
    Mixed,
}

/// All kinds, with their names and what they are.
pub const KINDS: [(&str, Kind, &str); 4] = [
    ("server", Kind::Server, "buffers come, are filled and go, beside heaps that breathe"),
    ("forks", Kind::Forks, "children that write a little to what they share, and end"),
    ("hungry", Kind::Hungry, "heaps that only grow, until the OOM killer comes"),
    ("mixed", Kind::Mixed, "all calls alike, shared memory too"),
];

/// A process keeps a processor for so many operations.
const QUANTUM: u64 = 50;
/// Mappings that a process holds at most.
const MOST_HELD: usize = 64;

/// A mapping.
#[derive(Clone, Copy)]
struct Block {
    at: VirtAddr,
    pages: u64,
}

/// A process's part.
struct Job {
    pid: Pid,
    blocks: Vec<Block>,
    is_child: bool,
}

/// A running workload.
pub struct Workload {
    kind: Kind,
    rng: Rng,
    jobs: Vec<Job>,
    wanted: usize,
    /// By processor: which job, and for how many operations more.
    places: Vec<(usize, u64)>,
}

impl Workload {
    /// So many processes of a kind.
    #[must_use]
    pub fn new(kind: Kind, processes: usize, seed: u64) -> Self {
        let wanted = processes.max(1);
        Self { kind, rng: Rng::new(seed), jobs: Vec::new(), wanted, places: Vec::new() }
    }

    /// One operation on one processor. O(pages of the operation).
    pub fn step(&mut self, kernel: &mut Kernel<'_>) {
        self.places.resize(kernel.cpus(), (0, 0));
        // As many as are wanted, whatever became of the others.
        if self.jobs.len() < self.wanted {
            match kernel.spawn("job") {
                Ok(pid) => self.jobs.push(Job { pid, blocks: Vec::new(), is_child: false }),
                Err(_) if self.jobs.is_empty() => {
                    kernel.pass_ns(1000);
                    return;
                }
                Err(_) => {}
            }
        }
        let cpu = self.rng.below(kernel.cpus() as u64) as usize;
        let (job, left) = &mut self.places[cpu];
        if *left == 0 || *job >= self.jobs.len() {
            *job = self.rng.below(self.jobs.len() as u64) as usize;
            *left = QUANTUM;
        }
        *left -= 1;
        let nth = *job;
        kernel.on_cpu(cpu);
        let alive = self.operate(kernel, nth);
        // A job that another one's fault has killed shows at its next turn.
        if !alive || kernel.process(self.jobs[nth].pid).is_none() {
            self.jobs.swap_remove(nth);
            self.places.fill((0, 0));
        }
    }

    /// One operation of a job; false if it has ended.
    fn operate(&mut self, kernel: &mut Kernel<'_>, nth: usize) -> bool {
        let pid = self.jobs[nth].pid;
        if kernel.process(pid).is_none() {
            return false;
        }
        let dice = self.rng.below(100);
        let full = self.jobs[nth].blocks.len() >= MOST_HELD;
        match (self.kind, dice) {
            (Kind::Server, 0..20) if !full => self.map(kernel, nth, 64, false),
            (Kind::Server, 20..40) => self.unmap(kernel, nth),
            (Kind::Server, 40..46) => self.breathe(kernel, nth),
            (Kind::Server, 46..49) => self.advise(kernel, nth),
            (Kind::Forks, 0..6) if self.jobs.len() < 4 * self.wanted => self.fork(kernel, nth),
            (Kind::Forks, 6..12) if self.jobs[nth].is_child => {
                kernel.exit(pid);
                return false;
            }
            (Kind::Forks, 12..18) if !full => self.map(kernel, nth, 32, false),
            (Kind::Hungry, 0..10) => self.grow(kernel, nth, 256),
            (Kind::Hungry, 10..14) if !full => self.map(kernel, nth, 1024, false),
            (Kind::Mixed, 0..10) if !full => self.map(kernel, nth, 200, dice < 3),
            (Kind::Mixed, 10..18) => self.unmap(kernel, nth),
            (Kind::Mixed, 18..24) => self.breathe(kernel, nth),
            (Kind::Mixed, 24..30) => self.advise(kernel, nth),
            (Kind::Mixed, 30..34) => self.resize(kernel, nth),
            (Kind::Mixed, 34..36) if self.jobs.len() < 2 * self.wanted => self.fork(kernel, nth),
            (Kind::Mixed, 36..38) if self.jobs[nth].is_child => {
                kernel.exit(pid);
                return false;
            }
            _ => return self.touch(kernel, nth),
        }
        true
    }

    /// Up or down by up to so many pages.
    fn breathe(&mut self, kernel: &mut Kernel<'_>, nth: usize) {
        let pages = self.rng.below(128) as i64 - 64;
        self.grow(kernel, nth, pages);
    }

    fn pick(&mut self, nth: usize) -> Option<usize> {
        let held = self.jobs[nth].blocks.len() as u64;
        (held > 0).then(|| self.rng.below(held) as usize)
    }

    fn map(&mut self, kernel: &mut Kernel<'_>, nth: usize, most: u64, shared: bool) {
        let pages = 1 + self.rng.below(most);
        let mut request = MapRequest::anonymous(pages * PAGE_SIZE, Prot::RW);
        if shared {
            request.flags = MapFlags::SHARED | MapFlags::ANONYMOUS;
        }
        if let Ok(at) = kernel.mmap(self.jobs[nth].pid, request) {
            self.jobs[nth].blocks.push(Block { at, pages });
        }
    }

    fn unmap(&mut self, kernel: &mut Kernel<'_>, nth: usize) {
        if let Some(pick) = self.pick(nth) {
            let job = &mut self.jobs[nth];
            let block = job.blocks.swap_remove(pick);
            // Refused only where the plan says so; then it stays mapped till the end.
            let _ = kernel.munmap(job.pid, block.at, block.pages * PAGE_SIZE);
        }
    }

    fn grow(&mut self, kernel: &mut Kernel<'_>, nth: usize, pages: i64) {
        let pid = self.jobs[nth].pid;
        if kernel.sbrk(pid, pages * PAGE_SIZE as i64).is_some() && pages > 0 {
            let Some(process) = kernel.process(pid) else { return };
            let end = process.mm.bounds.brk;
            // The last mapping stands for the new part of the heap, until it goes.
            let at = end.down(pages as u64 * PAGE_SIZE).page();
            let _ = kernel.touch(pid, at, Access::Write);
        }
    }

    fn advise(&mut self, kernel: &mut Kernel<'_>, nth: usize) {
        if let Some(pick) = self.pick(nth) {
            let Block { at, pages } = self.jobs[nth].blocks[pick];
            let advice = if self.rng.one_in(2) { Advice::DontNeed } else { Advice::Free };
            let bytes = (1 + self.rng.below(pages)) * PAGE_SIZE;
            let _ = kernel.madvise(self.jobs[nth].pid, at, bytes, advice);
        }
    }

    fn resize(&mut self, kernel: &mut Kernel<'_>, nth: usize) {
        if let Some(pick) = self.pick(nth) {
            let Block { at, pages } = self.jobs[nth].blocks[pick];
            let new = 1 + self.rng.below(2 * pages);
            let request = RemapRequest::resize(at, pages * PAGE_SIZE, new * PAGE_SIZE);
            if let Ok(at) = kernel.mremap(self.jobs[nth].pid, request) {
                self.jobs[nth].blocks[pick] = Block { at, pages: new };
            }
        }
    }

    fn fork(&mut self, kernel: &mut Kernel<'_>, nth: usize) {
        let blocks = self.jobs[nth].blocks.clone();
        if let Ok(pid) = kernel.fork(self.jobs[nth].pid) {
            self.jobs.push(Job { pid, blocks, is_child: true });
        }
    }

    /// A few pages in a row; false if that was the end of the process.
    fn touch(&mut self, kernel: &mut Kernel<'_>, nth: usize) -> bool {
        let Some(pick) = self.pick(nth) else {
            self.map(kernel, nth, 64, false);
            return true;
        };
        let Block { at, pages } = self.jobs[nth].blocks[pick];
        let from = self.rng.below(pages);
        let count = (1 + self.rng.below(8)).min(pages - from);
        let access = if self.rng.one_in(4) { Access::Read } else { Access::Write };
        let start = at.up(from * PAGE_SIZE);
        let end = kernel.touch_range(self.jobs[nth].pid, start, count * PAGE_SIZE, access);
        // A signal: the mapping was cut by a call that the plan failed half-way. It is not
        // handled, so the process would be gone; here it goes on.
        matches!(end, Ok(()) | Err(TouchError::Signal(_)))
    }
}
