//! `heapwise query`: the engine's answers against the trace itself, or the way to get an engine.

mod common;

use std::fs;
use std::path::PathBuf;

use common::heapwise;
use predicates::prelude::*;
use predicates::str::contains;
use tempfile::{TempDir, tempdir};

fn trace(events: usize) -> (TempDir, PathBuf) {
    let directory = tempdir().unwrap();
    let path = directory.path().join("sample.hwt");
    fs::write(&path, heapwise_trace::sample::trace(3, 4, events).unwrap()).unwrap();
    (directory, path)
}

#[test]
fn the_views_are_there_for_other_engines() {
    heapwise().args(["query", "--views", "it's.parquet"]).assert().code(0).stdout(
        contains("read_parquet('it''s.parquet')").and(contains("VIEW threshold_crossings")),
    );
    heapwise().arg("query").assert().code(2);
    heapwise().args(["query", "only-a-file"]).assert().code(2);
}

#[cfg(not(feature = "query"))]
#[test]
fn without_an_engine_one_sentence_says_how_to_get_one() {
    let (_directory, trace) = trace(100);
    let output = heapwise().arg("query").arg(&trace).arg("SELECT 1").output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), said.lines().count()), (Some(2), 1), "{said}");
    assert!(said.contains("--features query"), "{said}");
}

#[cfg(feature = "query")]
mod engine {
    use std::path::Path;

    use super::*;
    use heapwise_trace::{Trace, What};
    use serde_json::Value;

    fn ask(trace: &Path, sql: &str, format: &str) -> String {
        let output =
            heapwise().arg("query").arg(trace).args([sql, "--format", format]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), said.as_str()), (Some(0), ""), "{sql}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn rows(trace: &Path, sql: &str) -> Vec<Value> {
        ask(trace, sql, "json").lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn events_are_those_of_the_trace() {
        // More than some batches.
        let (_directory, path) = trace(40_000);
        let (mut events, mut bytes, mut frees) = (0, 0, 0);
        for event in Trace::open(&path).unwrap().events() {
            let what = event.unwrap().what;
            events += 1;
            bytes += what.allocates().map_or(0, |(_, size)| size);
            frees += u64::from(matches!(what, What::Free { .. }));
        }
        let sql = "SELECT count(*) AS events, count(*) FILTER (WHERE event = 'free') AS frees, \
                   sum(size) FILTER (WHERE failed = 0 AND cause IS NULL) AS bytes FROM events";
        let row = &rows(&path, sql)[0];
        assert_eq!((&row["events"], &row["frees"]), (&events.into(), &frees.into()));
        assert_eq!(row["bytes"], bytes);
        assert_eq!(
            ask(&path, sql, "csv"),
            format!("events,frees,bytes\n{events},{frees},{bytes}\n")
        );
        let table = ask(&path, sql, "table");
        assert!(table.contains("| events |") && table.contains(&bytes.to_string()), "{table}");
    }

    #[test]
    fn the_ready_views_answer_and_agree() {
        let (_directory, path) = trace(40_000);
        let sum = |sql: &str| rows(&path, sql)[0]["n"].as_i64().unwrap();
        let all = sum("SELECT count(*) AS n FROM allocations");
        assert!(all > 5000);
        assert_eq!(sum("SELECT sum(allocations) AS n FROM by_size_class"), all);
        assert_eq!(sum("SELECT sum(allocations) AS n FROM by_site"), all);
        // Chunks are as the allocator cuts them.
        let small =
            rows(&path, "SELECT class_bytes AS n FROM by_size_class WHERE class_bytes <= 1024");
        assert!(small.iter().all(|row| row["n"].as_i64().unwrap() % 16 == 0), "{small:?}");
        let live = "SELECT live_bytes AS n FROM events ORDER BY time_ns DESC LIMIT 1";
        assert_eq!(sum("SELECT sum(live_bytes) AS n FROM by_site"), sum(live));
        let aged = "SELECT count(*) AS n FROM events WHERE age_ns IS NOT NULL";
        assert_eq!(sum("SELECT sum(blocks) AS n FROM lifetimes"), sum(aged));
        let large = "SELECT count(*) AS n FROM events WHERE event = 'free' AND size >= 131072";
        assert_eq!(sum("SELECT count(*) AS n FROM threshold_crossings"), sum(large));
        let drift = rows(&path, "SELECT threshold_after AS n FROM threshold_crossings");
        let drift: Vec<i64> = drift.iter().filter_map(|row| row["n"].as_i64()).collect();
        assert!(!drift.is_empty() && drift.is_sorted(), "it only goes up: {drift:?}");
        let samples = "SELECT count(*) AS n FROM events WHERE event = 'sample'";
        assert_eq!(sum("SELECT count(*) AS n FROM live_and_rss"), sum(samples));
        let kernel = "SELECT count(*) AS n FROM events WHERE cause IS NOT NULL";
        assert_eq!(sum("SELECT sum(calls) AS n FROM kernel_calls"), sum(kernel));
    }

    #[test]
    fn what_cannot_be_answered_is_one_sentence() {
        let (directory, path) = trace(5000);
        let fails = |file: &Path, sql: &str| {
            let output = heapwise().arg("query").arg(file).arg(sql).output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(said.lines().count(), 1, "{sql}: {said}");
            (output.status.code(), said)
        };
        for sql in [
            "SELEKT 1",
            "SELECT nothing FROM events",
            "COPY events TO 'x.csv'",
            "DROP VIEW lifetimes",
            "SET datafusion.execution.batch_size = 1",
            "",
        ] {
            let (code, said) = fails(&path, sql);
            assert_eq!(code, Some(2), "{sql}: {said}");
        }
        let deep = format!("SELECT {}1{}", "(".repeat(10_000), ")".repeat(10_000));
        assert_eq!(fails(&path, &deep).0, Some(2));
        let (code, said) = fails(&path, "SELECT 1 / (size - size) FROM events");
        assert_eq!(code, Some(1), "{said}");
        assert_eq!(fails(Path::new("/no/such/file"), "SELECT 1").0, Some(2));
        // Cut: asked as far as it goes. Bent: refused, or it did not matter.
        let good = fs::read(&path).unwrap();
        let bent = directory.path().join("bent.hwt");
        fs::write(&bent, &good[..good.len() / 2]).unwrap();
        let (code, said) = fails(&bent, "SELECT count(*) FROM events");
        assert_eq!(code, Some(0), "{said}");
        for at in (0..good.len()).step_by(good.len() / 10 + 1) {
            let mut bytes = good.clone();
            bytes[at] ^= 0xa5;
            fs::write(&bent, &bytes).unwrap();
            let output =
                heapwise().arg("query").arg(&bent).arg("SELECT sum(size) FROM events").output();
            let output = output.unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(matches!(output.status.code(), Some(0 | 2)), "byte {at}: {said}");
            assert!(said.lines().count() <= 1, "byte {at}: {said}");
        }
    }
}
