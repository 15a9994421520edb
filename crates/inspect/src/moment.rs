//! One moment of a process: what must be read while it stands, and where its memory is read from then.
//!
//! ```text
//! stop all ─► mappings, pages, counters, threads ─► copy made?  yes ─► let all go ─► look at the copy
//!                                                               no  ─► look ─► let all go
//! ```

use std::time::Duration;

use crate::error::Error;
use crate::origin::PauseFor;
use crate::process::figures::{self, Figures};
use crate::process::frozen::{Copy, Places, Refusal};
use crate::process::maps::{self, Mapping};
use crate::process::memory::Memory;
use crate::process::pages::Pages;
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
        let (maps, pages) = resident(pid, page_bytes)?;
        let figures = Figures::read(pid, page_bytes)?;
        Ok(Self { pid, maps, pages, figures, threads: threads::list(pid), copy: None })
    }

    /// The same of a process that stands still.
    fn take_quickly(pid: u32, page_bytes: usize) -> Result<Self, Error> {
        let (maps, pages) = resident(pid, page_bytes)?;
        let figures = if pages.total() <= MOST_WALKED_TWICE {
            Figures::read(pid, page_bytes)?
        } else {
            let huge = pages.huge_anonymous();
            Figures { anon_huge: huge, ..Figures::counters(pid, page_bytes)? }
        };
        Ok(Self { pid, maps, pages, figures, threads: threads::list(pid), copy: None })
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
        let places = maps::of(pid).and_then(|maps| {
            let pages = Pages::of(pid, &maps, page_bytes)?;
            Ok(Places::find(pid, &maps, &pages))
        })?;
        let mut before = Duration::ZERO;
        let mut attempt = 1;
        let (mut moment, mut copy, pause) = loop {
            let mut stopped = Stopped::stop(pid)?;
            let moment = Moment::take_quickly(pid, page_bytes)?;
            let made = match places.clone() {
                Some(places) => {
                    let of_now = (&moment.maps[..], &moment.pages);
                    Copy::make(pid, stopped.tracees(), places, of_now, &moment.figures)
                }
                None => {
                    let why = "no code of it is known that could ask for one".into();
                    Err(Refusal { why, passes: false })
                }
            };
            match made {
                Ok(copy) => break (moment, copy, before + stopped.release()),
                Err(Refusal { passes: true, .. }) if attempt < COPY_ATTEMPTS => {
                    before += stopped.release();
                    attempt += 1;
                    std::thread::sleep(NEXT_ATTEMPT);
                }
                Err(Refusal { why, .. }) => {
                    let seen = look(moment)?;
                    return Ok((seen, before + stopped.release(), PauseFor::Look { why }));
                }
            }
        };
        let seen = copy.hold().map_err(|error| lost(&copy, error)).and_then(|()| {
            let lacking = copy.lacks(&moment.maps, &moment.pages)?;
            moment.copy = Some((copy.pid(), lacking));
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
