//! A Rust `Vec` on the C allocator: length, capacity, pointer.

use super::prelude::*;

pub const EXPERIMENT: Experiment = Experiment {
    name: "vec-growth",
    title: "a Rust Vec grows by doubling",
    article: Article::TheAllocator,
    claim: "Rust's default allocator is this same malloc. Ten pushes to an empty Vec<i32> make its \
            capacity 4, then 8, then 16; the pointer changes at most when the capacity does.",
    env: &[],
    on_glibc: OnGlibc::Holds,
    child,
    judge,
};

fn child(probe: &mut Probe) {
    let mut vec: Vec<i32> = Vec::new();
    for value in 0..10 {
        vec.push(value);
        let index = value as usize;
        probe.item("len", index, vec.len());
        probe.item("cap", index, vec.capacity());
        probe.item("ptr", index, vec.as_ptr().addr());
    }
    probe.number("whole", usize::from(vec.iter().copied().eq(0..10)));
    probe.number("usable", {
        // SAFETY: the buffer comes from Rust's default allocator, which is malloc.
        unsafe { libc::malloc_usable_size(vec.as_mut_ptr().cast()) }
    });
}

fn judge(run: &Run) -> Result<Findings, Missing> {
    let mut found = Findings::new();
    let (caps, pointers) = (run.items("cap"), run.items("ptr"));
    let caps_text = caps.iter().map(usize::to_string).collect::<Vec<_>>().join(" ");
    found.check("capacities", caps_text, caps == [4, 4, 4, 4, 8, 8, 8, 8, 16, 16]);
    for start in [0, 4, 8] {
        let same = caps.iter().zip(&pointers).filter(|(cap, _)| Some(*cap) == caps.get(start));
        let mut same = same.map(|(_, pointer)| *pointer);
        let first = same.next().unwrap_or(0);
        let cap = caps.get(start).copied().unwrap_or(0);
        found.check(
            &format!("pointer at capacity {cap}"),
            format!("{first:#x}"),
            same.all(|pointer| pointer == first),
        );
    }
    found.check(
        "content",
        if run.number("whole")? == 1 { "whole" } else { "broken" },
        run.number("whole")? == 1,
    );
    let usable = run.number("usable")?;
    found.check("usable bytes at last", usable, usable >= 64);
    Ok(found)
}
