//! What the kernel knows of one process, and of memory, at one moment.

use crate::event::Pid;
use crate::kernel::Kernel;
use heapwise_pages::{CpuFront, ORDERS};
use heapwise_vm::{EntryBits, PageTable, Span, VmFlags};

/// One page with an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PageLine {
    /// Its address.
    pub at: u64,
    /// Its frame.
    pub frame: u32,
    /// `r-`, `rw`.
    pub writable: bool,
    /// The shared page of zeros.
    pub zero: bool,
}

/// The kernel's side.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct MachineState {
    /// Where the heap starts.
    pub start_brk: u64,
    /// The break.
    pub brk: u64,
    /// `/proc/PID/maps`, a line each.
    pub maps: Vec<String>,
    /// Pages of anonymous memory with an entry, from the lowest up, the first ones.
    pub pages: Vec<PageLine>,
    /// How many there are.
    pub page_count: usize,
    /// Resident pages of all kinds.
    pub rss_pages: u64,
    /// Page tables.
    pub tables: u64,
    /// Free blocks of each order.
    pub blocks: [u32; ORDERS],
    /// Frames ready on this processor.
    pub ready: u32,
    /// Simulated time.
    pub time_ns: u64,
}

/// So many pages are kept of each state.
const MOST_PAGES: usize = 48;

impl MachineState {
    /// Takes it down. O(VMAs + pages of anonymous memory).
    #[must_use]
    pub fn of(kernel: &Kernel<'_>, pid: Pid) -> Self {
        let Some(process) = kernel.process(pid) else { return Self::default() };
        let mut pages = Vec::new();
        let mut page_count = 0;
        let heap =
            |vma: &&heapwise_vm::Vma| vma.is_anonymous() && !vma.flags.has(VmFlags::GROWSDOWN);
        for vma in process.mm.vmas(&kernel.nodes).filter(heap) {
            let mut at = vma.span.start;
            while let Some((page, entry)) = process.mm.table().first(Span::new(at, vma.span.end)) {
                page_count += 1;
                if pages.len() < MOST_PAGES {
                    pages.push(PageLine {
                        at: page.get(),
                        frame: entry.pfn.get(),
                        writable: entry.bits.has(EntryBits::WRITE),
                        zero: entry.bits.has(EntryBits::ZERO),
                    });
                }
                at = page.up(heapwise_pages::PAGE_SIZE);
            }
        }
        Self {
            start_brk: process.mm.bounds.start_brk.get(),
            brk: process.mm.bounds.brk.get(),
            maps: kernel.maps(pid).lines().map(str::to_owned).collect(),
            pages,
            page_count,
            rss_pages: process.mm.rss().total(),
            tables: process.mm.table().tables(),
            blocks: kernel.free_blocks(),
            ready: kernel.shared.fronts.borrow().iter().map(CpuFront::frames).sum(),
            time_ns: kernel.now_ns(),
        }
    }
}
