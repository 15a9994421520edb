//! `heapwise run --profile` and `heapwise profile`: estimates against the exact record, names,
//! and each form.

mod common;

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use common::{compile, heapwise, needs_library};
use serde_json::Value;
use tempfile::tempdir;

/// Four functions with known totals: 40 MB in small blocks, all freed; 30 MB kept; 12 MB by
/// calloc on threads, freed; 20 blocks of 1 MB grown by realloc, half of them kept.
const PROGRAM: &str = "\
#include <pthread.h>
#include <stdlib.h>
__thread void *volatile sink;
__attribute__((noinline)) void churn(void) {
  for (int i = 0; i < 400000; i++) { sink = malloc(100); free(sink); } }
__attribute__((noinline)) void keep(void) {
  for (int i = 0; i < 100000; i++) sink = malloc(300); }
__attribute__((noinline)) void *zeroed(void *x) {
  for (int i = 0; i < 3000; i++) { sink = calloc(10, 200); free(sink); } return x; }
__attribute__((noinline)) void grow(void) {
  for (int i = 0; i < 20; i++) { void *p = malloc(1000); p = realloc(p, 1000000);
    if (i % 2) free(p); else sink = p; } }
int main(void) {
  pthread_t t[2];
  for (int i = 0; i < 2; i++) pthread_create(&t[i], 0, zeroed, 0);
  churn(); keep(); grow();
  for (int i = 0; i < 2; i++) pthread_join(t[i], 0);
  return 3; }
";

fn program(directory: &Path) -> Option<PathBuf> {
    compile(directory, "sites", PROGRAM, &["-O1", "-pthread", "-fomit-frame-pointer"])
}

fn profile(directory: &Path, program: &Path, name: &str, rate: &str) -> PathBuf {
    let file = directory.join(name);
    let output = heapwise()
        .args(["run", &format!("--profile={rate}"), "-o"])
        .arg(&file)
        .arg("--")
        .arg(program)
        .output()
        .expect("heapwise runs");
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    file
}

fn json(file: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(file).expect("a file")).expect("JSON")
}

/// Sum of a figure over the sites with a function on their stack.
fn of(profile: &Value, function: &str, figure: &str) -> f64 {
    let sites = profile["sites"].as_array().expect("sites");
    let has = |site: &&Value| {
        let frames = site["stack"].as_array().expect("a stack").iter();
        frames.flat_map(|f| f["functions"].as_array().expect("names")).any(|f| f == function)
    };
    sites.iter().filter(has).map(|site| site[figure].as_f64().expect("a number")).sum()
}

#[test]
fn estimates_agree_with_the_exact_record_and_names_are_found() {
    needs_library!();
    let directory = tempdir().expect("a directory");
    let Some(program) = program(directory.path()) else { return };
    let sampled = json(&profile(directory.path(), &program, "p.json", "16K"));
    assert_eq!(sampled["schema"], "heapwise.profile/1");
    // n samples are known to 1/√n; five of these are wide enough for any seed.
    for (function, figure, exact) in [
        ("churn", "allocated_bytes", 40e6),
        ("keep", "allocated_bytes", 30e6),
        ("keep", "live_bytes", 30e6),
        ("zeroed", "allocated_bytes", 12e6),
        ("grow", "live_bytes", 10e6),
    ] {
        let got = of(&sampled, function, figure);
        let error = 5.0 / (exact / 16384.0f64).sqrt();
        assert!((got / exact - 1.0).abs() < error, "{function} {figure}: {got}, not {exact}");
    }
    for function in ["churn", "zeroed"] {
        let live = of(&sampled, function, "live_bytes");
        assert!(live < 100e3, "{function}: {live} live");
    }
    // The same by the exact record, which needs no tolerance.
    let trace = directory.path().join("t.hwt");
    let recorded = heapwise()
        .args(["record", "--stacks", "-o"])
        .arg(&trace)
        .arg("--")
        .arg(&program)
        .output()
        .expect("heapwise runs");
    assert_eq!(recorded.status.code(), Some(3), "{recorded:?}");
    let exact = directory.path().join("exact.json");
    heapwise().arg("profile").arg(&trace).arg("-o").arg(&exact).assert().success();
    let exact = json(&exact);
    assert_eq!(of(&exact, "churn", "allocated_bytes"), 40e6);
    assert_eq!(of(&exact, "keep", "live_bytes"), 30e6);
    assert_eq!(of(&exact, "zeroed", "allocated_blocks"), 6000.0);
    let (all, estimate) = (&exact["allocated_bytes"], &sampled["allocated_bytes"]);
    let ratio = estimate.as_f64().expect("a number") / all.as_f64().expect("a number");
    assert!((ratio - 1.0).abs() < 0.1, "{ratio}");
}

/// A program under `heapwise run --profile` or `record`, ended when dropped.
struct Recorded {
    child: std::process::Child,
    pid: String,
}

impl Recorded {
    /// Starts it and waits for its first line, which is its number.
    fn start(arguments: &[&str], program: &Path) -> Self {
        let mut child = std::process::Command::new(common::program())
            .args(arguments)
            .arg("--")
            .arg(program)
            .stdout(std::process::Stdio::piped())
            .stdin(std::process::Stdio::piped())
            .spawn()
            .expect("heapwise runs");
        let mut line = String::new();
        let output = child.stdout.as_mut().expect("piped");
        std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut line)
            .expect("it speaks");
        Self { child, pid: line.trim().to_owned() }
    }

    fn explained(&self) -> Value {
        let output = heapwise().args(["explain", "--json", "--top-holder", &self.pid]).output();
        serde_json::from_slice(&output.expect("heapwise runs").stdout).expect("JSON")
    }
}

impl Drop for Recorded {
    fn drop(&mut self) {
        // The program ends with its input, and the recorder with the program.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// What a site of `kept` says, and the holders from there.
fn told_of(seen: &Value, kept: &str) -> (f64, Vec<Value>) {
    let list = |name: &str| seen[name].as_array().cloned().unwrap_or_default();
    let is_kept = |name: &Value| name.as_str().is_some_and(|name| name.contains(kept));
    let bytes = |site: &Value| site["live_bytes"].as_f64().expect("a number");
    let live = list("sites").iter().filter(|site| is_kept(&site["name"])).map(bytes).sum();
    let mut holders = list("top_holders");
    holders.retain(|holder| is_kept(&holder["site"]));
    (live, holders)
}

/// Of every 100 blocks of 3000 bytes one is kept, by a function whose name holds "keep_pool".
const KEEPS_C: &str = "\
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
char *all[20000];
__attribute__((noinline)) static char *keep_pool(void) { return malloc(3000); }
int main(void) {
  for (int i = 0; i < 20000; i++) all[i] = keep_pool();
  for (int i = 0; i < 20000; i++) if (i % 100) free(all[i]);
  printf(\"%d\\n\", getpid()); fflush(stdout);
  char byte; while (read(0, &byte, 1) == 1); return 0; }
";
const KEEPS_CXX: &str = "\
#include <cstdio>
#include <memory>
#include <unistd.h>
#include <vector>
struct Block { char bytes[3000]; };
template <class T> struct Pool { std::vector<std::unique_ptr<T>> all;
  __attribute__((noinline)) void keep_pool() { all.push_back(std::make_unique<T>()); } };
int main() {
  Pool<Block> pool;
  pool.all.reserve(20000);
  for (int i = 0; i < 20000; i++) pool.keep_pool();
  for (int i = 0; i < 20000; i++) if (i % 100) pool.all[i].reset();
  std::printf(\"%d\\n\", getpid()); std::fflush(stdout);
  char byte; while (read(0, &byte, 1) == 1); }
";
const KEEPS_RUST: &str = "\
use std::io::Read;
#[inline(never)] fn keep_pool(all: &mut Vec<Option<Vec<u8>>>) { all.push(Some(vec![0u8; 3000])); }
fn main() {
  let mut all = Vec::with_capacity(20000);
  for _ in 0..20000 { keep_pool(&mut all); }
  for i in 0..20000 { if i % 100 != 0 { all[i] = None; } }
  println!(\"{}\", std::process::id());
  let _ = std::io::stdin().read(&mut [0]); std::hint::black_box(all); }
";

#[test]
fn a_look_tells_ages_and_sites_while_a_profile_runs() {
    needs_library!();
    let directory = tempdir().expect("a directory");
    let compilers = [("cc", "c", KEEPS_C), ("c++", "cc", KEEPS_CXX), ("rustc", "rs", KEEPS_RUST)];
    for (compiler, ending, source) in compilers {
        let file = directory.path().join(format!("keeps.{ending}"));
        fs::write(&file, source).expect("a file");
        let program = directory.path().join(format!("keeps_{ending}"));
        let output = std::process::Command::new(compiler)
            .args(["-g", "-o"])
            .args([&program, &file])
            .output();
        let Ok(output) = output else {
            eprintln!("skipped: no {compiler}");
            continue;
        };
        assert!(output.status.success(), "{output:?}");
        let trace = directory.path().join("keeps.hwt");
        let trace = trace.to_str().expect("UTF-8");
        let target = Recorded::start(&["run", "--profile=4K", "-o", trace], &program);
        let seen = target.explained();
        assert_eq!(seen["allocator"], "heapwise", "{seen}");
        // 200 blocks of 3000 bytes live, of which half are sampled: five times 1/√100.
        let (live, holders) = told_of(&seen, "keep_pool");
        assert!((300e3..900e3).contains(&live), "{compiler}: {live}: {}", seen["sites"]);
        let first = holders.first().unwrap_or_else(|| panic!("{compiler}: {seen}"));
        assert!(first["age_ms"].as_u64().is_some_and(|age| age < 600_000), "{first}");
        let main = first["site"].as_str().is_some_and(|site| site.contains("main"));
        assert!(main, "{first}");
    }
}

#[test]
fn a_look_tells_every_holder_while_all_is_recorded_and_a_diff_by_site() {
    needs_library!();
    let directory = tempdir().expect("a directory");
    let Some(program) = compile(directory.path(), "keeps", KEEPS_C, &["-g"]) else { return };
    let trace = directory.path().join("keeps.hwt");
    let trace = trace.to_str().expect("UTF-8");
    let target = Recorded::start(&["record", "--stacks", "-o", trace], &program);
    let (live, holders) = told_of(&target.explained(), "keep_pool");
    assert_eq!(live, 600e3);
    assert!(holders.len() > 5, "{holders:?}");
    // A snapshot keeps it, and two are compared by it.
    let look = directory.path().join("look.hws");
    heapwise().args(["snapshot", &target.pid, "-o"]).arg(&look).assert().success();
    let text = heapwise().args(["explain", "--top-holder"]).arg(&look).output().expect("it runs");
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.contains("from keep_pool (keeps.c:") && text.contains("ALLOCATED AT"), "{text}");
    let page = heapwise().args(["report", "-o", "-"]).arg(&look).output().expect("it runs");
    let page = String::from_utf8_lossy(&page.stdout).into_owned();
    assert!(page.contains("Allocation sites") && page.contains("keep_pool"));
}

#[test]
fn every_form_is_written() {
    needs_library!();
    let directory = tempdir().expect("a directory");
    let Some(program) = program(directory.path()) else { return };
    let raw = profile(directory.path(), &program, "p.hwt", "64K");
    let form = |name: &str| {
        let file = directory.path().join(name);
        heapwise().arg("profile").arg(&raw).arg("-o").arg(&file).assert().success();
        fs::read(&file).expect("a file")
    };
    let folded = String::from_utf8(form("p.folded")).expect("text");
    let keep = folded.lines().find(|line| line.contains(";keep ")).expect("keep");
    assert!(keep.contains("main;keep "), "{keep}");
    let svg = String::from_utf8(form("p.svg")).expect("text");
    assert!(svg.contains("<svg") && svg.contains("keep"));
    let page = String::from_utf8(form("p.html")).expect("text");
    assert!(page.starts_with("<!DOCTYPE html>") && page.contains("<svg") && page.contains("keep"));
    let text = String::from_utf8(form("p.txt")).expect("text");
    assert!(text.contains("Sites that keep the most") && text.contains("keep"));

    // pprof, by a decoder of its own: sums agree with the JSON, and every id is defined.
    let mut message = Vec::new();
    flate2::read::GzDecoder::new(&form("p.pb.gz")[..]).read_to_end(&mut message).expect("gzip");
    let fields = decode(&message);
    let strings: Vec<&[u8]> = fields.iter().filter(|f| f.0 == 6).map(|f| f.2).collect();
    assert_eq!(strings[0], b"");
    assert!(strings.contains(&&b"inuse_space"[..]) && strings.contains(&&b"keep"[..]));
    let ids = |field: u64| -> Vec<u64> {
        let of = fields.iter().filter(|f| f.0 == field);
        of.map(|f| decode(f.2).iter().find(|f| f.0 == 1).expect("an id").1).collect()
    };
    let (locations, functions, mappings) = (ids(4), ids(5), ids(3));
    let mut live = 0;
    for sample in fields.iter().filter(|f| f.0 == 2) {
        let sample = decode(sample.2);
        let list = |field| varints(sample.iter().find(|f| f.0 == field).map_or(&[], |f| f.2));
        assert!(list(1).iter().all(|id| locations.contains(id)));
        assert_eq!(list(2).len(), 4);
        live += list(2)[3];
    }
    for location in fields.iter().filter(|f| f.0 == 4) {
        let location = decode(location.2);
        let mapping = location.iter().find(|f| f.0 == 2);
        assert!(mapping.is_none_or(|f| mappings.contains(&f.1)));
        for line in location.iter().filter(|f| f.0 == 4) {
            assert!(functions.contains(&decode(line.2)[0].1));
        }
    }
    let expected = serde_json::from_slice::<Value>(&form("p.json")).expect("JSON")["live_bytes"]
        .as_f64()
        .expect("a number");
    assert!((live as f64 - expected).abs() < 1000.0, "{live} {expected}");
}

#[test]
fn a_running_process_is_sampled_for_a_while() {
    needs_library!();
    let directory = tempdir().expect("a directory");
    let source = "#include <stdlib.h>\n#include <time.h>\nvoid *volatile sink;\n\
        __attribute__((noinline)) void busy(void) { free(malloc(5000)); sink = malloc(64); }\n\
        int main(void) { time_t end = time(0) + 30;\n\
          while (time(0) < end) { for (int i = 0; i < 100; i++) busy();\n\
            struct timespec t = {0, 1000000}; nanosleep(&t, 0); } return 0; }\n";
    let Some(program) = compile(directory.path(), "busy", source, &["-O1"]) else { return };
    let mut command = std::process::Command::new(common::program());
    let child = command.args(["run", "--"]).arg(program).spawn().expect("heapwise runs");
    std::thread::sleep(std::time::Duration::from_millis(500));
    let file = directory.path().join("p.json");
    let once = || {
        heapwise()
            .args(["profile", &child.id().to_string(), "--for", "2s", "--rate", "16K", "-o"])
            .arg(&file)
            .output()
            .expect("heapwise runs")
    };
    // Twice: the second time it has been profiled before.
    let outputs = [once(), once()];
    let mut child = child;
    child.kill().expect("it runs");
    child.wait().expect("it ends");
    let said = outputs.map(|o| (o.status.code(), String::from_utf8_lossy(&o.stderr).into_owned()));
    if said.iter().any(|(code, _)| *code == Some(4)) {
        return eprintln!("skipped: not permitted here: {said:?}");
    }
    assert_eq!(said.clone().map(|s| s.0), [Some(0); 2], "{said:?}");
    let profile = json(&file);
    assert!(of(&profile, "busy", "allocated_bytes") > 1e6, "{profile:#}");
    assert!(of(&profile, "busy", "live_bytes") > 0.0);
}

#[test]
fn what_is_no_trace_is_refused() {
    let directory = tempdir().expect("a directory");
    let file = directory.path().join("x");
    fs::write(&file, "not a trace").expect("a file");
    let output = heapwise().arg("profile").arg(&file).output().expect("heapwise runs");
    assert_eq!(output.status.code(), Some(2));
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.ends_with("is not a Heapwise trace\n"), "{error}");
}

/// The fields of a protobuf message: number, value of a varint, bytes.
fn decode(mut bytes: &[u8]) -> Vec<(u64, u64, &[u8])> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        match key & 7 {
            0 => fields.push((key >> 3, varint(&mut bytes), &bytes[..0])),
            2 => {
                let length = varint(&mut bytes) as usize;
                let (field, rest) = bytes.split_at(length);
                fields.push((key >> 3, 0, field));
                bytes = rest;
            }
            wire => panic!("wire type {wire}"),
        }
    }
    fields
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = bytes[0];
        *bytes = &bytes[1..];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return value;
        }
    }
    panic!("a varint without end")
}

fn varints(mut bytes: &[u8]) -> Vec<u64> {
    let mut list = Vec::new();
    while !bytes.is_empty() {
        list.push(varint(&mut bytes));
    }
    list
}
