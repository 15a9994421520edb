//! What this process looks like from /proc: resident memory now and at its peak.

use std::fs;

/// Bytes resident now, from smaps_rollup, which counts exactly (statm lags by
/// some pages a core).
pub fn resident_bytes() -> u64 {
    field("/proc/self/smaps_rollup", "Rss:") << 10
}

/// The most bytes ever resident.
pub fn peak_bytes() -> u64 {
    field("/proc/self/status", "VmHWM:") << 10
}

fn field(path: &str, name: &str) -> u64 {
    let text = fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|word| word.parse().ok()).unwrap_or(0)
}
