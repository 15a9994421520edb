//! Threads get arenas of their own: 64 MiB reserved, a little of it in use.

use core::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use super::prelude::*;
use crate::lab::harness::Side;

pub const EXPERIMENT: Experiment = Experiment {
    name: "thread-arenas",
    title: "arenas of threads in the maps",
    article: Article::TheAllocator,
    claim: "Threads do not share one lock: each is given an arena, at most 8 for each core in glibc and 64 in \
            Heapwise. The others than the main one are mappings, reserved in stretches of 64 MiB and \
            opened as needed.",
    env: &[],
    on_glibc: OnGlibc::Holds,
    child,
    judge,
};

const MOST_THREADS: usize = 68;
static BLOCKS: [AtomicUsize; MOST_THREADS] = [const { AtomicUsize::new(0) }; MOST_THREADS];
static READY: AtomicUsize = AtomicUsize::new(0);
static GO_ON: AtomicUsize = AtomicUsize::new(0);

fn child(probe: &mut Probe) {
    let cores = online_cores();
    let threads = (8 * cores + 4).min(MOST_THREADS);
    probe.number("cores", cores);
    let main = Block::new(1000);
    probe.number("main", main.address());
    let mut started = 0;
    while started < threads && start_thread(thread, started) {
        started += 1;
    }
    if started == 0 {
        probe.skip("a thread cannot be started");
    }
    while READY.load(SeqCst) < started {
        probe.sleep_ms(1);
    }
    for (index, block) in BLOCKS.iter().enumerate().take(started) {
        probe.item("block", index, block.load(SeqCst));
    }
    probe.maps("threads");
    GO_ON.store(1, SeqCst);
    while READY.load(SeqCst) > 0 {
        probe.sleep_ms(1);
    }
}

/// All are alive at once, so that none inherits the arena of one that ended.
fn thread(index: usize) {
    let mut block = Block::new(1000);
    block.fill(1);
    BLOCKS[index].store(block.address(), SeqCst);
    READY.fetch_add(1, SeqCst);
    while GO_ON.load(SeqCst) == 0 {
        sleep_a_little();
    }
    block.free();
    READY.fetch_sub(1, SeqCst);
}

const STRETCH: usize = 64 * MIB;

fn judge(run: &Run) -> Result<Findings, Missing> {
    let mut found = Findings::new();
    let (cores, main) = (run.number("cores")?, run.number("main")?);
    let maps = run.maps("threads")?;
    let blocks = run.items("block");
    let mut arenas: Vec<usize> = blocks
        .iter()
        .filter(|&&block| !maps.in_heap(block))
        .map(|block| block & !(STRETCH - 1))
        .collect();
    arenas.sort_unstable();
    arenas.dedup();
    found.show("threads alive", format!("{} on {cores} cores", blocks.len()));
    found.check("main thread", format!("{main:#x} {}", label(maps, main)), maps.in_heap(main));
    let most = cores
        * match run.side {
            Side::Glibc => 8,
            Side::Heapwise(_) => 64,
        };
    found.check(
        "arenas of the others",
        format!("{}, at most {most}", arenas.len()),
        (1..=most).contains(&arenas.len()),
    );
    let reserved = arenas.iter().filter(|&&base| is_stretch(maps, base)).count();
    found.check(
        "64 MiB, aligned",
        format!("{reserved} of {}", arenas.len()),
        reserved == arenas.len(),
    );
    for &base in arenas.iter().take(2) {
        let inside = maps.0.iter().filter(|region| (base..base + STRETCH).contains(&region.start));
        found.lines.extend(
            inside.take(2).map(|region| format!("{} ({})", region.line, size(region.bytes()))),
        );
    }
    Ok(found)
}

/// Whether `base` begins 64 MiB without a gap: some of it open, most of it only reserved.
fn is_stretch(maps: &Maps, base: usize) -> bool {
    let mut at = base;
    let (mut open, mut reserved) = (0, 0);
    while at < base + STRETCH {
        let Some(region) = maps.at(at) else { return false };
        let bytes = region.end.min(base + STRETCH) - at;
        match region.perms.as_str() {
            "rw-p" => open += bytes,
            "---p" => reserved += bytes,
            _ => return false,
        }
        at += bytes;
    }
    open > 0 && open < STRETCH / 2 && reserved > STRETCH / 2
}
