//! Reading fresh memory costs nothing; writing does.

use super::prelude::*;

pub const EXPERIMENT: Experiment = Experiment {
    name: "read-zero-page",
    title: "reading fresh memory is free, writing is not",
    article: Article::SystemCallBoundary,
    claim: "A page that is only read is the kernel's shared page of zeros and belongs to nobody; the first \
            write gives the process a page of its own.",
    env: &[],
    on_glibc: OnGlibc::Holds,
    child,
    judge,
};

const BYTES: usize = 64 * MIB;

fn child(probe: &mut Probe) {
    Block::new(1).free();
    let mut block = Block::new(BYTES);
    probe.memory("fresh");
    probe.number("sum", block.read_pages());
    probe.memory("read");
    block.touch(BYTES);
    probe.memory("written");
    block.free();
}

fn judge(run: &Run) -> Result<Findings, Missing> {
    let mut found = Findings::new();
    let own = |label| run.memory(label).map(|memory| memory.anonymous_bytes);
    let (fresh, read, written) = (own("fresh")?, own("read")?, own("written")?);
    let sum = run.number("sum")?;
    found.check("what it reads", if sum == 0 { "zeros" } else { "not zeros" }, sum == 0);
    found.check("own pages after reading", change(fresh, read), read <= fresh + SLACK);
    found.check(
        "after writing",
        change(fresh, written),
        near(written.saturating_sub(fresh), BYTES, SLACK),
    );
    Ok(found)
}
