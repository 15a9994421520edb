//! Whether there is memory for a copy of a process: for its page tables, and for every page that the
//! process writes to meanwhile.

use std::fs;

use super::super::cgroup;
use super::super::figures::{Figures, kibibytes};

/// Left to others.
const MARGIN_BYTES: usize = 64 << 20;

/// Why there is too little, if so. At worst it writes to all of its own memory.
#[must_use]
pub fn lacks(pid: u32, figures: &Figures) -> Option<String> {
    let wanted = figures.rss_anon + 2 * figures.page_tables + MARGIN_BYTES;
    let group = cgroup::headroom(pid).unwrap_or(usize::MAX);
    if group < wanted {
        return Some("a copy could exceed the limit of its control group".into());
    }
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let available = kibibytes(&text, "MemAvailable");
    (available < wanted).then(|| "a copy could exceed the machine's memory".into())
}
