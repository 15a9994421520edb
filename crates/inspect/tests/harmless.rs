//! A look leaves its target as it was: nothing faulted in, nothing stopped, nothing written,
//! whatever kind of memory is mapped there. With `consistent` it stands still, and goes on.

mod common;

use std::collections::HashMap;
use std::process::Command;
use std::time::{Duration, Instant};

use common::{Target, library};
use heapwise_inspect::{Depth, Error, Options, ROWS, Row, survey};

const SHAPES: [&str; 6] = ["holes", "pinned", "lists", "mapped", "threads", "odd"];

/// glibc's heap, and ours where it can be built.
fn environments() -> Vec<Vec<(&'static str, &'static str)>> {
    let ours = library().map(|library| {
        vec![("LD_PRELOAD", library.to_str().expect("a plain path")), ("HEAPWISE_PURGE", "0")]
    });
    [vec![]].into_iter().chain(ours).collect()
}

/// What the kernel counts of a process: page faults, stops, memory.
fn counters(pid: u32) -> HashMap<String, String> {
    let read =
        |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).expect("it lives");
    let status = read("status");
    let lines = status.lines().filter_map(|line| line.split_once(':'));
    let wanted = ["VmRSS", "VmSize", "VmData", "VmPTE", "VmSwap", "RssAnon", "Threads", "State"];
    let mut all: HashMap<String, String> = lines
        .filter(|(name, _)| wanted.contains(name) || name.ends_with("ctxt_switches"))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect();
    let stat = read("stat");
    let fields: Vec<&str> = stat.rsplit(')').next().expect("fields").split_whitespace().collect();
    all.insert("minor faults".into(), fields[7].into());
    all.insert("major faults".into(), fields[9].into());
    all.insert("maps".into(), read("maps"));
    all
}

#[test]
fn the_target_does_not_notice() {
    for environment in environments() {
        for shape in SHAPES {
            let Some(target) = Target::start(shape, &environment) else { return };
            let before = counters(target.pid());
            let options = Options { consistent: false, ..Options::ALL };
            let first = survey(target.pid(), options).expect("our own child may be looked at");
            let second = survey(target.pid(), options).expect("as before");
            assert_eq!(counters(target.pid()), before, "{shape}");
            assert_eq!(first.account.tally, second.account.tally, "{shape}");
            assert_eq!(first.trim_gain(), second.trim_gain(), "{shape}");
            assert_eq!(first.depth, Depth::Whole, "{shape}");
            assert_eq!(Some(first.rss), first.figures.rss_rollup, "{shape}");
        }
    }
}

#[test]
fn a_stopped_look_gives_the_same_and_the_target_goes_on() {
    for environment in environments() {
        for shape in ["holes", "threads", "odd"] {
            let Some(mut target) = Target::start(shape, &environment) else { return };
            let plain = survey(target.pid(), Options::default()).expect("looked at");
            let options = Options { consistent: true, ..Options::default() };
            let stopped = survey(target.pid(), options).expect("stopped and looked at");
            assert_eq!(plain.account.tally, stopped.account.tally, "{shape}");
            assert!(plain.origin.pause_ns.is_none() && stopped.origin.pause_ns.is_some());
            // It makes its read again, and waits.
            common::all_asleep(target.pid());
            target.tell("trim");
        }
    }
}

#[test]
fn a_busy_target_is_of_one_moment_when_stopped() {
    for environment in environments() {
        let Some(target) = Target::start("busy", &environment) else { return };
        let options = Options { consistent: true, bins: true, ..Options::default() };
        for look in 0..10 {
            let seen = survey(target.pid(), options).expect("stopped and looked at");
            // Read while it stood still: the kernel's figure is that of the walk, to the byte.
            assert_eq!(Some(seen.rss), seen.figures.rss_rollup, "look {look}");
            let sum: usize = ROWS.iter().map(|&row| seen.account.tally[row]).sum();
            assert_eq!(sum, seen.rss, "look {look}");
            // It may have stopped inside malloc, with a chunk half cut.
            if seen.depth == Depth::Whole {
                assert_eq!(seen.account.tally[Row::Unattributed], 0, "look {look}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(goes_on(target.pid()));
    }
}

/// Whether it uses the processor: nobody has left it standing.
fn goes_on(pid: u32) -> bool {
    let ticks = || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it lives");
        let fields = stat.rsplit(')').next().expect("fields").to_owned();
        fields.split_whitespace().nth(11).and_then(|ticks| ticks.parse::<u64>().ok())
    };
    let before = ticks();
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(60) {
        if ticks() > before {
            return true;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    false
}

/// The looker is this test, run once more; it is killed at any point of its look.
#[test]
fn a_looker_that_is_killed_leaves_the_target_running() {
    const VARIABLE: &str = "HEAPWISE_TEST_LOOK_AT";
    if let Some(pid) = std::env::var(VARIABLE).ok().and_then(|pid| pid.parse().ok()) {
        let options = Options { consistent: true, ..Options::default() };
        loop {
            let _ = survey(pid, options);
        }
    }
    let Some(target) = Target::start("busy", &[]) else { return };
    for round in 0..8 {
        let mut looker = Command::new(std::env::current_exe().expect("a path"))
            .args(["--exact", "a_looker_that_is_killed_leaves_the_target_running"])
            .env(VARIABLE, target.pid().to_string())
            .stdout(std::process::Stdio::null())
            .spawn()
            .expect("this program starts");
        std::thread::sleep(Duration::from_millis(60 + round * 11));
        looker.kill().expect("it runs");
        looker.wait().expect("it ends");
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", target.pid())).expect("it lives");
        assert!(status.contains("TracerPid:\t0\n"), "round {round}");
        assert!(goes_on(target.pid()), "round {round}");
    }
}

#[test]
fn a_traced_target_is_not_stopped_again() {
    let Some(target) = Target::start("holes", &[]) else { return };
    let tracee = heapwise_inspect::process::tracing::Tracee::seize(target.pid()).expect("free");
    let options = Options { consistent: true, ..Options::default() };
    let refused = survey(target.pid(), options);
    assert!(matches!(refused, Err(Error::Traced { .. })), "{:?}", refused.err());
    assert!(survey(target.pid(), Options::default()).is_ok());
    drop(tracee);
}
