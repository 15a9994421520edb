//! The first 132 KiB serve many small requests; only when they are used up is there another call.

use super::prelude::*;

pub const EXPERIMENT: Experiment = Experiment {
    name: "refill",
    title: "bought wholesale, sold retail",
    article: Article::StudyNotes,
    claim: "Not every malloc is a system call: after the first purchase, small requests are served from \
            the pool until its 132 KiB are used up, and only then does the break move once more.",
    env: &[],
    on_glibc: OnGlibc::Holds,
    child,
    judge,
};

const REQUEST: usize = 1000;

fn child(probe: &mut Probe) {
    probe.step("first");
    let mut blocks = Chain::new();
    blocks.push(REQUEST);
    let bought = probe.kernel_break();
    probe.step("retail");
    while probe.kernel_break() == bought && blocks.push(REQUEST) {
        probe.number("served", blocks.count);
    }
    probe.number("grown", probe.kernel_break() - bought);
}

fn judge(run: &Run) -> Result<Findings, Missing> {
    let mut found = Findings::new();
    let served = run.number("served")?;
    let bytes = served * chunk_bytes(REQUEST);
    found.check(
        "served from the first",
        format!("{served} blocks, {}", size(bytes)),
        bytes >= run.first_growth_bytes() * 3 / 4
            && bytes <= run.first_growth_bytes() + chunk_bytes(REQUEST),
    );
    found.check_calls("calls for them", run.calls_in("retail"), |calls| {
        moves(calls) == 1 && calls.len() == 1
    });
    let grown = run.number("grown")?;
    found.check("second growth", format!("{} ({grown:#x})", size(grown)), grown >= 128 * KIB);
    found.lines_of(run.calls());
    Ok(found)
}
