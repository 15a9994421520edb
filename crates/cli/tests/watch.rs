//! `heapwise watch` as a user meets it: at a terminal, in a pipe, as JSON.

mod common;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};

use common::terminal::Session;
use common::{compile, heapwise, program};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use predicates::prelude::*;
use predicates::str::contains;
use serde_json::Value;
use tempfile::{TempDir, tempdir};

/// Obeys: g grows by 24 MiB, f frees it all but the last block, t trims, n starts a thread.
const OBEDIENT: &str = r#"
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static void *body(void *p) { memset(malloc(5000), 1, 5000); pause(); return p; }
int main(void) {
    static char *blocks[6000];
    static char line[80];
    setvbuf(stdin, NULL, _IONBF, 0);
    for (;;) {
        if (write(1, "done\n", 5) < 5 || read(0, line, sizeof line) <= 0) return 0;
        pthread_t thread;
        switch (line[0]) {
        case 'g': for (int i = 0; i < 6000; i++) blocks[i] = memset(malloc(4000), 'x', 4000); break;
        case 'f': for (int i = 0; i < 5999; i++) free(blocks[i]); break;
        case 't': malloc_trim(0); break;
        case 'n': pthread_create(&thread, NULL, body, NULL); usleep(50000); break;
        }
    }
}
"#;

struct Obedient {
    child: Child,
    output: BufReader<ChildStdout>,
    _directory: TempDir,
}

impl Obedient {
    fn start() -> Option<Self> {
        let directory = tempdir().unwrap();
        let path = compile(directory.path(), "obedient", OBEDIENT, &["-pthread"])?;
        let mut child = Command::new(path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut target = Self { child, output, _directory: directory };
        target.done();
        Some(target)
    }

    fn pid(&self) -> String {
        self.child.id().to_string()
    }

    fn tell(&mut self, order: &str) {
        self.child.stdin.as_mut().unwrap().write_all(order.as_bytes()).unwrap();
        self.done();
    }

    fn done(&mut self) {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        assert_eq!(line, "done\n");
    }

    fn end(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Obedient {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const UNICODE: [(&str, &str); 2] = [("TERM", "xterm-256color"), ("LC_ALL", "C.UTF-8")];
/// Leave the alternate screen; show the cursor.
const RESTORED: [&str; 2] = ["\x1b[?1049l", "\x1b[?25h"];

#[test]
fn keys_work_and_the_terminal_is_given_back() {
    let Some(mut target) = Obedient::start() else { return };
    target.tell("g");
    for (quit, name) in [(b"q", "q"), (b"\x03", "Ctrl-C")] {
        let mut session = Session::start(&["watch", &target.pid()], &UNICODE);
        session.wait_for("q end");
        session.send(b"2");
        session.wait_for("A TRIM");
        session.resize(140, 44);
        session.wait_for("5 Mappings");
        session.send(b"?");
        session.wait_for("save a snapshot");
        session.send(b"?");
        session.send(quit);
        let (output, code) = session.finish();
        assert_eq!(code, Some(0), "{name}: {output}");
        assert!(output.contains("\x1b[?1049h"), "{name}: {output}");
        for sequence in RESTORED {
            assert!(output.contains(sequence), "{name}: {output}");
        }
    }
}

#[test]
fn a_signal_gives_the_terminal_back_too() {
    let Some(target) = Obedient::start() else { return };
    let mut session = Session::start(&["watch", &target.pid()], &UNICODE);
    session.wait_for("q end");
    kill(Pid::from_raw(session.pid().cast_signed()), Signal::SIGTERM).unwrap();
    let (output, code) = session.finish();
    assert_eq!(code, Some(0), "{output}");
    assert!(RESTORED.iter().all(|sequence| output.contains(sequence)), "{output}");
}

#[test]
fn a_moment_is_saved_by_a_key_and_the_last_one_at_the_end() {
    let Some(mut target) = Obedient::start() else { return };
    target.tell("g");
    let directory = tempdir().unwrap();
    let file = directory.path().join("moment.hws");
    let path = file.to_str().unwrap();
    let mut session = Session::start(&["watch", "--save", path, &target.pid()], &UNICODE);
    session.wait_for("q end");
    session.send(b"s");
    // The path is too long for the line.
    session.wait_for("iB in /");
    std::fs::remove_file(&file).unwrap();
    session.send(b"q");
    let (output, code) = session.finish();
    assert_eq!(code, Some(0), "{output}");
    heapwise().args(["explain", path]).assert().code(0).stdout(contains("obedient"));
    heapwise().args(["watch", path]).assert().code(2).stderr(contains("does not change"));
}

#[test]
fn it_ends_with_its_terminal() {
    let Some(target) = Obedient::start() else { return };
    let mut session = Session::start(&["watch", &target.pid()], &UNICODE);
    session.wait_for("q end");
    let (code, signal) = session.hang_up();
    assert!(code.is_some() && signal.is_none(), "{code:?} {signal:?}");
}

#[test]
fn the_end_of_the_target_is_shown_and_stays() {
    let Some(mut target) = Obedient::start() else { return };
    let arguments = ["watch", "--interval", "100ms", &target.pid()];
    let plain = [("TERM", "xterm"), ("LC_ALL", "C"), ("NO_COLOR", "1")];
    let mut session = Session::start(&arguments, &plain);
    session.wait_for("q end");
    target.end();
    session.wait_for("ended");
    session.send(b"4");
    session.wait_for("this is how it stood last");
    session.send(b"q");
    let (output, code) = session.finish();
    assert_eq!(code, Some(0), "{output}");
    assert!(output.contains("has ended; RSS "), "{output}");
    // Neither colours nor anything but ASCII, where the environment asks for that.
    assert!(output.is_ascii(), "{output}");
    assert!(!output.contains("\x1b[38;5;") && !output.contains("\x1b[31m"), "{output:?}");
}

#[test]
fn where_there_is_no_terminal_it_says_what_to_do() {
    let pid = std::process::id().to_string();
    heapwise().args(["watch", &pid]).assert().code(2).stderr(contains("--once"));
    heapwise().args(["watch", "no-such-process-name"]).assert().code(3);
    heapwise().args(["watch", "--once", "4294967295"]).assert().code(3);
    heapwise().args(["watch", "--interval", "often", &pid]).assert().code(2);
    heapwise().args(["watch", "--once", "--json", &pid]).assert().code(2);
}

#[test]
fn one_screen_can_be_had_as_text() {
    let Some(mut target) = Obedient::start() else { return };
    target.tell("g");
    heapwise().args(["watch", "--once", "--ascii", &target.pid()]).assert().code(0).stdout(
        contains("obedient")
            .and(contains("####"))
            .and(contains("heap 1 of 1: arena 0"))
            .and(predicate::function(str::is_ascii)),
    );
}

#[test]
fn the_stream_has_a_line_a_look_and_tells_events() {
    let Some(mut target) = Obedient::start() else { return };
    let mut watch = Command::new(program())
        .args(["watch", "--json", "--interval", "100ms", &target.pid()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap())
        .lines()
        .map(|line| serde_json::from_str::<Value>(&line.unwrap()).expect("one object a line"));
    let first = lines.next().unwrap();
    assert_eq!(first["schema"], "heapwise.watch/1");
    assert_eq!(first["events"].as_array().unwrap().len(), 0);
    assert!(first["look"]["wall_ns"].as_u64().unwrap() > 0);
    assert!(first["top_holders"].is_array() && first["sites"].is_array());
    let mut last_ns = 0;
    let mut until = |what: &str, holds: &dyn Fn(&Value) -> bool| {
        for object in lines.by_ref().take(600) {
            let rows = object["rows"].as_object().unwrap();
            let sum: u64 = rows.values().map(|bytes| bytes.as_u64().unwrap()).sum();
            assert_eq!(Some(sum), object["rss_bytes"].as_u64());
            let now_ns = object["elapsed_ns"].as_u64().unwrap();
            assert!(now_ns > last_ns);
            last_ns = now_ns;
            if holds(&object) {
                return;
            }
        }
        panic!("{what} is not seen");
    };
    let told = |object: &Value, kind: &str, words: &str| {
        let events = object["events"].as_array().unwrap();
        let is_it = |event: &Value| {
            event["kind"] == kind && event["text"].as_str().unwrap().contains(words)
        };
        events.iter().any(is_it)
    };
    target.tell("g");
    until("growth", &|object| told(object, "rss", "RSS +"));
    target.tell("f");
    until("free memory", &|object| object["trim_gain_bytes"].as_u64().unwrap() > 20 << 20);
    target.tell("t");
    until("a trim", &|object| told(object, "trim", "went back"));
    target.tell("n");
    until("a thread", &|object| told(object, "thread", "came"));
    target.end();
    let last = lines.find(|object| object["ended"] == true).expect("the end is told");
    assert_eq!(last["pid"], target.child.id());
    assert!(lines.next().is_none());
    assert_eq!(watch.wait().unwrap().code(), Some(0));
}

#[test]
fn a_stream_ends_with_its_time() {
    let Some(target) = Obedient::start() else { return };
    let arguments = ["watch", "--json", "--interval", "50ms", "--for", "400ms", &target.pid()];
    let output = heapwise().args(arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let lines = String::from_utf8(output.stdout).unwrap().lines().count();
    assert!((1..=9).contains(&lines), "{lines}");
}

#[test]
fn a_program_can_be_started_to_be_watched() {
    let output = heapwise()
        .args(["watch", "--json", "--interval", "50ms", "--"])
        .args(["sh", "-c", "echo hello; sleep 1; echo world"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let lines: Vec<Value> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).expect("what the program says goes elsewhere"))
        .collect();
    assert_eq!(lines.last().unwrap()["ended"], true);
    assert!(lines[0]["rss_bytes"].as_u64().unwrap() > 0);
    let most = |line: &Value| line["most_rss_bytes"].as_u64() >= line["rss_bytes"].as_u64();
    assert!(lines.iter().all(most));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "hello\nworld\n");
    heapwise().args(["watch", "--json", "--", "/no/such/program"]).assert().code(127);
    heapwise().args(["watch", "--once", "--", "true"]).assert().code(2);
    heapwise().args(["watch"]).assert().code(2);
}

#[test]
fn what_a_watched_program_says_comes_when_the_screen_is_free_and_it_ends_with_us() {
    let script = "echo it began; echo $$; exec sleep 1000";
    let mut session = Session::start(&["watch", "--", "sh", "-c", script], &UNICODE);
    session.wait_for("q end");
    session.wait_for("sleep (");
    session.send(b"q");
    let (output, code) = session.finish();
    assert_eq!(code, Some(0), "{output}");
    let (_, after) = output.split_once(RESTORED[0]).expect("the screen is given back");
    let said = after.split_once("it began").expect("it said so").1;
    let pid: i32 = said.split_whitespace().next().unwrap().parse().expect("a number");
    assert!(kill(Pid::from_raw(pid), None).is_err(), "it still runs");
}

#[test]
fn it_comes_back_after_a_stop() {
    let Some(mut target) = Obedient::start() else { return };
    target.tell("g");
    let mut session = Session::start(&["watch", &target.pid()], &UNICODE);
    session.wait_for("q end");
    // The terminal is given back and taken again; a session leader is not even stopped.
    session.send(b"\x1a");
    session.wait_for_written("\x1b[?1049h", 2);
    session.wait_for("q end");
    // This terminal does not answer where its cursor is; nobody asks.
    session.send(b"2");
    session.wait_for("A TRIM");
    session.send(b"q");
    assert_eq!(session.finish().1, Some(0));
}
