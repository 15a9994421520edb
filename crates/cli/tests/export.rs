//! `heapwise export`: what independent readers make of it.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::heapwise;
use heapwise_trace::{Trace, What, sample};
use predicates::prelude::*;
use predicates::str::contains;
use serde_json::Value;
use tempfile::{TempDir, tempdir};

/// Enough for a table of two row groups.
const MANY: usize = 135_000;
const FEW: usize = 15_000;

/// An invented trace.
fn trace(events: usize) -> (TempDir, PathBuf) {
    let directory = tempdir().unwrap();
    let path = directory.path().join("sample.trace");
    fs::write(&path, sample::trace(3, 4, events).unwrap()).unwrap();
    (directory, path)
}

fn export(trace: &Path, format: &str) -> Vec<u8> {
    let output = heapwise().arg("export").arg(trace).args(["--format", format]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.code(), said.as_str()), (Some(0), ""));
    output.stdout
}

/// Events, requested bytes of all allocations, frees, brk calls: by the trace itself.
fn truth(trace: &Path) -> (usize, u64, usize, usize) {
    let trace = Trace::open(trace).unwrap();
    let (mut events, mut bytes, mut frees, mut brks) = (0, 0, 0, 0);
    for event in trace.events() {
        let what = event.unwrap().what;
        events += 1;
        bytes += what.allocates().map_or(0, |(_, size)| size);
        frees += usize::from(matches!(what, What::Free { .. }));
        brks += usize::from(matches!(what, What::Kernel(call) if call.op.name() == "brk"));
    }
    (events, bytes, frees, brks)
}

#[test]
fn json_has_every_event() {
    let (_directory, trace) = trace(FEW);
    let text = String::from_utf8(export(&trace, "json")).unwrap();
    let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (events, bytes, frees, brks) = truth(&trace);
    let count = |name: &str| rows.iter().filter(|row| row["event"] == name).count();
    assert_eq!((rows.len(), count("free"), count("brk")), (events, frees, brks));
    let allocated = rows.iter().filter(|row| row["failed"] == 0 && row["size"].is_u64());
    let sum: u64 = allocated
        .filter(|row| row.get("cause").is_none())
        .map(|row| row["size"].as_u64().unwrap())
        .sum();
    assert_eq!(sum, bytes);
    assert!(rows.iter().any(|row| row["age_ns"].as_u64() > Some(0)));
}

#[test]
fn csv_is_as_wide_everywhere() {
    let (_directory, trace) = trace(FEW);
    let text = String::from_utf8(export(&trace, "csv")).unwrap();
    let mut lines = text.lines();
    let names = lines.next().unwrap();
    assert!(names.starts_with("time_ns,process,pid,thread,event,size,"), "{names}");
    let width = names.split(',').count();
    assert!(lines.clone().all(|line| line.split(',').count() == width));
    assert_eq!(lines.count(), truth(&trace).0);
}

#[test]
fn chrome_reads_the_timeline() {
    let (_directory, trace) = trace(FEW);
    let object: Value = serde_json::from_slice(&export(&trace, "chrome-trace")).unwrap();
    let events = object["traceEvents"].as_array().unwrap();
    let of = |phase: &str, name: &str| {
        events.iter().filter(|event| event["ph"] == phase && event["name"] == name).count()
    };
    assert_eq!(of("M", "process_name"), 1);
    assert!(of("C", "live bytes") > 10 && of("C", "RSS") > 10);
    assert_eq!(of("i", "brk"), truth(&trace).3);
    // What the Trace Event Format asks of each kind of event.
    let mut last = 0.0;
    for event in events {
        assert!(event["pid"].is_u64() && event["name"].is_string(), "{event}");
        let at = event["ts"].as_f64();
        match event["ph"].as_str().unwrap() {
            "M" => {
                let named = ["process_name", "thread_name", "process_labels", "process_sort_index"];
                assert!(named.iter().any(|name| event["name"] == *name), "{event}");
                assert!(event["args"].is_object(), "{event}");
                continue;
            }
            "C" => {
                let series = event["args"].as_object().unwrap();
                assert!(!series.is_empty() && series.values().all(Value::is_number), "{event}");
            }
            "i" => {
                let scope = event["s"].as_str();
                assert!(matches!(scope, Some("g" | "p" | "t")) && event["tid"].is_u64(), "{event}");
            }
            other => panic!("a phase {other} is not ours: {event}"),
        }
        let at = at.unwrap_or_else(|| panic!("no time: {event}"));
        assert!(at >= last, "time goes back: {event}");
        last = at;
    }
}

/// What Python says, that of `HEAPWISE_PYTHON` (see `.ci/engines`) if it is set; `None`, with a
/// message, where it or a module is missing.
fn python(script: &str, arguments: &[&Path]) -> Option<String> {
    let python = std::env::var_os("HEAPWISE_PYTHON").unwrap_or_else(|| "python3".into());
    let output = Command::new(python).arg("-c").arg(script).args(arguments).output();
    let Ok(output) = output else {
        eprintln!("skipped: no python3");
        return None;
    };
    let said = String::from_utf8_lossy(&output.stderr);
    if said.contains("ModuleNotFoundError") {
        eprintln!("skipped: {}", said.lines().last().unwrap_or_default());
        return None;
    }
    assert!(output.status.success(), "{said}");
    Some(String::from_utf8(output.stdout).unwrap())
}

fn parquet(directory: &Path, trace: &Path) -> PathBuf {
    let path = directory.join("events.parquet");
    heapwise()
        .arg("export")
        .arg(trace)
        .args(["--format", "parquet", "-o"])
        .arg(&path)
        .assert()
        .code(0);
    path
}

#[test]
fn duckdb_reads_parquet_and_the_views_answer() {
    let (directory, trace) = trace(MANY);
    let path = parquet(directory.path(), &trace);
    let script = "
import duckdb, os, sys
os.chdir(os.path.dirname(sys.argv[1]))
db = duckdb.connect()
print(*db.execute(\"SELECT count(*), sum(size) FILTER (WHERE failed = 0 AND cause IS NULL), count(*) FILTER (WHERE event = 'free'), count(*) FILTER (WHERE event = 'brk') FROM 'events.parquet'\").fetchone())
db.execute(sys.argv[2])
for view in ['by_size_class', 'by_site', 'lifetimes', 'threshold_crossings', 'live_and_rss', 'kernel_calls']:
    print(view, len(db.execute(f'FROM {view}').fetchall()))
live, = db.execute('SELECT sum(live_bytes) FROM by_site').fetchone()
last, = db.execute('SELECT live_bytes FROM events ORDER BY time_ns DESC LIMIT 1').fetchone()
print(live == last)
";
    let views = heapwise().args(["query", "--views", "events.parquet"]).assert().code(0);
    let views = String::from_utf8(views.get_output().stdout.clone()).unwrap();
    let Some(said) = python(script, &[&path, Path::new(&views)]) else { return };
    let mut lines = said.lines();
    let (events, bytes, frees, brks) = truth(&trace);
    assert_eq!(lines.next().unwrap(), format!("{events} {bytes} {frees} {brks}"));
    let (views, balance): (Vec<_>, Vec<_>) = lines.partition(|line| line.contains(' '));
    assert_eq!(views.len(), 6);
    for view in views {
        assert!(!view.ends_with(" 0"), "{view}");
    }
    assert_eq!(balance, ["True"]);
}

#[test]
fn arrow_reads_the_same_from_parquet_as_from_csv() {
    let (directory, trace) = trace(MANY);
    let path = parquet(directory.path(), &trace);
    let csv = directory.path().join("events.csv");
    fs::write(&csv, export(&trace, "csv")).unwrap();
    let script = "
import sys
import pyarrow.parquet as parquet, pyarrow.csv as csv, pyarrow as pa
table = parquet.read_table(sys.argv[1])
options = csv.ConvertOptions(column_types=table.schema, strings_can_be_null=True)
other = csv.read_csv(sys.argv[2], convert_options=options)
print(all(table[name].equals(other[name]) for name in table.schema.names), table.num_rows, parquet.ParquetFile(sys.argv[1]).metadata.num_row_groups)
print(table.schema.field('size').type, table.schema.field('event').type, table.schema.field('thread').nullable)
";
    let Some(said) = python(script, &[&path, &csv]) else { return };
    let rows = truth(&trace).0;
    assert_eq!(said, format!("True {rows} 2\nuint64 string False\n"));
}

#[test]
fn hostile_files_and_full_disks_are_one_sentence() {
    let (directory, trace) = trace(FEW);
    let good = fs::read(&trace).unwrap();
    let run = |bytes: &[u8], format: &str| {
        let path = directory.path().join("bent.trace");
        fs::write(&path, bytes).unwrap();
        let output =
            heapwise().arg("export").arg(&path).args(["--format", format]).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, said) = run(b"not a trace", "json");
    assert_eq!((code, said.lines().count()), (Some(2), 1), "{said}");
    let (code, said) = run(&good[..good.len() / 2], "csv");
    assert_eq!((code, said.lines().count()), (Some(0), 1), "{said}");
    for at in (0..good.len()).step_by(good.len() / 25 + 1) {
        let mut bent = good.clone();
        bent[at] ^= 0xa5;
        let (code, said) = run(&bent, "parquet");
        assert!(matches!(code, Some(0 | 2)) && said.lines().count() <= 1, "{at}: {code:?} {said}");
    }
    if Path::new("/dev/full").exists() {
        heapwise()
            .arg("export")
            .arg(&trace)
            .args(["--format", "json", "-o", "/dev/full"])
            .assert()
            .code(1)
            .stderr(contains("No space left").and(contains("panicked").not()));
    }
    heapwise()
        .arg("export")
        .arg(&trace)
        .args(["--format", "csv", "-o", "/no/such/folder/x.csv"])
        .assert()
        .code(1)
        .stderr(contains("/no/such/folder"));
}

#[test]
fn what_was_written_is_told_as_json() {
    let (directory, trace) = trace(FEW);
    let file = directory.path().join("events.csv");
    let told = |arguments: &[&str]| {
        let output = heapwise().arg("export").arg(&trace).args(arguments).output().unwrap();
        (output.status.code(), serde_json::from_slice::<Value>(&output.stdout).ok())
    };
    let (code, object) = told(&["--json", "--format", "csv", "-o", file.to_str().unwrap()]);
    let object = object.expect("one object");
    assert_eq!((code, &object["schema"]), (Some(0), &"heapwise.export/1".into()));
    assert_eq!(object["events"].as_u64(), Some(truth(&trace).0 as u64));
    assert_eq!((&object["complete"], &object["format"]), (&true.into(), &"csv".into()));
    let written = fs::read(&file).unwrap();
    assert_eq!(object["file_bytes"].as_u64(), Some(written.len() as u64));
    assert_eq!(written, export(&trace, "csv"));
    assert_eq!(told(&["--json", "--format", "csv"]), (Some(2), None));

    // Of one that ends early, the part that is there.
    let whole = fs::read(&trace).unwrap();
    fs::write(&trace, &whole[..whole.len() / 2]).unwrap();
    let (code, object) = told(&["--json", "--format", "csv", "-o", file.to_str().unwrap()]);
    assert_eq!((code, &object.expect("one object")["complete"]), (Some(0), &false.into()));
}
