//! Looks at the chosen processes, no more often than is worth it, and keeps what was seen.
//!
//! A scrape gets a page at once: processes whose last look is older than the interval are looked
//! at again, the oldest first, until the scrape's time is up; the others show what was seen last,
//! with its time. A process is known by its number and the time of its start, so that a
//! successor's figures never continue those of one that has ended.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use heapwise_inspect::process::figures;
use heapwise_inspect::{Error, Options, survey};

use super::choose::Choice;
use super::families::{self, of_process};
use super::page::Page;

/// Looks of one scrape take no longer together; Prometheus waits 10 s by default.
const SCRAPE_BUDGET: Duration = Duration::from_secs(5);
/// A look that took t is not repeated before so many t have passed: 2 % of a processor.
const REST_FACTOR: u32 = 50;

/// What the looks may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Between two looks at one process.
    pub interval: Duration,
    /// Processes on the page.
    pub processes: usize,
}

/// What is known, and of whom.
#[derive(Debug)]
pub struct Collector {
    choice: Choice,
    limits: Limits,
    known: BTreeMap<u32, Known>,
    chosen_at: Option<Instant>,
    left_out: usize,
    looks: u64,
    failures: u64,
}

/// A chosen process.
#[derive(Debug)]
struct Known {
    start: u64,
    name: String,
    looked: Option<Looked>,
}

/// A look.
#[derive(Debug)]
struct Looked {
    at: Instant,
    took: Duration,
    page: Page,
}

impl Collector {
    /// Nobody has been looked at yet.
    pub fn new(choice: Choice, limits: Limits) -> Self {
        let known = BTreeMap::new();
        Self { choice, limits, known, chosen_at: None, left_out: 0, looks: 0, failures: 0 }
    }

    /// The page of now.
    pub fn page(&mut self) -> Page {
        let begun = Instant::now();
        if self.chosen_at.is_none_or(|at| begun.duration_since(at) >= self.limits.interval) {
            self.choose();
            self.chosen_at = Some(begun);
        }
        self.known.retain(|&pid, known| figures::start_time(pid).is_ok_and(|s| s == known.start));
        for pid in self.due(begun) {
            self.look(pid);
            if begun.elapsed() >= SCRAPE_BUDGET {
                break;
            }
        }
        self.assemble()
    }

    fn choose(&mut self) {
        let mut chosen = self.choice.find();
        self.left_out = chosen.len().saturating_sub(self.limits.processes);
        while chosen.len() > self.limits.processes {
            chosen.pop_last();
        }
        self.known.retain(|pid, _| chosen.contains_key(pid));
        for (pid, name) in chosen {
            let Ok(start) = figures::start_time(pid) else { continue };
            let known =
                self.known.entry(pid).or_insert(Known { start, name: String::new(), looked: None });
            if known.start != start {
                *known = Known { start, name: String::new(), looked: None };
            }
            known.name = name;
        }
    }

    /// Those to look at, the one not seen for longest first.
    fn due(&self, now: Instant) -> Vec<u32> {
        let rest = |looked: &Looked| self.limits.interval.max(looked.took * REST_FACTOR);
        let is_due = |known: &Known| {
            known.looked.as_ref().is_none_or(|l| now.duration_since(l.at) >= rest(l))
        };
        let mut due: Vec<_> = self
            .known
            .iter()
            .filter(|(_, known)| is_due(known))
            .map(|(&pid, known)| (known.looked.as_ref().map(|looked| looked.at), pid))
            .collect();
        due.sort_unstable();
        due.into_iter().map(|(_, pid)| pid).collect()
    }

    fn look(&mut self, pid: u32) {
        let Some(known) = self.known.get_mut(&pid) else { return };
        let at = Instant::now();
        let seen = survey(pid, Options::default());
        let took = at.elapsed();
        let own = of_process(pid, &known.name);
        let mut page = Page::default();
        self.looks += 1;
        match seen {
            Ok(seen) => families::describe(&mut page, &own, &seen),
            Err(Error::NoSuchProcess(_)) => {
                self.known.remove(&pid);
                return;
            }
            Err(
                Error::NotPermitted { .. }
                | Error::Traced { .. }
                | Error::Restless(_)
                | Error::Io { .. },
            ) => {
                self.failures += 1;
                page.push(&families::UP, own.clone(), 0.0);
            }
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        page.push(&families::LOOK, own.clone(), took.as_secs_f64());
        page.push(&families::LOOK_TIME, own, (now.as_millis() as f64) / 1e3);
        known.looked = Some(Looked { at, took, page });
    }

    fn assemble(&self) -> Page {
        let mut page = Page::default();
        let looked = || self.known.values().filter_map(|known| known.looked.as_ref());
        for looked in looked() {
            page.samples.extend(looked.page.samples.iter().cloned());
        }
        page.push(&families::LOOKS, Vec::new(), self.looks as f64);
        page.push(&families::LOOK_FAILURES, Vec::new(), self.failures as f64);
        page.push(&families::PROCESSES, Vec::new(), looked().count() as f64);
        page.push(&families::LEFT_OUT, Vec::new(), self.left_out as f64);
        let version = vec![("version", env!("CARGO_PKG_VERSION").into())];
        page.push(&families::BUILD, version, 1.0);
        page
    }
}
