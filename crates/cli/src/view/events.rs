//! What happened between two looks at a process, in words.
//!
//! A look is a moment: what came and went between two of them is not seen, and the words say
//! only what both together show.

use std::collections::BTreeMap;
use std::time::Duration;

use heapwise_inspect::process::maps::Mapping;
use heapwise_inspect::span::Span;
use heapwise_inspect::verdict::Verdict;
use heapwise_inspect::{Allocator, Depth, ROWS, Row, Survey};
use serde::Serialize;

use super::palette::Part;
use crate::units::bytes;

/// What kind of thing happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The RSS jumped.
    Rss,
    /// Free pages went back.
    Trim,
    /// The break moved.
    Break,
    /// An arena was made, or is gone.
    Arena,
    /// A thread came or ended.
    Thread,
    /// Chunks with mappings of their own came or went.
    Mapped,
    /// The mmap threshold moved.
    Threshold,
    /// The verdict changed.
    Verdict,
    /// Swap or the limit of the group.
    Pressure,
    /// The program became another.
    Exec,
    /// The target ended.
    Ended,
    /// About the looking itself.
    Watch,
}

impl Kind {
    /// The name, as programs read it too.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rss => "rss",
            Self::Trim => "trim",
            Self::Break => "break",
            Self::Arena => "arena",
            Self::Thread => "thread",
            Self::Mapped => "mapped",
            Self::Threshold => "threshold",
            Self::Verdict => "verdict",
            Self::Pressure => "pressure",
            Self::Exec => "exec",
            Self::Ended => "ended",
            Self::Watch => "watch",
        }
    }
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// When it was seen, from the first look on.
    pub at: Duration,
    /// What kind of thing.
    pub kind: Kind,
    /// A short sentence.
    pub text: String,
}

/// A change of the RSS below this is not told …
const SMALLEST_JUMP: usize = 1 << 20;
/// … nor below one part in so many of it.
const JUMP_PART: usize = 20;
/// Fewer free pages than this gone at once are not called a trim.
const SMALLEST_TRIM: usize = 256 << 10;
/// So many threads are named one by one.
const NAMED: usize = 3;

/// A look with its verdict.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// What was seen.
    pub survey: &'a Survey,
    /// What it means.
    pub verdict: &'a Verdict,
}

/// What happened from `before` to `after`, the most important first.
pub fn between(before: Seen<'_>, after: Seen<'_>, at: Duration) -> Vec<Event> {
    let mut teller = Teller { at, events: Vec::new() };
    let (old, new) = (before.survey, after.survey);
    teller.exec(old, new);
    teller.rss(old, new);
    teller.trim(old, new);
    teller.moved_break(old, new);
    teller.arenas(old, new);
    teller.mapped(old, new);
    teller.threads(old, new);
    teller.threshold(old, new);
    teller.pressure(old, new);
    teller.depth(old, new);
    if before.verdict.main.name() != after.verdict.main.name() {
        let [old, new] = [before.verdict, after.verdict].map(|v| v.main.name().replace('_', " "));
        teller.tell(Kind::Verdict, format!("now {new}, before {old}"));
    }
    teller.events
}

struct Teller {
    at: Duration,
    events: Vec<Event>,
}

impl Teller {
    fn tell(&mut self, kind: Kind, text: String) {
        self.events.push(Event { at: self.at, kind, text });
    }

    fn exec(&mut self, old: &Survey, new: &Survey) {
        if old.figures.name != new.figures.name {
            self.tell(Kind::Exec, format!("{} is now {}", old.figures.name, new.figures.name));
        }
    }

    fn rss(&mut self, old: &Survey, new: &Survey) {
        let jump = new.rss.abs_diff(old.rss);
        if jump < SMALLEST_JUMP.max(old.rss / JUMP_PART) {
            return;
        }
        // The row that moved most in the same direction says why.
        let grown = new.rss > old.rss;
        let by = |row: &Row| {
            let (before, after) = (old.account.tally[*row], new.account.tally[*row]);
            if grown { after.saturating_sub(before) } else { before.saturating_sub(after) }
        };
        let why = ROWS.iter().max_by_key(|row| by(row)).map_or(String::new(), |row| {
            format!(", mostly {}: {}", Part::of(*row).name(), change(by(row), grown))
        });
        let text = format!("RSS {} to {}{why}", change(jump, grown), size(new.rss));
        self.tell(Kind::Rss, text);
    }

    /// Free pages went, and not because somebody took them.
    fn trim(&mut self, old: &Survey, new: &Survey) {
        let free =
            |seen: &Survey| Part::Free.rows().map(|row| seen.account.tally[row]).sum::<usize>();
        let gone = free(old).saturating_sub(free(new));
        let fallen = old.rss.saturating_sub(new.rss);
        let returned = gone.min(fallen);
        if returned >= SMALLEST_TRIM && returned * 2 >= gone {
            self.tell(Kind::Trim, format!("{} of free pages went back", size(returned)));
        }
    }

    fn moved_break(&mut self, old: &Survey, new: &Survey) {
        let (Some(before), Some(after)) = (break_of(old), break_of(new)) else { return };
        let moved = before.end.abs_diff(after.end);
        // A heap that grows step by step, 132 KiB each, is no news.
        if before.start == after.start && moved >= SMALLEST_JUMP.max(before.bytes() / JUMP_PART) {
            let up = after.end > before.end;
            let by = change(moved, up);
            let span = size(after.bytes());
            self.tell(Kind::Break, format!("break {by}: the main heap spans {span}"));
        }
    }

    fn arenas(&mut self, old: &Survey, new: &Survey) {
        if !is_walked(old) || !is_walked(new) {
            return;
        }
        let indices = |seen: &Survey| -> BTreeMap<usize, usize> {
            seen.heaps.arenas.iter().map(|arena| (arena.address, arena.index)).collect()
        };
        let (before, after) = (indices(old), indices(new));
        let made: Vec<_> = difference(&after, &before);
        let gone: Vec<_> = difference(&before, &after);
        for (list, word) in [(made, "made"), (gone, "gone")] {
            match list.as_slice() {
                [] => {}
                [one] => self.tell(Kind::Arena, format!("arena {one} {word}")),
                several => {
                    let text = format!("{} arenas {word}, {} now", several.len(), after.len());
                    self.tell(Kind::Arena, text);
                }
            }
        }
    }

    fn mapped(&mut self, old: &Survey, new: &Survey) {
        let (before, after) = (old.heaps.mapped, new.heaps.mapped);
        let moved = before.bytes.abs_diff(after.bytes);
        if !is_walked(old) || !is_walked(new) || moved < SMALLEST_JUMP {
            return;
        }
        let by = change(moved, after.bytes > before.bytes);
        let text = format!("mapped chunks {by}: {} of {} now", after.chunks, size(after.bytes));
        self.tell(Kind::Mapped, text);
    }

    fn threads(&mut self, old: &Survey, new: &Survey) {
        let names = |seen: &Survey| -> BTreeMap<u32, String> {
            seen.threads
                .all
                .iter()
                .map(|thread| (thread.tid, format!("{} {}", thread.tid, thread.name)))
                .collect()
        };
        let (before, after) = (names(old), names(new));
        let (came, ended) = (difference(&after, &before), difference(&before, &after));
        for (list, word) in [(came, "came"), (ended, "ended")] {
            if list.len() > NAMED {
                let text = format!("{} threads {word}, {} now", list.len(), after.len());
                self.tell(Kind::Thread, text);
            } else {
                for name in list {
                    self.tell(Kind::Thread, format!("thread {name} {word}"));
                }
            }
        }
    }

    fn threshold(&mut self, old: &Survey, new: &Survey) {
        let threshold = |seen: &Survey| match &seen.allocator {
            Allocator::Glibc(glibc) => glibc.parameters.map(|found| found.mmap_threshold),
            _ => None,
        };
        let (Some(before), Some(after)) = (threshold(old), threshold(new)) else { return };
        if before != after {
            let text = format!("mmap threshold {} to {}", size(before), size(after));
            self.tell(Kind::Threshold, text);
        }
    }

    fn pressure(&mut self, old: &Survey, new: &Survey) {
        let (before, after) = (old.figures.swap, new.figures.swap);
        if before.abs_diff(after) >= SMALLEST_JUMP || (before == 0) != (after == 0) {
            self.tell(Kind::Pressure, format!("swapped out: {} now", size(after)));
        }
        // Nine tenths of the limit, crossed.
        let near = |seen: &Survey| {
            let group = seen.cgroup.as_ref()?;
            let limit = group.limit?;
            Some((group.usage >= limit / 10 * 9, group.usage, limit))
        };
        if let (Some((false, ..)), Some((true, usage, limit))) = (near(old), near(new)) {
            let text = format!("cgroup at {} of its {}", size(usage), size(limit));
            self.tell(Kind::Pressure, text);
        }
    }

    fn depth(&mut self, old: &Survey, new: &Survey) {
        let is_partial = |seen: &Survey| seen.depth == Depth::Partial;
        if is_partial(new) && !is_partial(old) {
            self.tell(Kind::Watch, "a heap changed under the walk: its figures are partial".into());
        }
    }
}

fn is_walked(seen: &Survey) -> bool {
    matches!(seen.depth, Depth::Whole | Depth::Partial)
}

fn break_of(seen: &Survey) -> Option<Span> {
    let pieces = || seen.maps.iter().filter(|mapping| Mapping::is_break(mapping));
    Some(Span::new(pieces().next()?.span.start, pieces().next_back()?.span.end))
}

fn difference<K: Ord, V: Clone>(of: &BTreeMap<K, V>, without: &BTreeMap<K, V>) -> Vec<V> {
    of.iter().filter(|(key, _)| !without.contains_key(key)).map(|(_, v)| v.clone()).collect()
}

fn size(figure: usize) -> String {
    bytes(figure as u64)
}

fn change(by: usize, up: bool) -> String {
    format!("{}{}", if up { '+' } else { '−' }, size(by))
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;
    use heapwise_inspect::process::threads::Thread;
    use heapwise_inspect::verdict::judge;

    fn told(old: &Survey, new: &Survey) -> Vec<(Kind, String)> {
        let (before, after) = (judge(old), judge(new));
        let events = between(
            Seen { survey: old, verdict: &before },
            Seen { survey: new, verdict: &after },
            Duration::from_secs(3),
        );
        events.into_iter().map(|event| (event.kind, event.text)).collect()
    }

    #[test]
    fn nothing_happens_between_equal_looks() {
        let seen = sample::survey(40, 20);
        assert!(told(&seen, &seen.clone()).is_empty());
    }

    #[test]
    fn a_jump_names_the_part_that_moved() {
        let events = told(&sample::survey(40, 20), &sample::survey(60, 20));
        let jump = events.iter().find(|(kind, _)| *kind == Kind::Rss).expect("a jump");
        assert!(jump.1.contains("+20.0 MiB") && jump.1.contains("mostly live"), "{jump:?}");
        assert!(events.iter().any(|(kind, text)| *kind == Kind::Break && text.contains("+20.0")));
    }

    #[test]
    fn free_pages_that_are_taken_are_no_trim() {
        let trim =
            |old: &Survey, new: &Survey| told(old, new).iter().any(|(kind, _)| *kind == Kind::Trim);
        assert!(trim(&sample::survey(40, 20), &sample::survey(40, 5)));
        assert!(!trim(&sample::survey(40, 20), &sample::survey(55, 5)));
    }

    #[test]
    fn threads_arenas_and_names_come_and_go() {
        let old = sample::survey(40, 20);
        let mut new = old.clone();
        new.threads.all.push(Thread { tid: 77, name: "worker".into(), pointer: None, stack: None });
        let mut arena = new.heaps.arenas[0].clone();
        (arena.index, arena.address) = (9, 0x9999);
        new.heaps.arenas.push(arena);
        new.figures.name = "other".into();
        let events = told(&old, &new);
        let has = |kind, part: &str| events.iter().any(|(k, t)| *k == kind && t.contains(part));
        assert!(has(Kind::Thread, "thread 77 worker came"), "{events:?}");
        assert!(has(Kind::Arena, "arena 9 made") && has(Kind::Exec, "is now other"), "{events:?}");
        let events = told(&new, &old);
        assert!(events.iter().any(|(_, text)| text == "thread 77 worker ended"), "{events:?}");
    }
}
