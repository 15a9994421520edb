//! Every allocation fails once: the n-th frame, and with only n nodes or n tables, for
//! every n up to enough. No panic, nothing lost, and a refused verb has changed nothing.

mod common;

use common::{Machine, Space, start};
use heapwise_vm::*;

const PAGE: u64 = 4096;
const AREA: u64 = 0x10_0000_0000;

const fn at(page: u64) -> VirtAddr {
    VirtAddr::new(AREA + page * PAGE)
}

/// Why a step failed, both kinds of errors in one.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Failed {
    Verb(Error),
    Touch(FaultError),
}

type Step = fn(&mut Machine, &mut Space) -> Result<(), Failed>;

fn map(machine: &mut Machine, mm: &mut Space, request: MapRequest) -> Result<(), Failed> {
    mm.mmap(&mut machine.env(), request).map(drop).map_err(Failed::Verb)
}

fn store(machine: &mut Machine, mm: &mut Space, page: u64) -> Result<(), Failed> {
    machine.poke(mm, at(page).get(), page).map(drop).map_err(Failed::Touch)
}

fn verb(result: Result<(), Error>) -> Result<(), Failed> {
    result.map_err(Failed::Verb)
}

fn anonymous(page: u64, pages: u64, prot: Prot) -> MapRequest {
    MapRequest::anonymous(pages * PAGE, prot).at(at(page)).with(MapFlags::FIXED)
}

/// A short life with every verb; what fails is left out.
const STEPS: &[Step] = &[
    |machine, mm| map(machine, mm, anonymous(0, 16, Prot::RW)),
    |machine, mm| store(machine, mm, 0),
    |machine, mm| store(machine, mm, 5),
    |machine, mm| {
        let mut shared = anonymous(32, 8, Prot::RW);
        shared.flags = MapFlags::SHARED | MapFlags::FIXED;
        map(machine, mm, shared)
    },
    |machine, mm| store(machine, mm, 33),
    |machine, mm| verb(mm.mprotect(&mut machine.env(), at(4), 2 * PAGE, Prot::READ)),
    |machine, mm| verb(mm.madvise(&mut machine.env(), at(8), PAGE, Advice::Random)),
    |machine, mm| verb(mm.munmap(&mut machine.env(), at(34), PAGE)),
    |machine, mm| {
        let far = VirtAddr::new(AREA << 3);
        let request = RemapRequest {
            flags: RemapFlags::MAYMOVE | RemapFlags::FIXED,
            to: far,
            ..RemapRequest::resize(at(0), 3 * PAGE, 4 * PAGE)
        };
        mm.mremap(&mut machine.env(), request).map(drop).map_err(Failed::Verb)
    },
    |machine, mm| map(machine, mm, anonymous(10, 2, Prot::READ)),
    |machine, mm| verb(mm.try_brk(&mut machine.env(), mm.bounds.start_brk.up(9 * PAGE))),
    |machine, mm| {
        let start = mm.bounds.start_brk.get();
        machine.poke(mm, start + PAGE, 1).map(drop).map_err(Failed::Touch)
    },
    |machine, mm| verb(mm.try_brk(&mut machine.env(), mm.bounds.start_brk.up(PAGE))),
    |machine, mm| verb(mm.mprotect(&mut machine.env(), at(4), 2 * PAGE, Prot::RW)),
    |machine, mm| store(machine, mm, 6),
    |machine, mm| {
        let table = machine.table();
        let mut child = mm.fork(&mut machine.env(), table).map_err(Failed::Verb)?;
        let result = store(machine, &mut child, 5);
        assert!(child.is_sound(&machine.nodes));
        child.exit(&mut machine.env());
        result
    },
    |machine, mm| store(machine, mm, 5),
    |machine, mm| verb(mm.madvise(&mut machine.env(), at(0), 2 * PAGE, Advice::DontNeed)),
];

/// What a program could see, and what the machine has promised.
fn view(machine: &Machine, mm: &Space) -> (String, u64, u64) {
    let rss = mm.rss();
    (machine.maps(mm), rss.total(), machine.commit.committed)
}

/// Runs all steps; returns how many failed for want of something.
fn live(machine: &mut Machine) -> u32 {
    let before = machine.free();
    let mut mm = machine.space();
    let mut failures = 0;
    for (nth, step) in STEPS.iter().enumerate() {
        let seen = view(machine, &mm);
        let wants = match step(machine, &mut mm) {
            Err(Failed::Touch(FaultError::OutOfMemory)) => true,
            Err(Failed::Verb(error)) => matches!(
                error,
                Error::OutOfVmas | Error::OutOfTables | Error::OutOfFrames | Error::TryAgain
            ),
            _ => false,
        };
        if wants {
            failures += 1;
            assert_eq!(view(machine, &mm), seen, "step {nth} was refused and changed something");
        }
        assert!(mm.is_sound(&machine.nodes), "after step {nth}");
    }
    mm.exit(&mut machine.env());
    assert_eq!(machine.commit.committed, 0, "promises are lost");
    assert_eq!(machine.files.objects(), 0, "objects are lost");
    assert_eq!(machine.free(), before, "frames, tables or nodes are lost");
    failures
}

#[test]
fn every_frame_is_missing_once() {
    let mut machine = Machine::new(256);
    let mut failed = 0;
    for missing in 1.. {
        machine.buddy.fail_at.set(missing);
        let failures = live(&mut machine);
        if machine.buddy.fail_at.replace(0) > 0 {
            assert_eq!(failures, 0);
            break;
        }
        assert_eq!(failures, 1, "frame {missing}");
        failed += 1;
    }
    assert!(failed >= 5, "only {failed} frames were taken");
}

#[test]
fn every_number_of_nodes_is_too_few_once() {
    let short = (0..64).take_while(|nodes| live(&mut Machine::sized(256, *nodes, 256)) > 0);
    let short = short.count();
    assert!((8..40).contains(&short), "{short} nodes were too few");
}

#[test]
fn every_number_of_tables_is_too_few_once() {
    let short = (0..64).take_while(|tables| live(&mut Machine::sized(256, 256, *tables)) > 0);
    let short = short.count();
    assert!((8..40).contains(&short), "{short} tables were too few");
}

#[test]
fn exec_fails_cleanly_at_every_frame() {
    let mut machine = Machine::new(256);
    for missing in 1..12 {
        machine.buddy.fail_at.set(missing);
        let file = machine.files.create(FileKind::Regular, 8, "/bin/program").unwrap();
        let before = machine.free();
        let start = start(file, 5000);
        let mut mm = machine.space();
        let result = mm.exec(&mut machine.env(), &start);
        let short = machine.buddy.fail_at.replace(0) == 0;
        assert_eq!(result.is_err(), short, "frame {missing}: {result:?}");
        assert!(mm.is_sound(&machine.nodes));
        mm.exit(&mut machine.env());
        machine.files.close(file, &mut machine.frames);
        let after = machine.free();
        // The file's own pages went with it.
        assert_eq!((after.1, after.2), (before.1, before.2));
        assert_eq!(machine.frames.in_use(), 0);
        if !short {
            return;
        }
    }
    panic!("exec takes more than 11 frames");
}
