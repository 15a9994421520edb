//! What a look at a large heap costs: time, pause, our own memory. Prints figures.
//!
//! `HEAPWISE_WIDE_MIB=4096 cargo test --release -p heapwise-inspect --test wide -- --ignored --nocapture`

mod common;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use common::library;
use heapwise_inspect::{Depth, Options, ROWS, Survey, survey};

/// Least and most bytes of a request; sizes between are spread over their logarithms.
const SIZES: [(&str, &str); 3] = [("56", "56"), ("64", "65536"), ("16384", "65536")];
/// A look keeps windows of the target's memory, not its heap.
const MOST_OWN_BYTES: usize = 64 << 20;

struct Wide(Child);

impl Wide {
    fn start(mib: &str, sizes: (&str, &str), environment: &[(&str, &str)]) -> Option<Self> {
        let mut child = Command::new(common::compile("wide.c")?)
            .args([mib, sizes.0, sizes.1])
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut line = String::new();
        let output = child.stdout.take().expect("piped");
        BufReader::new(output).read_line(&mut line).expect("it answers");
        assert!(line.starts_with("live="), "{line}");
        common::all_asleep(child.id());
        Some(Self(child))
    }
}

impl Drop for Wide {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a look comes to, but for times.
fn told(seen: &Survey) -> Vec<String> {
    let arenas = seen.heaps.arenas.iter().map(|arena| {
        let states: Vec<_> = arena.heaps.iter().map(|heap| (heap.span, &heap.states)).collect();
        let (tally, counts, classes) = (arena.tally, arena.counts, &arena.classes);
        let (pins, hole, top) = (arena.pins.largest(), arena.hole, arena.top);
        let gain = arena.trim_gain;
        format!("{tally:?} {counts:?} {classes:?} {pins:?} {hole:?} {top:?} {gain} {states:?}")
    });
    arenas.chain([format!("{:?}", seen.account)]).collect()
}

/// A thread with one processor to itself walks alone.
#[test]
fn parts_come_to_the_whole() {
    let ours = library().map(|library| ("LD_PRELOAD", library.to_str().expect("a plain path")));
    let ours: Vec<_> = ours.into_iter().chain([("HEAPWISE_PURGE", "0")]).collect();
    for environment in [&[][..], &ours[..]] {
        for sizes in SIZES {
            let Some(target) = Wide::start("48", sizes, environment) else { return };
            for paint in [false, true] {
                let options = Options { paint, ..Options::default() };
                let look = move |pid| survey(pid, options).expect("our own child");
                let pid = target.0.id();
                let together = look(pid);
                let alone = std::thread::spawn(move || {
                    // SAFETY: a set of processors, all zeros at first, for this thread alone.
                    unsafe {
                        let mut one: libc::cpu_set_t = std::mem::zeroed();
                        libc::CPU_SET(
                            libc::sched_getcpu().max(0).cast_unsigned() as usize,
                            &mut one,
                        );
                        libc::sched_setaffinity(0, size_of_val(&one), &raw const one);
                    }
                    look(pid)
                });
                let alone = alone.join().expect("it looks");
                assert_eq!(together.depth, Depth::Whole);
                assert_eq!(told(&together), told(&alone), "{sizes:?}");
            }
        }
    }
}

/// The most memory that this process has had.
fn own_peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("our own");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("told");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") << 10
}

#[test]
#[ignore = "needs as much memory as HEAPWISE_WIDE_MIB says, 512 MiB without it"]
fn a_large_heap_is_looked_at_in_bounded_memory() {
    let mib = std::env::var("HEAPWISE_WIDE_MIB").unwrap_or_else(|_| "512".into());
    let ours = library().map(|library| ("LD_PRELOAD", library.to_str().expect("a plain path")));
    // Nothing goes back meanwhile: the figures are of looks at a heap that stands.
    let ours: Vec<_> = ours.into_iter().chain([("HEAPWISE_PURGE", "0")]).collect();
    // One of them, where only that is asked for: "glibc 56".
    let wanted = std::env::var("HEAPWISE_WIDE_ONLY").unwrap_or_default();
    for (name, environment) in [("glibc", &[][..]), ("ours", &ours[..])] {
        for sizes in SIZES {
            if !format!("{name} {}", sizes.0).starts_with(&wanted) {
                continue;
            }
            let Some(target) = Wide::start(&mib, sizes, environment) else { return };
            for consistent in [false, true] {
                let options = Options { consistent, ..Options::default() };
                let seen = survey(target.0.id(), options).expect("our own child");
                assert_eq!(seen.depth, Depth::Whole);
                let sum: usize = ROWS.iter().map(|&row| seen.account.tally[row]).sum();
                assert_eq!(sum, seen.rss);
                println!(
                    "{name}, {mib} MiB in requests of {} to {} bytes: RSS {} MiB, look {} ms, \
                     pause {:?} ms, our peak {} MiB, {:?}",
                    sizes.0,
                    sizes.1,
                    seen.rss >> 20,
                    seen.origin.took_ns / 1_000_000,
                    seen.origin.pause_ns.map(|pause| pause / 1_000_000),
                    own_peak() >> 20,
                    seen.origin.pause_for,
                );
            }
        }
    }
    assert!(own_peak() < MOST_OWN_BYTES, "{}", own_peak());
}
