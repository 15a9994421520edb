//! The stack grows: a fault below it, near enough to a limit, moves its start.
//!
//! ```text
//!   ▓ mapping      ≥ 256 pages       new start ◄── fault    old start [stack]
//!   └────────────── guard ──────────┤▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒│░░░░░░░░░░░░░░░░│
//! ```

use crate::addr::{Span, VirtAddr};
use crate::error::Error;
use crate::flags::VmFlags;
use crate::mm::{Env, Mm};
use crate::table::PageTable;
use crate::tree::VmaId;

impl<T: PageTable> Mm<T> {
    /// Lets a growing VMA start at `at`'s page. O(log n).
    ///
    /// [`Error::Fault`] if it does not grow, [`Error::TooLow`], [`Error::StackGap`],
    /// [`Error::AddressSpaceLimit`], [`Error::StackLimit`], [`Error::Commit`].
    pub(crate) fn grow_stack(
        &mut self,
        env: &mut Env<'_, '_>,
        id: VmaId,
        at: VirtAddr,
    ) -> Result<(), Error> {
        let vma = env.nodes[id];
        if !vma.flags.has(VmFlags::GROWSDOWN) {
            return Err(Error::Fault);
        }
        let start = at.page();
        if start < self.policy.min_address {
            return Err(Error::TooLow);
        }
        if let Some(below) = self.tree.prev(env.nodes, id).map(|id| env.nodes[id]) {
            let close = start.since(below.span.end) < self.policy.stack_guard();
            if close && !below.flags.has(VmFlags::GROWSDOWN) && below.is_accessible() {
                return Err(Error::StackGap);
            }
        }
        self.join_family(env, id);
        let more = vma.span.start.since(start) / heapwise_pages::PAGE_SIZE;
        if more == 0 {
            return Ok(());
        }
        if more > vma.offset {
            return Err(Error::NoGap);
        }
        self.may_expand(vma.flags, more)?;
        if vma.span.end.since(start) > self.limits.stack {
            return Err(Error::StackLimit);
        }
        self.charge(env, more)?;
        if !vma.flags.has(VmFlags::ACCOUNT) {
            // Linux asks all the same, and never gives it back; here it is given back.
            env.commit.uncharge(more);
        }
        self.tree.update(env.nodes, id, |it| {
            it.span = Span::new(start, it.span.end);
            it.offset -= more;
        });
        self.count(vma.flags, more as i64);
        Ok(())
    }
}
