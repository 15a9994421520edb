//! `/proc/PID/smaps` and `smaps_rollup`: what is resident, and how much of it is shared.
//!
//! ```text
//!   Rss   every page with an entry (not the page of zeros)
//!   Pss   the same, each page divided by how many map it
//! ```

use super::maps::write_line;
use crate::addr::Span;
use crate::files::Files;
use crate::flags::VmFlags;
use crate::frames::Frames;
use crate::mm::Mm;
use crate::table::{Entry, EntryBits, PageTable};
use crate::tree::VmaPool;
use crate::vma::Vma;
use core::fmt;
use heapwise_pages::PAGE_SIZE;

/// Bytes resident, as smaps sorts them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Resident {
    /// All.
    pub rss: u64,
    /// Shares, times 2¹².
    pub pss: u64,
    /// Of these, dirty.
    pub pss_dirty: u64,
    /// Of these, private copies.
    pub pss_anon: u64,
    /// Of these, of files.
    pub pss_file: u64,
    /// Of these, of shared memory.
    pub pss_shmem: u64,
    /// Mapped by several, not written.
    pub shared_clean: u64,
    /// Mapped by several, written.
    pub shared_dirty: u64,
    /// Mapped here alone, not written.
    pub private_clean: u64,
    /// Mapped here alone, written.
    pub private_dirty: u64,
    /// Touched lately.
    pub referenced: u64,
    /// Private copies.
    pub anonymous: u64,
    /// Given up by MADV_FREE.
    pub lazy_free: u64,
}

/// Bits behind the point of a share.
const PSS_SHIFT: u32 = 12;

impl Resident {
    /// What is resident of one VMA. O(pages mapped).
    pub fn of<T: PageTable>(mm: &Mm<T>, vma: &Vma, files: &dyn Files, frames: &dyn Frames) -> Self {
        let mut sum = Self::default();
        let mut at = vma.span.start;
        while let Some((page, entry)) = mm.table().first(Span::new(at, vma.span.end)) {
            let file = vma.backing.file().filter(|_| !entry.bits.has(EntryBits::ANON));
            let dirty = entry.bits.has(EntryBits::DIRTY)
                || file.is_some_and(|file| files.is_dirty(file, vma.offset_at(page)));
            sum.add(entry, dirty, frames);
            at = page.up(PAGE_SIZE);
        }
        sum
    }

    fn add(&mut self, entry: Entry, dirty: bool, frames: &dyn Frames) {
        if entry.bits.has(EntryBits::ZERO) {
            return;
        }
        let private_copy = entry.bits.has(EntryBits::ANON);
        // A page of a file has the file for an owner, too.
        let mapped = frames.owners(entry.pfn).saturating_sub(u32::from(!private_copy)).max(1);
        let share = (PAGE_SIZE << PSS_SHIFT) / u64::from(mapped);
        self.rss += PAGE_SIZE;
        self.pss += share;
        *if private_copy {
            &mut self.pss_anon
        } else if entry.bits.has(EntryBits::SHMEM) {
            &mut self.pss_shmem
        } else {
            &mut self.pss_file
        } += share;
        self.pss_dirty += if dirty { share } else { 0 };
        *match (mapped > 1, dirty) {
            (true, false) => &mut self.shared_clean,
            (true, true) => &mut self.shared_dirty,
            (false, false) => &mut self.private_clean,
            (false, true) => &mut self.private_dirty,
        } += PAGE_SIZE;
        self.referenced += if entry.bits.has(EntryBits::ACCESSED) { PAGE_SIZE } else { 0 };
        self.anonymous += if private_copy { PAGE_SIZE } else { 0 };
        let lazy = entry.bits.has(EntryBits::LAZY) && !dirty;
        self.lazy_free += if lazy { PAGE_SIZE } else { 0 };
    }

    /// Both together.
    pub const fn plus(self, other: Self) -> Self {
        Self {
            rss: self.rss + other.rss,
            pss: self.pss + other.pss,
            pss_dirty: self.pss_dirty + other.pss_dirty,
            pss_anon: self.pss_anon + other.pss_anon,
            pss_file: self.pss_file + other.pss_file,
            pss_shmem: self.pss_shmem + other.pss_shmem,
            shared_clean: self.shared_clean + other.shared_clean,
            shared_dirty: self.shared_dirty + other.shared_dirty,
            private_clean: self.private_clean + other.private_clean,
            private_dirty: self.private_dirty + other.private_dirty,
            referenced: self.referenced + other.referenced,
            anonymous: self.anonymous + other.anonymous,
            lazy_free: self.lazy_free + other.lazy_free,
        }
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, rollup: bool) -> fmt::Result {
        line(f, "Rss", self.rss)?;
        line(f, "Pss", self.pss >> PSS_SHIFT)?;
        line(f, "Pss_Dirty", self.pss_dirty >> PSS_SHIFT)?;
        if rollup {
            line(f, "Pss_Anon", self.pss_anon >> PSS_SHIFT)?;
            line(f, "Pss_File", self.pss_file >> PSS_SHIFT)?;
            line(f, "Pss_Shmem", self.pss_shmem >> PSS_SHIFT)?;
        }
        line(f, "Shared_Clean", self.shared_clean)?;
        line(f, "Shared_Dirty", self.shared_dirty)?;
        line(f, "Private_Clean", self.private_clean)?;
        line(f, "Private_Dirty", self.private_dirty)?;
        line(f, "Referenced", self.referenced)?;
        line(f, "Anonymous", self.anonymous)?;
        line(f, "KSM", 0)?;
        line(f, "LazyFree", self.lazy_free)?;
        const NONE_HERE: [&str; 8] = [
            "AnonHugePages",
            "ShmemPmdMapped",
            "FilePmdMapped",
            "Shared_Hugetlb",
            "Private_Hugetlb",
            "Swap",
            "SwapPss",
            "Locked",
        ];
        NONE_HERE.iter().try_for_each(|name| line(f, name, 0))
    }
}

fn line(f: &mut fmt::Formatter<'_>, name: &str, bytes: u64) -> fmt::Result {
    // "Rss:" and its like fill 16 characters, the figure 8 more.
    write!(f, "{name}:")?;
    for _ in name.len() + 1..16 {
        f.write_str(" ")?;
    }
    writeln!(f, "{:8} kB", bytes >> 10)
}

/// Each mapping with its figures.
pub struct Smaps<'a, 'm, T> {
    /// Whose.
    pub mm: &'a Mm<T>,
    /// Where its VMAs are.
    pub nodes: &'a VmaPool<'m>,
    /// What they map.
    pub files: &'a dyn Files,
    /// Who else maps their pages.
    pub frames: &'a dyn Frames,
}

/// Linux's two letters for a flag, in its order.
const LETTERS: [(VmFlags, &str); 18] = [
    (VmFlags::READ, "rd"),
    (VmFlags::WRITE, "wr"),
    (VmFlags::EXEC, "ex"),
    (VmFlags::SHARED, "sh"),
    (VmFlags::MAYREAD, "mr"),
    (VmFlags::MAYWRITE, "mw"),
    (VmFlags::MAYEXEC, "me"),
    (VmFlags::MAYSHARE, "ms"),
    (VmFlags::GROWSDOWN, "gd"),
    (VmFlags::PFNMAP, "pf"),
    (VmFlags::SEQUENTIAL, "sr"),
    (VmFlags::RANDOM, "rr"),
    (VmFlags::DONTCOPY, "dc"),
    (VmFlags::DONTEXPAND, "de"),
    (VmFlags::ACCOUNT, "ac"),
    (VmFlags::NORESERVE, "nr"),
    (VmFlags::WIPEONFORK, "wf"),
    (VmFlags::DONTDUMP, "dd"),
];
const HUGE_LETTERS: [(VmFlags, &str); 2] = [(VmFlags::HUGEPAGE, "hg"), (VmFlags::NOHUGEPAGE, "nh")];

impl<T: PageTable> fmt::Display for Smaps<'_, '_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for vma in self.mm.vmas(self.nodes) {
            write_line(f, self.mm, vma, self.files)?;
            line(f, "Size", vma.span.bytes())?;
            line(f, "KernelPageSize", PAGE_SIZE)?;
            line(f, "MMUPageSize", PAGE_SIZE)?;
            Resident::of(self.mm, vma, self.files, self.frames).write(f, false)?;
            writeln!(f, "THPeligible:           0")?;
            f.write_str("VmFlags: ")?;
            for (flag, letters) in LETTERS.iter().chain(&HUGE_LETTERS) {
                if vma.flags.has(*flag) {
                    write!(f, "{letters} ")?;
                }
            }
            f.write_str("\n")?;
        }
        Ok(())
    }
}

/// All mappings' figures in one.
pub struct SmapsRollup<'a, 'm, T>(pub Smaps<'a, 'm, T>);

impl<T: PageTable> fmt::Display for SmapsRollup<'_, '_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Smaps { mm, nodes, files, frames } = self.0;
        let mut all: Option<(Span, Resident)> = None;
        for vma in mm.vmas(nodes) {
            let one = Resident::of(mm, vma, files, frames);
            let (span, sum) = all.unwrap_or((vma.span, Resident::default()));
            all = Some((Span::new(span.start, vma.span.end), sum.plus(one)));
        }
        let (span, sum) = all.unwrap_or_default();
        let bounds = format_args!("{:08x}-{:08x}", span.start, span.end);
        writeln!(f, "{bounds} ---p 00000000 00:00 0                          [rollup]")?;
        sum.write(f, true)
    }
}
