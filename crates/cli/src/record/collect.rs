//! The recorder: collects what threads wrote, in a thread of its own.
//!
//! Invariant: of a stream, chunk n is written to its end before chunk n + 1.

use std::collections::HashMap;
use std::fs;
use std::sync::atomic::{
    AtomicBool,
    Ordering::{Acquire, Relaxed},
};
use std::time::{Duration, Instant};

use heapwise_inspect::process::figures::Figures;
use heapwise_inspect::survey::page_bytes;
use heapwise_layout::live::{
    CHUNK_BYTES, CHUNK_FREE, CHUNK_FULL, CHUNK_HEAD_BYTES, CHUNKS, RUNNING, WAKE_CHUNKS,
};
use heapwise_layout::record::{Coder, Kind, NO_PROCESS, PROCESS_GONE, Record, blob};
use heapwise_trace::{BlockHeader, BlockKind, Definitions};

use super::live::{self, Live, anchor, monotonic_ns, ticks};
use super::modules::Modules;
use super::sink::Sink;
use super::unpack::{self, Blob, Part, define, unpack};
use super::unwind::Stacks;

/// Between two looks if no chunk is full.
const TICK: Duration = Duration::from_millis(20);
/// Between two looks at the processes: their RSS, and whether they live.
const LOOK: Duration = Duration::from_millis(100);
/// What stands in open chunks is taken so often: more is not lost if we are killed.
const OPEN_CHUNKS: Duration = Duration::from_secs(1);
/// Samples are few, and whoever looks at the process meanwhile asks for the newest.
const OPEN_CHUNKS_SAMPLED: Duration = Duration::from_millis(100);
/// So many full chunks at one look: threads are about to wait for us.
const HURRY_CHUNKS: usize = 3 * WAKE_CHUNKS as usize;
/// Between two readings of the clocks.
const CLOCK: Duration = Duration::from_secs(5);

/// What a recording came to.
#[derive(Debug, Default, Clone, Copy)]
pub struct Totals {
    /// Records of events.
    pub records: u64,
    /// Processes.
    pub processes: u64,
    /// Records that found no room.
    pub lost: u64,
    /// Whether a bounded recording holds less than its window.
    pub cut_short: bool,
}

/// The recorder's own state.
pub struct Collector<'a> {
    live: &'a Live,
    sink: Sink,
    definitions: Definitions,
    streams: HashMap<u32, Stream>,
    processes: HashMap<u32, Process>,
    modules: Modules,
    stacks: Stacks,
    chunks: usize,
    /// Threads fill chunks faster than we take them.
    hurry: bool,
    totals: Totals,
}

/// A stream, as far as it has been taken.
struct Stream {
    /// Number of the chunk that comes next.
    chunk: u64,
    /// Taken of it, bytes.
    taken: usize,
    coder: Coder,
    /// Number of the block that comes next.
    block: u64,
}

/// A process that is watched from outside.
struct Process {
    pid: u32,
    /// Start time in the kernel's clock: another process with this pid has another.
    started: Option<u64>,
    alive: bool,
    /// Its figures, a stream of ours.
    stream: u32,
    figures: Option<[u64; 3]>,
    coder: Coder,
    raw: Vec<u8>,
    records: u32,
    block: u64,
}

impl<'a> Collector<'a> {
    /// A recorder that writes to `sink`.
    pub fn new(live: &'a Live, mut sink: Sink, notes: &[(String, String)]) -> Self {
        let mut definitions = Definitions::new();
        definitions.recording(notes);
        sink.clock(anchor());
        live.tell_trace(sink.descriptor());
        Self {
            live,
            sink,
            definitions,
            streams: HashMap::new(),
            processes: HashMap::new(),
            modules: Modules::default(),
            stacks: Stacks::default(),
            chunks: 0,
            hurry: false,
            totals: Totals::default(),
        }
    }

    /// Collects until `done`, then once more, and ends the file.
    pub fn run(mut self, done: &AtomicBool) -> (Totals, Result<u64, String>) {
        let mut last = [Instant::now(); 3];
        let mut due = |which: usize, every: Duration| {
            let now = last[which].elapsed() >= every;
            if now {
                last[which] = Instant::now();
            }
            now
        };
        let is_sampled = self.live.header().sample_bytes.load(Relaxed) > 0;
        let open_chunks = if is_sampled { OPEN_CHUNKS_SAMPLED } else { OPEN_CHUNKS };
        // Before the second reading a reader does not know how long a tick is.
        let mut clock = LOOK;
        while !done.load(Acquire) {
            self.live.beat();
            if due(0, LOOK) {
                self.look_at_processes();
            }
            if due(2, clock) {
                self.sink.clock(anchor());
                clock = CLOCK;
            }
            let (open, begun) = (due(1, open_chunks), monotonic_ns());
            if self.pass(open, false) && open && clock == CLOCK && self.sink.error().is_none() {
                self.live.tell_collected(begun);
            }
            if self.sink.error().is_some() && self.live.header().stop.load(Relaxed) == RUNNING {
                // Nobody is to wait for us, or to work for nothing.
                self.live.stop();
            }
            if !done.load(Acquire) {
                self.live.wait(TICK);
            }
        }
        self.live.stop();
        self.look_at_processes();
        // The first takes what is full, the second what came behind it.
        self.pass(true, true);
        self.pass(true, true);
        self.write_figures(true);
        self.sink.definitions(&mut self.definitions);
        self.sink.clock(anchor());
        self.totals.cut_short = self.sink.cut_short();
        self.totals.lost = self.live.header().lost.load(Relaxed);
        (self.totals, self.sink.finish())
    }

    /// Takes full chunks, and open ones if asked to or if their process is gone; false if some of
    /// those must wait for the chunk before.
    fn pass(&mut self, open: bool, last: bool) -> bool {
        let mut found = Vec::new();
        let mut held = 0;
        let high_water = self.live.header().high_water.load(Acquire) as usize;
        for chunk in 0..high_water.min(CHUNKS) {
            let head = self.live.head(chunk);
            let state = head.state.load(Acquire);
            if state == CHUNK_FREE {
                continue;
            }
            let process = head.process.load(Relaxed);
            let gone = self.processes.get(&process).is_some_and(|p| !p.alive);
            let full = state == CHUNK_FULL || gone;
            held += usize::from(!full);
            if !full {
                live::end_run(head);
            }
            let (stream, number) = (head.stream.load(Relaxed), head.sequence.load(Relaxed));
            // A new stream may be a new process, whose figures are wanted from now on.
            if full || open || !self.streams.contains_key(&stream) {
                found.push((stream, number, chunk, full));
            }
        }
        found.sort_unstable();
        self.hurry = found.iter().filter(|(.., full)| *full).count() >= HURRY_CHUNKS;
        let (mut freed, mut all) = (false, true);
        for (stream, number, chunk, full) in found {
            freed |= self.take(stream, number, chunk, full, last);
            all &= self.streams.get(&stream).is_some_and(|known| known.chunk >= number);
            if freed && self.live.is_wanted() {
                self.live.tell_freed();
            }
        }
        self.sink.definitions(&mut self.definitions);
        if freed {
            self.live.tell_freed();
        }
        self.live.grow(&mut self.chunks, held);
        all
    }

    /// Takes what is new in a chunk; true if the chunk is free now.
    fn take(&mut self, stream: u32, number: u64, chunk: usize, full: bool, last: bool) -> bool {
        let head = self.live.head(chunk);
        let (process, thread) = (head.process.load(Relaxed), head.thread.load(Relaxed));
        let known = self.streams.entry(stream).or_insert_with(|| Stream {
            chunk: 0,
            taken: CHUNK_HEAD_BYTES,
            coder: Coder { time: head.base_time.load(Relaxed), ..Coder::default() },
            block: 0,
        });
        if number != known.chunk {
            if number < known.chunk || !last {
                // Its predecessor was not full yet when this look began.
                return false;
            }
            known.chunk = number;
            known.taken = CHUNK_HEAD_BYTES;
        }
        if known.taken == CHUNK_HEAD_BYTES {
            known.coder = Coder {
                time: head.base_time.load(Relaxed),
                address: head.base_address.load(Relaxed),
            };
        }
        let used = (head.used.load(Acquire) as usize).min(CHUNK_BYTES);
        let bytes = self.live.records(chunk, known.taken, used);
        // Of a chunk that its thread has handed over, nothing changes any more; if there is no blob
        // in it, it is a block as it stands.
        let whole = known.taken == CHUNK_HEAD_BYTES
            && head.state.load(Acquire) == CHUNK_FULL
            && head.blobs.load(Relaxed) == 0;
        known.taken = used.max(known.taken);
        let mut blobs = Vec::new();
        let part = if whole {
            let start = known.coder;
            known.coder =
                Coder { time: head.time.load(Relaxed), address: head.address.load(Relaxed) };
            Part::new(head.records.load(Relaxed), start, known.coder, bytes)
        } else {
            unpack(&mut known.coder, bytes, &mut blobs)
        };
        let sequence = known.block;
        if full {
            known.chunk += 1;
            known.taken = CHUNK_HEAD_BYTES;
        }
        if part.header.records > 0 {
            known.block += 1;
            self.totals.records += u64::from(part.header.records);
        }
        let pid = head.pid.load(Relaxed);
        if full {
            self.live.release(chunk);
        }
        for blob in blobs {
            self.take_blob(process, pid, blob);
        }
        if part.header.records > 0 {
            // Definitions first: a file that is cut between the two has them.
            self.sink.definitions(&mut self.definitions);
            let header = BlockHeader { process, stream, thread, sequence, ..part.header };
            self.sink.events(header, &part.raw, monotonic_ns(), self.hurry);
        }
        full
    }

    fn take_blob(&mut self, process: u32, pid: u32, found: Blob) {
        if found.what == blob::PROCESS {
            self.meet(process, pid);
        }
        let Some(found) = define(&mut self.definitions, process, found) else { return };
        match found.what {
            blob::MAPS => self.take_maps(process, &found.bytes),
            blob::SNIPPET => self.take_snippet(process, pid, &found),
            _ => {}
        }
    }

    fn take_maps(&mut self, process: u32, lines: &[u8]) {
        for module in self.modules.take_maps(process, lines, &mut self.definitions) {
            self.stacks.add_module(process, &module);
        }
    }

    /// A stack that is new to the process.
    fn take_snippet(&mut self, process: u32, pid: u32, found: &Blob) {
        let instruction =
            found.bytes.first_chunk::<8>().map_or(0, |word| u64::from_le_bytes(*word));
        let depth = self.live.header().stack_depth.load(Relaxed) as usize;
        if !self.stacks.knows(process, instruction) && pid != 0 {
            // Its own list of modules stands in a chunk that we have not seen yet.
            if let Ok(lines) = fs::read(format!("/proc/{pid}/maps")) {
                self.take_maps(process, &lines);
            }
        }
        let frames = self.stacks.unwind(process, &found.bytes, depth);
        self.definitions.stack(NO_PROCESS, found.id, &frames);
    }

    /// A process has joined.
    fn meet(&mut self, process: u32, pid: u32) {
        self.totals.processes += 1;
        if pid == 0 {
            return;
        }
        // An image that execs is another process: the one before has no threads left.
        for (_, other) in self.processes.iter_mut().filter(|(p, o)| **p < process && o.pid == pid) {
            other.is_gone();
        }
        let stream = self.live.header().streams.fetch_add(1, Relaxed);
        let started = stat(pid).map(|stat| stat.started);
        let mut met = Process {
            pid,
            started,
            alive: true,
            stream,
            figures: None,
            coder: Coder::default(),
            raw: Vec::new(),
            records: 0,
            block: 0,
        };
        if started.is_none() {
            met.is_gone();
        }
        self.processes.insert(process, met);
    }

    /// Notes each process's RSS and faults, and which processes are gone.
    fn look_at_processes(&mut self) {
        for process in self.processes.values_mut().filter(|p| p.alive) {
            let now = stat(process.pid).filter(|s| Some(s.started) == process.started);
            let Some(now) = now else {
                process.is_gone();
                continue;
            };
            if process.figures != Some(now.figures) {
                process.figures = Some(now.figures);
                process.note(Kind::Sample, now.figures);
            }
        }
        self.write_figures(false);
        // Whoever is gone and has no chunk left will not come again; its figures are written.
        let chunks: Vec<u32> = (0..self.live.header().high_water.load(Acquire) as usize)
            .map(|chunk| self.live.head(chunk.min(CHUNKS - 1)))
            .filter(|head| head.state.load(Acquire) != CHUNK_FREE)
            .map(|head| head.process.load(Relaxed))
            .collect();
        self.processes.retain(|index, p| p.alive || p.records > 0 || chunks.contains(index));
    }

    /// Writes the figures as blocks: those of the gone, and many, or all.
    fn write_figures(&mut self, all: bool) {
        for (&index, process) in &mut self.processes {
            if process.records == 0 || !all && process.alive && process.records < 50 {
                continue;
            }
            let header = BlockHeader {
                process: index,
                stream: process.stream,
                thread: 0,
                records: process.records,
                sequence: process.block,
                base_time: process.base_time(),
                last_time: process.coder.time,
                ..BlockHeader::new(BlockKind::Events)
            };
            self.totals.records += u64::from(process.records);
            self.sink.events(header, &process.raw, monotonic_ns(), false);
            process.block += 1;
            process.records = 0;
            process.raw.clear();
        }
    }
}

impl Process {
    /// It is no more, or another image has its pid.
    fn is_gone(&mut self) {
        if std::mem::take(&mut self.alive) {
            self.note(Kind::Process, [PROCESS_GONE, 0, 0]);
        }
    }

    fn note(&mut self, kind: Kind, [a, b, c]: [u64; 3]) {
        let time = ticks();
        if self.raw.is_empty() {
            self.coder = Coder { time, address: time };
        }
        let record = Record { kind, time, a, b, c };
        unpack::push(&mut self.coder, &mut self.raw, record);
        self.records += 1;
    }

    /// Where the block's time begins: no record of figures has an address.
    fn base_time(&self) -> u64 {
        self.coder.address
    }
}

/// What the kernel says of a process.
struct Stat {
    started: u64,
    /// RSS in KiB without shared memory, minor and major faults.
    figures: [u64; 3],
}

/// `None` if the process is gone, or dead and only not waited for.
fn stat(pid: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = text.get(text.rfind(')')? + 1..)?.split_ascii_whitespace().collect();
    if matches!(fields.first(), Some(&("Z" | "X" | "x"))) {
        return None;
    }
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    Some(Stat { started: number(19)?, figures: [own_kib(pid)?, number(7)?, number(9)?] })
}

/// Resident KiB without shared memory, which the recording itself is.
fn own_kib(pid: u32) -> Option<u64> {
    let figures = Figures::counters(pid, page_bytes()).ok()?;
    Some(((figures.rss_anon + figures.rss_file) >> 10) as u64)
}
