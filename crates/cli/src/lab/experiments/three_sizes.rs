//! Three sizes, two regions; and what a chunk of 32 bytes really takes.

use super::prelude::*;

pub const EXPERIMENT: Experiment = Experiment {
    name: "three-sizes",
    title: "malloc of 32, 128 and 256 KiB bytes: two regions",
    article: Article::TheAllocator,
    claim: "Two small blocks stand close together in the heap, the large one far away in a mapping of \
            65 pages: mmap and munmap of 266240 bytes, and a single growth of the break. A \
            request of 32 bytes takes a chunk of 48.",
    env: &[],
    on_glibc: OnGlibc::Holds,
    child,
    judge,
};

const LARGE: usize = 256 * KIB;

fn child(probe: &mut Probe) {
    probe.step("program");
    let (a, b, c) = (Block::new(32), Block::new(128), Block::new(LARGE));
    probe.number("a", a.address());
    probe.number("b", b.address());
    probe.number("c", c.address());
    probe.number("usable", a.usable());
    probe.maps("allocated");
    a.free();
    b.free();
    c.free();
    probe.end_steps();
    let (a, b) = (Block::new(32), Block::new(32));
    probe.number("first", a.address());
    let c = Block::new(32);
    probe.number("second", b.address());
    probe.number("third", c.address());
}

fn judge(run: &Run) -> Result<Findings, Missing> {
    let mut found = Findings::new();
    let (a, b, c) = (run.number("a")?, run.number("b")?, run.number("c")?);
    let maps = run.maps("allocated")?;
    found.check("a = malloc(32)", format!("{a:#x} {}", label(maps, a)), maps.in_heap(a));
    found.check("b = malloc(128)", format!("{b:#x} {}", label(maps, b)), maps.in_heap(b));
    found.check("b − a", format!("{:#x}", b.abs_diff(a)), b.abs_diff(a) < run.first_growth_bytes());
    let apart = maps.at(c).is_some_and(Region::is_anonymous);
    found.check("c = malloc(256 KiB)", format!("{c:#x} {}", label(maps, c)), apart);
    let usable = run.number("usable")?;
    found.check("usable bytes of a", usable, usable == 40);
    let (second, third) = (run.number("second")?, run.number("third")?);
    found.check(
        "two malloc(32) in a row",
        format!("{} bytes apart", third.abs_diff(second)),
        third.abs_diff(second) == 48,
    );
    let want = run.mapping_bytes(LARGE);
    found.check_calls("calls", run.calls(), |calls| is_the_strace(run, calls, want));
    found.lines_of(run.calls());
    Ok(found)
}
