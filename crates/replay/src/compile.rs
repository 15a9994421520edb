//! From a trace to a script.
//!
//! One process is taken, that with the most allocations if none is named. A block is followed
//! by its address from its allocation to its free; what refers to a block that the trace does
//! not know is left out and counted.

use std::collections::HashMap;
use std::fmt;

use heapwise_layout::record::KernelOp;
use heapwise_trace::{Event, Trace, What};

use crate::script::{Calls, Op, Original, Script, Step};

/// So many samples, spread evenly over the time of the trace.
const SAMPLES: u64 = 400;
/// No fewer events than this between two samples: they cost a few microseconds each.
const EVENTS_PER_SAMPLE: u64 = 250;
/// A step of time is written when so much has passed.
const TIME_STEP_NS: u64 = 100_000;
/// Threads that a script can tell apart.
const MAX_THREADS: usize = 1 << 16;
/// No request was ever larger; an address space has 47 bits.
const MAX_REQUEST: u64 = 1 << 47;
/// What smaller blocks leave untouched does not matter.
const TOUCH_BYTES: u64 = 32 << 10;

/// What is wanted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Pid of the process; the one with the most allocations if `None`.
    pub pid: Option<u32>,
    /// Stop after so many events of it.
    pub first: Option<u64>,
}

/// Why there is no script.
#[derive(Debug)]
pub enum Error {
    /// The trace cannot be read.
    Trace(heapwise_trace::Error),
    /// It has no such process.
    NoProcess(u32),
    /// Nothing was allocated.
    Empty,
    /// It is a sampled profile: most allocations are missing.
    Sampled,
    /// More threads than can be told apart.
    Threads,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Trace(error) => write!(f, "{error}"),
            Self::NoProcess(pid) => write!(f, "has no process {pid}"),
            Self::Empty => f.write_str("has no allocations"),
            Self::Sampled => f.write_str(
                "is a sampled profile, which has only some of the allocations: record a full trace",
            ),
            Self::Threads => write!(f, "has more than {MAX_THREADS} threads"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Trace(error) => Some(error),
            _ => None,
        }
    }
}

/// Makes the script; `progress` is called now and then with the events read so far, of two
/// passes together. The damage at which reading ended, if it did not come to the trace's end,
/// is the second result.
///
/// # Errors
/// See [`Error`]. A trace that is cut or damaged gives what came before.
pub fn compile(
    trace: &Trace,
    options: Options,
    mut progress: impl FnMut(u64),
) -> Result<(Script, Option<heapwise_trace::Error>), Error> {
    let mut read = 0;
    let mut count = |read: &mut u64| {
        *read += 1;
        if read.is_multiple_of(65_536) {
            progress(*read);
        }
    };
    let mut extents: HashMap<u32, Extent> = HashMap::new();
    for event in trace.events() {
        let Ok(event) = event else { break };
        count(&mut read);
        extents.entry(event.process).or_insert(Extent::new(event.time_ns)).take(&event);
    }
    let chosen = choose(trace, &extents, options)?;
    let process = trace.process(chosen);
    if process.is_some_and(|process| process.sample_bytes > 0) {
        return Err(Error::Sampled);
    }
    let extent = extents.remove(&chosen).ok_or(Error::Empty)?;
    let mut compiler = Compiler::new(&extent);
    if let Some(process) = process {
        // The main thread's number is kept free until it speaks.
        compiler.threads.insert(process.pid, Thread { index: 0, free: Vec::new(), end: None });
        compiler.script.threads = 1;
        compiler.script.original.pid = process.pid;
        compiler.script.original.command.clone_from(&process.command);
    }
    let mut damage = None;
    let mut taken = 0;
    for event in trace.events() {
        match event {
            Ok(event) if event.process == chosen => {
                compiler.event(&event)?;
                taken += 1;
                if options.first.is_some_and(|first| taken >= first) {
                    break;
                }
            }
            Ok(_) => {}
            Err(error) => {
                damage = Some(error);
                break;
            }
        }
        count(&mut read);
    }
    let script = compiler.finish();
    if script.allocations == 0 {
        return Err(damage.map_or(Error::Empty, Error::Trace));
    }
    Ok((script, damage))
}

/// When a process's events were, and how many.
struct Extent {
    from_ns: u64,
    to_ns: u64,
    events: u64,
    allocations: u64,
    touches: bool,
}

impl Extent {
    fn new(at_ns: u64) -> Self {
        Self { from_ns: at_ns, to_ns: at_ns, events: 0, allocations: 0, touches: false }
    }

    fn take(&mut self, event: &Event) {
        self.to_ns = self.to_ns.max(event.time_ns);
        self.events += 1;
        self.allocations += u64::from(event.what.allocates().is_some());
        self.touches |= matches!(event.what, What::Touched { .. });
    }
}

fn choose(trace: &Trace, all: &HashMap<u32, Extent>, options: Options) -> Result<u32, Error> {
    let wanted = |&&index: &&u32| {
        options.pid.is_none_or(|pid| trace.process(index).is_some_and(|p| p.pid == pid))
    };
    let best = all.keys().filter(wanted).max_by_key(|&index| (all[index].allocations, !index));
    best.copied().ok_or(options.pid.map_or(Error::Empty, Error::NoProcess))
}

/// A block that the program holds.
#[derive(Clone, Copy)]
struct Block {
    slot: u32,
    size: u64,
}

/// A thread of the trace.
struct Thread {
    /// Its number in the script.
    index: u16,
    /// Slots that it emptied.
    free: Vec<u32>,
    /// Where its end stands, if it has come.
    end: Option<usize>,
}

struct Compiler {
    script: Script,
    blocks: HashMap<u64, Block>,
    threads: HashMap<u32, Thread>,
    from_ns: u64,
    sample_ns: u64,
    next_sample_ns: u64,
    now_ns: u64,
    told_ns: u64,
    live: u64,
    live_ns: u128,
    live_since_ns: u64,
    last: u16,
    /// Whether the trace says how much of large blocks was touched.
    touches: bool,
    /// By slot of a large block: the steps before its allocations, which say how much of it is touched.
    untold: HashMap<u32, Vec<usize>>,
}

impl Compiler {
    fn new(extent: &Extent) -> Self {
        let duration_ns = extent.to_ns - extent.from_ns;
        let samples = (extent.events / EVENTS_PER_SAMPLE).clamp(10, SAMPLES);
        let sample_ns = (duration_ns / samples).max(1);
        Self {
            script: Script { original: Original::default(), ..Script::default() },
            blocks: HashMap::new(),
            threads: HashMap::new(),
            from_ns: extent.from_ns,
            sample_ns,
            next_sample_ns: sample_ns,
            now_ns: 0,
            told_ns: 0,
            live: 0,
            live_ns: 0,
            live_since_ns: 0,
            last: 0,
            touches: extent.touches,
            untold: HashMap::new(),
        }
    }

    fn event(&mut self, event: &Event) -> Result<(), Error> {
        self.now_ns = event.time_ns.saturating_sub(self.from_ns).max(self.now_ns);
        match event.what {
            What::Sample { rss_bytes, .. } => {
                let peak = &mut self.script.original.rss_peak_bytes;
                *peak = rss_bytes.max(*peak);
                return Ok(());
            }
            What::Kernel(call) => {
                count(&mut self.script.original.calls, call.op);
                return Ok(());
            }
            What::Lost { records } => {
                self.script.original.lost += records;
                return Ok(());
            }
            What::Touched { address, bytes } => {
                self.touched(address, bytes);
                return Ok(());
            }
            What::ProcessStart | What::ProcessEnd | What::ProcessGone | What::Fork { .. } => {
                return Ok(());
            }
            _ => {}
        }
        let thread = self.thread(event.thread, event.what == What::ThreadStart)?;
        self.pass_time(thread);
        match event.what {
            What::Malloc { size, address, .. } => {
                self.allocate(event, Op::Malloc, size, address, 0)
            }
            What::Calloc { size, address, .. } => {
                self.allocate(event, Op::Calloc, size, address, 0)
            }
            What::Aligned { size, align, address, .. } => {
                let log2 = align.max(1).ilog2() as u8;
                self.allocate(event, Op::Aligned, size, address, log2);
            }
            What::Realloc { size, old, address, .. } => self.reallocate(event, size, old, address),
            What::Free { address } => self.free(event, address),
            What::ThreadEnd if thread != 0 => {
                let at = self.script.steps.len();
                self.script.steps.push(Step::plain(thread, Op::End));
                if let Some(known) = self.threads.get_mut(&event.thread) {
                    known.end = Some(at);
                }
            }
            _ => {}
        }
        self.script.live_peak_bytes = self.script.live_peak_bytes.max(self.live);
        Ok(())
    }

    /// The thread's number. One that the trace has not seen begins now, out of the thread that
    /// acted last; threads that have ended are waited for before.
    fn thread(&mut self, tid: u32, starts: bool) -> Result<u16, Error> {
        if let Some(known) = self.threads.get_mut(&tid)
            && (known.end.is_none() || !starts)
        {
            if let Some(at) = known.end.take() {
                // A destructor of the C library ran after ours.
                self.script.steps[at].op = Op::Nothing;
            }
            self.last = known.index;
            return Ok(known.index);
        }
        if self.script.threads as usize >= MAX_THREADS {
            return Err(Error::Threads);
        }
        let index = self.script.threads as u16;
        self.script.threads += 1;
        if index > 0 {
            let spawner = self.spawner();
            self.join_ended(spawner);
            let step = Step { slot: index.into(), ..Step::plain(spawner, Op::Spawn) };
            self.script.steps.push(step);
        }
        self.threads.insert(tid, Thread { index, free: Vec::new(), end: None });
        self.last = index;
        Ok(index)
    }

    /// The thread that acted last, if it still runs.
    fn spawner(&self) -> u16 {
        let runs = |t: &Thread| t.index == self.last && t.end.is_none();
        if self.threads.values().any(runs) { self.last } else { 0 }
    }

    /// Those that have ended are waited for; the slots that they emptied go to who waits.
    fn join_ended(&mut self, joiner: u16) {
        let mut ended: Vec<Thread> = Vec::new();
        self.threads.retain(|_, thread| {
            if thread.end.is_some() {
                ended.push(Thread { free: std::mem::take(&mut thread.free), ..*thread });
            }
            thread.end.is_none()
        });
        ended.sort_unstable_by_key(|thread| thread.index);
        let mut free = Vec::new();
        for mut thread in ended {
            free.append(&mut thread.free);
            let step = Step { slot: thread.index.into(), ..Step::plain(joiner, Op::Join) };
            self.script.steps.push(step);
        }
        if let Some(thread) = self.threads.values_mut().find(|thread| thread.index == joiner) {
            thread.free.append(&mut free);
        }
    }

    fn pass_time(&mut self, thread: u16) {
        while self.now_ns >= self.next_sample_ns {
            self.sample(thread);
            self.next_sample_ns += self.sample_ns;
        }
        if self.now_ns - self.told_ns >= TIME_STEP_NS {
            self.told_ns = self.now_ns;
            let step = Step { size: self.now_ns, ..Step::plain(thread, Op::Time) };
            self.script.steps.push(step);
        }
    }

    fn sample(&mut self, thread: u16) {
        let slot = self.script.samples;
        let step = Step { size: self.live, slot, ..Step::plain(thread, Op::Sample) };
        self.script.steps.push(step);
        self.script.samples += 1;
    }

    fn allocate(&mut self, event: &Event, op: Op, size: u64, address: u64, align_log2: u8) {
        if address == 0 || size > MAX_REQUEST || align_log2 > 40 {
            self.script.left_out += 1;
            return;
        }
        if self.blocks.contains_key(&address) {
            // Its free was lost.
            self.free(event, address);
        }
        let Some(thread) = self.threads.get_mut(&event.thread) else { return };
        let slot = thread.free.pop().unwrap_or_else(|| {
            self.script.slots += 1;
            self.script.slots - 1
        });
        let step = Step { size, slot, thread: thread.index, op, align_log2 };
        self.expect_touch(&step);
        self.script.steps.push(step);
        self.blocks.insert(address, Block { slot, size });
        self.script.allocations += 1;
        self.hold(size, 0);
    }

    fn reallocate(&mut self, event: &Event, size: u64, old: u64, address: u64) {
        let Some(block) = self.blocks.get(&old).copied() else {
            // Of a block from before the recording: a new one.
            self.allocate(event, Op::Malloc, size, address, 0);
            return;
        };
        if address == 0 && size == 0 {
            self.free(event, old);
            return;
        }
        if address == 0 || size > MAX_REQUEST {
            self.script.left_out += 1;
            return;
        }
        self.blocks.remove(&old);
        if self.blocks.contains_key(&address) {
            self.free(event, address);
        }
        let Some(thread) = self.threads.get(&event.thread) else { return };
        let (thread, slot) = (thread.index, block.slot);
        let step = Step { size, slot, thread, op: Op::Realloc, align_log2: 0 };
        self.expect_touch(&step);
        self.script.steps.push(step);
        self.blocks.insert(address, Block { slot, size });
        self.script.allocations += 1;
        self.hold(size, block.size);
    }

    fn free(&mut self, event: &Event, address: u64) {
        let Some(block) = self.blocks.remove(&address) else {
            self.script.left_out += 1;
            return;
        };
        let Some(thread) = self.threads.get_mut(&event.thread) else { return };
        thread.free.push(block.slot);
        self.untold.remove(&block.slot);
        let step = Step { slot: block.slot, ..Step::plain(thread.index, Op::Free) };
        self.script.steps.push(step);
        self.script.frees += 1;
        self.hold(0, block.size);
    }

    /// Before a large block is allocated, or gets another size: how much of it is touched will be
    /// told when it ends.
    fn expect_touch(&mut self, step: &Step) {
        if self.touches && step.size >= TOUCH_BYTES {
            self.untold.entry(step.slot).or_default().push(self.script.steps.len());
            let all = Step { size: u64::MAX, ..Step::plain(step.thread, Op::Touch) };
            self.script.steps.push(all);
        }
    }

    /// So much of a block was touched, whatever sizes it had on its way: it has only grown since it
    /// was told of last.
    fn touched(&mut self, address: u64, bytes: u64) {
        let slot = self.blocks.get(&address).map(|block| block.slot);
        for at in slot.and_then(|slot| self.untold.remove(&slot)).unwrap_or_default() {
            self.script.steps[at].size = bytes;
        }
    }

    fn hold(&mut self, more: u64, less: u64) {
        self.live_ns += u128::from(self.live) * u128::from(self.now_ns - self.live_since_ns);
        self.live_since_ns = self.now_ns;
        self.live = self.live + more - less;
    }

    fn finish(mut self) -> Script {
        self.sample(self.spawner());
        self.hold(0, 0);
        self.join_ended(0);
        self.script.duration_ns = self.now_ns;
        let mean = self.live_ns / u128::from(self.now_ns.max(1));
        self.script.live_mean_bytes = mean as u64;
        self.script.threads = self.script.threads.max(1);
        self.script
    }
}

fn count(calls: &mut Calls, op: KernelOp) {
    let counter = match op {
        KernelOp::Brk => &mut calls.brk,
        KernelOp::Mmap | KernelOp::Reserve => &mut calls.mmap,
        KernelOp::Munmap => &mut calls.munmap,
        KernelOp::Mremap => &mut calls.mremap,
        KernelOp::Mprotect => &mut calls.mprotect,
        KernelOp::Madvise => &mut calls.madvise,
    };
    *counter += 1;
}

#[cfg(test)]
mod tests {
    use super::*;
    use heapwise_trace::{Builder, ProcessStart, sample};

    fn script(events: &[(u32, What)]) -> Script {
        let mut builder = Builder::new(Vec::new()).unwrap();
        let process =
            builder.process(ProcessStart { pid: 1, ..ProcessStart::default() }, &["p"]).unwrap();
        for (index, &(thread, what)) in events.iter().enumerate() {
            let time_ns = 10 * index as u64;
            builder.push(&Event { time_ns, process, thread, what }).unwrap();
        }
        let trace = Trace::from_bytes(builder.finish().unwrap()).unwrap();
        compile(&trace, Options::default(), |_| ()).unwrap().0
    }

    fn malloc(address: u64) -> What {
        What::Malloc { size: 100, address, stack: 0 }
    }

    #[test]
    fn a_large_block_is_touched_as_far_as_its_end_tells() {
        let large = |size, address| What::Malloc { size, address, stack: 0 };
        let grown =
            |size, old, address| What::Realloc { size, old, address, stack: 0, kept: false };
        let told = |address, bytes| What::Touched { address, bytes };
        let script = script(&[
            (1, large(100 << 10, 0x100)),
            (1, malloc(0x200)),
            (1, large(200 << 10, 0x300)),
            (1, grown(300 << 10, 0x300, 0x400)),
            (1, told(0x400, 8192)),
            (1, grown(90 << 10, 0x400, 0x400)),
            (1, told(0x400, 4096)),
            (1, What::Free { address: 0x400 }),
            (1, What::Free { address: 0x100 }),
            (1, told(0x900, 1)),
            (1, large(100 << 10, 0x100)),
            (1, told(0x100, 0)),
        ]);
        let touches = script.steps.iter().filter(|step| step.op == Op::Touch);
        let sizes: Vec<u64> = touches.map(|step| step.size).collect();
        assert_eq!(sizes, [u64::MAX, 8192, 8192, 4096, 0]);
        let places = script.steps.iter().enumerate().filter(|(_, step)| step.op == Op::Touch);
        for (at, _) in places {
            assert!(matches!(script.steps[at + 1].op, Op::Malloc | Op::Realloc));
        }
    }

    /// Steps that do something, without samples.
    fn ops(script: &Script) -> Vec<(u16, Op, u32)> {
        let acts = |step: &&Step| !matches!(step.op, Op::Sample | Op::Time | Op::Nothing);
        script.steps.iter().filter(acts).map(|s| (s.thread, s.op, s.slot)).collect()
    }

    #[test]
    fn blocks_become_slots_that_are_used_again_by_who_freed_them() {
        let script = script(&[
            (1, malloc(0x100)),
            (1, malloc(0x200)),
            (1, What::Free { address: 0x100 }),
            (1, malloc(0x300)),
            (1, What::Free { address: 0x900 }),
            (1, What::Realloc { size: 300, old: 0x200, address: 0x100, stack: 0, kept: false }),
            (1, What::Realloc { size: 300, old: 0x100, address: 0, stack: 0, kept: false }),
        ]);
        assert_eq!(
            ops(&script),
            [
                (0, Op::Malloc, 0),
                (0, Op::Malloc, 1),
                (0, Op::Free, 0),
                (0, Op::Malloc, 0),
                (0, Op::Realloc, 1)
            ]
        );
        assert_eq!((script.slots, script.left_out, script.live_peak_bytes), (2, 2, 400));
    }

    #[test]
    fn threads_begin_and_are_waited_for() {
        let script = script(&[
            (1, malloc(0x100)),
            (7, What::ThreadStart),
            (7, malloc(0x200)),
            (7, What::ThreadEnd),
            (7, What::Free { address: 0x200 }),
            (7, What::ThreadEnd),
            (7, What::ThreadStart),
            (7, malloc(0x200)),
            (7, What::ThreadEnd),
            (1, malloc(0x300)),
        ]);
        assert_eq!(
            ops(&script),
            [
                (0, Op::Malloc, 0),
                (0, Op::Spawn, 1),
                (1, Op::Malloc, 1),
                (1, Op::Free, 1),
                (1, Op::End, 0),
                (0, Op::Join, 1),
                (0, Op::Spawn, 2),
                (2, Op::Malloc, 2),
                (2, Op::End, 0),
                // The slot that the first thread emptied is now of who waited for it.
                (0, Op::Malloc, 1),
                (0, Op::Join, 2),
            ]
        );
    }

    #[test]
    fn invented_programs_keep_their_balance() {
        for seed in 0..20 {
            let trace = Trace::from_bytes(sample::trace(seed, 4, 3000).unwrap()).unwrap();
            let (script, damage) = compile(&trace, Options::default(), |_| ()).unwrap();
            assert!(damage.is_none());
            let mut held = vec![false; script.slots as usize];
            for step in &script.steps {
                let slot = step.slot as usize;
                match step.op {
                    Op::Malloc | Op::Calloc | Op::Aligned => {
                        assert!(!std::mem::replace(&mut held[slot], true), "seed {seed}");
                    }
                    Op::Realloc => assert!(held[slot], "seed {seed}"),
                    Op::Free => {
                        assert!(std::mem::replace(&mut held[slot], false), "seed {seed}");
                    }
                    _ => {}
                }
            }
            assert_eq!(script.left_out, 0, "seed {seed}");
        }
    }
}
