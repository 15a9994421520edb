//! A double free that glibc does not notice, and what comes of it.

use super::prelude::*;

pub const EXPERIMENT: Experiment = Experiment {
    name: "two-owners",
    title: "one block, two owners",
    article: Article::TheAllocator,
    claim: "A block that is on its list twice is handed out twice, and two parts of the program overwrite \
            each other. glibc compares with the block freed last, so a, b, a passes once the thread cache is \
            full; Heapwise reads in the block's own header that it is free.",
    env: &[("LIBC_FATAL_STDERR_", "1")],
    on_glibc: OnGlibc::Fails,
    child,
    judge,
};

/// What glibc's thread cache takes of one size.
const CACHED: usize = 7;

fn child(probe: &mut Probe) {
    let fillers: [Block; CACHED] = core::array::from_fn(|_| Block::new(32));
    let (a, b) = (Block::new(32).into_raw(), Block::new(32).into_raw());
    for filler in fillers {
        filler.free();
    }
    probe.number("a", a.addr());
    // SAFETY: the first two are right. The third is the misuse to be caught; if it is not, nothing is
    // read or written through any of these blocks from here on.
    unsafe {
        libc::free(core::hint::black_box(a).cast());
        libc::free(core::hint::black_box(b).cast());
        libc::free(core::hint::black_box(a).cast());
    }
    for index in 0..CACHED + 3 {
        probe.item("again", index, Block::new(32).address());
    }
}

fn judge(run: &Run) -> Result<Findings, Missing> {
    let mut found = Findings::new();
    found.ends_early = true;
    let a = run.number("a")?;
    found.show("a", format!("{a:#x}"));
    let caught = run.end == End::Signal(libc::SIGABRT) && run.stderr.contains("double free");
    let end = match run.end {
        End::Signal(libc::SIGABRT) => run.stderr.trim_end().to_owned(),
        End::Signal(signal) => format!("signal {signal}"),
        End::Exit(_) => "not noticed".to_owned(),
    };
    found.check("free(a), free(b), free(a)", end, caught);
    let owners = run.items("again").into_iter().filter(|&again| again == a).count();
    if run.done {
        found.check("malloc(32) gives a", format!("{owners} times"), owners <= 1);
    }
    Ok(found)
}
