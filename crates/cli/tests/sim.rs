//! `heapwise sim` and `heapwise journey`, as a user runs them.

use assert_cmd::Command;
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;
use serde_json::Value;

fn heapwise() -> Command {
    Command::cargo_bin("heapwise").expect("the command")
}

fn json(arguments: &[&str]) -> Value {
    let output = heapwise().args(arguments).arg("--json").output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn every_experiment_holds() {
    heapwise().args(["sim", "--lab"]).assert().success().stdout(contains("0 of ").count(0));
    let document = json(&["sim", "--lab"]);
    assert_eq!(document["schema"], "heapwise.sim/1");
    let runs = document["runs"].as_array().expect("runs");
    assert!(runs.len() >= 11 && runs.iter().all(|run| run["failed"] == 0));
}

#[test]
fn one_seed_prints_one_run() {
    let arguments = ["sim", "--workload", "mixed", "--steps", "3000", "--seed", "9"];
    assert_eq!(json(&arguments), json(&arguments));
    let arguments = ["journey", "malloc", "100K", "--touch", "--then", "free"];
    assert_eq!(json(&arguments), json(&arguments));
}

#[test]
fn a_script_that_makes_no_sense_is_told_with_its_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("bad.sim");
    for (text, line) in
        [("process a\na fly", "line 2"), ("a mmap x 1M", "line 1"), ("\n\nat", "line 3")]
    {
        std::fs::write(&file, text).expect("a file");
        heapwise().args(["sim", "--script"]).arg(&file).assert().code(2).stderr(contains(line));
    }
    std::fs::write(&file, "process a\nexpect rss a > 1G\n").expect("a file");
    heapwise().args(["sim", "--script"]).arg(&file).assert().code(1).stdout(contains("NO"));
    heapwise().args(["sim", "--script", "/nonexistent"]).assert().code(2);
    heapwise().args(["sim"]).assert().code(2);
}

#[test]
fn a_journey_goes_from_the_call_to_the_frame_and_back() {
    let journey = json(&["journey", "malloc", "1000", "--touch", "--then", "free"]);
    assert_eq!(journey["schema"], "heapwise.journey/1");
    let steps = journey["steps"].as_array().expect("steps");
    let layers: Vec<&str> = steps.iter().filter_map(|step| step["layer"].as_str()).collect();
    for layer in ["program", "thread cache", "arena", "system call", "page fault", "page allocator"]
    {
        assert!(layers.contains(&layer), "{layer} is missing in {layers:?}");
    }
    let states = journey["states"].as_array().expect("states");
    let pages = |index: &Value| {
        let state = &states[index.as_u64().expect("an index") as usize];
        state["machine"]["page_table"]["entries"].as_u64().expect("a number")
    };
    let fault =
        steps.iter().find(|step| step["title"].as_str().is_some_and(|t| t.contains("new frame")));
    let fault = fault.expect("a fault");
    assert_eq!(pages(&fault["before"]) + 1, pages(&fault["after"]));
}

#[test]
fn a_large_block_has_a_mapping_of_its_own_and_gives_it_back() {
    heapwise()
        .args(["journey", "malloc", "--size", "256K", "--touch", "--then", "free"])
        .assert()
        .success()
        .stdout(contains("mmap(").and(contains("munmap(")).and(contains("more faults like these")));
    heapwise().args(["journey", "malloc"]).assert().code(2).stderr(contains("how many bytes"));
    heapwise().args(["journey", "malloc", "1X"]).assert().code(2);
    heapwise().args(["journey", "malloc", "100G"]).assert().code(2);
}

#[test]
fn the_page_to_step_through_stands_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("journey.html");
    heapwise()
        .args(["journey", "malloc", "5000", "--touch", "--html"])
        .arg(&file)
        .assert()
        .success();
    let page = std::fs::read_to_string(&file).expect("the page");
    assert!(page.contains("heapwise.journey/1") && !page.contains("src="));
}
