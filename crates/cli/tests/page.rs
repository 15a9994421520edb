//! `heapwise report` as a user meets it: files in, one page out.

mod common;

use std::fs;
use std::process::{Command, Stdio};

use common::ready::Ready;
use common::{compile, heapwise};
use predicates::str::contains;
use tempfile::tempdir;

/// Holds a little of much that it has freed, waits, and ends with its input.
const WAITS: &str = r#"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
int main(int count, char **arguments) {
    static char *blocks[3000];
    for (int i = 0; i < 3000; i++) blocks[i] = memset(malloc(4000), 'x', 4000);
    for (int i = 0; i < 2999; i++) free(blocks[i]);
    puts("ready");
    fflush(stdout);
    return count > 1 ? 0 : read(0, blocks, 1) < 0;
}
"#;

fn waiting(flags: &[&str]) -> Option<Ready> {
    Ready::start("waits-<b>", WAITS, flags, |command, _| {
        command.stdin(Stdio::piped());
    })
}

#[test]
fn a_process_over_time_becomes_a_page() {
    let Some(target) = waiting(&[]) else { return };
    let page = target.file("page.html");
    heapwise()
        .args(["report", "--for", "300ms", "--every", "50ms", &target.pid(), "-o", &page])
        .assert()
        .code(0)
        .stderr(contains("page.html"));
    let text = fs::read_to_string(page).unwrap();
    assert!(text.starts_with("<!DOCTYPE html>") && text.ends_with("</html>"));
    for part in [
        "waits-&lt;b&gt;",
        "id=\"data-map\"",
        "id=\"data-timeline\"",
        "main heap (arena 0)",
        "one every",
        "pins the heap",
        "sound",
    ] {
        assert!(text.contains(part), "{part}");
    }
    assert!(!text.contains("waits-<b>") && !text.contains("xxxxxxxx"));
}

#[test]
fn snapshots_give_the_same_page_each_time() {
    let Some(target) = waiting(&[]) else { return };
    let (before, after) = (target.file("before.hws"), target.file("after.hws"));
    for file in [&before, &after] {
        heapwise().args(["snapshot", &target.pid(), "-o", file]).assert().code(0);
    }
    let page = || {
        let output =
            heapwise().args(["report", &after, "--since", &before, "-o", "-"]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let first = page();
    assert!(first.contains("2 looks in"), "both points stand in the timeline");
    assert_eq!(first, page());
}

#[test]
fn a_program_that_is_run_becomes_a_page() {
    let directory = tempdir().unwrap();
    let Some(path) = compile(directory.path(), "waits", WAITS, &[]) else { return };
    let page = directory.path().join("page.html");
    heapwise().args(["report", "-o"]).arg(&page).arg("--").arg(path).arg("x").assert().code(0);
    assert!(fs::read_to_string(page).unwrap().contains("id=\"heaps\""));
}

#[test]
fn what_is_not_read_is_said_on_the_page() {
    let Some(target) = waiting(&["-static"]) else { return };
    let page = target.file("page.html");
    heapwise().args(["report", &target.pid(), "-o", &page]).assert().code(5);
    let text = fs::read_to_string(page).unwrap();
    assert!(text.contains("The heap is not read") && text.contains("id=\"mappings\""));
    assert!(!text.contains("id=\"heaps\""));
}

#[test]
fn what_cannot_be_is_refused_in_words() {
    let Some(target) = waiting(&[]) else { return };
    let pid = target.pid();
    let file = target.file("one.hws");
    heapwise().args(["snapshot", &pid, "-o", &file]).assert().code(0);
    heapwise().args(["report", &pid]).assert().code(2).stderr(contains("--output"));
    heapwise().args(["report", "4294967295", "-o", "-"]).assert().code(3);
    heapwise()
        .args(["report", &file, "--for", "1s", "-o", "-"])
        .assert()
        .code(2)
        .stderr(contains("does not change"));
    heapwise()
        .args(["report", &pid, "--since", "/etc/passwd", "-o", "-"])
        .assert()
        .code(2)
        .stderr(contains("not a snapshot"));
    heapwise()
        .args(["report", &pid, "-o", "/no/such/folder/page.html"])
        .assert()
        .code(125)
        .stderr(contains("/no/such/folder"));
}

/// A recording as a page of its own, and beside the look at a process.
#[test]
fn a_recording_is_told_with_its_sites_and_its_time() {
    crate::common::needs_library!();
    let Some(target) = waiting(&["-O0", "-fno-omit-frame-pointer"]) else { return };
    let (trace, page) = (target.file("t.hwt"), target.file("t.html"));
    let program = target.file("waits-<b>");
    heapwise()
        .args(["record", "--stacks", "-o", &trace, "--", &program, "once"])
        .timeout(std::time::Duration::from_secs(60))
        .assert()
        .code(0);
    heapwise().args(["report", &trace, "-o", &page]).assert().code(0);
    let text = fs::read_to_string(&page).unwrap();
    for part in
        ["id=\"recorded\"", "id=\"flame\"", "<polyline", "brk", "Live bytes by allocation site"]
    {
        assert!(text.contains(part), "{part}");
    }
    // The function that allocates stands in the graph, which is a picture in a frame of its own.
    assert!(text.contains("srcdoc=\"&lt;!DOCTYPE") && text.contains("main"), "no graph");
    // A name cannot become an element.
    assert!(text.contains("waits-&lt;b&gt;") && !text.contains("waits-<b>"));

    let both = target.file("both.html");
    heapwise().args(["report", &target.pid(), "--recorded", &trace, "-o", &both]).assert().code(0);
    let text = fs::read_to_string(&both).unwrap();
    for part in ["id=\"account\"", "id=\"recorded\"", "id=\"flame\""] {
        assert!(text.contains(part), "{part}");
    }
    // Without stacks there is no graph; a file that is none is one sentence.
    heapwise()
        .args(["record", "-o", &trace, "--", &program, "once"])
        .timeout(std::time::Duration::from_secs(60))
        .assert()
        .code(0);
    heapwise().args(["report", &trace, "-o", &page]).assert().code(0);
    let text = fs::read_to_string(&page).unwrap();
    assert!(text.contains("id=\"recorded\"") && !text.contains("id=\"flame\""));
    heapwise()
        .args(["report", &target.pid(), "--recorded", "/etc/passwd", "-o", &both])
        .assert()
        .code(2)
        .stderr(contains("/etc/passwd"));
    heapwise()
        .args(["report", &trace, "--for", "1s", "-o", &page])
        .assert()
        .code(2)
        .stderr(contains("as a whole"));
}

/// The script does its work in a browser, where there is one.
#[test]
fn the_script_draws_the_map() {
    let browser = ["chromium", "chromium-browser", "google-chrome"].into_iter().find(|name| {
        Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success())
    });
    let Some(browser) = browser else {
        eprintln!("skipped: no chromium");
        return;
    };
    let Some(target) = waiting(&[]) else { return };
    let page = target.file("page.html");
    heapwise().args(["report", "--for", "100ms", &target.pid(), "-o", &page]).assert().code(0);
    // A user: the first error that a script throws, then some keys and a pointer.
    const USER: &str =
        "<script>addEventListener('error', e => document.title = 'ERROR ' + e.message);
        addEventListener('load', () => {
          const canvas = document.getElementById('map-canvas');
          const key = (k) => canvas.dispatchEvent(new KeyboardEvent('keydown', { key: k }));
          ['+', '+', 'ArrowDown', '-', 'End', 'Home', '0'].forEach(key);
          document.getElementById('theme').click();
          document.getElementById('timeline-area').dispatchEvent(new FocusEvent('focus'));
        });</script></head>";
    let text = fs::read_to_string(&page).unwrap().replacen("</head>", USER, 1);
    fs::write(&page, text).unwrap();
    let home = tempdir().unwrap();
    let dump = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .arg(format!("--user-data-dir={}", home.path().display()))
        .args(["--virtual-time-budget=2000", "--dump-dom"])
        .arg(format!("file://{page}"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&dump.stdout);
    assert!(!text.is_empty(), "{}", String::from_utf8_lossy(&dump.stderr));
    assert!(!text.contains("<title>ERROR"), "{}", &text[..2000]);
    assert!(text.contains("in sight, all of it"), "the map says what it shows");
    assert!(text.contains("data-theme=\"dark\"") || text.contains("data-theme=\"light\""));
    assert!(text.contains("class=\"tip\" style"), "the figures at the chosen time are shown");
}

#[test]
fn what_was_written_is_told_as_json() {
    let Some(target) = waiting(&[]) else { return };
    let page = target.file("page.html");
    let output =
        heapwise().args(["report", "--json", &target.pid(), "-o", &page]).output().unwrap();
    assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0), "{output:?}");
    let object: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one object");
    assert_eq!(object["schema"], "heapwise.page/1");
    assert_eq!(object["file_bytes"].as_u64(), Some(fs::metadata(&page).unwrap().len()));
    assert_eq!(object["pid"].to_string(), target.pid());
    assert!(object["rss_bytes"].as_u64() > Some(1 << 20));
    assert!(object["situation"].is_string() && object["recorded"].is_null());
    for command in ["report", "snapshot"] {
        heapwise().args([command, "--json", &target.pid(), "-o", "-"]).assert().code(2);
    }
}
