//! Where the host and the model may differ, by name and source. Scripts leave these
//! steps out; nothing else may differ.

use crate::op::Op;

/// A difference that is known and meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exception {
    /// Linux 6.16 to 6.18 let `mremap` with `MREMAP_FIXED` that also shrinks ask for a
    /// promise of the pages that it has just unmapped: in `mm/mremap.c`, `mremap_to`
    /// shrinks and sets `old_len`, but `vrm_calc_charge` asks for the old `delta`. Seen
    /// as ENOMEM when these alone are more than RAM and swap. Before, and in the model,
    /// nothing more is asked for.
    ShrinkAndMoveCharge,
    /// On hosts with protection keys a mapping that is only executable gets one
    /// (`arch/x86/mm/pkeys.c`, `__execute_only_pkey`), and its number is part of the
    /// VMA's flags. The model has no keys.
    ExecuteOnlyKey,
    /// Whether there is a huge page free is chance, and it counts as 512 resident pages
    /// (`mm/huge_memory.c`, `do_huge_pmd_anonymous_page`). The model has small pages.
    HugePages,
    /// `MAP_DROPPABLE` (Linux 6.11, `mm/mmap.c`) is not in the model.
    Droppable,
    /// `THPeligible` in `smaps` follows the host's settings of huge pages
    /// (`fs/proc/task_mmu.c`, `show_smap`). The model has none: 0.
    HugePageEligible,
    /// Linux marks pages that MADV_FREE gave up in batches, one a processor (`mm/swap.c`,
    /// `folio_mark_lazyfree`): `LazyFree` in `smaps` shows them later. The model at once.
    LazyFreeLater,
    /// More is to be faulted in than either side should hold.
    TooMuchToPopulate,
}

/// More than any machine's RAM that a step may ask for by chance.
const MUCH: u64 = 1 << 30;
/// What may be faulted in at once.
const POPULATE_BYTES: u64 = 8 << 20;
const EXEC: u64 = 4;

impl Exception {
    /// The exception that a step falls under.
    pub const fn of(op: &Op) -> Option<Self> {
        match *op {
            Op::Mremap { old, new, flags, .. } if flags & 2 != 0 && old > new => {
                if old - new > MUCH { Some(Self::ShrinkAndMoveCharge) } else { None }
            }
            Op::Mmap { prot: EXEC, .. } | Op::Mprotect(_, _, EXEC) => Some(Self::ExecuteOnlyKey),
            Op::Madvise(_, _, 14 | 15) => Some(Self::HugePages),
            Op::Mmap { flags, .. } if flags & 0xf == 8 => Some(Self::Droppable),
            Op::Mmap { length, flags, .. } if flags & 0x8000 != 0 && length > POPULATE_BYTES => {
                Some(Self::TooMuchToPopulate)
            }
            Op::Madvise(_, length, 22 | 23) if length > POPULATE_BYTES => {
                Some(Self::TooMuchToPopulate)
            }
            _ => None,
        }
    }
}
