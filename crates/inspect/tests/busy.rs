//! A heap that changes all the time: looked at without a stop, it is found and
//! mostly whole, the rows sum all the same, and nothing panics.

mod common;

use common::{Target, library};
use heapwise_inspect::{Depth, Options, ROWS, Row, survey};
use std::time::{Duration, Instant};

const LOOKS: usize = 20;
/// What the program holds once it is at work, at least.
const LEAST_LIVE: usize = 8 << 20;
/// It should not take longer to fill its heap.
const FILL_LIMIT: Duration = Duration::from_secs(60);

fn look_often(environment: &[(&str, &str)]) {
    let Some(target) = Target::start("busy", environment) else { return };
    // The program first fills its heap.
    let options = Options::default;
    let start = Instant::now();
    while survey(target.pid(), options()).unwrap().account.tally[Row::LiveUser] < LEAST_LIVE {
        assert!(start.elapsed() < FILL_LIMIT, "the program does not fill its heap");
        std::thread::sleep(Duration::from_millis(50));
    }
    let mut whole = 0;
    for look in 0..LOOKS {
        let seen = survey(target.pid(), Options { paint: true, bins: true, ..Options::default() })
            .unwrap();
        let sum: usize = ROWS.iter().map(|&row| seen.account.tally[row]).sum();
        assert_eq!(sum, seen.rss, "look {look}");
        assert!(!seen.heaps.unseen, "look {look}: the heap was not found");
        assert_eq!(seen.account.misfits, 0, "look {look}");
        if seen.depth == Depth::Whole {
            whole += 1;
            // The program holds about this much at any time.
            let live = seen.account.tally[Row::LiveUser];
            assert!((LEAST_LIVE..40 << 20).contains(&live), "look {look}: {live}");
        }
    }
    println!("{whole} of {LOOKS} looks were whole");
    assert!(whole * 4 >= LOOKS, "{whole} of {LOOKS}");
}

/// A process whose threads all stand still, by job control, until the value goes.
struct Standing(i32);

impl Standing {
    fn stop(pid: u32) -> Self {
        let standing = Self(pid.cast_signed());
        standing.signal(libc::SIGSTOP);
        let start = Instant::now();
        while !standing.stands() {
            assert!(start.elapsed() < FILL_LIMIT, "the program does not stop");
            std::thread::sleep(Duration::from_millis(1));
        }
        standing
    }

    fn stands(&self) -> bool {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.0)).expect("our own child");
        // A thread that is gone by now stands, too.
        let stats = tasks.filter_map(|task| {
            std::fs::read_to_string(task.expect("an entry").path().join("stat")).ok()
        });
        let state = |stat: String| stat[stat.rfind(')').expect("a name")..].chars().nth(2);
        stats.map(state).all(|state| matches!(state, Some('T' | 't' | 'Z' | 'X')))
    }

    fn signal(&self, signal: i32) {
        // SAFETY: two numbers; it is our own child, not waited for yet.
        assert_eq!(unsafe { libc::kill(self.0, signal) }, 0);
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        self.signal(libc::SIGCONT);
    }
}

/// Threads come, fill heaps of 64 MiB, and go: what goes away under a look is never taken for
/// memory of somebody else.
fn look_at_endings(environment: &[(&str, &str)]) {
    /// Of the loader, of control blocks, of stacks that nobody claims.
    const MOST_OTHER: usize = 2 << 20;
    let Some(target) = Target::start("ending", environment) else { return };
    let (mut whole, mut whole_standing) = (0, 0);
    for look in 0..40 {
        // On a machine with other work, threads may come and go under each look. Where nothing
        // moves, only one that stands in the middle of a malloc can keep a look from being whole.
        let standing = (look % 4 == 3).then(|| Standing::stop(target.pid()));
        let seen = survey(target.pid(), Options::default()).unwrap();
        let sum: usize = ROWS.iter().map(|&row| seen.account.tally[row]).sum();
        assert_eq!(sum, seen.rss, "look {look}");
        let other = seen.account.tally[Row::OtherAnonymous];
        let is_small = other < MOST_OTHER + seen.rss / 200;
        if seen.depth == Depth::Whole {
            whole += 1;
            whole_standing += usize::from(standing.is_some());
            assert!(is_small, "look {look}: {other} of {}: {:?}", seen.rss, seen.heaps);
        }
        drop(standing);
        std::thread::sleep(Duration::from_millis(look % 7));
    }
    println!("{whole} of 40 looks were whole, {whole_standing} of them of 10 at standing threads");
    assert!(whole_standing > 2, "{whole_standing}");
}

#[test]
fn heaps_that_go_away_under_a_look_are_told() {
    look_at_endings(&[]);
}

#[test]
fn heaps_of_ours_that_go_away_under_a_look_are_told() {
    let Some(library) = library() else { return };
    look_at_endings(&[("LD_PRELOAD", library.to_str().unwrap())]);
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
