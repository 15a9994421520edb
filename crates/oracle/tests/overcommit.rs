//! Overcommit on the host and in the model: the limit always, modes 1 and 2 where asked for.
//!
//! The mode is one for the whole machine, so this is left out unless root says
//! `HEAPWISE_ORACLE_OVERCOMMIT=1`; the mode is put back at the end.
#![allow(missing_docs)]

use heapwise_oracle::compare::check;
use heapwise_oracle::op::{Op, Step};
use heapwise_oracle::{generate, host, ours};
use std::fs;
use std::path::Path;

const MODE: &str = "/proc/sys/vm/overcommit_memory";
const PAGE: u64 = 4096;
const GIB: u64 = 1 << 30;
const STACK: u64 = 8 << 20;

fn kib(name: &str) -> u64 {
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap();
    let line = meminfo.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn the_limit_is_the_hosts() {
    if fs::read_to_string("/proc/sys/vm/overcommit_kbytes").is_ok_and(|text| text.trim() != "0") {
        return println!("left out: the limit is set by overcommit_kbytes here");
    }
    let (host, ours) = (kib("CommitLimit:"), ours::host_commit().limit() * 4);
    // The host rounds RAM × ratio down to a page, and so does the model.
    assert_eq!(host, ours);
}

/// Puts the mode back, however the test ends.
struct Restore(String);

impl Drop for Restore {
    fn drop(&mut self) {
        fs::write(MODE, &self.0).expect("the mode goes back");
    }
}

const fn mmap(bytes: u64, flags: u64) -> Step {
    let (prot, file) = (3, u64::MAX);
    Step::new(Op::Mmap { at: 0, length: bytes & !(PAGE - 1), prot, flags, file, offset: 0 })
}

#[test]
fn the_other_modes_do_the_same() {
    if std::env::var_os("HEAPWISE_ORACLE_OVERCOMMIT").is_none() {
        return println!("left out: HEAPWISE_ORACLE_OVERCOMMIT=1 lets root change the mode");
    }
    if let Some(why) = host::unsuitable() {
        return println!("left out: {why}");
    }
    let child = Path::new(env!("CARGO_BIN_EXE_oracle-child"));
    let restore = Restore(fs::read_to_string(MODE).unwrap());
    for mode in ["1", "2"] {
        fs::write(MODE, mode).expect("root may set the mode");
        let free = (kib("CommitLimit:").saturating_sub(kib("Committed_AS:"))) << 10;
        let (private, shared, noreserve) = (0x22, 0x21, 0x4022);
        // Others' promises move the limit meanwhile: a gibibyte off it.
        let mut script = vec![];
        for flags in [private, shared, noreserve] {
            script.push(mmap(free + GIB, flags));
            script.push(mmap(1 << 45, flags));
            script.push(mmap(free.saturating_sub(2 * GIB), flags));
            script.push(mmap(GIB / 2, flags));
        }
        let run = host::run(child, STACK, &script).unwrap();
        let refused = run.answers.iter().filter(|answer| answer.result == -12).count();
        assert!(if mode == "1" { refused == 0 } else { refused >= 5 }, "{mode}: {refused}");
        if let Some(difference) = check(child, STACK, &script).unwrap() {
            panic!("mode {mode}, step {}: {}", difference.step, difference.text);
        }
        for seed in 0..8 {
            let script = ours::with_process(&run.initial, STACK, ours::NODES, |ours| {
                generate::script(seed, 100, ours)
            });
            if let Some(difference) = check(child, STACK, &script).unwrap() {
                panic!("mode {mode}, seed {seed}, step {}: {}", difference.step, difference.text);
            }
        }
    }
    drop(restore);
}
