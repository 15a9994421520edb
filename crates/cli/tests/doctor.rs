//! `heapwise doctor`, and the pages that are made from the command line's definition.

mod common;

use common::{heapwise, needs_library};
use predicates::prelude::*;
use predicates::str::contains;
use serde_json::Value;
use tempfile::tempdir;

#[test]
fn this_machine_is_fit() {
    needs_library!();
    heapwise()
        .arg("doctor")
        .assert()
        .success()
        .stdout(contains("this machine is fit").and(contains("preload")));
}

#[test]
fn a_library_that_is_missing_is_a_failure_with_a_remedy() {
    heapwise()
        .arg("doctor")
        .env("HEAPWISE_LIB", "/no/such/lib.so")
        .assert()
        .code(1)
        .stdout(contains("fail  library").and(contains("→")).and(contains("not fit")));
}

#[test]
fn a_library_that_does_not_load_is_a_failure() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("libheapwise.so");
    std::fs::write(&path, "not a library").unwrap();
    heapwise()
        .arg("doctor")
        .env("HEAPWISE_LIB", path)
        .assert()
        .code(1)
        .stdout(contains("fail  preload"));
}

#[test]
fn the_diagnosis_is_json_too() {
    let output = heapwise().args(["doctor", "--json"]).output().unwrap();
    let diagnosis: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(diagnosis["schema"], "heapwise.doctor/1");
    assert_eq!(diagnosis["fit"], output.status.success());
    let findings = diagnosis["findings"].as_array().unwrap();
    for check in
        ["kernel", "page size", "overcommit", "huge pages", "cores", "LD_PRELOAD", "library"]
    {
        assert!(findings.iter().any(|finding| finding["check"] == check), "{check}");
    }
    assert!(
        findings.iter().all(|finding| (finding["grade"] == "ok") == finding["remedy"].is_null())
    );
}

#[test]
fn a_limit_of_arenas_is_pointed_out() {
    heapwise()
        .arg("doctor")
        .env("MALLOC_ARENA_MAX", "2")
        .assert()
        .stdout(contains("MALLOC_ARENA_MAX=2").and(contains("unset MALLOC_ARENA_MAX")));
    heapwise()
        .arg("doctor")
        .env("MALLOC_ARENA_MAX", "0")
        .assert()
        .stdout(contains("unset MALLOC_ARENA_MAX").not());
}

#[test]
fn completions_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        heapwise()
            .args(["completions", shell])
            .assert()
            .success()
            .stdout(contains("heapwise").and(contains("doctor")));
    }
    heapwise().args(["completions", "tcsh"]).assert().code(2);
}

#[test]
fn a_man_page_a_command() {
    heapwise().arg("man").assert().success().stdout(contains(".TH heapwise 1"));
    let directory = tempdir().unwrap();
    let pages = directory.path().join("man1");
    heapwise().arg("man").arg(&pages).assert().success();
    for page in
        ["heapwise.1", "heapwise-run.1", "heapwise-lab.1", "heapwise-doctor.1", "heapwise-lib.1"]
    {
        assert!(pages.join(page).is_file(), "{page}");
    }
    heapwise()
        .args(["man", "/dev/null/pages"])
        .assert()
        .code(1)
        .stderr(contains("heapwise: /dev/null/pages"));
}

#[test]
fn help_and_version() {
    heapwise().arg("--version").assert().success().stdout(contains(env!("CARGO_PKG_VERSION")));
    heapwise().arg("--help").assert().success().stdout(contains("Examples:"));
    heapwise()
        .args(["run", "--help"])
        .assert()
        .success()
        .stdout(contains("--report").and(contains("127")).and(contains("arena_max")));
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let output = std::process::Command::new("sh")
        .args(["-c", "\"$0\" man | true; \"$0\" run --help | true; \"$0\" doctor | true"])
        .arg(common::program())
        .output()
        .unwrap();
    assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"), "{output:?}");
}
