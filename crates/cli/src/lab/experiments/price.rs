//! What a mapping costs that a cached block does not: calls and page faults.

use super::prelude::*;

pub const EXPERIMENT: Experiment = Experiment {
    name: "price",
    title: "why not mmap for everything",
    article: Article::WhyMallocPreAllocates,
    claim: "Each mapping costs two system calls and a page fault for every page, each time anew; a small \
            block that comes and goes costs neither.",
    env: &[("MALLOC_MMAP_THRESHOLD_", "131072")],
    on_glibc: OnGlibc::Holds,
    child,
    judge,
};

const ROUNDS: usize = 100;
const LARGE: usize = 256 * KIB;

fn child(probe: &mut Probe) {
    let round = |bytes| {
        let mut block = Block::new(bytes);
        block.touch(bytes);
        block.free();
    };
    round(64);
    round(LARGE);
    probe.step("small");
    let start = probe.minor_faults();
    for _ in 0..ROUNDS {
        round(64);
    }
    let small = probe.minor_faults() - start;
    probe.step("large");
    let start = probe.minor_faults();
    for _ in 0..ROUNDS {
        round(LARGE);
    }
    let large = probe.minor_faults() - start;
    probe.end_steps();
    probe.number("small", small);
    probe.number("large", large);
}

fn judge(run: &Run) -> Result<Findings, Missing> {
    let mut found = Findings::new();
    found.needs_calls(run);
    let (small, large) = (run.number("small")?, run.number("large")?);
    found.check_calls("100 × 64 bytes", run.calls_in("small"), |calls| calls.is_empty());
    found.check("their page faults", small, small < 10);
    found.check_calls("100 × 256 KiB", run.calls_in("large"), |calls| {
        calls.iter().filter(|call| call.name == "mmap").count() == ROUNDS
            && calls.iter().filter(|call| call.name == "munmap").count() == ROUNDS
    });
    // Larger folios may bring several pages in one fault.
    found.check("their page faults", large, large >= ROUNDS);
    Ok(found)
}
