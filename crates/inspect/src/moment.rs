//! One moment of a process: what must be read while it stands, and where its memory is read from then.
//!
//! ```text
//! stop all ─► mappings, counters, threads ─► copy made?  yes ─► pages of files ─► let all go
//!                                                                ─► the copy's pages ─► look at it
//!                                                        no  ─► pages ─► look ─► let all go
//! ```

use std::time::Duration;

use crate::error::Error;
use crate::origin::PauseFor;
use crate::process::figures::{self, Figures};
use crate::process::frozen::{Copy, Places, Refusal};
use crate::process::maps::{self, Mapping};
use crate::process::memory::Memory;
use crate::process::pages::{Pages, Run};
use crate::process::stopped::{Stopped, in_own_thread};
use crate::process::threads::{self, Thread};
use crate::span::Span;

/// What the kernel tells of a moment.
pub struct Moment {
    /// The process.
    pub pid: u32,
    /// Its mappings.
    pub maps: Vec<Mapping>,
    /// Its resident pages.
    pub pages: Pages,
    /// The kernel's figures.
    pub figures: Figures,
    /// Its threads.
    pub threads: Vec<Thread>,
    /// A copy of it, and what of its memory that does not have.
    copy: Option<(u32, Vec<Span>)>,
}

/// What of a process a copy does not tell.
struct Beside {
    /// Memory that it does not have.
    lacking: Vec<Span>,
    /// Resident pages of that, and of files and shared memory; none where all pages were taken.
    runs: Option<Vec<Run>>,
}

/// Mappings that change while they are read are read again, at most so often.
const ATTEMPTS: usize = 4;
/// Where a copy is refused for what passes, so often in all.
const COPY_ATTEMPTS: usize = 5;
const NEXT_ATTEMPT: Duration = Duration::from_millis(3);
/// Under a stop, the kernel's own walk over all pages is worth its time up to here.
const MOST_WALKED_TWICE: usize = 256 << 20;

impl Moment {
    /// Takes what there is.
    ///
    /// # Errors
    /// No such process, no permission.
    pub fn take(pid: u32, page_bytes: usize) -> Result<Self, Error> {
        // Each walks all pages.
        let (both, figures) = std::thread::scope(|scope| {
            let figures = scope.spawn(|| Figures::read(pid, page_bytes));
            let both = resident(pid, page_bytes);
            (both, figures.join().unwrap_or_else(|_| Figures::counters(pid, page_bytes)))
        });
        let ((maps, pages), figures) = (both?, figures?);
        Ok(Self { pid, maps, pages, figures, threads: threads::list(pid), copy: None })
    }

    /// The same of a process that stands still, without its pages; `copy` has most of them.
    fn take_quickly(pid: u32, page_bytes: usize) -> Result<Self, Error> {
        let counters = Figures::counters(pid, page_bytes)?;
        let is_small = counters.rss_statm <= MOST_WALKED_TWICE;
        let figures = if is_small { Figures::read(pid, page_bytes)? } else { counters };
        let pages = Pages::from_runs(page_bytes, Vec::new(), true);
        let threads = threads::list(pid);
        Ok(Self { pid, maps: maps::of(pid)?, pages, figures, threads, copy: None })
    }

    /// The pages, of a process that stands still.
    fn take_pages(&mut self) -> Result<(), Error> {
        let page_bytes = self.pages.page_bytes();
        (self.maps, self.pages) = resident(self.pid, page_bytes)?;
        self.note_huge_pages();
        Ok(())
    }

    /// While it stands: what of its pages a copy does not have. A copy has those of anonymous memory.
    fn take_pages_beside(&mut self, copy: &Copy) -> Result<Beside, Error> {
        let lacking = copy.lacks(&self.maps)?;
        let is_beside =
            |mapping: &&Mapping| !mapping.is_copied_whole() || lacking.contains(&mapping.span);
        let mut spans: Vec<Span> = Vec::new();
        for span in self.maps.iter().filter(is_beside).map(|mapping| mapping.span) {
            match spans.last_mut() {
                Some(last) if last.end == span.start => last.end = span.end,
                _ => spans.push(span),
            }
        }
        let runs = Pages::runs_of(self.pid, &spans)?;
        if runs.is_none() {
            // A kernel that tells all or nothing.
            self.take_pages()?;
        }
        Ok(Beside { lacking, runs })
    }

    /// The rest of the pages, from the copy.
    fn add_pages_of(&mut self, copy: u32, beside: Beside) -> Result<(), Error> {
        let page_bytes = self.pages.page_bytes();
        if let Some(runs) = beside.runs {
            let is_in_copy = |mapping: &&Mapping| {
                mapping.is_copied_whole() && !beside.lacking.contains(&mapping.span)
            };
            let spans: Vec<Span> =
                self.maps.iter().filter(is_in_copy).map(|mapping| mapping.span).collect();
            let more = Pages::runs_of(copy, &spans)?.unwrap_or_default();
            let pages = Pages::joined(page_bytes, runs, more);
            self.pages = pages.without(&hugetlb(self.pid, &self.maps, page_bytes)?);
            self.note_huge_pages();
        }
        self.copy = Some((copy, beside.lacking));
        Ok(())
    }

    fn note_huge_pages(&mut self) {
        if self.figures.rss_rollup.is_none() {
            self.figures.anon_huge = self.pages.huge_anonymous();
        }
    }

    /// Its memory, for pages that are those of the moment.
    ///
    /// # Errors
    /// No such process, no permission.
    pub fn memory<'a>(&self, pages: &'a Pages) -> Result<Memory<'a>, Error> {
        match &self.copy {
            Some((copy, lacking)) => Memory::of_copy(self.pid, *copy, lacking.clone(), pages),
            None => Memory::open(self.pid, pages),
        }
    }
}

/// Looks at one moment of a process, which stands still as shortly as it can; what came of it, how
/// long it stood, and for what.
///
/// # Errors
/// No such process, no permission, or somebody else traces it.
pub fn of_one_moment<T: Send>(
    pid: u32,
    page_bytes: usize,
    look: impl Fn(Moment) -> Result<T, Error> + Sync,
) -> Result<(T, Duration, PauseFor), Error> {
    in_own_thread(|| {
        // Before the stop: it takes some milliseconds.
        let places = Places::find(pid, &maps::of(pid)?, page_bytes);
        let mut stood = Duration::ZERO;
        let mut attempt = 1;
        let (mut moment, mut copy, beside, pause) = loop {
            let mut stopped = Stopped::stop(pid)?;
            let mut moment = Moment::take_quickly(pid, page_bytes)?;
            let made = match places.clone() {
                Some(places) => {
                    let (maps, figures) = (&moment.maps, &moment.figures);
                    Copy::make(pid, stopped.tracees(), places, maps, figures)
                }
                None => {
                    let why = "no code of it is known that could ask for one".into();
                    Err(Refusal { why, passes: false })
                }
            };
            match made {
                Ok(copy) => {
                    let beside = moment.take_pages_beside(&copy);
                    break (moment, copy, beside, stood + stopped.release());
                }
                Err(Refusal { passes: true, .. }) if attempt < COPY_ATTEMPTS => {
                    stood += stopped.release();
                    attempt += 1;
                    std::thread::sleep(NEXT_ATTEMPT);
                }
                Err(Refusal { why, .. }) => {
                    moment.take_pages()?;
                    let seen = look(moment)?;
                    return Ok((seen, stood + stopped.release(), PauseFor::Look { why }));
                }
            }
        };
        let seen = copy.hold().map_err(|error| lost(&copy, error)).and_then(|()| {
            moment.add_pages_of(copy.pid(), beside?)?;
            look(moment)
        });
        let pause_for = PauseFor::Copy {
            made_ns: copy.made_in.as_nanos() as u64,
            table_bytes: copy.table_bytes,
            faults: copy.faults_since(),
            is_removed: copy.remove(),
        };
        Ok((seen?, pause, pause_for))
    })
}

fn lost(copy: &Copy, source: std::io::Error) -> Error {
    Error::Io { what: format!("the copy, process {}", copy.pid()), source }
}

/// The mappings and their resident pages, of one moment: the mappings are read
/// before and after, until both agree.
pub(crate) fn resident(pid: u32, page_bytes: usize) -> Result<(Vec<Mapping>, Pages), Error> {
    let mut maps = maps::of(pid)?;
    for attempt in 1.. {
        let pages = Pages::of(pid, &maps, page_bytes)?;
        let after = maps::of(pid)?;
        let unchanged = after == maps;
        maps = after;
        if unchanged || attempt == ATTEMPTS {
            let hugetlb = hugetlb(pid, &maps, page_bytes)?;
            return Ok((maps, pages.without(&hugetlb)));
        }
    }
    unreachable!("the loop ends with the last attempt")
}

/// Mappings of hugetlbfs, which are not in the RSS.
fn hugetlb(pid: u32, maps: &[Mapping], page_bytes: usize) -> Result<Vec<Span>, Error> {
    if Figures::counters(pid, page_bytes)?.hugetlb == 0 {
        return Ok(Vec::new());
    }
    let all = figures::smaps(pid)?;
    let starts = all.iter().filter(|mapping| mapping.hugetlb).map(|mapping| mapping.start);
    Ok(starts.filter_map(|start| maps::find(maps, start)).map(|mapping| mapping.span).collect())
}
