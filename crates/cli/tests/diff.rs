//! `heapwise diff` and `heapwise explain --for`: what two looks tell.

mod common;

use common::heapwise;
use common::ready::Ready;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use predicates::prelude::*;
use predicates::str::contains;
use serde_json::Value;

/// On SIGUSR1 takes 1,000 chunks of 1008 bytes and 2 of 1 MiB; with an argument it goes on alone.
const GROWS: &str = r#"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static volatile sig_atomic_t told;
static void note(int signal) { told = signal; }
static void grow(void) {
    for (int i = 0; i < 1000; i++) memset(malloc(1000), 'x', 1000);
    for (int i = 0; i < 2; i++) memset(malloc(1 << 20), 'x', 1 << 20);
}
int main(int count, char **words) {
    sigset_t usual, held;
    sigemptyset(&held);
    sigaddset(&held, SIGUSR1);
    sigprocmask(SIG_BLOCK, &held, &usual);
    signal(SIGUSR1, note);
    for (;;) {
        puts("ready");
        fflush(stdout);
        if (count > 1) usleep(20000);
        else while (!told) sigsuspend(&usual);
        told = 0;
        grow();
    }
}
"#;

struct Growing(Ready);

impl Growing {
    fn start(arguments: &[&str]) -> Option<Self> {
        Ready::start("grows", GROWS, &[], |command, _| {
            command.args(arguments);
        })
        .map(Self)
    }

    fn grow(&mut self) {
        kill(Pid::from_raw(self.0.child.id().cast_signed()), Signal::SIGUSR1).unwrap();
        self.0.wait();
    }

    fn pid(&self) -> String {
        self.0.pid()
    }

    /// Keeps a look.
    fn snapshot(&self, name: &str) -> String {
        let file = self.0.file(name);
        heapwise().args(["snapshot", &self.pid(), "-o", &file]).assert().code(0);
        file
    }
}

fn diff(before: &str, after: &str) -> Value {
    let output = heapwise().args(["diff", "--json", before, after]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn what_grew_is_told_by_row_and_size() {
    let Some(mut growing) = Growing::start(&[]) else { return };
    let before = growing.snapshot("before.hws");
    growing.grow();
    let after = growing.snapshot("after.hws");
    let kept = diff(&before, &after);
    let live = diff(&before, &growing.pid());
    assert_eq!(kept["rows"], live["rows"], "a snapshot is as good as the process");
    assert_eq!(kept["schema"], "heapwise.diff/1");
    assert_eq!(kept["same_process"], true);
    let rows = kept["rows"].as_array().unwrap();
    let sum: i64 = rows.iter().map(|row| row["change_bytes"].as_i64().unwrap()).sum();
    assert_eq!(Some(sum), kept["rss_change_bytes"].as_i64());
    assert_eq!(kept["live"]["change_chunks"], 1002);
    let classes = kept["classes"].as_array().unwrap();
    let class = classes.iter().find(|class| class["first_chunk_bytes"] == 1008).unwrap();
    assert_eq!(
        (&class["change_chunks"], &class["change_bytes"]),
        (&1000.into(), &1_008_000.into())
    );
    let mapped = classes.iter().find(|class| class["mmapped"] == true).expect("two large chunks");
    assert_eq!(mapped["change_chunks"], 2);
    assert_eq!(kept["trend"]["situation"], "live_grows");

    heapwise()
        .args(["diff", &before, &after])
        .assert()
        .code(0)
        .stdout(contains("The program holds more").and(contains("1 008")).and(contains("+1 000")));
    for (condition, code) in [("live_user>900K", 1), ("live_user>2M", 0), ("rss>10%", 1)] {
        heapwise().args(["diff", "--fail-if", condition, &before, &after]).assert().code(code);
    }
    // The other way round it shrinks, and nothing has grown.
    let back = diff(&after, &before);
    assert_eq!(back["trend"]["situation"], "shrinks");
    assert_eq!(back["elapsed_ms"], Value::Null);
    heapwise().args(["diff", "--fail-if", "rss>0", &after, &before]).assert().code(0);
    assert_eq!(diff(&after, &after)["trend"]["situation"], "steady");
}

#[test]
fn two_processes_are_compared_too() {
    let (Some(mut first), Some(second)) = (Growing::start(&[]), Growing::start(&[])) else {
        return;
    };
    first.grow();
    let found = diff(&second.pid(), &first.pid());
    assert_eq!(found["same_process"], false);
    assert_eq!(found["live"]["change_chunks"], 1002);
}

#[test]
fn a_process_that_grows_is_said_to_grow() {
    let Some(growing) = Growing::start(&["alone"]) else { return };
    let output =
        heapwise().args(["explain", "--json", "--for", "700ms", &growing.pid()]).output().unwrap();
    // The heap may change under a walk: then some of it is missing.
    if output.status.code() == Some(6) {
        return;
    }
    let object: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(object["verdict"]["situation"], "live_growing", "{object:#}");
    assert!(object["growth"]["rss_change_bytes"].as_i64().unwrap() > 1 << 20);
    assert!(object["growth"]["elapsed_ms"].as_u64().unwrap() >= 700);
    heapwise().args(["explain", "--for", "x", &growing.pid()]).assert().code(2);
    let file = growing.0.file("now.hws");
    // Whole or not, it is a snapshot.
    heapwise()
        .args(["snapshot", &growing.pid(), "-o", &file])
        .assert()
        .code(predicate::in_iter([0, 6]));
    heapwise().args(["explain", "--for", "1s", &file]).assert().code(2);
}

#[test]
fn sides_that_are_not_there_have_their_codes() {
    heapwise().args(["diff", "4294967295", "4294967295"]).assert().code(3);
    heapwise().args(["diff", "/etc/passwd", "1"]).assert().code(2);
    heapwise().args(["diff", "1"]).assert().code(2);
}
