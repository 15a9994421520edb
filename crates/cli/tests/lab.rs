//! The lab from outside: its arguments, its document, its verdicts.
//!
//! The verdicts on glibc are those of glibc 2.36 on a machine of 4 KiB pages;
//! elsewhere a side may differ and the test only says so.

use std::process::Output;

use assert_cmd::Command;
use serde_json::Value;

fn lab() -> Command {
    let mut command = Command::cargo_bin("heapwise").expect("the program is built");
    command.arg("lab");
    command
}

/// Runs the lab; `None`, with a word, where there is no library to run it with.
fn document(names: &[&str]) -> Option<(Value, Output)> {
    let output = lab().arg("--json").args(names).output().expect("the program starts");
    if output.status.code() == Some(125) {
        eprintln!("skipped: {}", String::from_utf8_lossy(&output.stderr));
        return None;
    }
    let document = serde_json::from_slice(&output.stdout).expect("the document is JSON");
    Some((document, output))
}

#[test]
fn the_list_names_every_experiment() {
    let output = lab().arg("--list").output().expect("the program starts");
    assert!(output.status.success());
    let list = String::from_utf8(output.stdout).expect("the list is UTF-8");
    for name in [
        "prealloc",
        "mmap-threshold",
        "break",
        "mmap",
        "three-sizes",
        "hole",
        "middle",
        "double-free",
    ] {
        assert!(
            list.lines().any(|line| line.split_ascii_whitespace().next() == Some(name)),
            "{name} is missing"
        );
    }
    assert!(list.lines().all(|line| line.chars().count() <= 100));
}

#[test]
fn an_unknown_name_is_a_usage_error_that_lists_the_known_ones() {
    let output = lab().arg("no-such-experiment").output().expect("the program starts");
    assert_eq!(output.status.code(), Some(2));
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(message.contains("prealloc") && message.contains("double-free"), "{message}");
}

#[test]
fn a_name_selects() {
    let Some((document, _)) = document(&["reuse", "overhead"]) else { return };
    let names: Vec<&str> = document["experiments"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|e| e["name"].as_str())
        .collect();
    // In the lab's order, not the command line's.
    assert_eq!(names, ["overhead", "reuse"]);
}

#[test]
fn the_text_fits_a_hundred_columns_without_colour() {
    let output = lab()
        .args(["three-sizes", "maps-reading"])
        .env("NO_COLOR", "1")
        .output()
        .expect("the program starts");
    if output.status.code() == Some(125) {
        eprintln!("skipped: no library");
        return;
    }
    let text = String::from_utf8(output.stdout).expect("the text is UTF-8");
    assert!(!text.contains('\u{1b}'));
    for line in text.lines() {
        assert!(line.chars().count() <= 100, "{line}");
    }
    assert!(text.lines().last().is_some_and(|line| line.starts_with("2 experiments: ")), "{text}");
}

#[test]
fn a_library_that_does_not_load_is_not_mistaken_for_glibc() {
    let bogus = tempfile::NamedTempFile::with_suffix(".so").expect("a temporary file");
    let output = lab()
        .args(["reuse", "--json"])
        .env("HEAPWISE_LIB", bogus.path())
        .output()
        .expect("the program starts");
    if output.status.code() == Some(125) {
        return; // Refused before the start, which is as good.
    }
    assert_eq!(output.status.code(), Some(1));
    let document: Value = serde_json::from_slice(&output.stdout).expect("the document is JSON");
    let side = &document["experiments"][0]["heapwise"];
    assert_eq!(side["verdict"], "fails");
    assert!(side["why"].as_str().is_some_and(|why| why.contains("not loaded")), "{side}");
}

#[test]
fn every_experiment_holds_on_heapwise_and_does_on_glibc_what_is_expected() {
    let Some((document, output)) = document(&[]) else { return };
    assert_eq!(document["schema"], "heapwise.lab/1");
    let experiments = document["experiments"].as_array().expect("a list");
    assert!(experiments.len() >= 30);
    let glibc_is_known = glibc_version() == "2.36" && document["page_bytes"] == 4096;
    let mut wrong = Vec::new();
    for experiment in experiments {
        let (ours, theirs) = (&experiment["heapwise"], &experiment["glibc"]);
        let name = &experiment["name"];
        if ours["verdict"] == "fails" {
            wrong.push(format!("{name} on Heapwise: {} {}", ours["why"], failed_rows(ours)));
        }
        if theirs["verdict"] != experiment["expected_on_glibc"] && theirs["verdict"] != "skipped" {
            let line = format!("{name} on glibc: {} {}", theirs["why"], failed_rows(theirs));
            if glibc_is_known {
                wrong.push(line);
            } else {
                eprintln!("unexpected, but glibc here is {}: {line}", glibc_version());
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(output.status.success());
    let summary = &document["summary"];
    assert_eq!(summary["experiments"].as_u64(), u64::try_from(experiments.len()).ok());
    assert_eq!(summary["heapwise"]["fails"], 0);
}

fn failed_rows(side: &Value) -> String {
    let rows = side["rows"].as_array().into_iter().flatten().filter(|row| row["held"] == false);
    rows.map(|row| format!("[{}: {}]", row["what"], row["saw"])).collect()
}

fn glibc_version() -> String {
    // SAFETY: the answer is a static C string.
    unsafe { std::ffi::CStr::from_ptr(libc::gnu_get_libc_version()) }.to_string_lossy().into_owned()
}
