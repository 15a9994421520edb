//! A hundred megabytes in small blocks, all but the ends freed, then nothing.

use super::prelude::*;

pub const EXPERIMENT: Experiment = Experiment {
    name: "middle",
    title: "100 MiB, the middle 99 freed, then idle",
    article: Article::SystemCallBoundary,
    claim: "With the break alone, the free middle of a heap stays resident as long as anything stands on \
            top: 99 of 100 MiB freed, and an idle process still shows 100. Heapwise gives the pages back \
            from the middle, on its own.",
    env: &[],
    on_glibc: OnGlibc::Fails,
    child,
    judge,
};

const BELOW: usize = MIB / 2;
const MIDDLE: usize = 99 * MIB;
const ABOVE: usize = MIB / 2;
const IDLE_MS: u64 = 3000;
/// What may stay beside the living: page-sized odds and ends, a small budget of dirty pages.
const ALLOWED: usize = 4 * MIB;

fn child(probe: &mut Probe) {
    Block::new(1).free();
    probe.memory("before");
    let mut chains = [Chain::new(), Chain::new(), Chain::new()];
    for (chain, bytes) in chains.iter_mut().zip([BELOW, MIDDLE, ABOVE]) {
        for request in [40, 104, 248, 1000].into_iter().cycle() {
            if chain.bytes >= bytes {
                break;
            }
            if !chain.push(request) {
                probe.skip("there is no room for 100 MiB");
            }
        }
    }
    probe.memory("full");
    let [below, middle, above] = chains;
    probe.number("blocks", middle.count);
    probe.step("free");
    middle.free();
    probe.memory("freed");
    probe.step("idle");
    probe.sleep_ms(IDLE_MS);
    probe.memory("idle");
    probe.maps("idle");
    probe.end_steps();
    below.free();
    above.free();
}

fn judge(run: &Run) -> Result<Findings, Missing> {
    let mut found = Findings::new();
    let rss = |label| run.memory(label).map(|memory| memory.rss_bytes);
    let (before, full, freed, idle) = (rss("before")?, rss("full")?, rss("freed")?, rss("idle")?);
    found.show("RSS before", size(before));
    found.check("100 MiB in blocks", change(before, full), full > before + BELOW + MIDDLE + ABOVE);
    found.show("freed", format!("{} blocks", run.number("blocks")?));
    found.show("RSS right then", change(before, freed));
    found.check(
        "RSS after 3 s idle",
        change(before, idle),
        idle <= before + BELOW + ABOVE + ALLOWED,
    );
    found.show("[heap] then", size(run.maps("idle")?.heap_bytes()));
    found.lines_of(run.calls());
    Ok(found)
}
