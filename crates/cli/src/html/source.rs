//! The looks that a page is made of: one, or many over time.

use std::fs::File;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use heapwise_inspect::origin;
use heapwise_inspect::process::figures;
use heapwise_inspect::snapshot::{self, SnapshotError};
use heapwise_inspect::survey::page_bytes;
use heapwise_inspect::verdict::{Verdict, judge};
use heapwise_inspect::{Options, Survey};

use super::ReportArgs;
use crate::failure::{Failure, USAGE};
use crate::target::{Kind, Look, Target};
use crate::view::events::{self, Event, Seen};
use crate::view::pace::{Cost, Pace};
use crate::view::timeline::{Point, Timeline};

/// Points of a timeline at most.
const MOST_POINTS: usize = 2000;
/// Events at most; the last ones stay.
const MOST_EVENTS: usize = 500;
/// Looks for the timeline need no more than this.
const QUICK: Options =
    Options { paint: false, bins: false, first_bytes: false, mappings: false, consistent: false };

/// What is told: the last look, and how it came to that.
pub struct Story {
    /// The last look, whole.
    pub look: Look,
    /// What it means.
    pub verdict: Verdict,
    /// All looks in short.
    pub timeline: Timeline,
    /// What happened between them.
    pub events: Vec<Event>,
    /// How the looks were spread, where there were several of a process.
    pub pace: Option<Pace>,
}

/// Makes the story of every moment that there is to tell about.
pub fn each(
    args: &ReportArgs,
    mut tell: impl FnMut(Story) -> anyhow::Result<u8>,
) -> anyhow::Result<()> {
    let consistent = args.target.is_consistent();
    let options = Options { first_bytes: args.bytes, consistent, ..Options::ALL };
    let earlier = read_earlier(args)?;
    let begun = Telling::new(&earlier);
    if let Some(duration) = args.duration {
        let target =
            args.target.named()?.ok_or_else(|| Failure::new(USAGE, "--for wants a process"))?;
        if target.kind() != Kind::Process {
            let why = "--for wants a process: a file does not change; --since takes earlier ones";
            return Err(Failure::new(USAGE, why).into());
        }
        let (telling, pace) = over_time(begun, &target, duration, args.every)?;
        let look =
            Look { seen: target.look(options)?, typed: args.target.typed(), kind: Kind::Process };
        tell(telling.finish(look, Some(pace)))?;
        return Ok(());
    }
    args.target.each(options, |look| tell(begun.clone().finish(look.clone(), None)))?;
    Ok(())
}

fn read_earlier(args: &ReportArgs) -> anyhow::Result<Vec<Survey>> {
    let mut all = args.since.iter().map(|path| read(path)).collect::<Result<Vec<_>, _>>()?;
    all.sort_by_key(|seen| seen.origin.taken_unix_ms);
    Ok(all)
}

fn read(path: &Path) -> Result<Survey, Failure> {
    let seen = File::open(path).map_err(SnapshotError::Io).and_then(snapshot::read);
    seen.map_err(|error| Failure::new(USAGE, format!("{}: {error}", path.display())))
}

fn over_time(
    mut telling: Telling,
    target: &Target,
    duration: Duration,
    every: Duration,
) -> anyhow::Result<(Telling, Pace)> {
    let begun = Instant::now();
    let mut pace = Pace::new(every);
    loop {
        let at = Instant::now();
        let (seen, cost) = Cost::of(|| target.glance(QUICK));
        telling.add(&seen?);
        pace.learn(cost);
        // The whole look at the end is the last point.
        let next = at + pace.interval();
        let is_last = next.duration_since(begun) >= duration;
        let until = if is_last { begun + duration } else { next };
        while pace.is_slow() && until.saturating_duration_since(Instant::now()) > pace.asked() {
            thread::sleep(pace.asked());
            telling.sample(target);
        }
        thread::sleep(until.saturating_duration_since(Instant::now()));
        if is_last {
            return Ok((telling, pace));
        }
    }
}

/// A story while it is made.
#[derive(Clone)]
struct Telling {
    first_unix_ms: Option<u64>,
    before: Option<(Survey, Verdict)>,
    timeline: Timeline,
    events: Vec<Event>,
}

impl Telling {
    fn new(earlier: &[Survey]) -> Self {
        let mut telling = Self {
            first_unix_ms: None,
            before: None,
            timeline: Timeline::new(MOST_POINTS),
            events: Vec::new(),
        };
        earlier.iter().for_each(|seen| telling.add(seen));
        telling
    }

    fn add(&mut self, seen: &Survey) {
        let taken = seen.origin.taken_unix_ms;
        let first = *self.first_unix_ms.get_or_insert(taken);
        let at = Duration::from_millis(taken.saturating_sub(first));
        let verdict = judge(seen);
        if let Some((survey, before)) = &self.before {
            let before = Seen { survey, verdict: before };
            self.events.extend(events::between(
                before,
                Seen { survey: seen, verdict: &verdict },
                at,
            ));
            let surplus = self.events.len().saturating_sub(MOST_EVENTS);
            self.events.drain(..surplus);
        }
        self.timeline.push(Point::of(seen, at));
        self.before = Some((seen.clone(), verdict));
    }

    /// The RSS alone, between two looks that are far apart.
    fn sample(&mut self, target: &Target) {
        let Target::Process(pid) = *target else { return };
        let now = origin::unix_ms(SystemTime::now());
        let Some((first, last)) = self.first_unix_ms.zip(self.timeline.points().last()) else {
            return;
        };
        // Where it has ended the next look says so.
        if let Ok(rss) = figures::rss(pid, page_bytes()) {
            let at = Duration::from_millis(now.saturating_sub(first));
            let point = Point::between(last, rss, at);
            self.timeline.push(point);
        }
    }

    fn finish(mut self, look: Look, pace: Option<Pace>) -> Story {
        self.add(&look.seen);
        let verdict = judge(&look.seen);
        Story { look, verdict, timeline: self.timeline, events: self.events, pace }
    }
}
