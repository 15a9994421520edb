//! `heapwise trim` as a user meets it.

mod common;

use std::path::Path;

use common::ready::Ready;
use common::{heapwise, needs_library};
use predicates::prelude::*;
use predicates::str::contains;
use serde_json::Value;

/// 16 MiB are freed below a small block, and everything waits.
const PINNED: &str = r#"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
int main(void) {
    static char *blocks[4000];
    for (int i = 0; i < 4000; i++) blocks[i] = memset(malloc(4000), 'x', 4000);
    for (int i = 0; i < 3999; i++) free(blocks[i]);
    puts("ready");
    fflush(stdout);
    pause();
    return 0;
}
"#;

fn pinned(library: Option<&Path>) -> Option<Ready> {
    Ready::start("pinned", PINNED, &[], |command, _| {
        command.env_remove("LD_PRELOAD");
        if let Some(library) = library {
            command.env("LD_PRELOAD", library).env("HEAPWISE_PURGE", "0");
        }
    })
}

fn json(arguments: &[&str], code: i32) -> Value {
    let output = heapwise().arg("trim").args(arguments).arg("--json").output().unwrap();
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}

#[test]
fn a_glibc_process_is_predicted_and_told_how() {
    let Some(target) = pinned(None) else { return };
    let object = json(&[&target.pid()], 0);
    assert_eq!(object["schema"], "heapwise.trim/1");
    assert!(object["predicted_bytes"].as_u64().unwrap() > 15_000_000, "{object}");
    assert!(object["applied"].is_null() && object["refusal"].is_null());
    let object = json(&["--apply", &target.pid()], 7);
    assert!(object["how"][0].as_str().unwrap().contains("call (int)malloc_trim(0)"));
    assert!(object["refusal"].is_string());
    heapwise()
        .args(["trim", &target.pid()])
        .assert()
        .success()
        .stdout(contains("A trim would return").and(contains("gdb -p")));
}

#[test]
fn a_process_on_our_heap_is_trimmed() {
    needs_library!();
    let library = Path::new(env!("HEAPWISE_SO"));
    let Some(target) = pinned(Some(library)) else { return };
    let predicted = json(&["--dry-run", &target.pid()], 0)["predicted_bytes"].as_u64().unwrap();
    assert!(predicted > 15_000_000);
    let object = json(&["--apply", &target.pid()], 0);
    assert_eq!(object["predicted_bytes"].as_u64(), Some(predicted));
    let applied = &object["applied"];
    let measured = applied["measured_bytes"].as_u64().unwrap();
    assert!(measured.abs_diff(predicted) <= predicted / 100, "{object}");
    assert_eq!(applied["started_helper"], true);
    assert!(applied["predicted_bytes"].as_u64().unwrap() < 100_000, "{object}");
    heapwise()
        .args(["trim", "--apply", &target.pid()])
        .assert()
        .success()
        .stdout(contains("Done in").and(contains("predicted")));
}

#[test]
fn wrong_targets_are_told() {
    heapwise().args(["trim", "4194304"]).assert().code(3);
    heapwise().args(["trim", "--apply", "--dry-run", "1"]).assert().code(2);
    heapwise().args(["trim", "--force", "1"]).assert().code(2);
}
