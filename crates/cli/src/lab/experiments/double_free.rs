//! free(p); free(p): one line on standard error, then SIGABRT.

use super::prelude::*;

pub const EXPERIMENT: Experiment = Experiment {
    name: "double-free",
    title: "a second free ends the program",
    article: Article::TheAllocator,
    claim: "Were it accepted, a second free would put the block on its list twice and two owners would \
            share it. Both allocators notice, say so in one line, and abort.",
    // Where old versions of glibc wrote to the terminal instead.
    env: &[("LIBC_FATAL_STDERR_", "1")],
    on_glibc: OnGlibc::Holds,
    child,
    judge,
};

const MESSAGE: &str = "free(): double free detected in tcache 2";

fn child(probe: &mut Probe) {
    let block = Block::new(32).into_raw();
    probe.number("block", block.addr());
    // SAFETY: the first free is right. The second is the misuse to be caught: the process is to end here.
    unsafe {
        libc::free(core::hint::black_box(block).cast());
        libc::free(core::hint::black_box(block).cast());
    }
}

fn judge(run: &Run) -> Result<Findings, Missing> {
    let mut found = Findings::new();
    found.ends_early = true;
    run.number("block")?;
    let end = match run.end {
        End::Signal(libc::SIGABRT) => "SIGABRT".to_owned(),
        End::Signal(signal) => format!("signal {signal}"),
        End::Exit(code) => format!("exit code {code}"),
    };
    found.check("how it ends", end, run.end == End::Signal(libc::SIGABRT));
    let line = run.stderr.trim_end();
    found.check("standard error", line, line == MESSAGE);
    Ok(found)
}
