//! From the firmware's memory map to `Box::new`: what a kernel does at boot.
//!
//! ```text
//!   memory map ─► how large must the books be? ─► carve them from the first region
//!              ─► zones ─► add the regions ─► lock ─► fronts ─► slabs ─► kmalloc
//! ```
//! On a host, 64 MiB of a vector stand for the machine's memory; a kernel uses the
//! addresses as they are. `cargo run -p heapwise-pages --example boot_memory`

use heapwise_pages::raw::{Cache, Direct, SpinLock};
use heapwise_pages::slab::{
    CacheSlot, CpuSlab, Front, Parts, SlabFrame, SlabHeap, SlabInfo, Source,
};
use heapwise_pages::*;
use std::sync::atomic::AtomicU8;

/// What the firmware says: usable from, to. A hole below 1 MiB, one at 40 MiB.
const MEMORY_MAP: [(u64, u64); 3] =
    [(0x1000, 0x9_f000), (0x10_0000, 40 << 20), (44 << 20, 64 << 20)];
const END: u64 = 64 << 20;

/// The slabs' frames come straight from the zones.
struct FromPages(&'static Pages<'static, SpinLock<Zones<'static>>>);

impl Source for FromPages {
    fn take(&self, order: Order) -> Option<Pfn> {
        self.0.zones(|zones| zones.alloc(order, Request::KERNEL)).ok()
    }

    fn give(&self, pfn: Pfn, order: Order) {
        // Our own bug, if it is ever refused.
        self.0.zones(|zones| zones.free(pfn, order)).expect("the slabs gave back what they had");
    }
}

struct Task {
    id: u64,
    name: [u8; 16],
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pfn = |phys: u64| Pfn::new((phys >> PAGE_SHIFT) as u32);
    // The machine: on a host, a region that stands for its memory.
    let ram = vec![0_u8; END as usize + (4 << 20)].leak();
    let offset = ram.as_mut_ptr().expose_provenance().next_multiple_of(4 << 20) as u64;
    let direct = DirectMap::new(offset, Phys(END)).ok_or("no room for the direct map")?;

    // The books. A kernel would place these slices in its image or in the first
    // region, and add that region only from their end on.
    let mut zones = Zones::new();
    let low = ZoneKind::Dma.span();
    for (kind, start, end) in [(ZoneKind::Dma, low.0, low.1), (ZoneKind::Normal, low.1, pfn(END))] {
        let frames: Vec<AtomicU8> =
            (0..Metadata::frame_bytes(start, end)).map(|_| AtomicU8::new(0)).collect();
        let words = vec![0; Metadata::words(start, end)].leak();
        println!(
            "{:>6}: {} bytes of books for {} frames",
            kind.name(),
            frames.len() + 8 * words.len(),
            end.get() - start.get()
        );
        let metadata = Metadata { frames: frames.leak(), words };
        zones.add_zone(Zone::new(kind, start, end, Order::MAX, metadata)?)?;
    }
    for (from, to) in MEMORY_MAP {
        zones.add_region(pfn(from), pfn(to))?;
    }
    print!("\nafter boot\n{}", BuddyInfo(&zones));

    // Pages: one front for each CPU; this machine has one.
    let pages: &'static _ =
        Box::leak(Box::new(Pages::new(zones, SpinLock::new).with_direct_map(direct)));
    let mut cpu = Box::new(CpuFront::new());
    let dma = pages.alloc(&mut cpu, Order::ZERO, Request::KERNEL.below(ZoneKind::Dma))?;
    let stack = pages.get_free_pages(&mut cpu, Order::new(2).ok_or("order")?, Request::KERNEL)?;
    println!("\na DMA frame: {dma:?}; a kernel stack at {:#x}", stack.0);
    println!("freed twice: {:?}", {
        pages.free(&mut cpu, dma, Order::ZERO)?;
        pages.free(&mut cpu, dma, Order::ZERO)
    });

    // Slabs on top.
    let frames = (END >> PAGE_SHIFT) as usize;
    let books: Vec<SlabFrame> = (0..frames).map(|_| SlabFrame::new()).collect();
    let parts = Parts {
        // SAFETY: all memory below END is mapped at `offset`; only the zones give
        // it out.
        memory: unsafe { Direct::new() },
        source: FromPages(pages),
        frames: books.leak(),
        first: Pfn::new(0),
        direct,
        secret: 0x6a09_e667_f3bc_c908, // a kernel takes this from its entropy
        cpus: 1,
    };
    let heap = SlabHeap::new(parts, vec![CacheSlot::new(); 32].leak(), SpinLock::new)?;
    let mut fronts = [Front::new(); 32];
    let mut cpu_slab = CpuSlab::new(&mut fronts);

    let buffer = heap.kmalloc(&mut cpu_slab, 100)?;
    println!("\nkmalloc(100) at {:#x}, ksize {}", buffer.0, heap.ksize(buffer)?);
    let tasks: Cache<'_, '_, Task, _, _, _> = Cache::new(&heap, "task_struct")?;
    let name = *b"init\0\0\0\0\0\0\0\0\0\0\0\0";
    let init = tasks.alloc(&mut cpu_slab, Task { id: 1, name }).map_err(|(error, _)| error)?;
    // SAFETY: just made, and ours until it is freed.
    let (id, name) = unsafe { (init.as_ref().id, init.as_ref().name) };
    println!("task {id}, {}", String::from_utf8_lossy(&name[..4]));
    // SAFETY: from this cache, and not used again.
    unsafe { tasks.free(&mut cpu_slab, init)? };
    heap.kfree(&mut cpu_slab, buffer)?;
    println!("kfree twice: {:?}", heap.kfree(&mut cpu_slab, buffer));

    println!("\n{}", heap.slabs(|slabs| SlabInfo(slabs).to_string()));
    heap.drain(&mut cpu_slab);
    pages.free_pages(&mut cpu, stack, Order::new(2).ok_or("order")?)?;
    pages.drain(&mut cpu);
    pages.zones(|zones| print!("{}", BuddyInfo(zones)));
    Ok(())
}
