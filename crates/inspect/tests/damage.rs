//! Damaged heaps: whatever stands in memory, a walk ends, nothing panics, and
//! the rows sum to what is resident. Seeded: `HEAPWISE_SEED` replays a failure.

mod common;

use common::image::{Dump, Random};
use common::{Target, library, seed};
use heapwise_inspect::glibc::locate::{self, Search};
use heapwise_inspect::glibc::survey::{self as glibc_survey, breaks};
use heapwise_inspect::glibc::symbols::Symbols;
use heapwise_inspect::heap::summary::Heaps;
use heapwise_inspect::process::maps::data_of;
use heapwise_inspect::recognise::Glibc;
use heapwise_inspect::{Allocator, Options, ledger, ours, survey};

const ROUNDS: usize = 30;
/// Words read per word of the image, at most. A sound walk reads each about twice.
const READS_PER_WORD: usize = 40;

fn check(dump: &Dump, heaps: &Heaps, what: &str) {
    let pages = heapwise_inspect::process::memory::Image::pages(dump);
    let account = ledger::settle(&dump.maps, pages, &heaps.claims, &[]);
    assert_eq!(account.tally.sum(), pages.total(), "{what}");
    let reads = dump.reads.get();
    assert!(reads < dump.len() * READS_PER_WORD, "{what}: {reads} reads of {} words", dump.len());
}

fn survey_glibc(dump: &Dump, glibc: &Glibc) -> Heaps {
    let found = glibc.found.unwrap();
    let ground = glibc_survey::Ground {
        memory: dump,
        maps: &dump.maps,
        threads: &[],
        taken: &[],
        table: glibc.table,
        found,
        parameters: found.mp.and_then(|mp| locate::parameters(dump, &glibc.table, mp)),
        tls_offsets: &glibc.tls_offsets,
        paint: true,
        bins: true,
    };
    ground.survey().unwrap_or_default()
}

fn search_glibc(dump: &Dump, glibc: &Glibc) {
    let data = data_of(&dump.maps, |mapping| mapping.file_name().starts_with("libc"));
    let breaks = breaks(&dump.maps);
    let search = Search { data: &data, base: 0, symbols: Symbols::default(), breaks: &breaks };
    let _ = locate::find(dump, &glibc.table, &search);
}

#[test]
fn a_damaged_glibc_heap_ends_every_walk() {
    let mut random = Random(seed());
    println!("HEAPWISE_SEED={}", seed());
    let mut stopped = 0;
    for shape in ["lists", "foreign", "blocked", "mapped"] {
        let Some(target) = Target::start(shape, &[]) else { return };
        let seen = survey(target.pid(), Options::default()).unwrap();
        let Allocator::Glibc(glibc) = seen.allocator else { panic!("glibc") };
        let sound = Dump::of(target.pid());
        let heaps = survey_glibc(&sound, &glibc);
        assert!(heaps.arenas.iter().all(|arena| arena.is_whole()), "{shape}");
        check(&sound, &heaps, shape);
        let mut broken = 0;
        for round in 0..ROUNDS {
            let dump = sound.damaged(&mut random);
            search_glibc(&dump, &glibc);
            let heaps = survey_glibc(&dump, &glibc);
            broken += usize::from(!heaps.arenas.iter().all(|arena| arena.is_whole()));
            check(&dump, &heaps, &format!("{shape}, round {round}"));
        }
        println!("{shape}: {broken} of {ROUNDS} walks stopped short");
        stopped += broken;
    }
    assert!(stopped > 0, "the damage did none");
}

#[test]
fn a_damaged_heap_of_ours_ends_every_walk() {
    let Some(library) = library() else { return };
    let preload = [("LD_PRELOAD", library.to_str().unwrap())];
    let mut random = Random(seed());
    println!("HEAPWISE_SEED={}", seed());
    for shape in ["lists", "foreign", "blocked", "mapped"] {
        let Some(target) = Target::start(shape, &preload) else { return };
        let sound = Dump::of(target.pid());
        let data = data_of(&sound.maps, |mapping| mapping.file_name() == "libheapwise.so");
        for round in 0..ROUNDS {
            let dump = sound.damaged(&mut random);
            let Some(ours::root::Found::Root(root)) = ours::root::find(&dump, &data) else {
                continue;
            };
            let ground =
                ours::survey::Ground { memory: &dump, root: &root, paint: true, bins: true };
            check(&dump, &ground.survey(), &format!("{shape}, round {round}"));
        }
    }
}
