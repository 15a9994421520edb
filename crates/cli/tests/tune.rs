//! `heapwise tune` on programs that suffer from a known ailment, and on one that does not.
//!
//! The programs are in `tests/tune`; the traces here do what they do.

mod common;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{compile, heapwise, program};
use heapwise_trace::{Builder, Event, ProcessStart, What};
use predicates::prelude::*;
use predicates::str::contains;
use serde_json::Value;
use tempfile::tempdir;

/// A program in the making: what its threads allocate and free, and when.
struct Program {
    builder: Builder<Vec<u8>>,
    process: u32,
    time_ns: u64,
    fresh: u64,
}

impl Program {
    const MAIN: u32 = 100;

    fn new() -> Self {
        let mut builder = Builder::new(Vec::new()).unwrap();
        let start = ProcessStart { pid: Self::MAIN, ..ProcessStart::default() };
        let process = builder.process(start, &["program"]).unwrap();
        Self { builder, process, time_ns: 0, fresh: 0x10_0000_0000 }
    }

    fn event(&mut self, thread: u32, what: What) {
        self.time_ns += 500;
        let event = Event { time_ns: self.time_ns, process: self.process, thread, what };
        self.builder.push(&event).unwrap();
    }

    fn malloc(&mut self, thread: u32, size: u64) -> u64 {
        // Addresses only have to differ.
        self.fresh += 1 << 24;
        self.event(thread, What::Malloc { size, address: self.fresh, stack: 0 });
        self.fresh
    }

    fn free(&mut self, thread: u32, address: u64) {
        self.event(thread, What::Free { address });
    }

    fn sleep_ms(&mut self, ms: u64) {
        self.time_ns += ms * 1_000_000;
    }

    fn finish(mut self) -> Vec<u8> {
        // The end: so that the last pause is in the trace.
        let last = self.malloc(Self::MAIN, 1);
        self.free(Self::MAIN, last);
        self.builder.finish().unwrap()
    }
}

/// One arena per thread: eight threads need the same memory one after the other, and each arena
/// keeps it, pinned by one block that stays.
fn arenas() -> Vec<u8> {
    let mut program = Program::new();
    let threads: Vec<u32> = (1..=8).map(|index| Program::MAIN + index).collect();
    for &thread in &threads {
        program.event(thread, What::ThreadStart);
        program.malloc(thread, 32);
    }
    for &thread in &threads {
        let blocks: Vec<u64> = (0..2000).map(|_| program.malloc(thread, 3000)).collect();
        program.malloc(thread, 100);
        blocks.into_iter().for_each(|block| program.free(thread, block));
        program.sleep_ms(10);
    }
    threads.into_iter().for_each(|thread| program.event(thread, What::ThreadEnd));
    program.finish()
}

/// The threshold drifts: one freed buffer of 4 MiB raises the mmap threshold, so buffers of 1 MiB
/// come from the heap from then on, and small blocks between them keep their holes.
fn drift() -> Vec<u8> {
    let mut program = Program::new();
    let first = program.malloc(Program::MAIN, 4 << 20);
    program.free(Program::MAIN, first);
    let buffers: Vec<u64> = (0..40)
        .map(|index| {
            let buffer = program.malloc(Program::MAIN, (1 << 20) + index * 5000);
            program.malloc(Program::MAIN, 200);
            buffer
        })
        .collect();
    buffers.into_iter().for_each(|buffer| program.free(Program::MAIN, buffer));
    program.sleep_ms(80);
    program.finish()
}

/// A survivor on top: a burst of middling blocks, then one small block that stays, then the burst
/// is freed: nothing below the survivor goes back.
fn survivor() -> Vec<u8> {
    let mut program = Program::new();
    let size = |index: u64| (70 << 10) + index % 7 * 1000;
    let blocks: Vec<u64> = (0..600).map(|i| program.malloc(Program::MAIN, size(i))).collect();
    program.malloc(Program::MAIN, 500);
    blocks.into_iter().for_each(|block| program.free(Program::MAIN, block));
    for index in 0..20_000 {
        let small = program.malloc(Program::MAIN, 16 + index % 400);
        program.free(Program::MAIN, small);
    }
    program.sleep_ms(100);
    program.finish()
}

/// Nothing to gain: small blocks that the program really holds, replaced by others of their size.
fn steady() -> Vec<u8> {
    let mut program = Program::new();
    let size = |index: usize| 100 + index as u64 % 50 * 16;
    let mut blocks: Vec<u64> =
        (0..30_000).map(|i| program.malloc(Program::MAIN, size(i))).collect();
    let mut state = 1u64;
    for _ in 0..30_000 {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let index = (state >> 33) as usize % blocks.len();
        program.free(Program::MAIN, blocks[index]);
        blocks[index] = program.malloc(Program::MAIN, size(index));
    }
    program.sleep_ms(100);
    program.finish()
}

fn tune(bytes: &[u8]) -> Value {
    let directory = tempdir().unwrap();
    let trace = directory.path().join("program.trace");
    fs::write(&trace, bytes).unwrap();
    let output = heapwise()
        .arg("tune")
        .arg(&trace)
        // A page each is as good as all of it for memory; time is not what this is about.
        .args(["--json", "--runs", "2", "--touch", "pages", "--allow", "100"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.code(), said.as_str()), (Some(0), ""));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Mean anonymous RSS of a program of `tests/tune` while it runs on glibc, the program itself and
/// not its trace; `None` without a compiler.
fn mean_rss(name: &str, environment: Option<&str>) -> Option<f64> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/tune").join(name);
    // A packaged crate has no such programs.
    let source = fs::read_to_string(source.with_extension("c")).ok()?;
    let directory = tempdir().unwrap();
    let path = compile(directory.path(), name, &source, &["-O1", "-pthread"])?;
    let mut command = Command::new(path);
    command.env_remove("GLIBC_TUNABLES").env_remove("LD_PRELOAD");
    command.envs(environment.and_then(|line| line.split_once('=')));
    let mut child = command.spawn().unwrap();
    let statm = format!("/proc/{}/statm", child.id());
    let (mut sum, mut samples) = (0.0, 0.0);
    while child.try_wait().unwrap().is_none() {
        let text = fs::read_to_string(&statm).unwrap_or_default();
        let pages: Vec<f64> = text.split(' ').filter_map(|number| number.parse().ok()).collect();
        if let [_, resident, shared, ..] = pages[..] {
            sum += resident - shared;
            samples += 1.0;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(child.wait().unwrap().success());
    Some(sum / f64::max(samples, 1.0))
}

/// What was recommended for the trace helps the program.
fn helps(name: &str, object: &Value) {
    let line = object["recommended"]["lines"][0].as_str().unwrap();
    let (Some(before), Some(after)) = (mean_rss(name, None), mean_rss(name, Some(line))) else {
        return;
    };
    assert!(after < 0.75 * before, "{name}: {before} pages, with {line} {after}");
}

fn cure(object: &Value) -> (&str, f64) {
    assert_eq!(object["verdict"], "take", "{object:#}");
    let recommended = &object["recommended"];
    let settings = recommended["settings"].as_str().unwrap();
    let lines = recommended["lines"].as_array().unwrap();
    assert!(lines[0].as_str().unwrap().starts_with("GLIBC_TUNABLES=glibc.malloc."), "{lines:?}");
    (settings, recommended["rss_ratio"].as_f64().unwrap())
}

#[test]
fn an_arena_per_thread_is_cured_by_fewer_arenas() {
    let object = tune(&arenas());
    let (settings, ratio) = cure(&object);
    helps("arenas", &object);
    assert!(settings.contains("arena_max=") && ratio < 0.6, "{settings}: {ratio}");
}

#[test]
fn a_drifted_threshold_is_cured_by_a_fixed_one() {
    let object = tune(&drift());
    let (settings, ratio) = cure(&object);
    helps("drift", &object);
    assert!(settings.contains("mmap_threshold=") && ratio < 0.6, "{settings}: {ratio}");
}

#[test]
fn a_survivor_on_top_is_cured_by_a_threshold_below_what_it_pins() {
    let object = tune(&survivor());
    let (settings, ratio) = cure(&object);
    helps("survivor", &object);
    let cures = ["mmap_threshold=64K", "mmap_threshold=32K"];
    assert!(cures.iter().any(|cure| settings.contains(cure)) && ratio < 0.6, "{settings}: {ratio}");
}

#[test]
fn where_nothing_is_to_be_gained_the_defaults_are_best() {
    let object = tune(&steady());
    assert_eq!(object["verdict"], "defaults", "{object:#}");
    assert!(object["recommended"].is_null());
    let spread = &object["confirmed"][0]["rss_mean_bytes"];
    assert!(spread["min"].as_f64() <= spread["max"].as_f64(), "{spread}");
}

#[test]
fn control_c_prints_what_is_known() {
    let directory = tempdir().unwrap();
    let trace = directory.path().join("sample.trace");
    fs::write(&trace, heapwise_trace::sample::trace(1, 3, 60_000).unwrap()).unwrap();
    let child = Command::new(program())
        .arg("tune")
        .arg(&trace)
        .args(["--json", "--runs", "1000"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_secs(3));
    let pid = nix::unistd::Pid::from_raw(child.id() as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let object: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(object["interrupted"], true);
    assert!(String::from_utf8_lossy(&output.stderr).contains("interrupted"));
}

#[test]
fn what_is_no_trace_is_one_sentence() {
    let directory = tempdir().unwrap();
    let file = directory.path().join("no.trace");
    fs::write(&file, "no").unwrap();
    heapwise()
        .arg("tune")
        .arg(&file)
        .assert()
        .code(2)
        .stderr(contains("is not a Heapwise trace").and(contains("panicked").not()));
    heapwise().args(["tune", "--allow", "-3", "x"]).assert().code(2);
}
