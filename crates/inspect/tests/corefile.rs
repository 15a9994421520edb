//! Core files: the same heap as in the live process, and one error or honest rows for bad ones.
//! Seeded: `HEAPWISE_SEED` replays a failure.

mod common;

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use common::core;
use common::image::Random;
use common::{Target, library, seed};
use heapwise_inspect::corefile::{Core, CoreError};
use heapwise_inspect::origin::Source;
use heapwise_inspect::{Allocator, Depth, Options, Row, Survey, survey, survey_core, verdict};

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let name = format!("{name}-{}.core", std::process::id());
        Self(Path::new(env!("CARGO_TARGET_TMPDIR")).join(name))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn look(path: &Path, sysroot: &str) -> Result<Survey, CoreError> {
    survey_core(&Core::open(path, Path::new(sysroot))?, Options::ALL)
}

fn assert_same_heap(live: &Survey, dead: &Survey, what: &str) {
    assert_eq!(dead.origin.source, Source::Core);
    assert_eq!(dead.depth, Depth::Whole, "{what}: {:?}", dead.allocator);
    assert_eq!((dead.pid, &dead.origin.executable), (live.pid, &live.origin.executable), "{what}");
    assert_eq!(dead.account.tally.sum(), dead.rss, "{what}");
    assert_eq!(dead.account.tally[Row::Unattributed], 0, "{what}");
    assert_eq!(dead.flaws(), 0, "{what}");
    assert_eq!(dead.classes(), live.classes(), "{what}");
    assert_eq!(dead.heaps.mapped, live.heaps.mapped, "{what}");
    assert_eq!(dead.heaps.caches.len(), live.heaps.caches.len(), "{what}");
    assert_eq!(dead.threads.all.len(), live.threads.all.len(), "{what}");
    for (live, dead) in live.heaps.arenas.iter().zip(&dead.heaps.arenas) {
        assert_eq!(dead.counts, live.counts, "{what}");
        assert_eq!(dead.bins, live.bins, "{what}");
        assert_eq!(dead.threads, live.threads, "{what}");
        // Free pages that are all zero are not counted in a core.
        assert!(dead.trim_gain <= live.trim_gain, "{what}");
    }
    let stacks = |seen: &Survey| seen.threads.all.iter().filter(|t| t.stack.is_some()).count();
    assert_eq!(stacks(dead), stacks(live), "{what}");
}

#[test]
fn a_core_has_the_heap_of_the_process() {
    for shape in ["holes", "lists", "mapped", "foreign", "blocked", "threads"] {
        let Some(target) = Target::start(shape, &[]) else { return };
        let live = survey(target.pid(), Options::ALL).unwrap();
        let file = Scratch::new(shape);
        core::write(&live, &file.0);
        drop(target);
        let dead = look(&file.0, "/").unwrap();
        assert!(matches!(dead.allocator, Allocator::Glibc(_)), "{shape}: {:?}", dead.allocator);
        assert_same_heap(&live, &dead, shape);
        // Every live chunk of the shapes is written to.
        assert_eq!(dead.account.tally[Row::LiveUser], live.account.tally[Row::LiveUser], "{shape}");
    }
}

#[test]
fn a_core_of_a_process_on_our_heap_is_read_too() {
    let Some(library) = library() else { return };
    for shape in ["lists", "threads"] {
        let environment =
            [("LD_PRELOAD", library.to_str().unwrap()), ("HEAPWISE_PURGE_HELPER", "0")];
        let Some(target) = Target::start(shape, &environment) else { return };
        let live = survey(target.pid(), Options::ALL).unwrap();
        let file = Scratch::new(&format!("ours-{shape}"));
        core::write(&live, &file.0);
        drop(target);
        let dead = look(&file.0, "/").unwrap();
        assert!(matches!(dead.allocator, Allocator::Heapwise), "{shape}: {:?}", dead.allocator);
        assert_same_heap(&live, &dead, shape);
    }
}

#[test]
fn without_its_libc_a_core_says_which_one_is_missing() {
    let Some(target) = Target::start("lists", &[]) else { return };
    let live = survey(target.pid(), Options::default()).unwrap();
    let file = Scratch::new("no-libc");
    core::write(&live, &file.0);
    let dead = look(&file.0, "/no/such/root").unwrap();
    let Allocator::Other(why) = &dead.allocator else { panic!("{:?}", dead.allocator) };
    assert!(why.contains("/no/such/root/") && why.contains("build id"), "{why}");
    assert_eq!(dead.depth, Depth::Mappings);
    assert_eq!(dead.account.tally.sum(), dead.rss);
}

#[test]
fn what_is_no_core_is_an_error() {
    let file = Scratch::new("none");
    fs::write(&file.0, "").unwrap();
    assert!(matches!(look(&file.0, "/"), Err(CoreError::Foreign)));
    assert!(matches!(look(Path::new("/proc/self/exe"), "/"), Err(CoreError::Foreign)));
    fs::write(&file.0, b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0\x04\0").unwrap();
    assert!(matches!(look(&file.0, "/"), Err(CoreError::OtherMachine(_))));
    fs::write(&file.0, b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x04\0\x3e\0").unwrap();
    assert!(matches!(look(&file.0, "/"), Err(CoreError::Damaged(_))));
    assert!(matches!(look(Path::new("/no/such/file"), "/"), Err(CoreError::Io(_))));
}

#[test]
fn cut_and_bent_cores_end_in_an_error_or_an_account() {
    let Some(target) = Target::start("lists", &[]) else { return };
    let live = survey(target.pid(), Options::default()).unwrap();
    let file = Scratch::new("bent");
    let written = core::write(&live, &file.0);
    drop(target);
    let mut random = Random(seed());
    println!("HEAPWISE_SEED={}", seed());
    let (mut errors, mut whole, mut partial) = (0, 0, 0);
    let mut judge = |path: &Path, what: &str| match look(path, "/") {
        Ok(dead) => {
            assert_eq!(dead.account.tally.sum(), dead.rss, "{what}");
            let _ = verdict::judge(&dead);
            if dead.depth == Depth::Whole { whole += 1 } else { partial += 1 }
        }
        Err(CoreError::Io(error)) => panic!("{what}: {error}"),
        Err(_) => errors += 1,
    };
    // Headers, notes, and what they lead to.
    let mut head = vec![0; written.head_bytes as usize];
    let open = OpenOptions::new().read(true).write(true).open(&file.0).unwrap();
    open.read_exact_at(&mut head, 0).unwrap();
    for round in 0..120 {
        let mut bent = head.clone();
        for _ in 0..1 + random.below(6) {
            let at = random.below(bent.len() / 8) * 8;
            let word = [0, u64::MAX, 1 << 47, 1 << 63, 4096, at as u64, 1 << random.below(64)];
            let old = u64::from_le_bytes(bent[at..at + 8].try_into().unwrap());
            let new = match random.below(3) {
                0 => word[random.below(word.len())],
                1 => old ^ 1 << random.below(64),
                _ => old.wrapping_add(4096),
            };
            bent[at..at + 8].copy_from_slice(&new.to_le_bytes());
        }
        open.write_all_at(&bent, 0).unwrap();
        judge(&file.0, &format!("round {round}"));
    }
    open.write_all_at(&head, 0).unwrap();
    for _ in 0..20 {
        let length = random.below(written.bytes as usize) as u64;
        let cut = Scratch::new("cut");
        fs::copy(&file.0, &cut.0).unwrap();
        File::options().write(true).open(&cut.0).unwrap().set_len(length).unwrap();
        judge(&cut.0, &format!("cut to {length}"));
    }
    println!("{errors} errors, {whole} whole, {partial} partial");
    assert!(
        errors > 5 && whole > 5 && partial > 5,
        "{errors} errors, {whole} whole, {partial} partial"
    );
}
