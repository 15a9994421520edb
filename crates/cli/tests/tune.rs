//! `heapwise tune` on programs that suffer from a known ailment, and on one that does not.
//!
//! The programs are in `tests/tune`; they are recorded here, and what is recommended is tried on them.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{compile, heapwise, needs_library, program};
use predicates::prelude::*;
use predicates::str::contains;
use serde_json::Value;
use tempfile::{TempDir, tempdir};

/// A program of `tests/tune`, compiled and recorded; `None` without a compiler.
fn recorded(name: &str) -> Option<(TempDir, PathBuf, PathBuf)> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/tune").join(name);
    // A packaged crate has no such programs.
    let source = fs::read_to_string(source.with_extension("c")).ok()?;
    let directory = tempdir().unwrap();
    let program = compile(directory.path(), name, &source, &["-O1", "-pthread"])?;
    let trace = directory.path().join("program.hwt");
    heapwise()
        .args(["record", "-o"])
        .arg(&trace)
        .arg("--")
        .arg(&program)
        .timeout(Duration::from_secs(120))
        .assert()
        .code(0);
    Some((directory, program, trace))
}

fn tune(trace: &Path, whose: &str) -> Value {
    let output = heapwise()
        .arg("tune")
        .arg(trace)
        .args(["--for", whose])
        // A page each is as good as all of it for memory; time is not what this is about.
        .args(["--json", "--runs", "2", "--touch", "pages", "--allow", "100"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.code(), said.as_str()), (Some(0), ""));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Mean anonymous RSS of a program while it runs on glibc, the program itself and not its trace.
fn mean_rss(path: &Path, environment: Option<&str>) -> f64 {
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
    sum / f64::max(samples, 1.0)
}

/// What was recommended for the trace helps the program.
fn helps(program: &Path, object: &Value) {
    let line = object["recommended"]["lines"][0].as_str().unwrap();
    let (before, after) = (mean_rss(program, None), mean_rss(program, Some(line)));
    assert!(after < 0.85 * before, "{before} pages, with {line} {after}");
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
    needs_library!();
    let Some((_directory, program, trace)) = recorded("arenas") else { return };
    let object = tune(&trace, "glibc");
    let (settings, ratio) = cure(&object);
    helps(&program, &object);
    assert!(settings.contains("arena_max=") && ratio < 0.85, "{settings}: {ratio}");
}

#[test]
fn a_drifted_threshold_is_cured_by_a_fixed_one() {
    needs_library!();
    let Some((_directory, program, trace)) = recorded("drift") else { return };
    let object = tune(&trace, "glibc");
    let (settings, ratio) = cure(&object);
    helps(&program, &object);
    assert!(settings.contains("mmap_threshold=") && ratio < 0.85, "{settings}: {ratio}");
}

#[test]
fn a_survivor_on_top_is_cured_by_a_threshold_below_what_it_pins() {
    needs_library!();
    let Some((_directory, program, trace)) = recorded("survivor") else { return };
    let object = tune(&trace, "glibc");
    let (settings, ratio) = cure(&object);
    helps(&program, &object);
    let cures = ["mmap_threshold=64K", "mmap_threshold=32K"];
    assert!(
        cures.iter().any(|cure| settings.contains(cure)) && ratio < 0.85,
        "{settings}: {ratio}"
    );
}

#[test]
fn where_nothing_is_to_be_gained_the_defaults_are_best() {
    needs_library!();
    let Some((_directory, _, trace)) = recorded("steady") else { return };
    let object = tune(&trace, "glibc");
    assert_eq!(object["verdict"], "defaults", "{object:#}");
    assert!(object["recommended"].is_null());
    let spread = &object["confirmed"][0]["rss_mean_bytes"];
    assert!(spread["min"].as_f64() <= spread["max"].as_f64(), "{spread}");
}

#[test]
fn our_own_settings_are_tried_on_the_simulated_kernel_and_confirmed_for_real() {
    needs_library!();
    let Some((_directory, _, trace)) = recorded("survivor") else { return };
    let object = tune(&trace, "heapwise");
    let named = |of: &Value| of["settings"].as_str().unwrap().to_owned();
    let swept: Vec<String> = object["swept"].as_array().unwrap().iter().map(named).collect();
    for name in
        ["mmap_threshold", "trim_threshold", "top_pad", "cache_bytes", "purge_budget", "purge"]
    {
        assert!(swept.iter().any(|tried| tried.starts_with(&format!("{name}="))), "{swept:?}");
    }
    assert_eq!(named(&object["confirmed"][0]), "defaults");
    // The burst goes home by itself: at the end little more than the survivor is there. (The mean also
    // says how long the burst took when it was recorded.)
    let output =
        heapwise().arg("replay").arg(&trace).args(["--json", "--runs", "1"]).output().unwrap();
    let object: Value = serde_json::from_slice(&output.stdout).unwrap();
    let [peak, end] = ["rss_peak_bytes", "rss_end_bytes"]
        .map(|name| object["results"][0][name]["median"].as_f64().unwrap());
    assert!(peak > 40e6 && end < 4e6, "{object}");
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
