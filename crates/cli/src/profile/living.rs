//! What a recording that runs knows of a process's live memory: ages and allocation sites.
//!
//! ```text
//! the process ──► the memory that it shares with its recorder ──► the recorder's trace, as far as
//!  (its mappings)     says who records, and how far the trace is     it is written
//! ```
//! Nothing is written, and nobody is asked: the trace is read through `/proc`,
//! as it stands. A look waits until the trace has what was recorded before the
//! look began; a block that is in the trace then, and older than the look, is the
//! chunk that was seen.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io;
use std::mem::offset_of;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use heapwise_inspect::Survey;
use heapwise_inspect::heap::Kind;
use heapwise_inspect::heap::scan::Count;
use heapwise_inspect::holders::Holder;
use heapwise_inspect::process::memory::Memory;
use heapwise_inspect::survey::Site;
use heapwise_layout::header::HEADER_BYTES;
use heapwise_layout::live::{LIVE_MAGIC, LIVE_NAME, LIVE_VERSION, LiveHeader, NO_DESCRIPTOR};
use heapwise_layout::walk::Read;
use heapwise_trace::Trace;

use super::naming;
use super::sites::{Block, Sites};
use super::symbols::Symbols;
use crate::record::live::{monotonic_ns, pid_namespace};
use crate::units;

/// A recording of everything is read up to so many records; that takes some seconds.
const MOST_RECORDS: u64 = 20_000_000;
/// A recorder collects what stands in open chunks once a second; on a busy machine it may be late.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// Reading traces takes one part in so many of a watcher's time, at most.
const MOST_ONE_IN: u32 = 33;
/// So many sites are kept, the largest first.
const MOST_SITES: usize = 1000;

/// Whether a look may wait for the recorder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Until the trace has all from before the look.
    Waits,
    /// The newest blocks may be missing.
    None,
}

/// What recordings told so far: one that looks again and again keeps it.
#[derive(Default)]
pub struct Living {
    symbols: Symbols,
    known: Option<Known>,
}

/// Of one process, at one moment.
struct Known {
    recorder: Recorder,
    pid: u32,
    read: Instant,
    cost: Duration,
    outcome: Result<Told, String>,
}

/// What the trace says.
struct Told {
    sites: Vec<Site>,
    blocks: HashMap<u64, Block>,
    names: HashMap<u32, String>,
    /// CLOCK_MONOTONIC at the recording's beginning.
    began_ns: u64,
}

/// Who records a process.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Recorder {
    pid: u32,
    live: u32,
    inode: u64,
}

impl Living {
    /// Notes ages and sites of what was seen, where a recording knows them.
    pub fn fill(&mut self, seen: &mut Survey, patience: Patience) {
        let looked_ns = monotonic_ns();
        let Some(recorder) = Recorder::of(seen) else {
            self.known = None;
            return;
        };
        let is_due = self.known.as_ref().is_none_or(|known| {
            known.recorder != recorder
                || known.pid != seen.pid
                || known.read.elapsed() >= known.cost * MOST_ONE_IN
        });
        if is_due {
            let begun = Instant::now();
            let outcome = self.ask(&recorder, seen.pid, looked_ns, patience);
            let Some(outcome) = outcome.transpose() else {
                self.known = None;
                return;
            };
            let cost = begun.elapsed();
            self.known = Some(Known { recorder, pid: seen.pid, read: begun, cost, outcome });
        }
        match self.known.as_ref().map(|known| &known.outcome) {
            Some(Ok(told)) => told.fill(seen, looked_ns),
            Some(Err(why)) => seen.notes.push(why.clone()),
            None => {}
        }
    }

    /// Reads the trace; `Ok(None)` if there is none to be read, and nothing to be said about it.
    fn ask(
        &mut self,
        recorder: &Recorder,
        pid: u32,
        looked_ns: u64,
        patience: Patience,
    ) -> Result<Option<Told>, String> {
        let Ok(Some(live)) = recorder.open() else { return Ok(None) };
        let number = |at: usize| word::<4>(&live, at).map_or(0, u32::from_le_bytes);
        let collected = || {
            let at = offset_of!(LiveHeader, collected_ns);
            word::<8>(&live, at).map_or(0, u64::from_le_bytes)
        };
        let descriptor = number(offset_of!(LiveHeader, trace_descriptor));
        if descriptor == NO_DESCRIPTOR {
            return Err("a recording runs, but keeps its trace in memory (--last): ages and \
                        allocation sites are known when it has ended"
                .into());
        }
        let begun = Instant::now();
        let wanted = if patience == Patience::Waits { looked_ns } else { 1 };
        while collected() < wanted {
            if begun.elapsed() >= LONGEST_WAIT || !recorder.path(recorder.live).exists() {
                return Ok(None);
            }
            sleep(Duration::from_millis(5));
        }
        let unread = |why: &dyn std::fmt::Display| {
            format!("a recording runs, but its trace cannot be read for allocation sites: {why}")
        };
        let trace = Trace::open(&recorder.path(descriptor)).map_err(|error| unread(&error))?;
        if trace.records() > MOST_RECORDS {
            let records = units::count(trace.records());
            return Err(format!(
                "a recording runs, but with {records} events its trace is too long to be read for \
                 each look: heapwise profile tells allocation sites when it has ended"
            ));
        }
        // A process that execs is another one from then on, with the same pid.
        let Some(process) = trace.processes().iter().rev().find(|p| p.pid == pid) else {
            return Ok(None);
        };
        let sites = Sites::of(&trace).map_err(|error| unread(&error))?;
        Ok(Some(self.tell(&trace, sites, process.index)))
    }

    fn tell(&mut self, trace: &Trace, sites: Sites, process: u32) -> Told {
        let mut by_name: BTreeMap<String, Count> = BTreeMap::new();
        let mut named: HashMap<&[u64], String> = HashMap::new();
        for site in sites.sites.iter().filter(|s| s.process == process && s.live.bytes >= 1.0) {
            let name = naming::site(trace, process, &site.stack, &mut self.symbols);
            let live = &site.live;
            *by_name.entry(name.clone()).or_default() +=
                Count { chunks: live.count.round() as usize, bytes: live.bytes.round() as usize };
            named.insert(&site.stack, name);
        }
        let mut all: Vec<Site> =
            by_name.into_iter().map(|(name, live)| Site { name, live }).collect();
        all.sort_by_key(|site| std::cmp::Reverse(site.live.bytes));
        all.truncate(MOST_SITES);
        let own = sites.blocks.iter().filter(|((of, _), _)| *of == process);
        let blocks: HashMap<u64, Block> = own.map(|(&(_, at), &block)| (at, block)).collect();
        let mut names = HashMap::new();
        for block in blocks.values().filter(|block| block.stack != 0) {
            names.entry(block.stack).or_insert_with(|| {
                let stack = trace.stack(process, block.stack);
                // Most live blocks are of a site that has just been named.
                named
                    .get(stack)
                    .cloned()
                    .unwrap_or_else(|| naming::site(trace, process, stack, &mut self.symbols))
            });
        }
        let began_ns = trace.clock().anchors().first().map_or(0, |anchor| anchor.ns);
        Told { sites: all, blocks, names, began_ns }
    }
}

impl Told {
    fn fill(&self, seen: &mut Survey, looked_ns: u64) {
        seen.sites.clone_from(&self.sites);
        let begun_ns = looked_ns.saturating_sub(seen.origin.took_ns);
        for holder in &mut seen.holders {
            let Some(block) = self.blocks.get(&(holder.pointer() as u64)) else { continue };
            let born_ns = self.began_ns.saturating_add(block.born_ns);
            if born_ns < begun_ns && is_of(block, holder) {
                holder.age_ms = Some((looked_ns - born_ns) / 1_000_000);
                holder.site = self.names.get(&block.stack).cloned();
            }
        }
    }
}

/// Whether a chunk can be what a request was served with.
fn is_of(block: &Block, holder: &Holder) -> bool {
    let piece = &holder.pin.piece;
    piece.kind == Kind::Live
        && (block.size as usize).saturating_add(HEADER_BYTES / 2) <= piece.bytes
}

impl Recorder {
    /// By the memory that the process shares with it.
    fn of(seen: &Survey) -> Option<Self> {
        let is_shared = |name: &str| name.strip_prefix("memfd:") == Some(LIVE_NAME);
        let mapping = seen.maps.iter().find(|m| m.offset == 0 && is_shared(m.file_name()))?;
        let memory = Memory::open(seen.pid, &seen.pages).ok()?;
        let word = |offset: usize| memory.word(mapping.span.start + offset);
        let half = |offset: usize| Some((word(offset & !7)? >> ((offset & 7) * 8)) as u32);
        let is_ours = word(offset_of!(LiveHeader, magic))? == LIVE_MAGIC
            && half(offset_of!(LiveHeader, version))? == LIVE_VERSION
            && word(offset_of!(LiveHeader, pid_namespace))? == pid_namespace();
        is_ours.then_some(Self {
            pid: half(offset_of!(LiveHeader, recorder_pid))?,
            live: half(offset_of!(LiveHeader, live_descriptor))?,
            inode: mapping.inode,
        })
    }

    /// The shared memory, if the recorder lives and this is its.
    fn open(&self) -> io::Result<Option<File>> {
        let file = File::open(self.path(self.live))?;
        let is_it = file.metadata()?.ino() == self.inode;
        Ok(is_it.then_some(file))
    }

    fn path(&self, descriptor: u32) -> PathBuf {
        format!("/proc/{}/fd/{descriptor}", self.pid).into()
    }
}

fn word<const BYTES: usize>(file: &File, offset: usize) -> Option<[u8; BYTES]> {
    let mut bytes = [0; BYTES];
    file.read_exact_at(&mut bytes, offset as u64).ok()?;
    Some(bytes)
}
