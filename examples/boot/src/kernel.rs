//! The kernel: one machine, one address space, and the page-fault handler.
//!
//! ```text
//!   program ─► malloc ─► Os (os.rs) ─► Mm: brk, mmap … ─┐
//!      │ load, store                                    ├─► Pages: front ─► buddy
//!      └─ #PF ─► trap_page_fault ─► Mm::fault ──────────┘
//! ```

use crate::cpu::{self, println};
use crate::firmware::MemoryMap;
use crate::start::MAPPED_BYTES;
use crate::table::X86Table;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use heapwise_pages::raw::SpinLock;
use heapwise_pages::slab::{SlabFrame, Source};
use heapwise_pages::{
    CpuFront, DirectMap, Lock, Metadata, Order, PAGE_OFFSET, PAGE_SHIFT, PAGE_SIZE, Pages, Pfn,
    Phys, Request, Urgency, Zone, ZoneKind, Zones,
};
use heapwise_vm::{
    Access, Aslr, Commit, Contents, Counted, Env, Layout, Limits, Mm, Overcommit, Policy, Shmem,
    TableArena, VirtAddr, VmaPool, VmaSlot, Width,
};

pub type Machine = Pages<'static, SpinLock<Zones<'static>>>;
type Arena = SpinLock<TableArena<'static>>;

/// Frames, through this processor's front.
#[derive(Clone, Copy)]
pub struct Frames {
    pub pages: &'static Machine,
    front: &'static SpinLock<CpuFront<'static>>,
}

static FRONT: SpinLock<CpuFront<'static>> = SpinLock::new(CpuFront::new());

impl Frames {
    /// A single frame of zeros.
    pub fn zeroed(&self) -> Option<Pfn> {
        let pfn = self.take(Order::ZERO)?;
        Direct.zero(pfn);
        Some(pfn)
    }

    /// Frames that nobody has.
    pub fn free(&self) -> u32 {
        self.front.with(|front| self.pages.drain(front));
        self.pages.zones(|zones| zones.free_frames())
    }
}

impl Source for Frames {
    fn take(&self, order: Order) -> Option<Pfn> {
        let request = Request::KERNEL.urgent(Urgency::Exhaust);
        self.front.with(|front| self.pages.alloc(front, order, request)).ok()
    }

    fn give(&self, pfn: Pfn, order: Order) {
        if let Err(error) = self.front.with(|front| self.pages.free(front, pfn, order)) {
            println!("{pfn:?} of {order:?} was refused: {error}");
            cpu::exit(false);
        }
    }
}

/// The contents of frames, through the direct map.
pub struct Direct;

fn bytes_of(pfn: Pfn) -> *mut u8 {
    core::ptr::with_exposed_provenance_mut((PAGE_OFFSET + pfn.phys().0) as usize)
}

impl Contents for Direct {
    fn zero(&mut self, pfn: Pfn) {
        // SAFETY: a frame that was just taken, mapped by the direct map.
        unsafe { bytes_of(pfn).write_bytes(0, PAGE_SIZE as usize) };
    }

    fn copy(&mut self, from: Pfn, to: Pfn) {
        // SAFETY: two frames, the second just taken.
        unsafe { bytes_of(to).copy_from_nonoverlapping(bytes_of(from), PAGE_SIZE as usize) };
    }
}

/// What the program's side of the machine stands on.
pub struct Kernel {
    pub mm: Mm<X86Table>,
    pub nodes: VmaPool<'static>,
    pub counted: Counted<'static, Frames, Direct>,
    pub files: Shmem<'static, 'static, 'static, Arena>,
    pub commit: Commit,
}

static KERNEL: SpinLock<Option<Kernel>> = SpinLock::new(None);
/// Whether the kernel works: it must not fault then.
static BUSY: AtomicBool = AtomicBool::new(false);

/// Runs `work` on the kernel; what it does must not fault.
pub fn with<R>(work: impl FnOnce(&mut Kernel) -> R) -> R {
    if BUSY.swap(true, Relaxed) {
        println!("a fault in the kernel");
        cpu::exit(false);
    }
    let result = KERNEL.with(|kernel| match kernel {
        Some(kernel) => work(kernel),
        None => {
            println!("the kernel is not up");
            cpu::exit(false)
        }
    });
    BUSY.store(false, Relaxed);
    result
}

impl Kernel {
    /// The address space, and what its verbs work with.
    pub fn verbs(&mut self) -> (&mut Mm<X86Table>, Env<'_, 'static>) {
        let env = Env {
            nodes: &mut self.nodes,
            frames: &mut self.counted,
            files: &mut self.files,
            commit: &mut self.commit,
        };
        (&mut self.mm, env)
    }
}

/// Brings the machine up: how large must the books be, room for them, zones, regions,
/// then an empty address space. The books of the slabs are for whoever makes a slab heap.
pub fn boot(mut map: MemoryMap, image_end: u64) -> Option<(Frames, &'static [SlabFrame])> {
    let pfn = |phys: u64| Pfn::new((phys >> PAGE_SHIFT) as u32);
    let end = pfn(map.end());
    let count = end.get() as usize;
    let mut books = map.reserve_image(image_end)?;
    let mut zones = Zones::new();
    let (_, border) = ZoneKind::Dma.span();
    for (kind, from, to) in [(ZoneKind::Dma, Pfn::new(0), border), (ZoneKind::Dma32, border, end)] {
        let frames = books.slice(Metadata::frame_bytes(from, to), Default::default)?;
        let words = books.slice(Metadata::words(from, to), || 0)?;
        let zone = Zone::new(kind, from, to, Order::MAX, Metadata { frames, words }).ok()?;
        zones.add_zone(zone).ok()?;
    }
    let machine = books.slice(1, || None)?.first_mut()?;
    let arena: &'static Arena =
        books.slice(1, || SpinLock::new(TableArena::new(&mut [])))?.first()?;
    let owners = books.slice(count, || 0)?;
    let nodes = books.slice(1024, VmaSlot::new)?;
    let slabs: &'static [SlabFrame] = books.slice(count, SlabFrame::new)?;
    // All books are there: what is behind them is free.
    map.reserve_books(&books);
    for region in map.regions() {
        zones.add_region(pfn(region.from), pfn(region.to)).ok()?;
    }
    let direct = DirectMap::new(PAGE_OFFSET, Phys(MAPPED_BYTES))?;
    let machine = machine.insert(Pages::new(zones, SpinLock::new).with_direct_map(direct));
    let frames = Frames { pages: machine, front: &FRONT };
    let (limits, policy) = (Limits::default(), Policy::default());
    let layout = Layout::new(Width::Bits64, Aslr::Off, &limits, &policy, &mut || 0);
    let mut mm = Mm::new(X86Table::current(frames), layout, limits, policy);
    mm.bounds.start_brk = VirtAddr::new(0x5555_5556_0000);
    mm.bounds.brk = mm.bounds.start_brk;
    let kernel = Kernel {
        mm,
        nodes: VmaPool::new(nodes),
        counted: Counted::new(frames, Direct, Pfn::new(0), owners)?,
        files: Shmem::new(&mut [], arena),
        commit: Commit::new(Overcommit::Heuristic, u64::from(end.get())),
    };
    KERNEL.with(|place| *place = Some(kernel));
    Some((frames, slabs))
}

/// The page-fault handler: called on the trap stack, with the program's registers saved.
#[unsafe(no_mangle)]
extern "C" fn trap_page_fault(code: u64, at: u64, rip: u64) {
    const STORE: u64 = 2;
    const FETCH: u64 = 16;
    let access = match code {
        _ if code & STORE != 0 => Access::Write,
        _ if code & FETCH != 0 => Access::Execute,
        _ => Access::Read,
    };
    let result = with(|kernel| {
        let (mm, mut env) = kernel.verbs();
        mm.fault(&mut env, VirtAddr::new(at), access)
    });
    if let Err(error) = result {
        println!("{access:?} of {at:#x} at {rip:#x}: {error:?}");
        cpu::exit(false);
    }
}
