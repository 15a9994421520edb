//! Huge pages for a range: `MADV_HUGEPAGE`, one touch a block, `MADV_NOHUGEPAGE`.
//!
//! The last call takes the mark off again: with it the kernel's khugepaged would
//! fill later what has been given back there. `MADV_COLLAPSE` needs no mark, but
//! waits for work on every processor (20 ms on a busy machine, against 180 µs).

use super::machine::{nr, syscall};
use super::read_file;
use crate::chunk::at;
use crate::huge::HUGE_BYTES;
use crate::os::{Os, Span};
use core::sync::atomic::{AtomicU8, AtomicU32, Ordering::Relaxed};

const MADV_HUGEPAGE: usize = 14;
const MADV_NOHUGEPAGE: usize = 15;
const UNKNOWN: u32 = 0;
const YES: u32 = 1;
const NO: u32 = 2;

/// Whether this kernel, and whoever set it up, have huge pages for us.
static KNOWN: AtomicU32 = AtomicU32::new(UNKNOWN);

fn wanted() -> bool {
    let mut text = [0; 64];
    match KNOWN.load(Relaxed) {
        YES => true,
        NO => false,
        _ => {
            let file = b"/sys/kernel/mm/transparent_hugepage/enabled\0";
            let setting = read_file(file, &mut text).unwrap_or_default();
            let yes = setting.contains(&b'[') && !setting.windows(7).any(|w| w == b"[never]");
            KNOWN.store(if yes { YES } else { NO }, Relaxed);
            yes
        }
    }
}

/// As [`Os::populate_huge`].
///
/// # Safety
/// As there.
pub unsafe fn populate(os: &super::Linux, range: Span) -> bool {
    let first = range.start.next_multiple_of(HUGE_BYTES);
    let end = range.end & !(HUGE_BYTES - 1);
    if !wanted() || first >= end {
        return false;
    }
    // SAFETY: the caller's range; advice changes no contents.
    let advise =
        |advice| unsafe { syscall(nr::MADVISE, [range.start, range.bytes(), advice, 0, 0, 0]) };
    if advise(MADV_HUGEPAGE) != 0 {
        // A kernel without.
        KNOWN.store(NO, Relaxed);
        return false;
    }
    for block in (first..end).step_by(HUGE_BYTES) {
        // One access that stores: a load before it would have the kernel map its page of zeros first.
        // SAFETY: the caller's and in nobody's use; what is there stays.
        let _ = unsafe { &*at::<AtomicU8>(block) }.compare_exchange(0, 0, Relaxed, Relaxed);
    }
    advise(MADV_NOHUGEPAGE);
    // Or the kernel had none to give.
    os.resident(end - os.page_bytes())
}
