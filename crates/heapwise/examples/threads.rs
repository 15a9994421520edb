//! Many threads that allocate, hand over and free, on Heapwise.
//!
//! ```sh
//! cargo run --release -p heapwise --example threads
//! ```

use std::collections::BTreeMap;
use std::sync::mpsc::channel;
use std::thread;

#[global_allocator]
static GLOBAL: heapwise::Heapwise = heapwise::Heapwise;

const THREADS: usize = 8;
const WORDS: usize = 20_000;

fn main() {
    let (send, receive) = channel::<Vec<String>>();
    let workers: Vec<_> = (0..THREADS)
        .map(|number| {
            let send = send.clone();
            thread::spawn(move || {
                for chunk in 0..WORDS / 100 {
                    let words = (0..100).map(|i| format!("{number}-{chunk}-{}", i % 7)).collect();
                    send.send(words).expect("the main thread waits for all");
                }
            })
        })
        .collect();
    drop(send);

    // Blocks of every thread are freed here.
    let mut count = BTreeMap::<String, usize>::new();
    for words in receive {
        for word in words {
            *count.entry(word).or_default() += 1;
        }
    }
    for worker in workers {
        worker.join().expect("no thread panics");
    }
    let total: usize = count.values().sum();
    println!("{total} words, {} different", count.len());
    assert_eq!(total, THREADS * WORDS);
}
