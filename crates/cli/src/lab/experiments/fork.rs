//! fork: the child has the same heap at the same addresses, and it is its own.

use super::prelude::*;

pub const EXPERIMENT: Experiment = Experiment {
    name: "fork",
    title: "the heap after fork",
    article: Article::SystemCallBoundary,
    claim: "An address is virtual: after fork, parent and child have the block at the same address, each \
            its own copy as soon as it writes, and both go on allocating.",
    env: &[],
    on_glibc: OnGlibc::Holds,
    child,
    judge,
};

const BYTES: usize = 1000;

fn child(probe: &mut Probe) {
    let mut block = Block::new(BYTES);
    block.fill(0x11);
    let mut chain = Chain::new();
    while chain.count < 1000 {
        chain.push(200);
    }
    probe.number("block", block.address());
    match fork() {
        Fork::Refused => probe.skip("fork is refused here"),
        Fork::Child => {
            let inherited = block.is_filled_with(0x11);
            block.fill(0x22);
            chain.free();
            let mut more = Chain::new();
            while more.count < 1000 && more.push(300) {}
            let whole = block.is_filled_with(0x22) && more.count == 1000;
            more.free();
            block.free();
            exit(if inherited && whole { 0 } else { 1 });
        }
        Fork::Parent(pid) => {
            let mut more = Chain::new();
            while more.count < 1000 && more.push(300) {}
            probe.number("child", usize::from(wait_for(pid)));
            probe.number("more", more.count);
            probe.number("whole", usize::from(block.is_filled_with(0x11)));
            more.free();
            chain.free();
            block.free();
        }
    }
}

fn judge(run: &Run) -> Result<Findings, Missing> {
    let mut found = Findings::new();
    let yes = |key| run.number(key).map(|value| value == 1);
    found.show("the block", format!("{:#x}", run.number("block")?));
    found.check("child allocates, frees", if yes("child")? { "yes" } else { "no" }, yes("child")?);
    found.check(
        "parent allocates",
        format!("{} blocks", run.number("more")?),
        run.number("more")? == 1000,
    );
    found.check(
        "parent's copy",
        if yes("whole")? { "untouched" } else { "changed" },
        yes("whole")?,
    );
    Ok(found)
}
