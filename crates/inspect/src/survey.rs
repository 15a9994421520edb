//! One look at a process: everything that the commands tell about.
//!
//! The moment is that of the page walk. What is resident then is the RSS of the
//! account; the kernel's own figures of just after stand beside it.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::corefile::{Core, CoreError};
use crate::error::Error;
use crate::glibc;
use crate::gone;
use crate::heap::classes::Classes;
use crate::heap::scan::Count;
use crate::heap::summary::{Claim, Heaps, What};
use crate::holders::{self, Holder};
use crate::images::Files;
use crate::ledger::{self, Account};
use crate::moment::{Moment, of_one_moment};
use crate::origin::{self, Host, Origin, Source};
use crate::ours;
use crate::process::cgroup::{self, Cgroup};
use crate::process::figures::{self, Figures, MappingFigures};
use crate::process::maps::{self, Mapping};
use crate::process::memory::Memory;
use crate::process::pages::Pages;
use crate::process::threads::{self, Threads};
use crate::recognise::{Glibc, Recognised, recognise};
use crate::runtimes::{self, Runtime};
use crate::span::Span;
use crate::tally::{Row, Tally};
use crate::wire;

/// What is wanted beyond the account.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Pictures of the heaps.
    pub paint: bool,
    /// The bins of every arena.
    pub bins: bool,
    /// What the chunks that hold up free memory begin with.
    pub first_bytes: bool,
    /// What the kernel's `smaps` says about each mapping; it walks all pages once more.
    pub mappings: bool,
    /// Stop the process for the look, so that all figures are of one moment.
    pub consistent: bool,
}

impl Options {
    /// Everything, as a snapshot keeps it.
    pub const ALL: Self =
        Self { paint: true, bins: true, first_bytes: true, mappings: true, consistent: false };
}

/// Whose heap it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Allocator {
    /// Ours.
    Heapwise,
    /// glibc's.
    Glibc(Box<Glibc>),
    /// Something else, in words.
    Other(String),
    /// Memory may not be read: why, in words.
    Hidden(String),
}

/// How far the look went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Depth {
    /// Every chunk.
    Whole,
    /// Some heap could not be walked to its end.
    Partial,
    /// The mappings alone.
    Mappings,
    /// The kernel's counters alone: not even the mappings may be read.
    Counters,
}

/// What a profile knows about an allocation site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Site {
    /// The function, or the stack, in words.
    pub name: String,
    /// What is live from there.
    pub live: Count,
}

/// What was seen.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Survey {
    /// The process.
    pub pid: u32,
    /// When and where, and how long it took.
    pub origin: Origin,
    /// Whose heap.
    pub allocator: Allocator,
    /// How far the look went.
    pub depth: Depth,
    /// The rows.
    pub account: Account,
    /// What they sum to: the resident bytes of the page walk; of a core file the bytes that
    /// it holds ([`Origin::source`]).
    #[serde(deserialize_with = "wire::figure")]
    pub rss: usize,
    /// The kernel's figures, read right after.
    pub figures: Figures,
    /// The memory group.
    pub cgroup: Option<Cgroup>,
    /// The heaps.
    pub heaps: Heaps,
    /// The chunks that hold up free memory, the largest first.
    #[serde(deserialize_with = "wire::list")]
    pub holders: Vec<Holder>,
    /// Live memory by allocation site; empty without a profile.
    #[serde(default, deserialize_with = "wire::list", skip_serializing_if = "Vec::is_empty")]
    pub sites: Vec<Site>,
    /// Runtimes with heaps of their own.
    #[serde(default, deserialize_with = "wire::list", skip_serializing_if = "Vec::is_empty")]
    pub runtimes: Vec<Runtime>,
    /// The mappings.
    pub maps: Vec<Mapping>,
    /// What `smaps` says about them, where wanted.
    pub mapping_figures: Vec<MappingFigures>,
    /// Our own published state, where the process is on our heap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<ours::root::Root>,
    /// The resident pages.
    pub pages: Pages,
    /// The threads.
    pub threads: Threads,
    /// What else should be said.
    pub notes: Vec<String>,
}

/// A heap that changes under the walk is walked again, at most so often.
const ATTEMPTS: usize = 4;
/// A look with more than one part in so many unattributed is not whole.
const MOST_UNATTRIBUTED: usize = 200;
/// Between two looks with the process stopped.
const BETWEEN_STOPS: std::time::Duration = std::time::Duration::from_millis(20);

impl Survey {
    /// Resident bytes that a trim would return.
    #[must_use]
    pub fn trim_gain(&self) -> usize {
        self.heaps.arenas.iter().map(|arena| arena.trim_gain).sum()
    }

    /// Live chunks of all arenas by size class, those with mappings of their own left out.
    #[must_use]
    pub fn classes(&self) -> Classes {
        let mut all = Classes::default();
        self.heaps.arenas.iter().for_each(|arena| all.merge(&arena.classes));
        all
    }

    /// Inconsistencies met, all together.
    #[must_use]
    pub fn flaws(&self) -> usize {
        let arenas: usize = self.heaps.arenas.iter().map(|arena| arena.flaws).sum();
        arenas + self.heaps.flaws + self.account.misfits
    }
}

/// Looks at a process.
///
/// Missing rights do not fail it as long as the kernel tells anything at all:
/// [`Survey::depth`] says how far it went.
///
/// # Errors
/// No such process, or not even its counters can be read.
pub fn survey(pid: u32, options: Options) -> Result<Survey, Error> {
    let begun = Instant::now();
    let started = figures::start_time(pid)?;
    let page_bytes = page_bytes();
    let mut seen = look_once(pid, options, page_bytes)?;
    for _ in 1..ATTEMPTS {
        if seen.depth != Depth::Partial {
            break;
        }
        if options.consistent {
            // Whoever stood in the middle of something gets on with it.
            std::thread::sleep(BETWEEN_STOPS);
        }
        seen = look_once(pid, options, page_bytes)?;
    }
    // The number may be somebody else's by now.
    if figures::start_time(pid)? != started {
        return Err(Error::NoSuchProcess(pid));
    }
    seen.origin.took_ns = begun.elapsed().as_nanos() as u64;
    if options.mappings {
        seen.mapping_figures = figures::smaps(pid).unwrap_or_default();
    }
    Ok(seen)
}

/// Bytes of a page.
#[must_use]
pub fn page_bytes() -> usize {
    // SAFETY: takes a number, reads nothing of ours.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

/// With the process stopped, if that is wanted.
fn look_once(pid: u32, options: Options, page_bytes: usize) -> Result<Survey, Error> {
    if !options.consistent {
        return match Moment::take(pid, page_bytes) {
            Ok(moment) => look(moment, options),
            Err(error @ Error::NotPermitted { .. }) => {
                counters_only(pid, page_bytes, error.to_string())
            }
            Err(error) => Err(error),
        };
    }
    let (mut seen, pause, pause_for) =
        of_one_moment(pid, page_bytes, |moment| look(moment, options))?;
    seen.origin.pause_ns = Some(pause.as_nanos() as u64);
    seen.origin.pause_for = Some(pause_for);
    Ok(seen)
}

fn look(moment: Moment, options: Options) -> Result<Survey, Error> {
    let pages = moment.pages.clone();
    let memory = moment.memory(&pages);
    let Moment { pid, maps, pages: own_pages, figures, threads: listed, .. } = moment;
    let mut seen = Survey {
        pid,
        origin: Origin::of_process(pid),
        allocator: Allocator::Hidden(String::new()),
        depth: Depth::Mappings,
        account: Account::default(),
        rss: own_pages.total(),
        figures,
        cgroup: cgroup::of(pid),
        heaps: Heaps::default(),
        holders: Vec::new(),
        sites: Vec::new(),
        runtimes: Vec::new(),
        maps,
        mapping_figures: Vec::new(),
        root: None,
        pages: own_pages,
        threads: Threads::default(),
        notes: Vec::new(),
    };
    match memory {
        Ok(memory) => {
            seen.threads = threads::find_all(pid, listed, &seen.maps, Some(&memory));
            read_heaps(&mut seen, Files::Process(pid), &memory, options);
            seen.runtimes = find_runtimes(&seen, Files::Process(pid), &memory);
        }
        Err(error @ Error::NotPermitted { .. }) => {
            seen.allocator = Allocator::Hidden(error.to_string());
            seen.threads = threads::find_all(pid, listed, &seen.maps, None);
        }
        Err(error) => return Err(error),
    }
    if !seen.pages.zero_pages_told() {
        seen.notes.push(
            "this kernel does not tell zero pages from others (PAGEMAP_SCAN, Linux 6.7): \
             memory that was only read may be counted as resident"
                .into(),
        );
    }
    if seen.figures.hugetlb > 0 {
        seen.notes.push("pages of hugetlbfs are in use: no RSS counts them".into());
    }
    // Threads and arenas that ended meanwhile took their memory with them.
    let now = if options.consistent { None } else { maps::of(pid).ok() };
    let still = now.map_or_else(|| seen.maps.clone(), |now| gone::still(&seen.maps, &now));
    seen.account = ledger::settle(&still, &seen.pages, &seen.heaps.claims, &stacks(&seen.threads));
    let unattributed = seen.account.tally[Row::Unattributed];
    if seen.depth == Depth::Whole && unattributed > seen.rss / MOST_UNATTRIBUTED {
        seen.depth = Depth::Partial;
        seen.notes.push("memory went away during the look: its rows are not of one moment".into());
    }
    Ok(seen)
}

/// Looks at a core file. The account is of the pages that the file holds and that are not all zero.
///
/// # Errors
/// The file cannot be read to its end.
pub fn survey_core(core: &Core, options: Options) -> Result<Survey, CoreError> {
    let begun = Instant::now();
    let pages = core.filled()?;
    let pid = core.pid();
    let command = core.command();
    let mut seen = Survey {
        pid,
        origin: Origin {
            source: Source::Core,
            taken_unix_ms: origin::unix_ms(core.written()),
            command: if command.is_empty() { Vec::new() } else { vec![command.to_owned()] },
            executable: core.executable().to_owned(),
            host: Host::default(),
            ..Origin::default()
        },
        allocator: Allocator::Hidden(String::new()),
        depth: Depth::Mappings,
        account: Account::default(),
        rss: pages.total(),
        figures: Figures { name: core.name().to_owned(), ..Figures::default() },
        cgroup: None,
        heaps: Heaps::default(),
        holders: Vec::new(),
        sites: Vec::new(),
        runtimes: Vec::new(),
        maps: core.maps().to_vec(),
        mapping_figures: Vec::new(),
        root: None,
        pages: pages.clone(),
        threads: Threads::default(),
        notes: vec![
            "a core file tells no residency: the account is of the bytes that it holds, pages of \
             zeros left out; what of them a trim returns is a lower bound"
                .into(),
        ],
    };
    if core.missing_bytes() > 0 {
        seen.notes.push(format!(
            "the core file was cut: {} bytes of memory are missing from its end",
            core.missing_bytes()
        ));
    }
    let memory = Memory::of_core(core, &pages);
    seen.threads = threads::in_core(pid, core.threads(), &seen.maps, &memory);
    seen.figures.threads = seen.threads.all.len();
    read_heaps(&mut seen, Files::Core(core), &memory, options);
    seen.runtimes = find_runtimes(&seen, Files::Core(core), &memory);
    seen.account =
        ledger::settle(&seen.maps, &seen.pages, &seen.heaps.claims, &stacks(&seen.threads));
    seen.origin.took_ns = begun.elapsed().as_nanos() as u64;
    Ok(seen)
}

fn stacks(threads: &Threads) -> Vec<Span> {
    let own = threads.all.iter().filter_map(|thread| thread.stack);
    own.chain(threads.kept_stacks.iter().copied()).collect()
}

fn read_heaps(seen: &mut Survey, files: Files<'_>, memory: &Memory<'_>, options: Options) {
    let Recognised { ours, our_data, glibc, other, notes } = recognise(files, &seen.maps, memory);
    seen.notes.extend(notes);
    if let Some(other) = other {
        seen.allocator = Allocator::Other(other);
        return;
    }
    let mut heaps = Heaps::default();
    if let Some(root) = &ours {
        let ground =
            ours::survey::Ground { memory, root, paint: options.paint, bins: options.bins };
        heaps = ground.survey();
        claim_tables(&mut heaps, root, &our_data, &seen.pages);
    }
    if let Some(glibc) = &glibc {
        let beside = walk_glibc(seen, memory, glibc, &heaps, options);
        heaps = join(heaps, beside);
    }
    seen.root.clone_from(&ours);
    seen.allocator = match (ours, glibc) {
        (Some(_), _) => Allocator::Heapwise,
        (None, Some(glibc)) => Allocator::Glibc(Box::new(glibc)),
        (None, None) => Allocator::Other("no allocator that we know".into()),
    };
    seen.holders = holders::find(&heaps);
    if options.first_bytes {
        holders::read_first_bytes(&mut seen.holders, memory);
    }
    seen.depth = if is_whole(&heaps) { Depth::Whole } else { Depth::Partial };
    seen.heaps = heaps;
}

fn find_runtimes(seen: &Survey, files: Files<'_>, memory: &Memory<'_>) -> Vec<Runtime> {
    let mut taken = stacks(&seen.threads);
    taken.extend(seen.heaps.claims.iter().map(|claim| claim.span));
    taken.sort_unstable();
    runtimes::find(files, &seen.maps, &taken, memory)
}

/// glibc's heaps; none where it has never been asked for memory, as beside a preloaded allocator.
fn walk_glibc(
    seen: &Survey,
    memory: &Memory<'_>,
    glibc: &Glibc,
    before: &Heaps,
    options: Options,
) -> Heaps {
    let Some(found) = glibc.found else {
        // Without a heap there is nothing to find; with one, something was missed.
        let is_missed = before.claims.is_empty() && seen.maps.iter().any(Mapping::is_break);
        return Heaps { unseen: is_missed, ..Heaps::default() };
    };
    let mut taken = stacks(&seen.threads);
    taken.extend(before.claims.iter().map(|claim| claim.span));
    taken.sort_unstable();
    let ground = glibc::survey::Ground {
        memory,
        maps: &seen.maps,
        threads: &seen.threads.all,
        taken: &taken,
        table: glibc.table,
        found,
        parameters: glibc.parameters,
        tls_offsets: &glibc.tls_offsets,
        paint: options.paint,
        bins: options.bins,
    };
    ground.survey().unwrap_or_else(|| Heaps { unseen: true, ..Heaps::default() })
}

fn is_whole(heaps: &Heaps) -> bool {
    !heaps.unseen
        && heaps
            .arenas
            .iter()
            .all(|arena| arena.is_whole() && (arena.system_bytes == 0 || !arena.heaps.is_empty()))
}

/// The library's own data; of a program that we are linked into, the published state.
fn claim_tables(heaps: &mut Heaps, root: &ours::root::Root, data: &[Span], pages: &Pages) {
    let state =
        Span::new(root.address, root.address + size_of::<heapwise_layout::state::ProcessState>());
    let mut spans = if data.is_empty() { vec![state] } else { data.to_vec() };
    // The table of mapped chunks has a mapping of its own once it has grown.
    if !spans.iter().any(|span| span.contains(root.slots.start)) && !data.is_empty() {
        spans.push(Span::new(
            root.slots.start,
            crate::span::page_up(root.slots.end, pages.page_bytes()),
        ));
    }
    for span in spans.into_iter().filter(|span| span.bytes() > 0) {
        let tally = Tally::of(Row::AllocatorMetadata, pages.resident(span));
        heaps.claims.push(Claim { span, tally, what: What::Tables });
    }
}

/// Two allocators in one process: glibc's arenas follow ours.
fn join(mut first: Heaps, second: Heaps) -> Heaps {
    if first.claims.is_empty() {
        return second;
    }
    let offset = first.arenas.len();
    let used = second.arenas.into_iter().filter(|arena| !arena.heaps.is_empty());
    first.arenas.extend(used.map(|mut arena| {
        arena.index += offset;
        arena
    }));
    first.claims.extend(second.claims.into_iter().map(|mut claim| {
        if let What::Heap(index) = &mut claim.what {
            *index += offset;
        }
        claim
    }));
    first.caches.extend(second.caches);
    first.mapped += second.mapped;
    first.flaws += second.flaws;
    first.unseen |= second.unseen;
    first
}

fn counters_only(pid: u32, page_bytes: usize, why: String) -> Result<Survey, Error> {
    let figures = Figures::read(pid, page_bytes)?;
    let mut tally = Tally::default();
    tally[Row::OtherAnonymous] = figures.rss_anon;
    tally[Row::Files] = figures.rss_file;
    tally[Row::SharedMemory] = figures.rss_shmem;
    Ok(Survey {
        pid,
        origin: Origin::of_process(pid),
        allocator: Allocator::Hidden(why),
        depth: Depth::Counters,
        rss: tally.sum(),
        account: Account { tally, misfits: 0 },
        figures,
        cgroup: cgroup::of(pid),
        heaps: Heaps::default(),
        holders: Vec::new(),
        sites: Vec::new(),
        runtimes: Vec::new(),
        maps: Vec::new(),
        mapping_figures: Vec::new(),
        root: None,
        pages: Pages::from_runs(page_bytes, Vec::new(), true),
        threads: Threads::default(),
        notes: Vec::new(),
    })
}
