//! Where things lie in an address space, and the settings that decide.
//!
//! ```text
//!   0   min   text data bss   heap ↑      bottom-up ↑      ↓ mmap base   stack   task_size
//!   │    │    └ image ──┘ └ brk ─┘        │ task_size/3     │ gap ≥ 128 MiB ↓ │    │
//!   └────┴────────────────────────────────┴─────────────────┴─────────────────┴────┘
//! ```
//! The gap below the stack is its limit plus what may be random plus the guard, at
//! least 128 MiB, at most five sixths of the space.

use crate::addr::VirtAddr;
use heapwise_pages::{PAGE_SHIFT, PAGE_SIZE};

/// "No limit", as `RLIM_INFINITY`.
pub const UNLIMITED: u64 = u64::MAX;

/// The resource limits that concern memory, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// `RLIMIT_AS`: all mappings together.
    pub address_space: u64,
    /// `RLIMIT_DATA`: private writable mappings; and the break with the image's data.
    pub data: u64,
    /// `RLIMIT_STACK`: how far the stack grows.
    pub stack: u64,
}

impl Default for Limits {
    /// As programs mostly start: a stack of 8 MiB, else no limit.
    fn default() -> Self {
        Self { address_space: UNLIMITED, data: UNLIMITED, stack: 8 << 20 }
    }
}

/// What an administrator sets: `/proc/sys/vm` and `/sys/kernel/mm`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Policy {
    /// `vm.max_map_count`.
    pub max_map_count: u32,
    /// `vm.mmap_min_addr`: nothing is mapped below, unless by the privileged.
    pub min_address: VirtAddr,
    /// `stack_guard_gap`, in pages.
    pub stack_guard_pages: u64,
    /// Align anonymous lengths of whole huge pages, and large maps of files, to huge
    /// pages (kernels with transparent huge pages).
    pub align_huge: bool,
    /// Align shared memory too (`shmem_enabled` is not `never` or `deny`).
    pub align_shmem: bool,
    /// Pages of a file that one read fault maps at most.
    pub fault_around_pages: u64,
    /// `vm.legacy_va_layout`: bottom-up.
    pub legacy_layout: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            max_map_count: 65530,
            min_address: VirtAddr::new(65536),
            stack_guard_pages: 256,
            align_huge: true,
            align_shmem: false,
            fault_around_pages: 16,
            legacy_layout: false,
        }
    }
}

impl Policy {
    /// The stack's guard, in bytes.
    pub const fn stack_guard(&self) -> u64 {
        self.stack_guard_pages << PAGE_SHIFT
    }
}

/// `kernel.randomize_va_space`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Aslr {
    /// 0: nothing is random.
    Off,
    /// 1: stack, mmap base and the image are.
    Conservative,
    /// 2: the break too.
    Full,
}

/// The width of a program's addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Width {
    /// 3 GiB for the program, 1 GiB for the kernel.
    Bits32,
    /// 32 bits under a kernel of 64: 4 GiB but for two pages.
    Compat32,
    /// 128 TiB each.
    Bits64,
}

impl Width {
    /// The end of the program's part.
    pub const fn task_size(self) -> u64 {
        match self {
            Self::Bits32 => 0xc000_0000,
            Self::Compat32 => (1 << 32) - 2 * PAGE_SIZE,
            Self::Bits64 => (1 << 47) - PAGE_SIZE,
        }
    }

    const fn stack_random_pages(self) -> u64 {
        match self {
            Self::Bits32 | Self::Compat32 => 0x7ff,
            Self::Bits64 => 0x3f_ffff,
        }
    }

    const fn mmap_random_bits(self) -> u32 {
        match self {
            Self::Bits32 | Self::Compat32 => 8,
            Self::Bits64 => 28,
        }
    }

    /// How far above the image the break may start, at random.
    const fn brk_random_bytes(self) -> u64 {
        match self {
            Self::Bits32 | Self::Compat32 => 32 << 20,
            Self::Bits64 => 1 << 30,
        }
    }

    /// Where position-independent programs go.
    const fn dyn_base(self) -> u64 {
        match self {
            Self::Bits32 => 0x40_0000,
            // COMPAT_ELF_ET_DYN_BASE: 16 MiB above where mappings go bottom-up.
            Self::Compat32 => crate::addr::page_align(self.task_size() / 3) + (16 << 20),
            Self::Bits64 => self.task_size() / 3 * 2,
        }
    }

    /// Stack alignment, in bytes.
    pub(crate) const fn stack_align(self) -> u64 {
        16
    }
}

/// One address space's fixed points.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Layout {
    /// The width of its addresses.
    pub width: Width,
    /// Its end.
    pub task_size: VirtAddr,
    /// Mappings go below this, from the top down.
    pub mmap_base: VirtAddr,
    /// And from here up when that fails.
    pub legacy_base: VirtAddr,
    /// The stack's end.
    pub stack_top: VirtAddr,
    /// What is added to the break's start.
    pub brk_offset: u64,
    /// Where position-independent programs go.
    pub dyn_base: VirtAddr,
    /// Bottom-up from the start.
    pub legacy: bool,
}

impl Layout {
    /// The layout of a new program. `random` gives 64 random bits a call; it is not
    /// called with [`Aslr::Off`]. O(1).
    pub fn new(
        width: Width,
        aslr: Aslr,
        limits: &Limits,
        policy: &Policy,
        random: &mut dyn FnMut() -> u64,
    ) -> Self {
        let task_size = width.task_size();
        let randomized = aslr > Aslr::Off;
        let mut pages = |mask: u64| if randomized { (random() & mask) << PAGE_SHIFT } else { 0 };
        let stack = pages(width.stack_random_pages());
        let mmap = pages((1 << width.mmap_random_bits()) - 1);
        let image = pages((1 << width.mmap_random_bits()) - 1);
        let brk = if aslr == Aslr::Full {
            // A page of .bss may follow; then anywhere in the range.
            PAGE_SIZE + pages(u64::MAX >> PAGE_SHIFT) % width.brk_random_bytes()
        } else {
            0
        };
        let may_be_random = if randomized { width.stack_random_pages() << PAGE_SHIFT } else { 0 };
        let pad = may_be_random + policy.stack_guard();
        let gap = limits.stack.checked_add(pad).unwrap_or(limits.stack);
        let gap = gap.clamp(128 << 20, task_size / 6 * 5);
        let align = |bytes: u64| crate::addr::page_align(bytes);
        Self {
            width,
            task_size: VirtAddr::new(task_size),
            mmap_base: VirtAddr::new(align(task_size - gap - mmap)),
            legacy_base: VirtAddr::new(align(task_size / 3) + mmap),
            stack_top: VirtAddr::new(task_size - stack),
            brk_offset: brk & !(PAGE_SIZE - 1),
            dyn_base: VirtAddr::new(width.dyn_base() + image).page(),
            legacy: policy.legacy_layout,
        }
    }

    /// Where the break starts of a position-independent program without an interpreter: not
    /// behind its image, which lies among the mappings, but where other programs are. O(1).
    pub const fn moved_brk(&self) -> VirtAddr {
        // No page of .bss follows here.
        let random = self.brk_offset.saturating_sub(PAGE_SIZE);
        VirtAddr::new(crate::addr::page_align(self.width.dyn_base()) + random)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(width: Width, aslr: Aslr, stack: u64, random: u64) -> Layout {
        let limits = Limits { stack, ..Limits::default() };
        Layout::new(width, aslr, &limits, &Policy::default(), &mut || random)
    }

    #[test]
    fn without_randomness_it_is_the_layout_everybody_knows() {
        let layout = layout(Width::Bits64, Aslr::Off, 8 << 20, 0);
        assert_eq!(layout.mmap_base.get(), 0x7fff_f7ff_f000);
        assert_eq!(layout.legacy_base.get(), 0x2aaa_aaaa_b000);
        assert_eq!(layout.dyn_base.get(), 0x5555_5555_4000);
        assert_eq!(layout.stack_top.get(), 0x7fff_ffff_f000);
        assert_eq!(layout.brk_offset, 0);
    }

    #[test]
    fn the_gap_for_the_stack_is_clamped() {
        let endless = layout(Width::Bits64, Aslr::Off, UNLIMITED, 0);
        let space = Width::Bits64.task_size();
        assert_eq!(endless.mmap_base.get(), crate::addr::page_align(space - space / 6 * 5));
        let large = layout(Width::Bits32, Aslr::Off, 256 << 20, 0);
        assert_eq!(large.mmap_base.get(), 0xc000_0000 - (256 << 20) - (256 << 12));
    }

    #[test]
    fn each_level_of_aslr_moves_more() {
        let some = layout(Width::Bits64, Aslr::Conservative, 8 << 20, 0x1234_5678_9abc);
        let all = layout(Width::Bits64, Aslr::Full, 8 << 20, 0x1234_5678_9abc);
        let none = layout(Width::Bits64, Aslr::Off, 8 << 20, 0x1234_5678_9abc);
        assert!(some.mmap_base < none.mmap_base && some.stack_top < none.stack_top);
        assert_eq!(some.brk_offset, 0);
        assert!(all.brk_offset > 0 && all.brk_offset <= (1 << 30) + PAGE_SIZE);
        assert_eq!(all.mmap_base, some.mmap_base);
    }
}
