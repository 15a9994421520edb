//! A heap that changes all the time: looked at without a stop, it is found and
//! mostly whole, the rows sum all the same, and nothing panics.

mod common;

use common::{Target, library};
use heapwise_inspect::{Depth, Options, ROWS, Row, survey};

const LOOKS: usize = 20;

fn look_often(environment: &[(&str, &str)]) {
    let Some(target) = Target::start("busy", environment) else { return };
    let mut whole = 0;
    for look in 0..LOOKS {
        let seen = survey(target.pid(), Options { paint: true, bins: true }).unwrap();
        let sum: usize = ROWS.iter().map(|&row| seen.account.tally[row]).sum();
        assert_eq!(sum, seen.rss, "look {look}");
        assert!(!seen.heaps.unseen, "look {look}: the heap was not found");
        assert_eq!(seen.account.misfits, 0, "look {look}");
        if seen.depth == Depth::Whole {
            whole += 1;
            // The program holds about this much at any time.
            let live = seen.account.tally[Row::LiveUser];
            assert!((8 << 20..40 << 20).contains(&live), "look {look}: {live}");
        }
    }
    println!("{whole} of {LOOKS} looks were whole");
    assert!(whole * 2 >= LOOKS, "{whole} of {LOOKS}");
}

#[test]
fn a_busy_glibc_heap_is_found_and_sums() {
    look_often(&[]);
}

#[test]
fn a_busy_heap_of_ours_is_found_and_sums() {
    let Some(library) = library() else { return };
    look_often(&[("LD_PRELOAD", library.to_str().unwrap())]);
}
