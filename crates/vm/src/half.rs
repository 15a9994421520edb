//! The kernel's half of the addresses, over a table that counts from 0.
//!
//! ```text
//!   ffff c900 0000 0000 … ──► c900 0000 0000 …      the low 48 bits
//!   └──┴ all ones
//! ```

use crate::addr::{Span, VirtAddr};
use crate::table::{Entry, OutOfTables, PageTable};

/// Where the upper half starts, and what its addresses have in common.
const SIGN: u64 = 0xffff << 48;

/// A page table of 48-bit addresses, as it appears in the upper half.
pub struct UpperHalf<T>(pub T);

const fn down(at: VirtAddr) -> VirtAddr {
    VirtAddr::new(at.get() & !SIGN)
}

const fn up(at: VirtAddr) -> VirtAddr {
    VirtAddr::new(at.get() | SIGN)
}

const fn is_upper(at: VirtAddr) -> bool {
    at.get() >> 47 == (1 << 17) - 1
}

/// The last page stays out: a span's end would be beyond all addresses.
const fn span_down(span: Span) -> Span {
    let start = if is_upper(span.start) { down(span.start) } else { VirtAddr::new(1 << 47) };
    let end = if is_upper(span.end) { down(span.end) } else { VirtAddr::NULL };
    Span::new(start, end)
}

impl<T: PageTable> PageTable for UpperHalf<T> {
    fn get(&self, at: VirtAddr) -> Option<Entry> {
        if is_upper(at) { self.0.get(down(at)) } else { None }
    }

    fn set(&mut self, at: VirtAddr, entry: Entry) -> Result<(), OutOfTables> {
        if is_upper(at) { self.0.set(down(at), entry) } else { Err(OutOfTables) }
    }

    fn clear(&mut self, at: VirtAddr) -> Option<Entry> {
        if is_upper(at) { self.0.clear(down(at)) } else { None }
    }

    fn first(&self, span: Span) -> Option<(VirtAddr, Entry)> {
        let (at, entry) = self.0.first(span_down(span))?;
        Some((up(at), entry))
    }

    fn prune(&mut self, span: Span) {
        self.0.prune(span_down(span));
    }

    fn flush(&mut self, span: Span) {
        self.0.flush(span);
    }

    fn tables(&self) -> u64 {
        self.0.tables()
    }
}
