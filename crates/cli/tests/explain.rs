//! `heapwise explain`, `maps` and `bins` as a user meets them.

mod common;

use std::os::unix::process::CommandExt;
use std::process::{Command, Output};

use common::ready::Ready;
use common::{compile, has_library, heapwise, program};
use predicates::prelude::*;
use predicates::str::{contains, is_empty};
use serde_json::Value;
use tempfile::tempdir;

/// Allocates, frees most of it, and waits.
const FREED: &str = r#"
#include <signal.h>
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
    // A test run in the background starts with SIGINT ignored.
    if (getenv("INTERRUPT")) { signal(SIGINT, SIG_DFL); raise(SIGINT); }
    if (!getenv("AT_ONCE")) pause();
    return 7;
}
"#;

fn running(flags: &[&str], environment: &[(&str, &str)]) -> Option<Ready> {
    let ready = Ready::start("freed-but-kept", FREED, flags, |command, _| {
        command.envs(environment.iter().copied());
    })?;
    ready.wait_for_sleep();
    Some(ready)
}

fn object(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}

fn assert_sums(object: &Value) {
    let rows = object["rows"].as_array().unwrap();
    let sum: u64 = rows.iter().map(|row| row["bytes"].as_u64().unwrap()).sum();
    assert_eq!(Some(sum), object["rss_bytes"].as_u64());
}

#[test]
fn the_account_is_given_as_json_and_as_text() {
    let Some(running) = running(&[], &[]) else { return };
    let output = heapwise().args(["explain", "--json", &running.pid()]).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let object = object(&output);
    assert_eq!(object["schema"], "heapwise.explain/1");
    assert_eq!(object["pid"], running.child.id());
    assert!(object["allocator"].as_str().unwrap().starts_with("glibc 2."));
    assert_eq!(object["verdict"]["situation"], "pinned_break");
    assert!(object["trim_gain_bytes"].as_u64().unwrap() > 15_000_000);
    assert_eq!(object["rss_bytes"], object["kernel"]["smaps_rollup_rss_bytes"]);
    assert_sums(&object);
    heapwise()
        .args(["explain", "--top-holder", "--bytes", &running.pid()])
        .assert()
        .code(0)
        .stderr(is_empty())
        .stdout(
            contains("pins the heap").and(contains("right below the top")).and(contains("|xxxx")),
        )
        .stdout(contains("leak").not());
}

#[test]
fn a_program_on_our_heap_is_read_too() {
    if !has_library() {
        return;
    }
    let environment = [("LD_PRELOAD", env!("HEAPWISE_SO")), ("HEAPWISE_PURGE", "0")];
    let Some(running) = running(&[], &environment) else { return };
    let output = heapwise().args(["explain", "--json", &running.pid()]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let object = object(&output);
    assert_eq!(object["allocator"], "heapwise");
    assert!(object["trim_gain_bytes"].as_u64().unwrap() > 15_000_000);
    assert_sums(&object);
}

#[test]
fn a_consistent_look_says_for_how_long_and_for_what() {
    let Some(running) = running(&[], &[]) else { return };
    let output =
        heapwise().args(["explain", "--json", "--consistent", &running.pid()]).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let object = object(&output);
    assert!(object["pause_ns"].as_u64().is_some_and(|pause| pause > 0));
    assert!(said.contains("the process was stopped for "), "{said}");
    match object["pause_for"]["what"].as_str() {
        Some("copy") => assert!(said.contains("a copy of it took"), "{said}"),
        Some("look") => assert!(said.contains("no copy of it could be made ("), "{said}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(object["rss_bytes"], object["kernel"]["smaps_rollup_rss_bytes"]);
    assert_sums(&object);
}

#[test]
fn a_condition_that_holds_gives_1() {
    let Some(running) = running(&[], &[]) else { return };
    for (condition, code) in
        [("reclaimable>20%", 1), ("reclaimable>99.9%", 0), ("live_user<1M", 1), ("rss>1G", 0)]
    {
        heapwise().args(["explain", "--fail-if", condition, &running.pid()]).assert().code(code);
    }
    heapwise().args(["explain", "--fail-if", "nonsense", &running.pid()]).assert().code(2);
}

#[test]
fn a_name_will_do_if_only_one_has_it() {
    let Some(first) = running(&["-DA"], &[]) else { return };
    let found = heapwise().args(["explain", "freed-but-kept"]).output().unwrap();
    // Other tests run the same program meanwhile.
    assert!(matches!(found.status.code(), Some(0 | 2)), "{found:?}");
    let Some(second) = running(&[], &[]) else { return };
    heapwise()
        .args(["explain", "freed-but-kept"])
        .assert()
        .code(2)
        .stderr(contains(first.pid()).and(contains(second.pid())));
}

#[test]
fn nobody_there_gives_3() {
    for command in ["explain", "maps", "bins"] {
        for target in ["4294967295", "no-such-process-name"] {
            heapwise().args([command, target]).assert().code(3).stderr(contains("no process"));
        }
    }
    heapwise().arg("explain").assert().code(2);
}

#[test]
fn what_is_not_permitted_gives_4_and_the_kernels_totals() {
    // Another user's process, looked at by nobody: only root can arrange that.
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let Some(running) = running(&[], &[]) else { return };
    let output = Command::new(program())
        .args(["explain", "--json", &running.pid()])
        .uid(65534)
        .gid(65534)
        .output();
    // The build directory may be closed to nobody.
    let Ok(output) = output else { return };
    let words = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{words}");
    assert!(words.contains("CAP_SYS_PTRACE"), "{words}");
    let object = object(&output);
    assert!(object["rss_bytes"].as_u64().unwrap() > 15_000_000);
    assert_sums(&object);
}

#[test]
fn an_allocator_that_is_not_read_gives_5_and_the_mappings() {
    let Some(running) = running(&["-static"], &[]) else { return };
    let output = heapwise().args(["explain", "--json", &running.pid()]).output().unwrap();
    assert_eq!(output.status.code(), Some(5));
    assert!(String::from_utf8_lossy(&output.stderr).contains("statically linked glibc"));
    let object = object(&output);
    assert_eq!(object["verdict"]["situation"], "heap_unread");
    assert_sums(&object);
}

#[test]
fn a_program_is_explained_at_its_end_and_on_interrupt() {
    let directory = tempdir().unwrap();
    let Some(path) = compile(directory.path(), "freed", FREED, &[]) else { return };
    let output = heapwise()
        .args(["explain", "--json", "--"])
        .arg(&path)
        .env("AT_ONCE", "1")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    let object: Value = serde_json::from_str(text.strip_prefix("ready\n").unwrap()).unwrap();
    assert!(object["trim_gain_bytes"].as_u64().unwrap() > 15_000_000);
    assert_sums(&object);
    heapwise()
        .args(["explain", "--"])
        .arg(&path)
        .env("INTERRUPT", "1")
        .assert()
        .code(0)
        .stderr(contains("interrupted"))
        .stdout(contains("the sum to the byte").count(1));
    // Somebody stops it and lets it go on.
    heapwise()
        .args(["explain", "--", "sh", "-c"])
        .arg("(for i in 1 2 3 4 5; do sleep 0.2; kill -CONT $$; done) & kill -STOP $$; echo woke")
        .timeout(std::time::Duration::from_secs(120))
        .assert()
        .code(0)
        .stdout(contains("woke").and(contains("the sum to the byte").count(1)));
    heapwise().args(["explain", "--", "no-such-program-here"]).assert().code(127);
    heapwise().args(["explain", "--", "/etc/passwd"]).assert().code(126);
}

#[test]
fn maps_says_what_each_mapping_is() {
    let Some(running) = running(&[], &[]) else { return };
    heapwise().args(["maps", &running.pid()]).assert().code(0).stdout(
        contains("main heap (arena 0)")
            .and(contains("stack of thread"))
            .and(contains("code of "))
            .and(contains("free")),
    );
    let output = heapwise().args(["maps", "--json", &running.pid()]).output().unwrap();
    let object = object(&output);
    assert_eq!(object["schema"], "heapwise.maps/1");
    let mappings = object["mappings"].as_array().unwrap();
    let sum: u64 = mappings.iter().map(|mapping| mapping["resident_bytes"].as_u64().unwrap()).sum();
    assert_eq!(Some(sum), object["rss_bytes"].as_u64());
}

#[test]
fn bins_shows_what_is_ready() {
    let Some(running) = running(&[], &[]) else { return };
    heapwise().args(["bins", &running.pid()]).assert().code(0).stdout(
        contains("arena 0").and(contains("unsorted")).and(contains("sound")).and(contains("top")),
    );
    let output = heapwise().args(["bins", "--json", &running.pid()]).output().unwrap();
    let object = object(&output);
    assert_eq!(object["schema"], "heapwise.bins/1");
    let bins = object["arenas"][0]["bins"].as_array().unwrap();
    assert!(bins.iter().all(|bin| bin["inconsistencies"] == 0));
    let bytes: u64 = bins.iter().map(|bin| bin["bytes"].as_u64().unwrap()).sum();
    assert!(bytes > 15_000_000, "{bytes}");
}

/// What does not differ from look to look.
fn without_time(mut object: Value) -> Value {
    for name in ["taken_unix_ms", "took_ns", "verdict", "cgroup"] {
        object.as_object_mut().unwrap().remove(name);
    }
    object
}

#[test]
fn a_snapshot_tells_what_the_process_told() {
    let Some(running) = running(&[], &[]) else { return };
    let directory = tempdir().unwrap();
    let file = directory.path().join("look.hws");
    heapwise()
        .args(["snapshot", &running.pid(), "-o"])
        .arg(&file)
        .assert()
        .code(0)
        .stdout(is_empty())
        .stderr(contains("look.hws"));
    for arguments in [
        &["explain", "--json", "--top-holder", "--bytes", "--classes"][..],
        &["maps", "--json"],
        &["bins", "--json"],
    ] {
        let live = heapwise().args(arguments).arg(running.pid()).output().unwrap();
        let kept = heapwise().args(arguments).arg(&file).output().unwrap();
        assert_eq!(kept.status.code(), Some(0), "{arguments:?}");
        let (live, kept) = (object(&live), object(&kept));
        if arguments[0] == "explain" {
            assert!(!live["top_holders"][0]["first_bytes"].is_null());
            let sum: u64 = live["classes"]
                .as_array()
                .unwrap()
                .iter()
                .map(|c| c["bytes"].as_u64().unwrap())
                .sum();
            assert_eq!(live["arenas"][0]["chunks"]["live"]["bytes"], sum);
            assert_eq!(without_time(live), without_time(kept));
        } else {
            assert_eq!(live, kept, "{arguments:?}");
        }
    }
    drop(running);
    heapwise().arg("explain").arg(&file).assert().code(0).stdout(contains("pins the heap"));
    heapwise().arg("maps").arg(&file).assert().code(0).stdout(contains("main heap (arena 0)"));
}

#[test]
fn a_file_that_is_no_snapshot_gives_2() {
    let directory = tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    std::fs::write(path("text"), "hello").unwrap();
    std::fs::write(path("cut"), b"\x89HWSNAP\n\x01\0\0\0\x1f\x8b").unwrap();
    std::fs::write(path("newer"), b"\x89HWSNAP\n\x63\0\0\0").unwrap();
    for (name, words) in [("text", "neither"), ("cut", "damaged"), ("newer", "newer heapwise")] {
        for command in ["explain", "maps", "bins"] {
            heapwise()
                .arg(command)
                .arg(path(name))
                .assert()
                .code(2)
                .stdout(is_empty())
                .stderr(contains(words).and(contains(name)));
        }
    }
    heapwise().args(["snapshot", "1", "-o", "/no/such/folder/file"]).assert().code(125);
}

#[test]
fn a_program_leaves_a_snapshot_behind() {
    let directory = tempdir().unwrap();
    let Some(program) = compile(directory.path(), "freed", FREED, &[]) else { return };
    let output = heapwise()
        .args(["snapshot", "-o", "-", "--no-bytes", "--"])
        .arg(&program)
        .env("AT_ONCE", "1")
        .output()
        .unwrap();
    // The program writes to the same place first.
    let content = output.stdout.strip_prefix(b"ready\n").unwrap();
    let file = directory.path().join("end.hws");
    std::fs::write(&file, content).unwrap();
    let output = heapwise()
        .args(["explain", "--json", "--top-holder", "--bytes"])
        .arg(&file)
        .output()
        .unwrap();
    let object = object(&output);
    assert_eq!(object["top_holders"][0]["first_bytes"], Value::Null);
    assert_eq!(object["command"][0], program.to_str().unwrap());
    assert_sums(&object);
}

#[test]
fn a_snapshot_says_as_json_what_it_wrote() {
    let Some(target) = running(&[], &[]) else { return };
    let file = target.file("look.hws");
    let output =
        heapwise().args(["snapshot", "--json", "-o", &file, &target.pid()]).output().unwrap();
    let said: Value = serde_json::from_slice(&output.stdout).expect("one object");
    assert_eq!(
        (&said["schema"], &said["file"]),
        (&"heapwise.snapshot/1".into(), &file.as_str().into())
    );
    assert_eq!(said["file_bytes"], std::fs::metadata(&file).unwrap().len());
}
