//! From memory that a kernel has at boot to its first process: exec, a heap, a fork.
//!
//! ```text
//!   cargo run -p heapwise-vm --example first_process
//! ```
//! A kernel would place the slices in its image or in memory that it sets aside, hand
//! [`Mm::fault`] what the processor says at a page fault, and write its own
//! [`PageTable`] over the processor's.

use heapwise_pages::slab::Source;
use heapwise_pages::{Metadata, Order, Pfn, Request, Zone, ZoneKind, Zones};
use heapwise_seed::Rng;
use heapwise_vm::render::{Maps, Status};
use heapwise_vm::*;
use std::cell::RefCell;
use std::sync::atomic::AtomicU8;

/// Frames straight from the buddy. A kernel with several CPUs would go through `Pages`.
struct Buddy<'m>(RefCell<Zones<'m>>);

impl Source for Buddy<'_> {
    fn take(&self, order: Order) -> Option<Pfn> {
        self.0.borrow_mut().alloc(order, Request::USER).ok()
    }

    fn give(&self, pfn: Pfn, order: Order) {
        // Our own bug, if it is ever refused.
        self.0.borrow_mut().free(pfn, order).expect("it came from here");
    }
}

const FRAMES: u32 = 4096;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // The machine: 16 MiB, one zone.
    let (first, end) = (Pfn::new(0), Pfn::new(FRAMES));
    let states: Vec<AtomicU8> =
        (0..Metadata::frame_bytes(first, end)).map(|_| AtomicU8::new(0)).collect();
    let mut words = vec![0; Metadata::words(first, end)];
    let metadata = Metadata { frames: &states, words: &mut words };
    let mut zones = Zones::new();
    zones.add_zone(Zone::new(ZoneKind::Normal, first, end, Order::MAX, metadata)?)?;
    zones.add_region(first, end)?;

    // What the address spaces share: nodes for VMAs, page tables, owners of frames.
    let mut slots = vec![VmaSlot::new(); 256];
    let mut nodes = VmaPool::new(&mut slots);
    let mut tables = vec![Table::new(); 64];
    let arena = RefCell::new(TableArena::new(&mut tables));
    let mut owners = vec![0; FRAMES as usize];
    // `()`: the contents of frames are not kept here. A kernel zeroes and copies them
    // through its direct map.
    let frames = Counted::new(Buddy(RefCell::new(zones)), (), first, &mut owners);
    let mut frames = frames.ok_or("no frame for the page of zeros")?;
    let mut objects = [const { ShmemSlot::new() }; 8];
    let mut files = Shmem::new(&mut objects, &arena);
    let mut commit = Commit::new(Overcommit::Always, u64::from(FRAMES));

    // A program: text and data, as an ELF reader would describe it.
    let file = files.create(FileKind::Regular, 8, "/sbin/init").ok_or("no room for a file")?;
    let segments = [
        Segment { address: 0, offset: 0, file_bytes: 0x1800, memory_bytes: 0x1800, prot: Prot::RX },
        Segment {
            address: 0x2800,
            offset: 0x1800,
            file_bytes: 0x400,
            memory_bytes: 0x3000,
            prot: Prot::RW,
        },
    ];
    let program = Image { file, segments: &segments, entry: 0x100, relocatable: true };
    let start = Start {
        program,
        interpreter: Some(program),
        argument_bytes: 11,
        environment_bytes: 200,
        vdso: true,
    };

    let (limits, policy) = (Limits::default(), Policy::default());
    // A kernel takes this from its entropy.
    let mut random = Rng::new(0x9e37_79b9_7f4a_7c15);
    let mut random = || random.word();
    let layout = Layout::new(Width::Bits64, Aslr::Full, &limits, &policy, &mut random);
    let mut init = Mm::new(SoftTable::new(&arena), layout, limits, policy);
    let mut env =
        Env { nodes: &mut nodes, frames: &mut frames, files: &mut files, commit: &mut commit };
    let entry = init.exec(&mut env, &start)?;
    println!("init starts at {entry:?}");

    // What its malloc does: the break for small things, a mapping for a large one.
    let heap = init.bounds.start_brk;
    assert_eq!(init.brk(&mut env, heap.up(132 << 10)), heap.up(132 << 10));
    let large = init.mmap(&mut env, MapRequest::anonymous(1 << 30, Prot::RW))?;

    // A gibibyte costs nothing until it is touched. These are page faults.
    for page in 0..3 {
        let touch = init.access(&mut env, large.up(page << 12), Access::Write)?;
        println!("store at page {page}: {:?}, {:?}", touch.fault, touch.pfn);
    }
    println!(
        "a load at the end: {:?}",
        init.access(&mut env, large.up(1 << 29), Access::Read)?.fault
    );
    println!("a store to code: {}", init.access(&mut env, entry, Access::Write).unwrap_err());
    println!(
        "a load from nowhere: {}",
        init.fault(&mut env, VirtAddr::NULL, Access::Read).unwrap_err()
    );

    // A child shares all of it, until one of them stores.
    let mut child = init.fork(&mut env, SoftTable::new(&arena))?;
    println!("the child's first store: {:?}", child.access(&mut env, large, Access::Write)?.fault);
    println!("then the parent's: {:?}", init.access(&mut env, large, Access::Write)?.fault);

    println!("\n{}", Maps { mm: &init, nodes: env.nodes, files: env.files });
    print!("{}", Status(&init));
    println!("{:?}", init.events());

    // Whoever is killed gives everything back.
    child.exit(&mut env);
    init.exit(&mut env);
    env.files.close(file, env.frames);
    println!("\nframes still in use: {}", frames.in_use());
    Ok(())
}
