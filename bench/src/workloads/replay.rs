//! What real programs asked of malloc, recorded (see `trace`) and played again
//! by one thread, several times over. Blocks up to a page are written whole,
//! larger ones a word a page.

use super::Load;
use super::settle::Slots;
use crate::heap::Block;
use crate::trace::{Call, Calls, unpacked_file};
use std::hint::black_box;

const WRITTEN_BYTES: usize = 4096;
/// Calls that all rounds together make about.
const CALLS: usize = 20_000_000;

fn block(bytes: usize) -> Block {
    if bytes <= WRITTEN_BYTES { Block::written(bytes) } else { Block::touched(bytes) }
}

pub fn run(load: &Load, name: &str) {
    let file = unpacked_file(name).expect("the trace is there");
    let trace = crate::process::map_file(&file).expect("the trace can be mapped");
    let calls = || Calls::new(trace).expect("a trace");
    let rounds = (load.count(CALLS) / calls().count().max(1)).max(1);
    let mut slots: Slots<(Block, usize)> = Slots::new(calls().slots);
    let mut free: Slots<usize> = Slots::new(calls().slots);
    for _ in 0..rounds {
        let (mut used, mut freed) = (0, 0);
        for call in calls() {
            let made = match call {
                Call::Free(slot) => {
                    slots.all()[slot] = None;
                    free.all()[freed] = Some(slot);
                    freed += 1;
                    continue;
                }
                Call::Realloc(slot, bytes) => {
                    if let Some((block, old)) = &mut slots.all()[slot] {
                        block.resize(*old, bytes);
                        *old = bytes;
                    }
                    continue;
                }
                Call::Malloc(bytes) => (block(bytes), bytes),
                Call::Calloc(bytes) => (Block::zeroed(bytes), bytes),
                Call::Aligned(bytes, log2) => (Block::aligned(1 << log2, bytes), bytes),
            };
            let slot = if freed > 0 {
                freed -= 1;
                free.all()[freed].take().expect("a slot was freed")
            } else {
                used += 1;
                used - 1
            };
            slots.all()[slot] = Some(made);
        }
        black_box(&mut slots);
    }
}
