//! What a request costs: chunk sizes for 1 to 64 bytes.

use super::prelude::*;

pub const EXPERIMENT: Experiment = Experiment {
    name: "overhead",
    title: "chunk sizes: at least 32, in steps of 16",
    article: Article::TheAllocator,
    claim: "A chunk is the request and its header, rounded up to 16, and never below 32. Since a chunk in \
            use borrows the next one's first word, the net cost is 8 bytes: 40 fit into a chunk of 48.",
    env: &[],
    on_glibc: OnGlibc::Holds,
    child,
    judge,
};

fn child(probe: &mut Probe) {
    for request in 1..=64 {
        let block = Block::new(request);
        probe.item("usable", request - 1, block.usable());
        probe.item("aligned", request - 1, usize::from(block.address().is_multiple_of(16)));
    }
}

fn judge(run: &Run) -> Result<Findings, Missing> {
    let mut found = Findings::new();
    let chunks: Vec<usize> = run.items("usable").iter().map(|usable| usable + 8).collect();
    if chunks.len() != 64 {
        return Err(Missing("usable".to_owned()));
    }
    for (from, to) in [(1, 24), (25, 40), (41, 56), (57, 64)] {
        let want = chunk_bytes(to);
        let held = chunks[from - 1..to].iter().all(|&chunk| chunk == want);
        let saw = if held {
            format!("{want} bytes each")
        } else {
            format!("{:?}", &chunks[from - 1..to])
        };
        found.check(&format!("{from} to {to} bytes"), saw, held);
    }
    let aligned = run.items("aligned").iter().filter(|&&aligned| aligned == 1).count();
    found.check("aligned to 16", format!("{aligned} of 64"), aligned == 64);
    Ok(found)
}
