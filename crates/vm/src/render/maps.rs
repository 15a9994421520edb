//! `/proc/PID/maps`.
//!
//! ```text
//!   start-end perms offset dev inode                      column 74: name
//! ```

use crate::files::{FileLabel, Files};
use crate::flags::VmFlags;
use crate::mm::Mm;
use crate::table::PageTable;
use crate::tree::VmaPool;
use crate::vma::{Backing, Vma};
use core::fmt::{self, Write};
use heapwise_pages::PAGE_SHIFT;

/// The mappings, one a line.
pub struct Maps<'a, 'm, T> {
    /// Whose.
    pub mm: &'a Mm<T>,
    /// Where its VMAs are.
    pub nodes: &'a VmaPool<'m>,
    /// What they map.
    pub files: &'a dyn Files,
}

impl<T: PageTable> fmt::Display for Maps<'_, '_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.mm.vmas(self.nodes).try_for_each(|vma| write_line(f, self.mm, vma, self.files))
    }
}

/// Names begin behind this many characters, at least.
const NAME_COLUMN: usize = 72;

struct Counted<'f, 'g> {
    out: &'f mut fmt::Formatter<'g>,
    written: usize,
}

impl Write for Counted<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.written += text.len();
        self.out.write_str(text)
    }
}

pub(super) fn write_line<T: PageTable>(
    f: &mut fmt::Formatter<'_>,
    mm: &Mm<T>,
    vma: &Vma,
    files: &dyn Files,
) -> fmt::Result {
    let mut out = Counted { out: f, written: 0 };
    let bit = |flag, letter| if vma.flags.has(flag) { letter } else { '-' };
    let sharing = if vma.flags.has(VmFlags::MAYSHARE) { 's' } else { 'p' };
    let (label, offset) = match vma.backing {
        Backing::File(file) => (files.label(file), vma.offset << PAGE_SHIFT),
        _ => (FileLabel::default(), 0),
    };
    let (start, end) = (vma.span.start, vma.span.end);
    write!(out, "{start:08x}-{end:08x} ")?;
    out.write_char(bit(VmFlags::READ, 'r'))?;
    out.write_char(bit(VmFlags::WRITE, 'w'))?;
    out.write_char(bit(VmFlags::EXEC, 'x'))?;
    out.write_char(sharing)?;
    let FileLabel { major, minor, inode } = label;
    write!(out, " {offset:08x} {major:02x}:{minor:02x} {inode} ")?;
    let name = match vma.backing {
        Backing::File(file) => {
            pad(&mut out)?;
            files.write_path(file, &mut out)?;
            return out.write_char('\n');
        }
        Backing::Special(special) => special.name(),
        Backing::Anonymous => anonymous_name(mm, vma),
    };
    if !name.is_empty() {
        pad(&mut out)?;
    }
    out.write_str(name)?;
    out.write_char('\n')
}

fn pad(out: &mut Counted<'_, '_>) -> fmt::Result {
    while out.written < NAME_COLUMN {
        out.write_char(' ')?;
    }
    out.write_char(' ')
}

fn anonymous_name<T>(mm: &Mm<T>, vma: &Vma) -> &'static str {
    let bounds = &mm.bounds;
    if vma.span.start < bounds.brk && vma.span.end > bounds.start_brk {
        "[heap]"
    } else if vma.span.start <= bounds.start_stack && vma.span.end >= bounds.start_stack {
        "[stack]"
    } else {
        ""
    }
}
