//! Resident memory before, during and after a large block.

use super::prelude::*;

pub const EXPERIMENT: Experiment = Experiment {
    name: "rss-large-free",
    title: "RSS over a large free",
    article: Article::BrkVsMmap,
    claim: "A large block that has been written to shows in RSS in full; freeing it gives the pages back \
            at once, and RSS falls to where it was.",
    env: &[],
    on_glibc: OnGlibc::Holds,
    child,
    judge,
};

const BYTES: usize = 64 * MIB;

fn child(probe: &mut Probe) {
    Block::new(1).free();
    probe.memory("before");
    probe.step("malloc, write");
    let mut block = Block::new(BYTES);
    block.fill(1);
    probe.memory("written");
    probe.step("free");
    block.free();
    probe.memory("freed");
}

fn judge(run: &Run) -> Result<Findings, Missing> {
    let mut found = Findings::new();
    let rss = |label| run.memory(label).map(|memory| memory.rss_bytes);
    let (before, written, freed) = (rss("before")?, rss("written")?, rss("freed")?);
    found.show("RSS before", size(before));
    found.check(
        "64 MiB written",
        change(before, written),
        near(written.saturating_sub(before), BYTES, SLACK),
    );
    found.check("after free", change(before, freed), freed <= before + SLACK);
    let want = run.mapping_bytes(BYTES);
    found.check_calls("calls of free", run.calls_in("free"), |calls| unmaps_once(calls, want));
    found.lines_of(run.calls());
    Ok(found)
}
