//! `heapwise.watch/1`: an object a look, a line each.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use heapwise_inspect::{Options, ROWS};
use serde_json::{Value, json};

use super::sampler::{Look, News, Sampler};
use crate::exit;
use crate::explain::{self, holders, words};
use crate::view::events::{self, Event, Seen};
use crate::view::pace::Pace;

/// The stream's schema.
const SCHEMA: &str = "heapwise.watch/1";

/// So many allocation sites a line, the largest.
const MOST_SITES: usize = 20;

/// Prints lines until the process, the time or the reader ends.
pub fn run(
    pid: u32,
    first: Look,
    interval: Duration,
    duration: Option<Duration>,
) -> anyhow::Result<ExitCode> {
    let code = super::code_of(&first);
    let began = first.at;
    let mut pace = Pace::new(interval);
    let mut last = first;
    pace.learn(last.cost);
    let sampler = Sampler::start(pid, Options::default(), pace.clone());
    print(&line(&last, began, &pace, &[], 0))?;
    let mut most = 0;
    loop {
        let news = match duration {
            None => sampler.news.recv().ok(),
            Some(time) => sampler.news.recv_timeout(time.saturating_sub(began.elapsed())).ok(),
        };
        match news {
            // The time is over.
            None => return exit::code(code),
            Some(News::Look(look)) => {
                let happened = events::between(
                    Seen { survey: &last.seen, verdict: &last.verdict },
                    Seen { survey: &look.seen, verdict: &look.verdict },
                    look.at.saturating_duration_since(began),
                );
                last = *look;
                pace.learn(last.cost);
                print(&line(&last, began, &pace, &happened, most))?;
                most = 0;
            }
            Some(News::Rss(_, rss)) => most = most.max(rss),
            Some(News::Failed(why)) => crate::complain(&why),
            Some(News::Saved(_)) => {}
            Some(News::Ended) => {
                print(&json!({
                    "schema": SCHEMA,
                    "pid": pid,
                    "name": last.seen.figures.name,
                    "elapsed_ns": ns(began.elapsed()),
                    "unix_ms": unix_ms(),
                    "ended": true,
                }))?;
                return exit::code(code);
            }
        }
    }
}

fn print(value: &Value) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{value}")?;
    out.flush()
}

/// `most` is the largest RSS between the look before and this one.
fn line(look: &Look, began: Instant, pace: &Pace, events: &[Event], most: usize) -> Value {
    let seen = &look.seen;
    let rows = ROWS.iter().map(|row| (row.name().to_owned(), seen.account.tally[*row].into()));
    let events = events.iter().map(|event| json!({ "kind": event.kind, "text": event.text }));
    let holders = holders::told(seen).iter().map(|holder| explain::json::holder(holder, false));
    json!({
        "schema": SCHEMA,
        "pid": seen.pid,
        "name": seen.figures.name,
        "elapsed_ns": ns(look.at.saturating_duration_since(began)),
        "unix_ms": unix_ms(),
        "ended": false,
        "allocator": words::allocator(seen),
        "depth": words::depth(seen.depth),
        "rss_bytes": seen.rss,
        "most_rss_bytes": seen.rss.max(most),
        "rows": rows.collect::<serde_json::Map<_, _>>(),
        "trim_gain_bytes": seen.trim_gain(),
        "swap_bytes": seen.figures.swap,
        "threads": seen.figures.threads,
        "arenas": seen.heaps.arenas.len(),
        "situation": look.verdict.main.name(),
        "top_holders": holders.collect::<Vec<_>>(),
        "sites": seen.sites.iter().take(MOST_SITES).map(explain::json::site).collect::<Vec<_>>(),
        "events": events.collect::<Vec<_>>(),
        "look": {
            "wall_ns": ns(look.cost.wall),
            "cpu_ns": ns(look.cost.cpu),
            "interval_ns": ns(pace.interval()),
        },
    })
}

fn ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn unix_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
