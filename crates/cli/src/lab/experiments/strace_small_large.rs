//! The system calls of the example program, line for line.

use super::prelude::*;

pub const EXPERIMENT: Experiment = Experiment {
    name: "strace-small-large",
    title: "1 KiB and 256 KiB under strace",
    article: Article::BrkVsMmap,
    claim: "A program with one small and one large block makes exactly these calls: the break is asked \
            for and moved up by 132 KiB, 266240 bytes are mapped, and freeing the large block unmaps \
            them. Freeing the small one makes no call.",
    env: &[],
    on_glibc: OnGlibc::Holds,
    child,
    judge,
};

const LARGE: usize = 256 * KIB;

fn child(probe: &mut Probe) {
    probe.step("malloc(1 KiB)");
    let small = Block::new(KIB);
    probe.step("malloc(256 KiB)");
    let large = Block::new(LARGE);
    probe.number("small", small.address());
    probe.number("large", large.address());
    probe.step("free(large)");
    large.free();
    probe.step("free(small)");
    small.free();
}

fn judge(run: &Run) -> Result<Findings, Missing> {
    let mut found = Findings::new();
    found.needs_calls(run);
    let (small, large) = (run.number("small")?, run.number("large")?);
    let want = run.mapping_bytes(LARGE);
    found.show("small", format!("{small:#x}"));
    found.check(
        "large",
        format!("{large:#x}, {} away", size(large.abs_diff(small))),
        large.abs_diff(small) > 16 * MIB,
    );
    found.check_calls("malloc(1 KiB)", run.calls_in("malloc(1 KiB)"), |calls| {
        grows_once(calls, run.first_growth_bytes()) && calls.iter().all(|call| call.name == "brk")
    });
    found.check_calls("malloc(256 KiB)", run.calls_in("malloc(256 KiB)"), |calls| {
        maps_once(calls, want)
    });
    found.check_calls("free(large)", run.calls_in("free(large)"), |calls| unmaps_once(calls, want));
    found.check_calls("free(small)", run.calls_in("free(small)"), |calls| calls.is_empty());
    found.check_calls("line for line", run.calls(), |calls| is_the_strace(run, calls, want));
    found.lines_of(run.calls());
    Ok(found)
}
