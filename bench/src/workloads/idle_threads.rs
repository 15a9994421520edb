//! After bursts in eight threads, one after another: each allocates 64 MiB,
//! frees 98 % of it and goes to sleep for good; then five idle seconds. What
//! sleeping threads keep in caches and arenas of their own.

use super::idle_survivors::fill;
use super::settle::{Places, settle};
use super::{Idle, Load};
use crate::process::resident_bytes;
use crate::random::Random;
use std::sync::Barrier;
use std::sync::mpsc::channel;

const THREADS: usize = 8;
const EACH_BYTES: usize = 64 << 20;

pub fn run(load: &Load) -> Idle {
    let each = load.count(EACH_BYTES);
    let places = || Places::new(2 * each / 2064 + 1_000);
    let mut lists: Vec<Places> = (0..THREADS).map(|_| places()).collect();
    let end = Barrier::new(THREADS + 1);
    let start = resident_bytes();
    let mut live_bytes = 0;
    std::thread::scope(|scope| {
        for (number, list) in lists.iter_mut().enumerate() {
            let (done, wait) = channel();
            let end = &end;
            scope.spawn(move || {
                fill(list, each, &mut Random::new(number));
                let live = list.live_page_bytes();
                done.send(live).expect("the main thread waits");
                end.wait();
            });
            live_bytes += wait.recv().expect("the thread sends");
        }
        let idle = settle(load, start, || live_bytes);
        end.wait();
        idle
    })
}
