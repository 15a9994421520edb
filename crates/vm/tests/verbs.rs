//! What each verb promises, one promise a test.

mod common;

use common::{Machine, Space, start};
use heapwise_seed::Rng;
use heapwise_vm::*;

const PAGE: u64 = 4096;

fn at(address: u64) -> VirtAddr {
    VirtAddr::new(address)
}

fn map(machine: &mut Machine, mm: &mut Space, pages: u64) -> u64 {
    let request = MapRequest::anonymous(pages * PAGE, Prot::RW);
    mm.mmap(&mut machine.env(), request).unwrap().get()
}

fn finish(mut machine: Machine, mut spaces: Vec<Space>, before: (u32, usize, u32)) {
    for mm in &mut spaces {
        assert!(mm.is_sound(&machine.nodes));
        mm.exit(&mut machine.env());
    }
    assert_eq!(machine.free(), before);
    assert_eq!(machine.commit.committed, 0);
    assert_eq!(machine.files.objects(), 0);
}

#[test]
fn untouched_memory_is_not_resident_and_reads_share_the_page_of_zeros() {
    let mut machine = Machine::new(1024);
    let before = machine.free();
    machine.commit.mode = Overcommit::Always;
    let mut mm = machine.space();
    // A gibibyte asked, two pages touched.
    let start = map(&mut machine, &mut mm, 1 << 18);
    assert_eq!(mm.usage().total, 1 << 18);
    assert_eq!(mm.rss().total(), 0);
    assert_eq!(machine.peek(&mut mm, start), Ok(0));
    assert_eq!(machine.peek(&mut mm, start + PAGE), Ok(0));
    assert_eq!((mm.rss().total(), mm.events().zero_page), (0, 2));
    machine.poke(&mut mm, start, 7).unwrap();
    machine.poke(&mut mm, start + 100 * PAGE, 8).unwrap();
    assert_eq!((mm.rss().anon, mm.events().zeroed), (2, 2));
    assert_eq!(machine.peek(&mut mm, start), Ok(7));
    finish(machine, vec![mm], before);
}

#[test]
fn fork_shares_until_somebody_writes() {
    let mut machine = Machine::new(1024);
    let before = machine.free();
    let mut parent = machine.space();
    let start = map(&mut machine, &mut parent, 4);
    machine.poke(&mut parent, start, 1).unwrap();
    let table = machine.table();
    let mut child = parent.fork(&mut machine.env(), table).unwrap();
    assert_eq!(machine.frames.in_use(), 1);
    assert_eq!((parent.rss().anon, child.rss().anon), (1, 1));
    let touch = machine.poke(&mut child, start, 2).unwrap();
    assert_eq!(touch.fault, Some(Fault::Copied));
    assert_eq!(machine.peek(&mut parent, start), Ok(1));
    assert_eq!(machine.peek(&mut child, start), Ok(2));
    // The parent is the sole owner again: no second copy.
    let touch = machine.poke(&mut parent, start, 3).unwrap();
    assert_eq!(touch.fault, Some(Fault::Reused));
    assert_eq!(machine.frames.in_use(), 2);
    finish(machine, vec![parent, child], before);
}

#[test]
fn shared_memory_is_one_memory_for_parent_and_child() {
    let mut machine = Machine::new(1024);
    let before = machine.free();
    let mut parent = machine.space();
    let mut request = MapRequest::anonymous(8 * PAGE, Prot::RW);
    request.flags = MapFlags::SHARED | MapFlags::ANONYMOUS;
    let start = parent.mmap(&mut machine.env(), request).unwrap().get();
    machine.poke(&mut parent, start, 5).unwrap();
    let table = machine.table();
    let mut child = parent.fork(&mut machine.env(), table).unwrap();
    assert_eq!(child.rss().total(), 0, "faults fill it again");
    assert_eq!(machine.peek(&mut child, start), Ok(5));
    machine.poke(&mut child, start, 6).unwrap();
    assert_eq!(machine.peek(&mut parent, start), Ok(6));
    assert_eq!((parent.rss().shmem, child.rss().shmem), (1, 1));
    assert!(machine.maps(&child).contains("/dev/zero (deleted)"));
    finish(machine, vec![parent, child], before);
}

#[test]
fn the_break_keeps_a_page_to_the_next_mapping() {
    let mut machine = Machine::new(1024);
    let before = machine.free();
    let mut mm = machine.space();
    let start = mm.bounds.start_brk;
    let block = MapRequest::anonymous(PAGE, Prot::READ).at(start.up(10 * PAGE));
    mm.mmap(&mut machine.env(), block.with(MapFlags::FIXED)).unwrap();
    assert_eq!(mm.brk(&mut machine.env(), start.up(9 * PAGE)), start.up(9 * PAGE));
    assert_eq!(mm.brk(&mut machine.env(), start.up(10 * PAGE)), start.up(9 * PAGE));
    assert_eq!(mm.try_brk(&mut machine.env(), start.up(10 * PAGE)), Err(Error::Exists));
    assert!(machine.maps(&mm).contains("[heap]"));
    // Down through a hole: refused; down within the heap: done.
    assert_eq!(mm.munmap(&mut machine.env(), start.up(5 * PAGE), 4 * PAGE), Ok(()));
    assert_eq!(mm.try_brk(&mut machine.env(), start.up(6 * PAGE)), Err(Error::Unmapped));
    assert_eq!(mm.brk(&mut machine.env(), start.up(PAGE)), start.up(PAGE));
    assert_eq!(mm.brk(&mut machine.env(), at(u64::MAX)), start.up(PAGE));
    finish(machine, vec![mm], before);
}

#[test]
fn a_stack_grows_down_to_its_limit_and_keeps_its_guard() {
    let mut machine = Machine::new(4096);
    let before = machine.free();
    let mut mm =
        machine.space_with(Limits { stack: 64 * PAGE, ..Limits::default() }, Policy::default());
    let text = machine.files.create(FileKind::Regular, 4, "/bin/program").unwrap();
    let segments =
        [Segment { address: 0, offset: 0, file_bytes: 3000, memory_bytes: 3000, prot: Prot::RX }];
    let program = Image { file: text, segments: &segments, entry: 16, relocatable: true };
    let start = Start {
        program,
        interpreter: Some(program),
        argument_bytes: 30,
        environment_bytes: 500,
        vdso: true,
    };
    let entry = mm.exec(&mut machine.env(), &start).unwrap();
    assert!(mm.vma_at(&machine.nodes, entry).unwrap().flags.has(VmFlags::EXEC));
    let maps = machine.maps(&mm);
    for name in ["/bin/program", "[stack]", "[vdso]", "[vvar]", "[vvar_vclock]"] {
        assert!(maps.contains(name), "{maps}");
    }
    let top = mm.layout.stack_top.get();
    assert_eq!(mm.usage().stack, 33);
    machine.poke(&mut mm, top - 50 * PAGE, 1).unwrap();
    assert_eq!(mm.usage().stack, 50);
    assert_eq!(machine.poke(&mut mm, top - 65 * PAGE, 1), Err(FaultError::NotMapped));
    let near = MapRequest::anonymous(PAGE, Prot::READ).at(at(top - 300 * PAGE));
    mm.mmap(&mut machine.env(), near.with(MapFlags::FIXED)).unwrap();
    mm.limits.stack = UNLIMITED;
    machine.poke(&mut mm, top - 299 * PAGE + 256 * PAGE, 1).unwrap();
    assert_eq!(machine.poke(&mut mm, top - 299 * PAGE + 255 * PAGE, 1).err(), None);
    assert_eq!(machine.poke(&mut mm, top - 100 * PAGE, 1), Err(FaultError::NotMapped));
    machine.files.close(text, &mut machine.frames);
    finish(machine, vec![mm], before);
}

#[test]
fn lazily_freed_pages_go_when_memory_is_short_unless_written() {
    let mut machine = Machine::new(1024);
    let before = machine.free();
    let mut mm = machine.space();
    let start = map(&mut machine, &mut mm, 3);
    for page in 0..3 {
        machine.poke(&mut mm, start + page * PAGE, page + 1).unwrap();
    }
    mm.madvise(&mut machine.env(), at(start), 3 * PAGE, Advice::Free).unwrap();
    assert_eq!(mm.rss().anon, 3);
    machine.poke(&mut mm, start + PAGE, 9).unwrap();
    assert_eq!(machine.peek(&mut mm, start + 2 * PAGE), Ok(3));
    assert_eq!(mm.reclaim(&mut machine.env(), 100), 2);
    assert_eq!(mm.rss().anon, 1);
    assert_eq!(machine.peek(&mut mm, start), Ok(0));
    assert_eq!(machine.peek(&mut mm, start + PAGE), Ok(9));
    finish(machine, vec![mm], before);
}

#[test]
fn every_refusal_names_its_cause() {
    let mut machine = Machine::new(1024);
    let before = machine.free();
    let limits = Limits { address_space: 40 * PAGE, data: 20 * PAGE, ..Limits::default() };
    let mut mm = machine.space_with(limits, Policy { max_map_count: 3, ..Policy::default() });
    let mut try_map = |machine: &mut Machine, request| mm.mmap(&mut machine.env(), request).err();
    let anonymous = |pages, prot| MapRequest::anonymous(pages * PAGE, prot);
    assert_eq!(try_map(&mut machine, anonymous(0, Prot::RW)), Some(Error::Argument));
    assert_eq!(try_map(&mut machine, anonymous(21, Prot::RW)), Some(Error::DataLimit));
    assert_eq!(try_map(&mut machine, anonymous(41, Prot::READ)), Some(Error::AddressSpaceLimit));
    assert_eq!(
        try_map(&mut machine, MapRequest::anonymous(u64::MAX, Prot::READ)),
        Some(Error::TooLong)
    );
    assert_eq!(
        try_map(&mut machine, MapRequest::anonymous(1 << 47, Prot::READ)),
        Some(Error::NoGap)
    );
    let fixed = anonymous(1, Prot::READ).with(MapFlags::FIXED);
    assert_eq!(try_map(&mut machine, fixed.at(at(0x1001))), Some(Error::Argument));
    assert_eq!(try_map(&mut machine, fixed.at(at(0x1000))), Some(Error::TooLow));
    assert_eq!(try_map(&mut machine, fixed.at(at(0x10_0000))), None);
    let once_more = fixed.at(at(0x10_0000)).with(MapFlags::FIXED_NOREPLACE);
    assert_eq!(try_map(&mut machine, once_more), Some(Error::Exists));
    mm.munmap(&mut machine.env(), at(0x10_0000), PAGE).unwrap();
    let start = map(&mut machine, &mut mm, 20);
    assert_eq!(mm.mprotect(&mut machine.env(), at(start + PAGE), PAGE, Prot::READ), Ok(()));
    let result = mm.mprotect(&mut machine.env(), at(start + 10 * PAGE), PAGE, Prot::READ);
    assert_eq!(result, Err(Error::TooManyMappings));
    let result = mm.munmap(&mut machine.env(), at(start + 10 * PAGE), PAGE);
    assert_eq!(result, Err(Error::TooManyMappings));
    assert_eq!(machine.poke(&mut mm, start + PAGE, 1), Err(FaultError::NotAllowed));
    assert_eq!(machine.poke(&mut mm, start - PAGE, 1), Err(FaultError::NotMapped));
    let grow =
        RemapRequest { flags: RemapFlags::NONE, ..RemapRequest::resize(at(start), PAGE, 4 * PAGE) };
    assert_eq!(mm.mremap(&mut machine.env(), grow), Err(Error::DataLimit));
    machine.commit =
        Commit { committed: machine.commit.committed, ..Commit::new(Overcommit::Never, 8) };
    let shared = MapRequest { flags: MapFlags::SHARED, ..anonymous(4, Prot::READ) };
    assert_eq!(mm.mmap(&mut machine.env(), shared), Err(Error::Commit));
    finish(machine, vec![mm], before);
}

/// A program with an interpreter, started with this layout.
fn exec(machine: &mut Machine, width: Width, aslr: Aslr, seed: u64) -> (Space, FileId) {
    let file = machine.files.create(FileKind::Regular, 8, "/bin/program").unwrap();
    let start = start(file, 300);
    let mut mm = machine.space();
    let mut rng = Rng::new(seed);
    let mut random = || rng.word();
    mm.layout = Layout::new(width, aslr, &mm.limits, &mm.policy, &mut random);
    mm.exec(&mut machine.env(), &start).unwrap();
    (mm, file)
}

#[test]
fn each_level_of_aslr_leaves_the_order_and_moves_more() {
    let mut machine = Machine::new(1024);
    let before = machine.free();
    for (width, aslr) in [
        (Width::Bits64, Aslr::Off),
        (Width::Bits64, Aslr::Conservative),
        (Width::Bits64, Aslr::Full),
        (Width::Bits32, Aslr::Off),
        (Width::Bits32, Aslr::Full),
        (Width::Compat32, Aslr::Off),
        (Width::Compat32, Aslr::Full),
    ] {
        let mut seen = std::collections::HashSet::new();
        let mut breaks = std::collections::HashSet::new();
        for seed in 0..8 {
            let (mut mm, file) = exec(&mut machine, width, aslr, seed);
            let bounds = mm.bounds;
            let image_end = page_align(bounds.end_data.get() + 9000 - 300);
            let order = [
                bounds.start_code,
                bounds.start_data,
                bounds.end_data,
                bounds.start_brk,
                mm.layout.mmap_base,
                bounds.start_stack,
                bounds.arg_start,
                bounds.env_start,
                bounds.env_end,
                mm.layout.task_size,
            ];
            assert!(order.is_sorted(), "{width:?} {aslr:?} {seed}: {order:?}");
            let gap = bounds.start_brk.get() - image_end;
            assert_eq!(gap == 0, aslr < Aslr::Full, "the break starts {gap} bytes above");
            assert!(gap <= (if width == Width::Bits64 { 1 << 30 } else { 32 << 20 }) + PAGE);
            let large = map(&mut machine, &mut mm, 512);
            assert!(at(large) < mm.layout.mmap_base && at(large) > bounds.start_brk);
            let grown = bounds.start_brk.up(1 << 20);
            assert_eq!(mm.brk(&mut machine.env(), grown), grown);
            seen.insert((bounds.start_code, bounds.start_stack, mm.layout.mmap_base));
            breaks.insert(gap);
            assert!(mm.is_sound(&machine.nodes));
            mm.exit(&mut machine.env());
            machine.files.close(file, &mut machine.frames);
        }
        // 28 bits are never twice the same in 8; 8 bits of a 32-bit program may be.
        let enough = if aslr == Aslr::Off { 1..=1 } else { 5..=8 };
        assert!(enough.contains(&seen.len()), "{width:?} {aslr:?}: {}", seen.len());
        assert_eq!(breaks.len() > 1, aslr == Aslr::Full);
    }
    finish(machine, vec![], before);
}

#[test]
fn strict_overcommit_counts_what_could_be_written() {
    let mut machine = Machine::new(1024);
    let before = machine.free();
    machine.commit = Commit { admin_reserve: 0, ..Commit::new(Overcommit::Never, 400) };
    let mut mm = machine.space();
    let try_map = |machine: &mut Machine, mm: &mut Space, pages, prot| {
        mm.mmap(&mut machine.env(), MapRequest::anonymous(pages * PAGE, prot))
    };
    // 200 pages may be promised, less a thirty-second of what the program has.
    let readable = try_map(&mut machine, &mut mm, 300, Prot::READ).unwrap();
    assert_eq!(machine.commit.committed, 0);
    assert_eq!(try_map(&mut machine, &mut mm, 191, Prot::RW), Err(Error::Commit));
    let start = try_map(&mut machine, &mut mm, 150, Prot::RW).unwrap();
    let writable = mm.mprotect(&mut machine.env(), readable, 100 * PAGE, Prot::RW);
    assert_eq!(writable, Err(Error::Commit));
    let table = machine.table();
    assert_eq!(mm.fork(&mut machine.env(), table).err(), Some(Error::Commit));
    assert_eq!(machine.commit.committed, 150);
    mm.munmap(&mut machine.env(), start.up(50 * PAGE), 100 * PAGE).unwrap();
    assert_eq!(machine.commit.committed, 50);
    let table = machine.table();
    let child = mm.fork(&mut machine.env(), table).unwrap();
    assert_eq!(machine.commit.committed, 100);
    // MAP_NORESERVE is not honoured here.
    let free = MapRequest::anonymous(200 * PAGE, Prot::RW).with(MapFlags::NORESERVE);
    assert_eq!(mm.mmap(&mut machine.env(), free), Err(Error::Commit));
    finish(machine, vec![mm, child], before);
}
