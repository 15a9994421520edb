//! Counts words with many threads on the Heapwise heap, then says where the memory is.
//!
//! `cargo run --release -p heapwise --example words`

use std::collections::HashMap;
use std::thread;

#[global_allocator]
static GLOBAL: heapwise::Heapwise = heapwise::Heapwise;

fn count(thread: usize) -> HashMap<String, usize> {
    let mut counts = HashMap::new();
    for n in 0..50_000usize {
        let word = format!("word-{}", (n * 7919 + thread * 31) % 5003);
        *counts.entry(word).or_insert(0) += 1;
    }
    counts
}

fn main() {
    let workers: Vec<_> = (0..8).map(|t| thread::spawn(move || count(t))).collect();
    let mut total: HashMap<String, usize> = HashMap::new();
    for worker in workers {
        for (word, n) in worker.join().expect("a worker panicked") {
            *total.entry(word).or_insert(0) += n;
        }
    }
    let sum: usize = total.values().sum();
    println!("{} words, {} different", sum, total.len());

    let f = heapwise::figures();
    println!("from the system {:>10} bytes", f.system_bytes + f.mapped.bytes);
    println!("live            {:>10} bytes in {} chunks", f.live.bytes, f.live.count);
    println!("thread caches   {:>10} bytes", f.cached.bytes);
    println!("free            {:>10} bytes", f.fast.bytes + f.binned.bytes + f.top.bytes);
    heapwise::check().expect("the heap is whole");
    drop(total);
    println!("trim gave back  {}", if heapwise::trim(0) { "memory" } else { "nothing" });
}
