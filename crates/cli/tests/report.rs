//! `heapwise run --report`: what it says, in both forms, of one process and of many.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{compile, heapwise, needs_library, script};
use predicates::prelude::*;
use predicates::str::contains;
use serde_json::Value;
use tempfile::tempdir;

/// Runs with `--report=json`; the report and the exit code.
fn report_of(command: &[&str]) -> (Value, Option<i32>) {
    let directory = tempdir().unwrap();
    let file = directory.path().join("report.json");
    let output = heapwise()
        .args(["run", "--report=json", "-o"])
        .arg(&file)
        .arg("--")
        .args(command)
        .output()
        .unwrap();
    let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    (serde_json::from_str(&text).unwrap(), output.status.code())
}

fn processes(report: &Value) -> &[Value] {
    report["processes"].as_array().unwrap()
}

fn main_process(report: &Value) -> &Value {
    processes(report)
        .iter()
        .find(|process| process["main"] == true)
        .unwrap_or_else(|| panic!("no main: {report:#}"))
}

fn named<'a>(report: &'a Value, comm: &str) -> Vec<&'a Value> {
    processes(report).iter().filter(|process| process["comm"] == comm).collect()
}

/// A C program of this test.
fn program(directory: &Path, name: &str, body: &str) -> Option<PathBuf> {
    let source = format!(
        "#include <stdlib.h>\n#include <stdio.h>\n#include <string.h>\n#include <unistd.h>\n#include <sys/wait.h>\n\
         void *volatile sink;\nint main(void) {{\n{body}\nreturn 0;\n}}\n"
    );
    compile(directory, name, &source, &["-O0"])
}

#[test]
fn json_on_standard_error_is_one_object() {
    let output =
        heapwise().args(["run", "--report=json", "--", "sh", "-c", "exit 3"]).output().unwrap();
    let report: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(report["schema"], "heapwise.report/1");
    assert_eq!(report["command"], serde_json::json!(["sh", "-c", "exit 3"]));
    assert_eq!(report["end"], serde_json::json!({"how": "exited", "code": 3}));
    assert_eq!(report["exit_code"], 3);
    assert!(report["kernel"]["wall_ns"].as_u64().unwrap() > 0);
    assert!(report["kernel"]["rss_peak_bytes"].as_u64().unwrap() > 0);
}

#[test]
fn a_signal_is_told() {
    let (report, code) = report_of(&["sh", "-c", "kill -KILL $$"]);
    assert_eq!(
        report["end"],
        serde_json::json!({"how": "killed", "signal": 9, "core_dumped": false})
    );
    assert_eq!((report["exit_code"].as_u64(), code), (Some(137), Some(137)));
    heapwise()
        .args(["run", "--report", "--", "sh", "-c", "kill -KILL $$"])
        .assert()
        .stderr(contains("killed by signal 9 (SIGKILL)"));
}

#[test]
fn a_program_without_the_library_is_named() {
    // The C library itself preloads without complaint and fills in no record.
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let line = maps.lines().find(|line| line.contains("/libc.so")).unwrap();
    heapwise()
        .env("HEAPWISE_LIB", &line[line.find('/').unwrap()..])
        .args(["run", "--report", "--", "true"])
        .assert()
        .success()
        .stderr(contains("true: the library did not load"));
}

#[test]
fn the_file_behind_a_report_is_gone_afterwards() {
    let output = heapwise()
        .args(["run", "--report", "--", "printenv", "HEAPWISE_REPORT_FILE"])
        .output()
        .unwrap();
    let path = String::from_utf8(output.stdout).unwrap();
    assert!(path.starts_with('/') && !Path::new(path.trim()).exists(), "{path}");
}

#[test]
fn colour_only_where_it_is_wanted() {
    let escapes = |name: &str| {
        let output =
            heapwise().env(name, "1").args(["run", "--report", "--", "true"]).output().unwrap();
        output.stderr.contains(&0x1b)
    };
    assert!(!escapes("NOTHING"), "standard error is a pipe here");
    assert!(escapes("CLICOLOR_FORCE"));
    assert!(!escapes("NO_COLOR"));
}

#[test]
fn a_report_goes_to_the_file_alone() {
    let directory = tempdir().unwrap();
    let file = directory.path().join("report");
    heapwise()
        .env("CLICOLOR_FORCE", "1")
        .args(["run", "--report", "-o"])
        .arg(&file)
        .args(["--", "true"])
        .assert()
        .success()
        .stderr("");
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.starts_with("heapwise report: true\n") && !text.contains('\x1b'), "{text}");
}

#[test]
fn calls_and_the_living_are_counted() {
    needs_library!();
    let directory = tempdir().unwrap();
    let body = "for (int i = 0; i < 1000; i++) { sink = malloc(100); if (i >= 10) free(sink); }\n\
                for (int i = 0; i < 50; i++) { sink = calloc(10, 10); sink = realloc(sink, 5000); free(sink); }\n\
                sink = malloc(1 << 20); sink = aligned_alloc(64, 640);";
    let Some(program) = program(directory.path(), "counted", body) else { return };
    let (report, code) = report_of(&[program.to_str().unwrap()]);
    assert_eq!(code, Some(0));
    assert_eq!(report["loaded"], true);
    let main = main_process(&report);
    assert_eq!(
        (&main["state"], &main["exact"], &main["comm"]),
        (&"exited".into(), &true.into(), &"counted".into())
    );
    let calls = |kind: &str| main["calls"][kind].as_u64().unwrap();
    assert_eq!(calls("malloc"), 1001);
    assert_eq!(calls("calloc"), 50);
    assert_eq!(calls("realloc"), 50);
    assert_eq!(calls("aligned"), 1);
    assert_eq!(calls("free"), 990 + 50);
    assert_eq!(calls("failed"), 0);
    let heap = |field: &str| main["heap"][field].as_u64().unwrap();
    assert_eq!(heap("live_chunks"), 12);
    assert!(heap("live_bytes") >= 10 * 100 + (1 << 20) + 640);
    assert_eq!((heap("mapped_chunks"), heap("thread_caches")), (1, 1));
    assert_eq!(main["arenas"], 1);
    assert!(heap("system_peak_bytes") >= heap("system_bytes"));
    assert!(main["kernel_calls"]["brk"].as_u64().unwrap() >= 1);
    assert!(main["kernel_calls"]["mmap"].as_u64().unwrap() >= 1);
    assert!(main["thread_cache"]["hit_rate"].as_f64().unwrap() > 0.5);
    assert!(main["rss_peak_bytes"].as_u64().unwrap() > 100_000);
}

#[test]
fn a_shell_scripts_commands_are_named_with_theirs() {
    needs_library!();
    let directory = tempdir().unwrap();
    let script = script(
        directory.path(),
        "work",
        "#!/bin/sh\nls / > /dev/null\ncat < /dev/null\ntrue | cat\n",
    );
    let (report, code) = report_of(&[script.to_str().unwrap()]);
    assert_eq!(code, Some(0));
    assert_eq!(main_process(&report)["comm"], "work");
    let ls = named(&report, "ls");
    let parent = report["pid"].as_u64();
    assert!(
        ls.iter().any(|ls| ls["state"] == "exited" && ls["ppid"].as_u64() == parent),
        "{report:#}"
    );
    assert!(ls.iter().any(|ls| ls["calls"]["malloc"].as_u64() > Some(0)), "{report:#}");
    assert!(named(&report, "cat").len() >= 2, "{report:#}");
    heapwise()
        .args(["run", "--report"])
        .arg(&script)
        .assert()
        .stderr(contains("COMMAND").and(contains("ls")));
}

#[test]
fn images_of_one_process_are_told_apart() {
    needs_library!();
    let (report, _) = report_of(&["sh", "-c", "exec sh -c 'exec cat /dev/null'"]);
    let seen: Vec<_> = processes(&report)
        .iter()
        .map(|image| {
            (
                image["comm"].as_str().unwrap(),
                image["generation"].as_u64().unwrap(),
                image["state"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(seen, [("sh", 0, "replaced"), ("sh", 1, "replaced"), ("cat", 2, "exited")]);
    assert_eq!(main_process(&report)["comm"], "cat");
}

#[test]
fn a_forking_server_is_seen_with_its_children() {
    needs_library!();
    let directory = tempdir().unwrap();
    let body = "sink = malloc(100);\n\
                for (int i = 0; i < 3; i++) if (fork() == 0) { for (int j = 0; j < 2000; j++) free(malloc(32)); exit(0); }\n\
                while (wait(NULL) > 0);";
    let Some(program) = program(directory.path(), "server", body) else { return };
    let (report, _) = report_of(&[program.to_str().unwrap()]);
    let forked: Vec<_> =
        processes(&report).iter().filter(|process| process["origin"] == "fork").collect();
    assert_eq!(forked.len(), 3, "{report:#}");
    for child in forked {
        assert_eq!(child["ppid"], report["pid"]);
        assert_eq!(child["state"], "exited");
        // Its own calls alone, without what its parent had done before.
        assert!((2000..2100).contains(&child["calls"]["malloc"].as_u64().unwrap()), "{child:#}");
    }
}

#[test]
fn an_end_without_exit_handlers_is_marked() {
    needs_library!();
    let directory = tempdir().unwrap();
    let body = "for (int i = 0; i < 100000; i++) free(malloc(32)); _exit(0);";
    let Some(program) = program(directory.path(), "abrupt", body) else { return };
    let (report, _) = report_of(&[program.to_str().unwrap()]);
    let main = main_process(&report);
    assert_eq!((&main["state"], &main["exact"]), (&"ended".into(), &false.into()));
    assert!(main["heap"].is_null(), "nobody counted: {main:#}");
    // The figures lag by a few hundred calls, not more.
    assert!((99_000..=100_000).contains(&main["calls"]["malloc"].as_u64().unwrap()), "{main:#}");
    heapwise().args(["run", "--report"]).arg(&program).assert().stderr(contains("the figures lag"));
}

#[test]
fn a_daemon_that_stays_is_still_running() {
    needs_library!();
    let (report, _) = report_of(&["sh", "-c", "sleep 2 > /dev/null 2>&1 & sleep 0.3"]);
    let states: Vec<_> =
        named(&report, "sleep").iter().map(|sleep| sleep["state"].as_str().unwrap()).collect();
    assert!(states.contains(&"running") && states.contains(&"exited"), "{report:#}");
}

#[test]
fn fifty_thousand_objects_of_python() {
    needs_library!();
    let Ok(python) = std::process::Command::new("python3")
        .args(["-c", "import sys; print(sys.executable)"])
        .output()
    else {
        eprintln!("skipped: no python3");
        return;
    };
    let python = String::from_utf8(python.stdout).unwrap();
    let (report, code) =
        report_of(&[python.trim(), "-c", "x = [bytes(i % 5000) for i in range(50_000)]"]);
    assert_eq!(code, Some(0));
    let main = main_process(&report);
    // CPython makes its bytes with calloc.
    assert!(main["calls"]["calloc"].as_u64().unwrap() > 40_000, "{main:#}");
    assert!(main["rss_peak_bytes"].as_u64().unwrap() > 100 << 20, "{main:#}");
}
