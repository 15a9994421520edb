//! mmap itself, without malloc: a mapping comes and goes.

use super::prelude::*;

pub const EXPERIMENT: Experiment = Experiment {
    name: "mmap",
    title: "mmap of 132 KiB, and munmap",
    article: Article::SystemCallBoundary,
    claim: "An anonymous mapping appears in the mmap region, far from the heap, rounded up to pages; \
            munmap takes it out of the maps and the memory is the kernel's again.",
    env: &[],
    on_glibc: OnGlibc::Holds,
    child,
    judge,
};

const BYTES: usize = 132 * KIB;

fn child(probe: &mut Probe) {
    probe.step("mmap");
    let address = map_anonymous(BYTES);
    probe.number("address", address);
    probe.number("break", probe.kernel_break());
    probe.maps("mapped");
    probe.step("munmap");
    unmap(address, BYTES);
    probe.maps("unmapped");
}

fn judge(run: &Run) -> Result<Findings, Missing> {
    let mut found = Findings::new();
    let address = run.number("address")?;
    let (mapped, unmapped) = (run.maps("mapped")?, run.maps("unmapped")?);
    // The kernel may have joined it with a neighbour of the same kind: the article saw 136 KiB.
    let region = mapped.at(address);
    let whole = region.is_some_and(|r| r.is_anonymous() && address + BYTES <= r.end);
    found.check("the mapping", format!("{address:#x} {}", label(mapped, address)), whole);
    let distance = address.abs_diff(run.number("break")?);
    found.check("distance to the break", size(distance), distance > 16 * MIB);
    found.check("after munmap", label(unmapped, address), unmapped.at(address).is_none());
    found.lines_of(run.calls());
    found.lines.extend(region.map(|region| region.line.clone()));
    Ok(found)
}
