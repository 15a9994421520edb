//! The process reads its own maps; each line is named.

use super::prelude::*;

pub const EXPERIMENT: Experiment = Experiment {
    name: "maps-reading",
    title: "reading /proc/self/maps",
    article: Article::SystemCallBoundary,
    claim: "From low to high: the program with its data, the heap above it, the mmap region with \
            libraries and large blocks, the stack. The path tells what a line is; private memory \
            without a path is anonymous.",
    env: &[],
    on_glibc: OnGlibc::Holds,
    child,
    judge,
};

static IN_THE_PROGRAM: u8 = 1;

fn child(probe: &mut Probe) {
    let (small, large) = (Block::new(1000), Block::new(256 * KIB));
    let on_the_stack = 0_u8;
    probe.number("program", (&raw const IN_THE_PROGRAM).addr());
    probe.number("small", small.address());
    probe.number("large", large.address());
    probe.number("stack", (&raw const on_the_stack).addr());
    probe.maps("all");
}

fn judge(run: &Run) -> Result<Findings, Missing> {
    let mut found = Findings::new();
    let maps = run.maps("all")?;
    let keys = ["program", "small", "large", "stack"];
    let mut addresses = Vec::new();
    for key in keys {
        addresses.push(run.number(key)?);
    }
    let row = |address: usize| format!("{address:#x} {}", label(maps, address));
    let of_a_file = |address| maps.at(address).is_some_and(|region| region.path.starts_with('/'));
    found.check("a constant", row(addresses[0]), of_a_file(addresses[0]));
    found.check("malloc(1000)", row(addresses[1]), maps.in_heap(addresses[1]));
    let anonymous = maps.at(addresses[2]).is_some_and(Region::is_anonymous);
    found.check("malloc(256 KiB)", row(addresses[2]), anonymous);
    let stack = maps.at(addresses[3]).is_some_and(|region| region.path == "[stack]");
    found.check("a local variable", row(addresses[3]), stack);
    found.check("from low to high", keys.join(" < "), addresses.is_sorted());
    let mut last = None;
    for region in &maps.0 {
        let what = meaning(region);
        // One line for each neighbourhood: a library has five.
        if last != Some((what, region.path.as_str())) {
            let name = region.path.rsplit('/').next().unwrap_or_default();
            let range = format!("{:x}-{:x} {}", region.start, region.end, region.perms);
            found.line(format!("{range} {name:<24} {what}"));
        }
        last = Some((what, region.path.as_str()));
    }
    Ok(found)
}

fn meaning(region: &Region) -> &'static str {
    match region.path.as_str() {
        "[heap]" => "the heap, up to the break",
        "[stack]" => "the stack of the main thread",
        "[vdso]" | "[vvar]" | "[vvar_vclock]" | "[vsyscall]" => "the kernel's own",
        "" if region.perms == "---p" => "reserved addresses",
        "" => "a large block, or zeroed data",
        path if path.contains("libheapwise") => "Heapwise",
        path if path.contains(".so") => "a library",
        path if path.starts_with('/') => "the program",
        _ => "something else",
    }
}
