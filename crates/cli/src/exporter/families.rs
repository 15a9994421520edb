//! Every metric that we export, and how a look becomes samples of it.
//!
//! `docs/metrics.md` lists them for users; a test compares the two.

use std::borrow::Cow;

use heapwise_inspect::heap::Kind as Chunk;
use heapwise_inspect::{Allocator, Depth, ROWS, Survey, verdict};

use super::page::{Family, Kind, Label, Page};
use crate::explain::words;

const fn gauge(name: &'static str, help: &'static str) -> Family {
    Family { name, kind: Kind::Gauge, labels: &[], help }
}

const fn labelled(
    name: &'static str,
    label: &'static [&'static str],
    help: &'static str,
) -> Family {
    Family { name, kind: Kind::Gauge, labels: label, help }
}

/// Whether the whole heap was read.
pub static UP: Family =
    gauge("heapwise_up", "1 if the last look read every heap of the process to its end, else 0.");
/// What the process is.
pub static PROCESS: Family = Family {
    name: "heapwise_process",
    kind: Kind::Info,
    labels: &["allocator", "depth", "cgroup"],
    help: "Allocator, how far the last look went (whole, partial, mappings, counters), and control group.",
};
/// RSS.
pub static RSS: Family = gauge("heapwise_rss_bytes", "Resident memory by our own page walk.");
/// The rows.
pub static ACCOUNT: Family = labelled(
    "heapwise_account_bytes",
    &["row"],
    "The account: resident memory by what it is. The rows sum to heapwise_rss_bytes.",
);
/// What a trim returns.
pub static TRIM_GAIN: Family = gauge(
    "heapwise_trim_gain_bytes",
    "Resident memory that malloc_trim would return to the kernel.",
);
/// The verdict.
pub static VERDICT: Family = labelled(
    "heapwise_verdict",
    &["situation"],
    "1 for the situation that explains most of the memory.",
);
/// Inconsistencies.
pub static FLAWS: Family =
    gauge("heapwise_flaws", "Inconsistencies met in the heap in the last look.");
/// Arenas.
pub static ARENAS: Family = gauge("heapwise_arenas", "Arenas that have memory.");
/// From the system.
pub static SYSTEM: Family = gauge(
    "heapwise_arenas_system_bytes",
    "Address space that all arenas together have from the system, by their own counters.",
);
/// Live chunks.
pub static LIVE_CHUNKS: Family =
    gauge("heapwise_live_chunks", "Chunks in arenas that the program holds.");
/// Free chunks.
pub static FREE_CHUNKS: Family = gauge("heapwise_free_chunks", "Free chunks in bins.");
/// Mapped chunks.
pub static MAPPED_CHUNKS: Family =
    gauge("heapwise_mapped_chunks", "Live chunks with a mapping of their own.");
/// Their bytes.
pub static MAPPED: Family =
    gauge("heapwise_mapped_bytes", "Address space of chunks with a mapping of their own.");
/// Thread caches.
pub static CACHES: Family = gauge("heapwise_thread_caches", "Thread caches that hold something.");
/// Their chunks.
pub static CACHED_CHUNKS: Family =
    gauge("heapwise_thread_cache_chunks", "Chunks ready in thread caches.");
/// Their bytes.
pub static CACHED: Family =
    gauge("heapwise_thread_cache_bytes", "Chunks ready in thread caches, resident or not.");
/// The dynamic threshold.
pub static MMAP_THRESHOLD: Family = gauge(
    "heapwise_mmap_threshold_bytes",
    "From this size on glibc maps a request alone. It drifts up when such chunks are freed.",
);
/// The trim threshold.
pub static TRIM_THRESHOLD: Family = gauge(
    "heapwise_trim_threshold_bytes",
    "From this size on glibc gives the top of the main heap back.",
);
/// Threads.
pub static THREADS: Family = gauge("heapwise_threads", "Threads of the process.");
/// Page tables.
pub static PAGE_TABLES: Family =
    gauge("heapwise_page_tables_bytes", "Page tables of the process; not part of the RSS.");
/// Swap.
pub static SWAP: Family = gauge("heapwise_swap_bytes", "Swapped out; not part of the RSS.");
/// Huge pages.
pub static ANON_HUGE: Family =
    gauge("heapwise_anon_huge_bytes", "Anonymous memory in transparent huge pages.");
/// The group's limit.
pub static CGROUP_LIMIT: Family = gauge(
    "heapwise_cgroup_limit_bytes",
    "Memory limit of the control group; absent if there is none.",
);
/// The group's use.
pub static CGROUP_USAGE: Family = gauge(
    "heapwise_cgroup_usage_bytes",
    "Memory in use in the control group, page cache included.",
);
/// How long the look took.
pub static LOOK: Family =
    gauge("heapwise_look_duration_seconds", "How long the last look at the process took.");
/// When it was.
pub static LOOK_TIME: Family = gauge(
    "heapwise_look_timestamp_seconds",
    "When the process was last looked at, seconds since 1970.",
);
/// Looks.
pub static LOOKS: Family = Family {
    name: "heapwise_exporter_looks",
    kind: Kind::Counter,
    labels: &[],
    help: "Looks that the exporter took at processes.",
};
/// Failed looks.
pub static LOOK_FAILURES: Family = Family {
    name: "heapwise_exporter_look_failures",
    kind: Kind::Counter,
    labels: &[],
    help: "Looks that failed: not permitted, or the kernel refused. Ended processes do not count.",
};
/// Processes.
pub static PROCESSES: Family = gauge("heapwise_exporter_processes", "Processes on this page.");
/// Processes left out.
pub static LEFT_OUT: Family = gauge(
    "heapwise_exporter_processes_left_out",
    "Processes that were chosen but are over --max-processes.",
);
/// Our version.
pub static BUILD: Family = Family {
    name: "heapwise_exporter_build",
    kind: Kind::Info,
    labels: &["version"],
    help: "Version of the exporter.",
};

/// All, in the order of the page.
pub static FAMILIES: [&Family; 31] = [
    &UP,
    &PROCESS,
    &RSS,
    &ACCOUNT,
    &TRIM_GAIN,
    &VERDICT,
    &FLAWS,
    &ARENAS,
    &SYSTEM,
    &LIVE_CHUNKS,
    &FREE_CHUNKS,
    &MAPPED_CHUNKS,
    &MAPPED,
    &CACHES,
    &CACHED_CHUNKS,
    &CACHED,
    &MMAP_THRESHOLD,
    &TRIM_THRESHOLD,
    &THREADS,
    &PAGE_TABLES,
    &SWAP,
    &ANON_HUGE,
    &CGROUP_LIMIT,
    &CGROUP_USAGE,
    &LOOK,
    &LOOK_TIME,
    &LOOKS,
    &LOOK_FAILURES,
    &PROCESSES,
    &LEFT_OUT,
    &BUILD,
];

/// Labels of every sample of a process.
pub fn of_process(pid: u32, name: &str) -> Vec<Label> {
    vec![("pid", pid.to_string().into()), ("name", name.to_owned().into())]
}

/// Samples of one look.
pub fn describe(page: &mut Page, own: &[Label], seen: &Survey) {
    let with = |more: &[(&'static str, Cow<'static, str>)]| [own, more].concat();
    let whole = seen.depth == Depth::Whole;
    page.push(&UP, own.to_vec(), f64::from(u8::from(whole)));
    page.push(
        &PROCESS,
        with(&[
            ("allocator", words::allocator(seen).into()),
            ("depth", depth(seen.depth).into()),
            ("cgroup", seen.cgroup.as_ref().map_or(String::new(), |c| c.name.clone()).into()),
        ]),
        1.0,
    );
    for row in ROWS {
        page.push(&ACCOUNT, with(&[("row", row.name().into())]), seen.account.tally[row] as f64);
    }
    let mut put = |family: &'static Family, value: usize| {
        page.push(family, own.to_vec(), value as f64);
    };
    put(&RSS, seen.rss);
    put(&THREADS, seen.figures.threads);
    put(&PAGE_TABLES, seen.figures.page_tables);
    put(&SWAP, seen.figures.swap);
    put(&ANON_HUGE, seen.figures.anon_huge);
    if let Some(group) = &seen.cgroup {
        put(&CGROUP_USAGE, group.usage);
        if let Some(limit) = group.limit {
            put(&CGROUP_LIMIT, limit);
        }
    }
    if !matches!(seen.depth, Depth::Whole | Depth::Partial) {
        // Nothing is known of the heap: no figure is better than 0.
        return;
    }
    let arenas = &seen.heaps.arenas;
    let count = |kind| arenas.iter().map(|arena| arena.count(kind).chunks).sum();
    put(&TRIM_GAIN, seen.trim_gain());
    put(&FLAWS, seen.flaws());
    put(&ARENAS, arenas.iter().filter(|arena| !arena.heaps.is_empty()).count());
    put(&SYSTEM, arenas.iter().map(|arena| arena.system_bytes).sum());
    put(&LIVE_CHUNKS, count(Chunk::Live));
    put(&FREE_CHUNKS, count(Chunk::Free));
    put(&MAPPED_CHUNKS, seen.heaps.mapped.chunks);
    put(&MAPPED, seen.heaps.mapped.bytes);
    let caches = || {
        let of_arenas = arenas.iter().flat_map(|arena| &arena.caches);
        of_arenas.chain(&seen.heaps.caches).filter(|cache| cache.held.chunks > 0)
    };
    put(&CACHES, caches().count());
    put(&CACHED_CHUNKS, caches().map(|cache| cache.held.chunks).sum());
    put(&CACHED, caches().map(|cache| cache.held.bytes).sum());
    if let Allocator::Glibc(glibc) = &seen.allocator
        && let Some(parameters) = glibc.parameters
    {
        put(&MMAP_THRESHOLD, parameters.mmap_threshold);
        put(&TRIM_THRESHOLD, parameters.trim_threshold);
    }
    let situation = verdict::judge(seen).main.name();
    page.push(&VERDICT, with(&[("situation", situation.into())]), 1.0);
}

fn depth(depth: Depth) -> &'static str {
    match depth {
        Depth::Whole => "whole",
        Depth::Partial => "partial",
        Depth::Mappings => "mappings",
        Depth::Counters => "counters",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::PathBuf;

    use super::*;

    /// A file of the repository; `None` in a packaged crate.
    fn file(name: &str) -> Option<String> {
        fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").join(name)).ok()
    }

    /// Words in `text` that begin as our metrics do.
    fn metrics(text: &str) -> BTreeSet<String> {
        let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
        words.filter(|word| word.starts_with("heapwise_")).map(str::to_owned).collect()
    }

    #[test]
    fn names_are_as_the_conventions_want_them() {
        for family in FAMILIES {
            let name = family.name;
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{name}");
            assert!(family.help.ends_with('.') && !name.ends_with("_total"), "{name}");
        }
        let names: BTreeSet<_> = FAMILIES.iter().map(|family| family.name).collect();
        assert_eq!(names.len(), FAMILIES.len());
    }

    #[test]
    fn the_page_of_metrics_lists_exactly_them() {
        let Some(page) = file("docs/metrics.md") else { return };
        let mut listed = BTreeSet::new();
        for family in FAMILIES {
            let kind = match family.kind {
                Kind::Gauge => "gauge",
                Kind::Counter => "counter",
                Kind::Info => "info",
            };
            let labels: Vec<_> = family.labels.iter().map(|label| format!("`{label}`")).collect();
            let name = family.sample_name();
            let line = format!("| `{name}` | {kind} | {} | {} |", labels.join(", "), family.help);
            assert!(page.contains(&line), "docs/metrics.md lacks:\n{line}");
            listed.insert(name);
        }
        for name in page.lines().filter(|line| line.starts_with("| `")).flat_map(metrics) {
            assert!(listed.contains(&name) || name.ends_with("_bytes"), "{name} is not exported");
        }
    }

    #[test]
    fn the_dashboard_and_the_alerts_ask_for_nothing_else() {
        let names: BTreeSet<_> = FAMILIES.iter().map(|family| family.sample_name()).collect();
        for path in ["examples/grafana/heapwise.json", "examples/prometheus/alerts.yml"] {
            let Some(text) = file(path) else { return };
            let asked = metrics(&text);
            assert!(asked.len() > 3, "{path} asks for {asked:?}");
            let unknown: Vec<_> = asked.difference(&names).collect();
            assert!(unknown.is_empty(), "{path}: {unknown:?}");
        }
    }
}
