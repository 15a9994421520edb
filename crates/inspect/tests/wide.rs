//! What a look at a large heap costs: time, pause, our own memory. Prints figures.
//!
//! `HEAPWISE_WIDE_MIB=4096 cargo test --release -p heapwise-inspect --test wide -- --ignored --nocapture`

mod common;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use common::library;
use heapwise_inspect::{Depth, Options, ROWS, survey};

/// Least and most bytes of a request; sizes between are spread over their logarithms.
const SIZES: [(&str, &str); 3] = [("64", "64"), ("64", "65536"), ("16384", "65536")];
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
    for (name, environment) in [("glibc", &[][..]), ("ours", &ours[..])] {
        for sizes in SIZES {
            let Some(target) = Wide::start(&mib, sizes, environment) else { return };
            for consistent in [false, true] {
                let options = Options { consistent, ..Options::default() };
                let seen = survey(target.0.id(), options).expect("our own child");
                assert_eq!(seen.depth, Depth::Whole);
                let sum: usize = ROWS.iter().map(|&row| seen.account.tally[row]).sum();
                assert_eq!(sum, seen.rss);
                println!(
                    "{name}, {mib} MiB in requests of {} to {} bytes: RSS {} MiB, look {} ms, \
                     pause {:?} ms, our peak {} MiB",
                    sizes.0,
                    sizes.1,
                    seen.rss >> 20,
                    seen.origin.took_ns / 1_000_000,
                    seen.origin.pause_ns.map(|pause| pause / 1_000_000),
                    own_peak() >> 20,
                );
            }
        }
    }
    assert!(own_peak() < MOST_OWN_BYTES, "{}", own_peak());
}
