//! Ten small blocks, one large, freed in reverse: one brk, one mmap, one munmap.

use super::prelude::*;

pub const EXPERIMENT: Experiment = Experiment {
    name: "ten-small-one-large",
    title: "ten times 64 bytes and one megabyte, freed in reverse",
    article: Article::TheAllocator,
    claim: "Ten small blocks cost one growth of the break between them, the megabyte one mmap. Freeing \
            the megabyte is one munmap; freeing the small ones makes no call at all.",
    env: &[],
    on_glibc: OnGlibc::Holds,
    child,
    judge,
};

fn child(probe: &mut Probe) {
    probe.step("ten malloc(64)");
    let small: [Block; 10] = core::array::from_fn(|_| Block::new(64));
    probe.step("malloc(1 MiB)");
    let large = Block::new(MIB);
    for (index, block) in small.iter().enumerate() {
        probe.item("small", index, block.address());
    }
    probe.number("large", large.address());
    probe.step("free(large)");
    large.free();
    probe.step("ten free");
    for block in small.into_iter().rev() {
        block.free();
    }
}

fn judge(run: &Run) -> Result<Findings, Missing> {
    let mut found = Findings::new();
    found.needs_calls(run);
    let small = run.items("small");
    let want = run.mapping_bytes(MIB);
    let span = small.iter().max().unwrap_or(&0) - small.iter().min().unwrap_or(&0);
    found.check(
        "ten blocks span",
        format!("{span} bytes"),
        small.len() == 10 && span < run.first_growth_bytes(),
    );
    found.show("the megabyte", format!("{:#x}", run.number("large")?));
    found.check_calls("ten malloc(64)", run.calls_in("ten malloc(64)"), |calls| {
        grows_once(calls, run.first_growth_bytes()) && calls.iter().all(|call| call.name == "brk")
    });
    found.check_calls("malloc(1 MiB)", run.calls_in("malloc(1 MiB)"), |calls| {
        maps_once(calls, want)
    });
    found.check_calls("free(large)", run.calls_in("free(large)"), |calls| unmaps_once(calls, want));
    found.check_calls("ten free", run.calls_in("ten free"), |calls| calls.is_empty());
    found.lines_of(run.calls());
    Ok(found)
}
