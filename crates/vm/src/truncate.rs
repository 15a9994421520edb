//! A file became shorter: its pages go out of the address spaces that map it.
//!
//! ```text
//!   file    0 1 2 3 │ 4 5 6         ftruncate: 4 pages are left
//!   VMA       1 2 3 │ 4 5           what lies behind goes, private copies too;
//!                                   the VMA stays: an access there is a SIGBUS
//! ```

use crate::addr::Span;
use crate::mm::{Env, Mm};
use crate::table::PageTable;
use crate::vma::{Backing, FileId};
use heapwise_pages::PAGE_SIZE;

impl<T: PageTable> Mm<T> {
    /// Linux's `unmap_mapping_range`: takes out every page of `file` from page `first` on,
    /// also private copies. Of each address space that maps it, after the file itself has been cut
    /// ([`Shmem::truncate`](crate::Shmem::truncate)), so that none comes back in between.
    /// O(VMAs + pages that go).
    pub fn unmap_file_from(&mut self, env: &mut Env<'_, '_>, file: FileId, first: u64) {
        let mut next = self.tree.first(env.nodes);
        while let Some(id) = next {
            next = self.tree.next(env.nodes, id);
            let vma = env.nodes[id];
            let kept = first.saturating_sub(vma.offset).min(vma.span.pages());
            if matches!(vma.backing, Backing::File(of) if of == file) && kept < vma.span.pages() {
                let part = Span::new(vma.span.start.up(kept * PAGE_SIZE), vma.span.end);
                self.zap(env, &vma, part);
                self.table.prune(part);
            }
        }
    }
}
