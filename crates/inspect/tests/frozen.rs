//! Looks by a frozen copy: the program that was copied is as it was, whatever it was doing, whoever
//! dies in between; where no copy may be made the look is taken under the stop, and says why.

mod common;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{Target, compile, library};
use heapwise_inspect::origin::PauseFor;
use heapwise_inspect::{Depth, Options, ROWS, Row, Survey, survey};

const CONSISTENT: Options =
    Options { consistent: true, paint: false, bins: true, first_bytes: false, mappings: false };
const LOOKS: usize = 10;

fn start(mode: &str, environment: &[(&str, &str)]) -> Option<Target> {
    static PROGRAM: std::sync::OnceLock<Option<std::path::PathBuf>> = std::sync::OnceLock::new();
    let program = PROGRAM.get_or_init(|| compile("minds.c")).as_deref()?;
    Some(Target::run(Command::new(program).arg(mode), environment))
}

/// glibc's heap, and ours where it can be built.
fn environments() -> Vec<Vec<(&'static str, &'static str)>> {
    let ours = library().map(|library| {
        vec![("LD_PRELOAD", library.to_str().expect("a plain path")), ("HEAPWISE_PURGE", "0")]
    });
    [vec![]].into_iter().chain(ours).collect()
}

fn is_by_copy(seen: &Survey) -> bool {
    matches!(seen.origin.pause_for, Some(PauseFor::Copy { .. }))
}

fn why(seen: &Survey) -> &str {
    match &seen.origin.pause_for {
        Some(PauseFor::Look { why }) => why,
        _ => "",
    }
}

/// Its children, and whether each is a zombie.
fn children(pid: u32) -> Vec<(u32, bool)> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("it lives");
    let lists =
        tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("children")).ok());
    let lists: Vec<String> = lists.collect();
    let numbers = lists.iter().flat_map(|list| list.split_whitespace());
    let children = numbers.filter_map(|number| {
        let stat = std::fs::read_to_string(format!("/proc/{number}/stat")).ok()?;
        Some((number.parse().ok()?, stat.rsplit(')').next()?.starts_with(" Z ")))
    });
    children.collect()
}

/// It has found nothing wrong, and goes on.
fn is_right(target: &mut Target, what: &str) {
    let mut before = None;
    let start = Instant::now();
    loop {
        target.tell("how are you");
        assert_eq!(target.truth("wrong"), 0, "{what}");
        let rounds = target.truth("rounds");
        if *before.get_or_insert(rounds) < rounds {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(60), "{what} stands still");
        std::thread::sleep(Duration::from_millis(5));
    }
    let status =
        std::fs::read_to_string(format!("/proc/{}/status", target.pid())).expect("it lives");
    assert!(status.contains("TracerPid:\t0\n"), "{what}");
}

#[test]
fn a_program_that_minds_does_not_notice() {
    for environment in environments() {
        for mode in ["spin", "sleep", "read", "suspend", "many"] {
            let Some(mut target) = start(mode, &environment) else { return };
            let mut copies = 0;
            for look in 0..LOOKS {
                let seen = survey(target.pid(), CONSISTENT).expect("looked at");
                let sum: usize = ROWS.iter().map(|&row| seen.account.tally[row]).sum();
                assert_eq!(sum, seen.rss, "{mode}, look {look}");
                // The kernel's walk of that moment, and its counters.
                assert_eq!(Some(seen.rss), seen.figures.rss_rollup, "{mode}, look {look}");
                if is_by_copy(&seen) {
                    copies += 1;
                } else {
                    println!("{mode}, look {look}: {}", why(&seen));
                }
                if let Some(PauseFor::Copy { is_removed, .. }) = seen.origin.pause_for {
                    assert!(is_removed, "{mode}, look {look}");
                    assert_eq!(children(target.pid()), [], "{mode}, look {look}");
                }
            }
            // A signal may be on its way just then.
            assert!(copies * 2 > LOOKS, "{mode}: {copies} of {LOOKS}");
            is_right(&mut target, mode);
        }
    }
}

#[test]
fn a_copy_tells_what_the_process_itself_does() {
    for environment in environments() {
        let Some(target) = start("apart", &environment) else { return };
        let plain = survey(target.pid(), Options::default()).expect("looked at");
        let frozen = survey(target.pid(), CONSISTENT).expect("looked at");
        common::all_asleep(target.pid());
        let after = survey(target.pid(), Options::default()).expect("looked at");
        // At most the page below its stack pointer, as for a signal.
        assert!((plain.rss..=plain.rss + 4096).contains(&after.rss), "{} {}", plain.rss, after.rss);
        assert!(is_by_copy(&frozen), "{}", why(&frozen));
        assert_eq!(frozen.depth, Depth::Whole);
        assert_eq!(plain.account.tally, frozen.account.tally);
        assert!(frozen.account.tally[Row::LiveUser] > 4 << 20);
        assert_eq!(frozen.account.tally[Row::Unattributed], 0);
    }
}

/// Makes looks in processes of their own, one after the other, and kills each at another moment.
fn look_and_be_killed(pid: u32, rounds: u64) {
    let mut longest = Duration::from_millis(4);
    for round in 0..rounds {
        // SAFETY: the child looks, and ends without returning to the test.
        let child = unsafe { libc::fork() };
        assert!(child >= 0);
        if child == 0 {
            let _ = survey(pid, CONSISTENT);
            // SAFETY: ends this process.
            unsafe { libc::_exit(0) };
        }
        let begun = Instant::now();
        // Spread over a look, whatever it takes here; every eighth one ends by itself.
        let until = longest * (round * 7919 % 1000) as u32 / 1000;
        let mut status = 0;
        while begun.elapsed() < until || round % 8 == 0 {
            // SAFETY: a number to write to.
            if unsafe { libc::waitpid(child, &raw mut status, libc::WNOHANG) } == child {
                longest = longest.max(begun.elapsed()).min(Duration::from_millis(60));
                break;
            }
            std::thread::sleep(Duration::from_micros(20));
        }
        if round % 8 != 0 {
            // SAFETY: our own child; if it has been waited for, the kernel says so.
            unsafe {
                libc::kill(child, libc::SIGKILL);
                libc::waitpid(child, &raw mut status, 0);
            }
        }
    }
}

/// The looker is this test, run once more.
#[test]
fn a_looker_may_die_at_any_moment() {
    const VARIABLE: &str = "HEAPWISE_TEST_DIE_LOOKING_AT";
    const ROUNDS: u64 = 60;
    if let Some(pid) = std::env::var(VARIABLE).ok().and_then(|pid| pid.parse().ok()) {
        return look_and_be_killed(pid, ROUNDS);
    }
    for environment in environments() {
        for mode in ["spin", "read", "suspend", "many"] {
            let Some(mut target) = start(mode, &environment) else { return };
            let looker = Command::new(std::env::current_exe().expect("a path"))
                .args(["--exact", "a_looker_may_die_at_any_moment", "--test-threads=1"])
                .env(VARIABLE, target.pid().to_string())
                .stdout(Stdio::null())
                .status()
                .expect("this program starts");
            assert!(looker.success());
            is_right(&mut target, mode);
            // What could not be removed has ended all the same: nothing runs, nothing is seen by wait.
            let until = Instant::now() + Duration::from_secs(30);
            while children(target.pid()).iter().any(|&(_, is_zombie)| !is_zombie) {
                assert!(Instant::now() < until, "{mode}: {:?}", children(target.pid()));
                std::thread::sleep(Duration::from_millis(5));
            }
            println!("{mode}: {} zombies", children(target.pid()).len());
            // The next looks remove what is left of those.
            let until = Instant::now() + Duration::from_secs(60);
            while !children(target.pid()).is_empty() {
                assert!(Instant::now() < until, "{mode}: {:?}", children(target.pid()));
                survey(target.pid(), CONSISTENT).expect("looked at");
            }
            is_right(&mut target, mode);
        }
    }
}

/// Whether the kernel shows us filters: it can, and we are root without any of our own.
fn sees_filters() -> bool {
    const CAP_SYS_ADMIN: u32 = 21;
    let own = std::fs::read_to_string("/proc/self/status").expect("our own");
    let field = |name: &str| own.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let rights = field("CapEff:").and_then(|word| u64::from_str_radix(word, 16).ok()).unwrap_or(0);
    // It comes with the same option of the kernel.
    let can = std::path::Path::new("/proc/self/timers").exists();
    can && rights >> CAP_SYS_ADMIN & 1 == 1 && field("Seccomp:") == Some("0")
}

fn filtered(program: &std::path::Path, mode: &str) -> std::process::Child {
    let mut child = Command::new(program)
        .arg(mode)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut line = String::new();
    let mut output = BufReader::new(child.stdout.take().expect("piped"));
    output.read_line(&mut line).expect("it answers");
    assert_eq!(line, "ready\n");
    child
}

/// Filters as containers have them let a copy be.
#[test]
fn a_filter_that_lets_it_through_is_no_hindrance() {
    let Some(program) = compile("waits.c") else { return };
    let mut child = filtered(&program, "lenient");
    for _ in 0..3 {
        let seen = survey(child.id(), CONSISTENT).expect("looked at");
        assert_eq!(is_by_copy(&seen), sees_filters(), "{:?}", seen.origin.pause_for);
        assert_eq!(seen.depth, Depth::Whole);
        assert_eq!(children(child.id()), []);
        assert!(child.try_wait().expect("ours").is_none(), "it lives");
    }
    child.kill().expect("ours");
    child.wait().expect("ours");
}

#[test]
fn where_a_filter_could_kill_for_it_no_copy_is_made() {
    let Some(program) = compile("waits.c") else { return };
    for mode in ["deadly", "strict"] {
        let mut child = filtered(&program, mode);
        let seen = survey(child.id(), CONSISTENT).expect("looked at");
        assert!(why(&seen).contains("seccomp"), "{mode}: {:?}", seen.origin.pause_for);
        assert_eq!(seen.depth, Depth::Whole);
        assert!(child.try_wait().expect("ours").is_none(), "{mode}: it lives");
        child.kill().expect("ours");
        child.wait().expect("ours");
    }
}
