//! The memory lines of `/proc/PID/status`.

use crate::mm::Mm;
use crate::table::PageTable;
use core::fmt;
use heapwise_pages::PAGE_SIZE;

/// From `VmPeak` to `HugetlbPages`.
pub struct Status<'a, T>(pub &'a Mm<T>);

impl<T: PageTable> fmt::Display for Status<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (usage, rss, bounds) = (self.0.usage, self.0.rss, self.0.bounds);
        let text_end = crate::addr::page_align(bounds.end_code.get());
        let text = text_end.saturating_sub(bounds.start_code.page().get()) / PAGE_SIZE;
        let text = text.min(usage.code);
        let lines = [
            ("VmPeak", usage.peak.max(usage.total)),
            ("VmSize", usage.total),
            ("VmLck", 0),
            ("VmPin", 0),
            ("VmHWM", rss.peak.max(rss.total())),
            ("VmRSS", rss.total()),
            ("RssAnon", rss.anon),
            ("RssFile", rss.file),
            ("RssShmem", rss.shmem),
            ("VmData", usage.data),
            ("VmStk", usage.stack),
            ("VmExe", text),
            ("VmLib", usage.code - text),
            ("VmPTE", self.0.table.tables()),
            ("VmSwap", 0),
            ("HugetlbPages", 0),
        ];
        lines.iter().try_for_each(|(name, pages)| {
            writeln!(f, "{name}:\t{:8} kB", pages * (PAGE_SIZE >> 10))
        })
    }
}
