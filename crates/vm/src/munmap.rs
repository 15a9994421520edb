//! munmap: taking a range out, whatever is in it.
//!
//! ```text
//!   ▓▓▓▓▓▓▓   ▒▒▒   ░░░░░░      before
//!      ├── range ──────┤
//!   ▓▓▓                 ░░      after: ends cut, what is inside gone, holes ignored
//! ```

use crate::addr::{Span, VirtAddr, page_align};
use crate::error::Error;
use crate::mm::{Env, Mm};
use crate::table::PageTable;
use crate::tree::VmaId;

impl<T: PageTable> Mm<T> {
    /// The system call. O(log n) for each VMA touched, plus the pages in them.
    ///
    /// [`Error::Argument`] for a misaligned address, a length of 0 or a range past the
    /// end; [`Error::TooManyMappings`] or [`Error::OutOfVmas`] if a hole in the middle
    /// of one VMA would make two of it.
    pub fn munmap(
        &mut self,
        env: &mut Env<'_, '_>,
        start: VirtAddr,
        length: u64,
    ) -> Result<(), Error> {
        self.events.calls += 1;
        let end = self.layout.task_size;
        let bytes = page_align(length);
        if !start.is_page() || start > end || length > end.since(start) || bytes == 0 {
            return Err(Error::Argument);
        }
        self.unmap(env, Span::at(start, bytes))
    }

    pub(crate) fn unmap(&mut self, env: &mut Env<'_, '_>, span: Span) -> Result<(), Error> {
        self.can_unmap(env, span)?;
        while let Some(id) = self.tree.overlapping(env.nodes, span) {
            self.unmap_part(env, id, span)?;
        }
        self.table.prune(span);
        Ok(())
    }

    /// The one thing that can stand in the way: a hole in the middle of one VMA.
    pub(crate) fn can_unmap(&self, env: &Env<'_, '_>, span: Span) -> Result<(), Error> {
        let Some(id) = self.tree.overlapping(env.nodes, span) else { return Ok(()) };
        let vma = &env.nodes[id];
        if vma.span.start < span.start && span.end < vma.span.end {
            if self.is_full() {
                return Err(Error::TooManyMappings);
            }
            if env.nodes.free_nodes() == 0 {
                return Err(Error::OutOfVmas);
            }
        }
        Ok(())
    }

    fn unmap_part(&mut self, env: &mut Env<'_, '_>, id: VmaId, span: Span) -> Result<(), Error> {
        let vma = env.nodes[id];
        let part = vma.span.clip(span);
        if part == vma.span {
            self.drop_vma(env, id);
            return Ok(());
        }
        if part.start > vma.span.start && part.end < vma.span.end {
            self.split(env, id, part.end)?;
        }
        if part.start > vma.span.start {
            self.tree.update(env.nodes, id, |it| it.span.end = part.start);
        } else {
            let rest = vma.part(Span::new(part.end, vma.span.end));
            self.tree.update(env.nodes, id, |it| *it = rest);
        }
        self.zap(env, &vma, part);
        self.forget(env, &vma.part(part));
        Ok(())
    }

    /// Cuts the VMAs at a span's ends, as far as there are nodes: what Linux leaves
    /// behind when a mapping over others is refused late.
    pub(crate) fn cut_at_ends(&mut self, env: &mut Env<'_, '_>, span: Span) {
        for at in [span.start, span.end] {
            if let Some(id) = self.tree.holding(env.nodes, at)
                && env.nodes[id].span.start < at
            {
                let _ = self.split(env, id, at);
            }
        }
    }
}
