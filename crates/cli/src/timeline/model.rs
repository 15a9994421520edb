//! The story of a trace: moments at equal distances, and calls joined with what they asked of the
//! kernel.
//!
//! An allocation's kernel calls stand before it in its thread, a free's behind
//! it; each says what caused it. Memory: the live blocks, and what is shown.

use std::collections::HashMap;

use heapwise_trace::{Cause, Error, Event, KernelCall, Trace, What};

use crate::progress::Progress;

/// Moments of a story.
pub const MOMENTS: usize = 60;

/// What to show.
pub struct Wanted {
    /// Only this process.
    pub pid: Option<u32>,
    /// Also calls without the kernel.
    pub all: bool,
    /// Most calls to keep.
    pub limit: usize,
}

/// One moment: sums up to it, and what happened since the one before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Moment {
    /// Nanoseconds since the beginning.
    pub time_ns: u64,
    /// Requested bytes that live.
    pub live_bytes: u64,
    /// Blocks that live.
    pub live_blocks: u64,
    /// RSS of all processes, as last seen.
    pub rss_bytes: u64,
    /// Since the moment before.
    pub allocations: u64,
    /// Since the moment before.
    pub frees: u64,
    /// Since the moment before.
    pub kernel_calls: u64,
    /// Minor faults since the moment before.
    pub minor_faults: u64,
}

/// A call, or calls, as shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// A call of the program and its kernel calls; of the allocator itself if `event` is none.
    Call {
        /// When, where, what.
        event: Option<Event>,
        /// The kernel's part: when and what.
        kernel: Vec<(u64, KernelCall)>,
        /// Process and thread.
        pid: u32,
        /// See `pid`.
        thread: u32,
        /// When.
        time_ns: u64,
    },
    /// So many allocations and frees without the kernel.
    Quiet {
        /// Allocations.
        allocations: u64,
        /// Frees.
        frees: u64,
    },
    /// A process begins, forks, ends; a thread lost records.
    Turn {
        /// When and what.
        event: Event,
        /// Its pid.
        pid: u32,
    },
}

/// How often each kernel call was made, for whom.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Account {
    /// The call.
    pub call: &'static str,
    /// What caused it.
    pub cause: &'static str,
    /// How often.
    pub count: u64,
    /// Bytes of all.
    pub bytes: u64,
}

/// All that is shown of a trace.
#[derive(Debug, Default)]
pub struct Story {
    /// The command recorded.
    pub command: String,
    /// Length.
    pub duration_ns: u64,
    /// Over time.
    pub moments: Vec<Moment>,
    /// Calls.
    pub lines: Vec<Line>,
    /// Lines beyond the limit.
    pub more: u64,
    /// Kernel calls by cause.
    pub accounts: Vec<Account>,
    /// In all.
    pub allocations: u64,
    /// In all.
    pub frees: u64,
    /// Highest live bytes.
    pub live_peak_bytes: u64,
    /// Highest RSS seen.
    pub rss_peak_bytes: u64,
    /// Records that found no room.
    pub lost: u64,
    /// What is wrong behind what was read.
    pub damage: Option<Error>,
}

/// What a thread has begun.
#[derive(Default)]
struct Thread {
    free: Option<Event>,
    behind_free: Vec<(u64, KernelCall)>,
    before_allocation: Vec<(u64, KernelCall)>,
}

struct Reader<'a> {
    story: Story,
    wanted: &'a Wanted,
    threads: HashMap<(u32, u32), Thread>,
    live: HashMap<(u32, u64), u64>,
    figures: HashMap<u32, (u64, u64)>,
    /// By pid: which image of it runs.
    images: HashMap<u32, u32>,
    /// By name: space that is only reserved is mapped too.
    accounts: HashMap<(&'static str, Cause), (u64, u64)>,
    now: Moment,
    /// The memory of all when the first of those ended after which nobody allocated.
    before_ends: Option<Moment>,
    quiet: (u64, u64),
}

impl Story {
    /// Reads a trace once.
    pub fn of(trace: &Trace, wanted: &Wanted) -> Result<Self, Error> {
        let mut reader = Reader {
            story: Self {
                command: trace.recording().note("command").unwrap_or("?").to_owned(),
                duration_ns: trace.duration_ns(),
                ..Self::default()
            },
            wanted,
            threads: HashMap::new(),
            live: HashMap::new(),
            figures: HashMap::new(),
            images: HashMap::new(),
            accounts: HashMap::new(),
            now: Moment::default(),
            before_ends: None,
            quiet: (0, 0),
        };
        let progress = Progress::new("Reading the trace", trace.records());
        for (number, event) in trace.events().enumerate() {
            if number % 65_536 == 0 {
                progress.set(number as u64);
            }
            match event {
                Ok(event) => {
                    let process = trace.process(event.process);
                    let pid = process.map_or(0, |process| process.pid);
                    if wanted.pid.is_none_or(|wanted| wanted == pid) {
                        let parent = process.and_then(|process| process.forked_from);
                        reader.take(event, pid, parent);
                    }
                }
                Err(Error::Io(error)) => return Err(Error::Io(error)),
                Err(damage) => reader.story.damage = Some(damage),
            }
        }
        progress.clear();
        Ok(reader.finish(trace))
    }
}

impl Reader<'_> {
    fn take(&mut self, event: Event, pid: u32, parent: Option<u32>) {
        let whole = self.story.duration_ns.max(1);
        while (self.story.moments.len() as u64) < MOMENTS as u64 - 1
            && u128::from(event.time_ns) * MOMENTS as u128
                >= u128::from(whole) * (self.story.moments.len() as u128 + 1)
        {
            let time = whole / MOMENTS as u64 * (self.story.moments.len() as u64 + 1);
            self.note_moment(time);
        }
        let key = (event.process, event.thread);
        if event.what.allocates().is_some() || event.what == What::ProcessStart {
            self.before_ends = None;
        }
        match event.what {
            What::Kernel(call) => self.take_kernel(event, pid, call),
            What::Free { address } => {
                self.end_free(key, pid);
                self.story.frees += 1;
                self.now.frees += 1;
                self.forget(event.process, address);
                self.threads.entry(key).or_default().free = Some(event);
            }
            What::Sample { rss_bytes, minor_faults, .. } => {
                let before = self.figures.insert(event.process, (rss_bytes, minor_faults));
                self.now.minor_faults += minor_faults - before.map_or(0, |b| b.1.min(minor_faults));
                self.sum_rss();
                self.story.rss_peak_bytes = self.story.rss_peak_bytes.max(self.now.rss_bytes);
            }
            What::ProcessStart
            | What::ProcessEnd
            | What::ProcessGone
            | What::Fork { .. }
            | What::Lost { .. } => {
                self.turn(event, pid, parent);
                self.end_free(key, pid);
                self.say(Line::Turn { event, pid });
            }
            What::ThreadStart | What::ThreadEnd | What::Touched { .. } => self.end_free(key, pid),
            _ => {
                self.end_free(key, pid);
                self.story.allocations += 1;
                self.now.allocations += 1;
                if let Some(old) = event.what.frees() {
                    self.forget(event.process, old);
                }
                if let Some((address, size)) = event.what.allocates() {
                    self.forget(event.process, address);
                    self.live.insert((event.process, address), size);
                    self.now.live_bytes += size;
                    self.now.live_blocks += 1;
                    self.story.live_peak_bytes =
                        self.story.live_peak_bytes.max(self.now.live_bytes);
                }
                let thread = self.threads.entry(key).or_default();
                let kernel = std::mem::take(&mut thread.before_allocation);
                self.call(event, pid, kernel);
            }
        }
    }

    /// What a turn in a process's life means for the memory of all.
    fn turn(&mut self, event: Event, pid: u32, parent: Option<u32>) {
        match event.what {
            What::Lost { records } => self.story.lost += records,
            What::ProcessStart => {
                self.inherit(event.process, parent);
                // exec: the image before is gone, with all that it had.
                if let Some(before) = self.images.insert(pid, event.process) {
                    self.bury(before);
                }
            }
            What::ProcessEnd => {
                self.before_ends.get_or_insert(self.now);
                self.figures.remove(&event.process);
                self.sum_rss();
            }
            What::ProcessGone => {
                self.before_ends.get_or_insert(self.now);
                self.bury(event.process);
            }
            _ => {}
        }
    }

    fn take_kernel(&mut self, event: Event, pid: u32, call: KernelCall) {
        self.now.kernel_calls += 1;
        let account = self.accounts.entry((call.op.name(), call.cause)).or_default();
        account.0 += 1;
        account.1 += call.bytes.unsigned_abs();
        let thread = self.threads.entry((event.process, event.thread)).or_default();
        match call.cause {
            Cause::Free if thread.free.is_some() => thread.behind_free.push((event.time_ns, call)),
            Cause::Malloc | Cause::Calloc | Cause::Aligned | Cause::Realloc => {
                thread.before_allocation.push((event.time_ns, call));
            }
            _ => self.say(Line::Call {
                event: None,
                kernel: vec![(event.time_ns, call)],
                pid,
                thread: event.thread,
                time_ns: event.time_ns,
            }),
        }
    }

    /// A fork child has its parent's blocks.
    fn inherit(&mut self, process: u32, parent: Option<u32>) {
        let Some(parent) = parent else { return };
        let blocks: Vec<(u64, u64)> = self
            .live
            .iter()
            .filter(|((owner, _), _)| *owner == parent)
            .map(|((_, address), size)| (*address, *size))
            .collect();
        for (address, size) in blocks {
            self.live.insert((process, address), size);
            self.now.live_bytes += size;
            self.now.live_blocks += 1;
        }
    }

    /// What is resident in all processes together.
    fn sum_rss(&mut self) {
        self.now.rss_bytes = self.figures.values().map(|figures| figures.0).sum();
    }

    /// A process's image is gone, and its memory.
    fn bury(&mut self, process: u32) {
        self.figures.remove(&process);
        self.sum_rss();
        let (mut bytes, mut blocks) = (0, 0);
        self.live.retain(|(owner, _), size| {
            let stays = *owner != process;
            if !stays {
                bytes += *size;
                blocks += 1;
            }
            stays
        });
        self.now.live_bytes -= bytes;
        self.now.live_blocks -= blocks;
    }

    fn forget(&mut self, process: u32, address: u64) {
        if let Some(size) = self.live.remove(&(process, address)) {
            self.now.live_bytes -= size;
            self.now.live_blocks -= 1;
        }
    }

    /// The last free of a thread is complete.
    fn end_free(&mut self, key: (u32, u32), pid: u32) {
        let thread = self.threads.entry(key).or_default();
        if let Some(event) = thread.free.take() {
            let kernel = std::mem::take(&mut thread.behind_free);
            self.call(event, pid, kernel);
        }
    }

    fn call(&mut self, event: Event, pid: u32, kernel: Vec<(u64, KernelCall)>) {
        if kernel.is_empty() && !self.wanted.all {
            match event.what {
                What::Free { .. } => self.quiet.1 += 1,
                _ => self.quiet.0 += 1,
            }
            return;
        }
        let (thread, time_ns) = (event.thread, event.time_ns);
        self.say(Line::Call { event: Some(event), kernel, pid, thread, time_ns });
    }

    fn say(&mut self, line: Line) {
        if self.story.lines.len() >= self.wanted.limit {
            self.story.more += 1;
            return;
        }
        self.end_quiet();
        self.story.lines.push(line);
    }

    fn end_quiet(&mut self) {
        let (allocations, frees) = std::mem::take(&mut self.quiet);
        if allocations + frees > 0 {
            self.story.lines.push(Line::Quiet { allocations, frees });
        }
    }

    fn note_moment(&mut self, time_ns: u64) {
        self.now.time_ns = time_ns;
        self.story.moments.push(self.now);
        let Moment { live_bytes, live_blocks, rss_bytes, .. } = self.now;
        self.now = Moment { live_bytes, live_blocks, rss_bytes, ..Moment::default() };
    }

    fn finish(mut self, trace: &Trace) -> Story {
        let open: Vec<(u32, u32)> = self.threads.keys().copied().collect();
        for key in open {
            let pid = trace.process(key.0).map_or(0, |process| process.pid);
            self.end_free(key, pid);
        }
        self.end_quiet();
        if let Some(Moment { live_bytes, live_blocks, rss_bytes, .. }) = self.before_ends {
            // The end shows what was there, not that all is gone.
            self.now = Moment { live_bytes, live_blocks, rss_bytes, ..self.now };
        }
        self.note_moment(self.story.duration_ns);
        let mut accounts: Vec<Account> = self
            .accounts
            .iter()
            .map(|(&(call, cause), &(count, bytes))| Account {
                call,
                cause: cause_name(cause),
                count,
                bytes,
            })
            .collect();
        accounts.sort_by(|a, b| b.count.cmp(&a.count).then(a.call.cmp(b.call)));
        self.story.accounts = accounts;
        self.story
    }
}

/// What a cause is called.
pub fn cause_name(cause: Cause) -> &'static str {
    match cause {
        Cause::Other => "the allocator itself",
        Cause::Malloc => "malloc",
        Cause::Calloc => "calloc",
        Cause::Aligned => "an aligned request",
        Cause::Realloc => "realloc",
        Cause::Free => "free",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn story(all: bool, limit: usize) -> Story {
        let bytes = heapwise_trace::sample::trace(3, 3, 5000).expect("memory takes it");
        let trace = Trace::from_bytes(bytes).expect("a trace");
        Story::of(&trace, &Wanted { pid: None, all, limit }).expect("readable")
    }

    #[test]
    fn every_kernel_call_hangs_at_the_call_that_caused_it() {
        let story = story(false, usize::MAX);
        let mut kernel_calls = 0;
        for line in &story.lines {
            let Line::Call { event, kernel, .. } = line else { continue };
            kernel_calls += kernel.len() as u64;
            let event = event.expect("a sample has no helper");
            for (_, call) in kernel {
                let fits = match call.cause {
                    Cause::Free => matches!(event.what, What::Free { .. }),
                    Cause::Realloc => matches!(event.what, What::Realloc { .. }),
                    Cause::Malloc => matches!(event.what, What::Malloc { .. }),
                    Cause::Calloc => matches!(event.what, What::Calloc { .. }),
                    Cause::Aligned => matches!(event.what, What::Aligned { .. }),
                    Cause::Other => false,
                };
                assert!(fits, "{event:?} {call:?}");
            }
        }
        assert!(kernel_calls > 10);
        assert_eq!(kernel_calls, story.accounts.iter().map(|a| a.count).sum::<u64>());
        assert_eq!(kernel_calls, story.moments.iter().map(|m| m.kernel_calls).sum::<u64>());
        assert_eq!(story.moments.len(), MOMENTS);
        assert!(story.moments.is_sorted_by_key(|m| m.time_ns));
    }

    #[test]
    fn quiet_calls_are_counted_or_shown() {
        let counted = story(false, usize::MAX);
        let quiet: u64 = counted
            .lines
            .iter()
            .map(|line| match line {
                Line::Quiet { allocations, frees } => allocations + frees,
                _ => 0,
            })
            .sum();
        let shown = |story: &Story| {
            story.lines.iter().filter(|l| matches!(l, Line::Call { event: Some(_), .. })).count()
        };
        let all = story(true, usize::MAX);
        assert_eq!(quiet as usize + shown(&counted), shown(&all));
        assert_eq!(shown(&all) as u64, all.allocations + all.frees);
        let few = story(true, 10);
        assert_eq!(few.lines.len() as u64 + few.more, all.lines.len() as u64);
    }
}
