//! The threshold follows the program: a freed mapping raises it.

use super::prelude::*;

pub const EXPERIMENT: Experiment = Experiment {
    name: "dynamic-threshold",
    title: "the threshold rises with what is freed",
    article: Article::BrkVsMmap,
    claim: "The first megabyte is mapped. Freeing it tells the allocator that blocks of this size come \
            and go, so the threshold rises to that size and the next megabyte comes from the heap.",
    env: &[],
    on_glibc: OnGlibc::Holds,
    child,
    judge,
};

fn child(probe: &mut Probe) {
    probe.step("first");
    let first = Block::new(MIB);
    probe.number("first", first.address());
    probe.maps("first");
    probe.step("free");
    first.free();
    probe.step("second");
    let second = Block::new(MIB);
    probe.number("second", second.address());
    probe.maps("second");
}

fn judge(run: &Run) -> Result<Findings, Missing> {
    let mut found = Findings::new();
    let (first, second) = (run.number("first")?, run.number("second")?);
    let (then, now) = (run.maps("first")?, run.maps("second")?);
    let apart = then.at(first).is_some_and(Region::is_anonymous);
    found.check("first megabyte", format!("{first:#x} {}", label(then, first)), apart);
    found.check_calls("calls of free", run.calls_in("free"), |calls| {
        unmaps_once(calls, run.mapping_bytes(MIB))
    });
    found.check(
        "second megabyte",
        format!("{second:#x} {}", label(now, second)),
        now.in_heap(second),
    );
    found.check_calls("its calls", run.calls_in("second"), |calls| {
        calls.iter().all(|call| call.name == "brk")
    });
    found.lines_of(run.calls());
    Ok(found)
}
