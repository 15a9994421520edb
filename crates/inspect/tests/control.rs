//! Commands to running processes: threads in every kind of wait and work, brought to
//! serve one, and none the worse for it.

mod common;

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use heapwise_inspect::control::{self, Refusal, Reply};
use heapwise_layout::control::Command as Order;

const PATIENCE: Duration = Duration::from_secs(30);
/// What the program frees, roughly: less than that must come back.
const EXPECTED_BYTES: usize = 12 << 20;

struct Waits {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Waits {
    /// Starts the program on our library, which gives nothing back by itself.
    fn start(mode: &str) -> Option<Self> {
        static PROGRAM: OnceLock<Option<PathBuf>> = OnceLock::new();
        let program = PROGRAM.get_or_init(|| common::compile("waits.c")).as_deref()?;
        let mut child = Command::new(program)
            .arg(mode)
            .env("LD_PRELOAD", common::library()?)
            .env("HEAPWISE_PURGE", "0")
            .env("HEAPWISE_TRIM_THRESHOLD", "1G")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut output = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        output.read_line(&mut line).expect("it answers");
        assert_eq!(line, "ready\n");
        Some(Self { child, output })
    }

    fn trim(&self, forced: bool) -> Result<Reply, Refusal> {
        let root = control::find(self.child.id())?.expect("our heap");
        control::request(self.child.id(), &root, Order::Trim, 0, PATIENCE, forced)
    }

    fn rss(&self) -> usize {
        let figures = heapwise_inspect::process::figures::Figures::read(self.child.id(), 4096)
            .expect("it lives");
        figures.rss_anon
    }

    /// Lets it end, and hears whether all was right.
    fn end(mut self) {
        // It may have ended by itself.
        let _ = self.child.stdin.take().expect("piped").write_all(b"\n");
        let mut line = String::new();
        self.output.read_line(&mut line).expect("it answers");
        assert_eq!(line, "right\n");
        assert!(self.child.wait().expect("it ends").success());
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The helper's settings forbid it to stay: it serves and ends.
fn helper_ends(pid: u32) {
    for _ in 0..2000 {
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("it lives");
        let names =
            tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
        if !names.into_iter().any(|name| name.starts_with("heapwise-idle")) {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("the helper stays");
}

#[test]
fn every_kind_of_thread_comes_back_as_it_was() {
    for mode in ["read", "sleep", "poll", "blocked", "interrupted", "spin", "fault", "threads"] {
        let Some(target) = Waits::start(mode) else { return };
        let before = target.rss();
        for round in 0..5 {
            let reply = target.trim(false).unwrap_or_else(|refusal| panic!("{mode}: {refusal}"));
            assert!(round > 0 || reply.started_helper, "{mode}");
            if !["spin", "fault", "interrupted"].contains(&mode) {
                assert_eq!(reply.left, 0, "{mode}");
            }
        }
        // A thread that works keeps its cache, but free pages in bins go all the same.
        let gone = before.saturating_sub(target.rss());
        assert!(gone > EXPECTED_BYTES / 2, "{mode}: {gone} of {before}");
        helper_ends(target.child.id());
        target.end();
    }
}

#[test]
fn what_cannot_be_done_without_harm_is_refused() {
    let words = |refusal: Refusal| refusal.to_string();

    let Some(target) = Waits::start("deadly") else { return };
    let refusal = target.trim(false).map_err(words).unwrap_err();
    assert!(refusal.contains("seccomp"), "{refusal}");
    target.end();

    let target = Waits::start("strict").expect("as before");
    let refusal = target.trim(true).map_err(words).unwrap_err();
    assert!(refusal.contains("the kernel refuses it a helper thread"), "{refusal}");
    target.end();

    let target = Waits::start("read").expect("as before");
    let pid = target.child.id().cast_signed();
    // SAFETY: sends a signal to our child.
    assert_eq!(unsafe { libc::kill(pid, libc::SIGSTOP) }, 0);
    while !std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap().contains(") T ") {
        std::thread::sleep(Duration::from_millis(1));
    }
    let refusal = target.trim(false).map_err(words).unwrap_err();
    assert!(refusal.contains("job control"), "{refusal}");
    // SAFETY: as above.
    unsafe { libc::kill(pid, libc::SIGCONT) };
    target.end();

    let traced = Waits::start("read").expect("as before");
    let tracee =
        heapwise_inspect::process::tracing::Tracee::seize(traced.child.id()).expect("free");
    let refusal = traced.trim(false).map_err(words).unwrap_err();
    assert!(refusal.contains("traces it already"), "{refusal}");
    drop(tracee);
}

#[test]
fn a_helper_that_runs_is_asked_without_a_stop() {
    let Some(target) = Waits::start("read") else { return };
    let root = control::find(target.child.id()).expect("readable").expect("ours");
    // Two callers at once wait for each other, and both are served.
    let replies: Vec<Reply> = std::thread::scope(|scope| {
        let ask = || control::request(target.child.id(), &root, Order::Trim, 0, PATIENCE, false);
        let both = [scope.spawn(ask), scope.spawn(ask)];
        both.map(|one| one.join().expect("no panic").expect("served")).into()
    });
    assert!(replies.iter().any(|reply| reply.started_helper));
    target.end();
}
