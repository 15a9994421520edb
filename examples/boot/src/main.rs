//! A machine of 64 MiB, from its first instruction to its last.
//!
//! ```text
//!   malloc          heapwise-malloc      a program's chunks, bins, break
//!   ──────── Os ────────────────────────────────────────────────────────
//!   Mm, #PF         heapwise-vm          VMAs, faults, fork, vmalloc
//!   Pages, slabs    heapwise-pages       buddy, front, kmalloc
//!   ─────────────────────────────────────────────────────────────────────
//!   start.rs cpu.rs table.rs             an emulated PC
//! ```
//! `cargo run` starts it under QEMU where that is installed; README.md says how.
//! All that is checked is checked here: the last line is "all is well", or it is not.
#![no_std]
#![no_main]

mod cpu;
mod firmware;
mod kernel;
mod os;
mod start;
mod strings;
mod table;

use cpu::println;
use firmware::MemoryMap;
use heapwise_malloc::{Allocator, Slot};
use heapwise_pages::raw::{Cache, Direct, SpinLock};
use heapwise_pages::slab::{CacheSlot, CpuSlab, Front, Parts, SlabFrame, SlabHeap, SlabInfo};
use heapwise_pages::{BuddyInfo, DirectMap, PAGE_OFFSET, PAGE_SIZE, Pfn, Phys};
use heapwise_vm::{MapRequest, Prot, VMALLOC_RANGE, VmaPool, VmaSlot, Vmalloc, render};
use kernel::Frames;
use os::KernelOs;
use table::X86Table;

unsafe extern "C" {
    static image_end: [u8; 0];
}

static MALLOC: Allocator<KernelOs> = Allocator::new(KernelOs);

/// Ends with the line that was not true.
macro_rules! check {
    ($truth:expr) => {
        if !$truth {
            println!("{}:{}: not true: {}", file!(), line!(), stringify!($truth));
            cpu::exit(false);
        }
    };
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    println!("{info}");
    cpu::exit(false)
}

#[unsafe(no_mangle)]
extern "C" fn boot_main(info: u64) -> ! {
    // SAFETY: the first thing that is done.
    unsafe { cpu::set_traps() };
    // SAFETY: what the loader left.
    let Some(map) = (unsafe { MemoryMap::read(info) }) else {
        println!("no memory map");
        cpu::exit(false)
    };
    for region in map.regions() {
        println!("memory   {:#010x}-{:#010x}", region.from, region.to);
    }
    let end = (&raw const image_end).addr() as u64;
    let Some((frames, books)) = kernel::boot(map, end) else {
        println!("no room for the books");
        cpu::exit(false)
    };
    buddyinfo("after boot", frames);
    slabs(frames, books);
    scattered(frames);
    // The tables of the kernel's own range stay.
    let before = frames.free();
    program();
    forked();
    kernel::with(|kernel| {
        let (mm, mut env) = kernel.verbs();
        mm.exit(&mut env);
        check!(kernel.counted.in_use() == 0);
    });
    buddyinfo("\nat the end", frames);
    check!(frames.free() == before);
    println!("\nall is well");
    cpu::exit(true)
}

fn buddyinfo(when: &str, frames: Frames) {
    let free = frames.free();
    println!("{when}: {free} frames free");
    frames.pages.zones(|zones| println!("{}", BuddyInfo(zones)));
}

/// The kernel's own objects.
fn slabs(frames: Frames, books: &'static [SlabFrame]) {
    let mut slots = [CacheSlot::new(); 16];
    let Some(direct) = DirectMap::new(PAGE_OFFSET, Phys(start::MAPPED_BYTES)) else { return };
    let parts = Parts {
        // SAFETY: the direct map maps all frames, which only the pages give out.
        memory: unsafe { Direct::new() },
        source: frames,
        frames: books,
        first: Pfn::new(0),
        direct,
        secret: cpu::cycles(),
        cpus: 1,
    };
    let before = frames.free();
    let heap = SlabHeap::new(parts, &mut slots, SpinLock::new);
    check!(heap.is_ok());
    let Ok(heap) = heap else { return };
    let mut fronts = [const { Front::new() }; 16];
    let mut cpu = CpuSlab::new(&mut fronts);
    let buffer = heap.kmalloc(&mut cpu, 100);
    check!(buffer.is_ok());
    let tasks = Cache::<(u64, [u8; 48]), _, _, _>::new(&heap, "task_struct");
    check!(tasks.is_ok());
    let (Ok(buffer), Ok(tasks)) = (buffer, tasks) else { return };
    let task = tasks.alloc(&mut cpu, (1, [0; 48]));
    check!(task.is_ok());
    println!("kmalloc(100) at {:#x}, usable {:?}", buffer.0, heap.ksize(buffer));
    heap.slabs(|slabs| println!("{}", SlabInfo(slabs)));
    if let Ok(task) = task {
        // SAFETY: from this cache, and not used again.
        check!(unsafe { tasks.free(&mut cpu, task) }.is_ok());
    }
    check!(heap.kfree(&mut cpu, buffer).is_ok());
    check!(heap.kfree(&mut cpu, buffer).is_err());
    heap.drain(&mut cpu);
    check!(heap.destroy(tasks.id()).is_ok());
    heap.shrink_kmalloc();
    check!(frames.free() == before);
}

/// Frames from anywhere, side by side.
fn scattered(frames: Frames) {
    const PAGES: u64 = 100;
    let mut nodes = [VmaSlot::new(), VmaSlot::new(), VmaSlot::new(), VmaSlot::new()];
    let table = X86Table::current(frames);
    let mut vmalloc = Vmalloc::new(table, VmaPool::new(&mut nodes), VMALLOC_RANGE, 1);
    let at = vmalloc.alloc(&frames, PAGES * PAGE_SIZE);
    check!(at.is_ok());
    let Ok(at) = at else { return };
    let word =
        |nth: u64| core::ptr::with_exposed_provenance_mut::<u64>((at.get() + nth * 8) as usize);
    for nth in 0..PAGES * PAGE_SIZE / 8 {
        // SAFETY: inside the area, which is ours.
        unsafe { word(nth).write_volatile(nth) };
    }
    for nth in 0..PAGES * PAGE_SIZE / 8 {
        // SAFETY: as above.
        check!(unsafe { word(nth).read_volatile() } == nth);
    }
    println!("{vmalloc}");
    check!(vmalloc.free(&frames, at) == Ok(PAGES));
    vmalloc.purge();
}

/// A program on malloc: lists, texts, large blocks; every load and store of it is
/// real, and faults for real.
fn program() {
    const COUNT: usize = 4000;
    let slot = Slot::new();
    let mut head = 0_usize;
    let size = |nth: usize| 24 + nth * 37 % 3000;
    for nth in 0..COUNT {
        let at = MALLOC.malloc(&slot, size(nth));
        check!(at != 0);
        let words = core::ptr::with_exposed_provenance_mut::<usize>(at);
        // SAFETY: 24 bytes at least are ours; the last byte is inside.
        unsafe {
            words.write(head);
            words.add(1).write(nth);
            words.cast::<u8>().add(size(nth) - 1).write(nth as u8);
        }
        head = at;
    }
    let large = MALLOC.calloc(&slot, 1 << 20, 3);
    check!(large != 0);
    let large_bytes = core::ptr::with_exposed_provenance_mut::<u8>(large);
    // SAFETY: 3 MiB are ours. The first is only read, and so takes no memory.
    unsafe {
        check!((0..1 << 20).step_by(4096).all(|at| large_bytes.add(at).read_volatile() == 0));
        (1 << 20..2 << 20).step_by(4096).for_each(|at| large_bytes.add(at).write_volatile(1));
    }
    kernel::with(|kernel| {
        println!("\nthe program's maps");
        let maps = render::Maps { mm: &kernel.mm, nodes: &kernel.nodes, files: &kernel.files };
        println!("{maps}");
        let (usage, rss, events) = (kernel.mm.usage(), kernel.mm.rss(), kernel.mm.events());
        println!("mapped {} kB, resident {} kB", usage.total * 4, rss.total() * 4);
        println!(
            "calls {}, page faults {}: {} zeroed, {} page of zeros, {} copied",
            events.calls, events.faults, events.zeroed, events.zero_page, events.copied
        );
        // One of the 256 pages that are only read holds the header of its chunk.
        check!(events.zeroed >= 256 && events.zero_page >= 255);
        check!(rss.total() < usage.total);
    });
    let figures = MALLOC.figures();
    println!("malloc: {} chunks live, {} bytes", figures.live.count, figures.live.bytes);
    MALLOC.free(&slot, large);
    let mut nth = COUNT;
    while head != 0 {
        nth -= 1;
        let words = core::ptr::with_exposed_provenance_mut::<usize>(head);
        // SAFETY: a block of the list, freed once it was read.
        let next = unsafe {
            check!(words.add(1).read() == nth);
            check!(words.cast::<u8>().add(size(nth) - 1).read() == nth as u8);
            words.read()
        };
        MALLOC.free(&slot, head);
        head = next;
    }
    check!(nth == 0);
    check!(MALLOC.check().is_ok());
}

/// A child with a copy of everything: the first store to a page copies its frame.
fn forked() {
    const BYTES: u64 = 16 * PAGE_SIZE;
    let at = kernel::with(|kernel| {
        let (mm, mut env) = kernel.verbs();
        mm.mmap(&mut env, MapRequest::anonymous(BYTES, Prot::READ | Prot::WRITE))
    });
    check!(at.is_ok());
    let Ok(at) = at else { return };
    let page = |nth: u64| {
        core::ptr::with_exposed_provenance_mut::<u64>((at.get() + nth * PAGE_SIZE) as usize)
    };
    for nth in 0..16 {
        // SAFETY: inside the mapping.
        unsafe { page(nth).write_volatile(nth) };
    }
    let copied = || kernel::with(|kernel| kernel.mm.events().copied);
    let (before, parent) = (copied(), cpu::root());
    let child = kernel::with(|kernel| {
        let table = X86Table::beside(kernel.mm.table())?;
        let (mm, mut env) = kernel.verbs();
        mm.fork(&mut env, table).ok()
    });
    check!(child.is_some());
    let Some(child) = child else { return };
    for nth in 0..8 {
        // SAFETY: as above.
        unsafe { page(nth).write_volatile(100 + nth) };
    }
    check!(copied() == before + 8);
    // SAFETY: the child's table has the kernel's half, and the identity map, too.
    unsafe { cpu::set_root(child.table().root()) };
    for nth in 0..16 {
        // SAFETY: as above; the child sees what was there when it was made.
        check!(unsafe { page(nth).read_volatile() } == nth);
    }
    // SAFETY: the table from before.
    unsafe { cpu::set_root(parent) };
    for nth in 0..16 {
        let expected = if nth < 8 { 100 + nth } else { nth };
        // SAFETY: as above.
        check!(unsafe { page(nth).read_volatile() } == expected);
    }
    println!("\nforked: {} pages copied, the others shared", copied() - before);
    kernel::with(|kernel| {
        let mut child = child;
        let (_, mut env) = kernel.verbs();
        child.exit(&mut env);
        child.table_mut().release();
    });
}
