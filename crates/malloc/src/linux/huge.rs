//! Huge pages by `MADV_COLLAPSE` (Linux 6.1): one page is touched, the rest comes with it.
//!
//! Not by `MADV_HUGEPAGE`: that marks the addresses for good, and the kernel's
//! khugepaged would fill what is given back there later.

use super::machine::{nr, syscall};
use super::read_file;
use crate::chunk::at;
use crate::os::Span;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

const MADV_COLLAPSE: usize = 25;
const EINVAL: isize = -22;
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

/// As [`crate::os::Os::populate_huge`].
///
/// # Safety
/// As there.
pub unsafe fn populate(range: Span) -> bool {
    if !wanted() {
        return false;
    }
    // SAFETY: the caller's range, zero and in nobody's use; the advice keeps contents.
    let result = unsafe {
        at::<u8>(range.start).write_volatile(0);
        syscall(nr::MADVISE, [range.start, range.bytes(), MADV_COLLAPSE, 0, 0, 0])
    };
    if result == EINVAL {
        // An older kernel, or this process was told to have none.
        KNOWN.store(NO, Relaxed);
    }
    result == 0
}
