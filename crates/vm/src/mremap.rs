//! mremap: a mapping made shorter, longer, or moved.
//!
//! ```text
//!   shorter   ▓▓▓▓▓│  ─►  ▓▓▓            always in place
//!   longer    ▓▓▓     ─►  ▓▓▓▓▓          in place if nothing follows
//!             ▓▓▓▒    ─►  ▒  …  ▓▓▓▓▓    else moved, if it may (entries move, frames stay)
//! ```
//! With the checks and their order as of Linux 6.17 and 6.18.

use crate::addr::{Span, VirtAddr, page_align};
use crate::area::{Placing, Wish};
use crate::error::Error;
use crate::files::FileKind;
use crate::flags::{RemapFlags, VmFlags};
use crate::mm::{Env, Mm};
use crate::table::{OutOfTables, PageTable};
use crate::tree::VmaId;
use crate::vma::{Backing, Vma};
use heapwise_pages::PAGE_SIZE;

/// The arguments of `mremap`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RemapRequest {
    /// Where it is.
    pub at: VirtAddr,
    /// How many bytes of it; 0 to map shared memory once more.
    pub old_length: u64,
    /// How many it shall be.
    pub new_length: u64,
    /// How.
    pub flags: RemapFlags,
    /// Where to, with FIXED; where rather, with DONTUNMAP.
    pub to: VirtAddr,
}

impl RemapRequest {
    /// Another length, somewhere else if need be.
    pub const fn resize(at: VirtAddr, old_length: u64, new_length: u64) -> Self {
        Self { at, old_length, new_length, flags: RemapFlags::MAYMOVE, to: VirtAddr::NULL }
    }
}

/// The request in whole pages.
#[derive(Clone, Copy)]
struct Remap {
    at: VirtAddr,
    old: u64,
    new: u64,
    to: VirtAddr,
    fixed: bool,
    may_move: bool,
    dont_unmap: bool,
}

impl Remap {
    const fn has_target(&self) -> bool {
        self.fixed || self.dont_unmap
    }

    const fn source(&self) -> Span {
        Span::at(self.at, self.old)
    }
}

impl<T: PageTable> Mm<T> {
    /// The system call; returns where the mapping is now. O(log n), plus the entries
    /// moved and the pages unmapped.
    ///
    /// [`Error::Argument`] (flags, misaligned, new length 0, target over source),
    /// [`Error::Fault`] (not mapped, or past the mapping's end),
    /// [`Error::NoGap`] (no room in place and may not move, or none at all),
    /// [`Error::TooManyMappings`], [`Error::AddressSpaceLimit`], [`Error::DataLimit`],
    /// [`Error::Commit`], [`Error::OutOfVmas`], [`Error::OutOfTables`].
    pub fn mremap(
        &mut self,
        env: &mut Env<'_, '_>,
        request: RemapRequest,
    ) -> Result<VirtAddr, Error> {
        self.events.calls += 1;
        let flags = request.flags;
        let remap = Remap {
            at: request.at,
            old: page_align(request.old_length),
            new: page_align(request.new_length),
            to: request.to,
            fixed: flags.has(RemapFlags::FIXED),
            may_move: flags.has(RemapFlags::MAYMOVE),
            dont_unmap: flags.has(RemapFlags::DONTUNMAP),
        };
        self.check_arguments(&remap, flags)?;
        if remap.fixed && remap.old == remap.new {
            return self.move_all(env, remap);
        }
        let id = self.tree.holding(env.nodes, remap.at).ok_or(Error::Fault)?;
        self.check_vma(&env.nodes[id], &remap)?;
        if remap.has_target() {
            return self.remap_to(env, remap);
        }
        if remap.new < remap.old {
            let tail = Span::new(remap.at.up(remap.new), remap.at.up(remap.old));
            self.unmap_within(env, tail)?;
        } else if remap.new > remap.old {
            return self.expand(env, id, remap);
        }
        Ok(remap.at)
    }

    fn check_arguments(&self, remap: &Remap, flags: RemapFlags) -> Result<(), Error> {
        let known = RemapFlags::MAYMOVE | RemapFlags::FIXED | RemapFlags::DONTUNMAP;
        let end = self.layout.task_size.get();
        if flags.any(!known) || !remap.at.is_page() || remap.new == 0 || remap.new > end {
            return Err(Error::Argument);
        }
        if !remap.has_target() {
            return Ok(());
        }
        if remap.to.get() > end - remap.new || !remap.to.is_page() || !remap.may_move {
            return Err(Error::Argument);
        }
        if remap.dont_unmap && remap.old != remap.new {
            return Err(Error::Argument);
        }
        if remap.source().overlaps(Span::at(remap.to, remap.new)) {
            return Err(Error::Argument);
        }
        if self.tree.len().saturating_add(2) >= self.policy.max_map_count.saturating_sub(3) {
            return Err(Error::TooManyMappings);
        }
        Ok(())
    }

    /// What must hold of the VMA that is to grow or move.
    fn check_vma(&self, vma: &Vma, remap: &Remap) -> Result<(), Error> {
        if remap.new <= remap.old && !remap.has_target() {
            return Ok(());
        }
        if remap.old == 0 && !vma.flags.any(VmFlags::SHARED | VmFlags::MAYSHARE) {
            return Err(Error::Argument);
        }
        if remap.dont_unmap && vma.flags.any(VmFlags::SPECIAL) {
            return Err(Error::Argument);
        }
        if remap.old.min(remap.new) > vma.span.end.since(remap.at) {
            return Err(Error::Fault);
        }
        if remap.new <= remap.old {
            return Ok(());
        }
        if vma.offset_at(remap.at).checked_add(remap.new / PAGE_SIZE).is_none() {
            return Err(Error::Argument);
        }
        if vma.flags.any(VmFlags::SPECIAL) {
            return Err(Error::Fault);
        }
        self.may_expand(vma.flags, (remap.new - remap.old) / PAGE_SIZE)
    }

    /// As `munmap`, of a range that may pass the end of the address space.
    fn unmap_within(&mut self, env: &mut Env<'_, '_>, span: Span) -> Result<(), Error> {
        if span.end > self.layout.task_size {
            return Err(Error::Argument);
        }
        self.unmap(env, span)
    }

    fn expand(
        &mut self,
        env: &mut Env<'_, '_>,
        id: VmaId,
        remap: Remap,
    ) -> Result<VirtAddr, Error> {
        let vma = env.nodes[id];
        let more = Span::new(vma.span.end, vma.span.end.up(remap.new - remap.old));
        let in_place = remap.at.up(remap.old) == vma.span.end
            && more.end <= self.layout.task_size
            && self.tree.overlapping(env.nodes, more).is_none();
        if !in_place {
            if !remap.may_move {
                return Err(Error::NoGap);
            }
            let to = self.find_target(env, &vma, remap, VirtAddr::NULL)?;
            return self.move_vma(env, id, Remap { to, ..remap });
        }
        let accounted = vma.flags.has(VmFlags::ACCOUNT);
        if accounted {
            self.charge(env, more.pages())?;
        }
        let extension = Vma { anon: vma.anon, ..vma.part(more) };
        if let Err(error) = self.add(env, extension) {
            env.commit.uncharge(if accounted { more.pages() } else { 0 });
            return Err(error);
        }
        self.count(vma.flags, more.pages() as i64);
        Ok(remap.at)
    }

    fn find_target(
        &self,
        env: &Env<'_, '_>,
        vma: &Vma,
        remap: Remap,
        hint: VirtAddr,
    ) -> Result<VirtAddr, Error> {
        let page = vma.offset_at(remap.at);
        let placing = match vma.backing {
            Backing::File(file) if env.files.kind(file) == FileKind::Regular => Placing::File(page),
            Backing::File(_) => Placing::Shmem(page),
            _ => Placing::Anonymous,
        };
        let (bytes, fixed) = (remap.new, remap.fixed);
        self.find_place(env, Wish { hint, bytes, fixed, low: false, placing })
    }

    /// To a place of the caller's choice: what is there goes first.
    fn remap_to(&mut self, env: &mut Env<'_, '_>, mut remap: Remap) -> Result<VirtAddr, Error> {
        if remap.fixed {
            self.unmap(env, Span::at(remap.to, remap.new))?;
        }
        if remap.new < remap.old {
            let tail = Span::new(remap.at.up(remap.new), remap.at.up(remap.old));
            self.unmap_within(env, tail)?;
            remap.old = remap.new;
        }
        let id = self.tree.holding(env.nodes, remap.at).ok_or(Error::Fault)?;
        let vma = env.nodes[id];
        if remap.dont_unmap {
            self.may_expand(vma.flags, remap.old / PAGE_SIZE)?;
        }
        remap.to = self.find_target(env, &vma, remap, remap.to)?;
        self.move_vma(env, id, remap)
    }

    /// A move without a change of length takes all VMAs of the range along, and the
    /// holes between them.
    fn move_all(&mut self, env: &mut Env<'_, '_>, remap: Remap) -> Result<VirtAddr, Error> {
        let range = remap.source();
        let mut result = Err(Error::Fault);
        let (mut at, mut target, mut last_end) = (range.start, remap.to, range.start);
        while let Some(id) = self.tree.overlapping(env.nodes, Span::new(at, range.end)) {
            let span = env.nodes[id].span;
            let first = result.is_err();
            if first && range.start < span.start {
                return Err(Error::Fault);
            }
            let part = span.clip(range);
            let gap = if first { 0 } else { span.start.since(last_end) };
            let bytes = part.bytes();
            let to = target.up(gap);
            let one = Remap { at: part.start, old: bytes, new: bytes, to, ..remap };
            self.check_vma(&env.nodes[id], &one)?;
            let moved = self.remap_to(env, one)?;
            if first {
                result = Ok(moved);
            }
            (at, target, last_end) = (part.end, moved.up(bytes), span.end);
        }
        result
    }

    /// Moves part of a VMA to a free place.
    fn move_vma(
        &mut self,
        env: &mut Env<'_, '_>,
        id: VmaId,
        remap: Remap,
    ) -> Result<VirtAddr, Error> {
        if self.tree.len() >= self.policy.max_map_count.saturating_sub(3) {
            return Err(Error::TooManyMappings);
        }
        let vma = env.nodes[id];
        let source = remap.source();
        let mut copy = Vma { span: Span::at(remap.to, remap.new), ..vma.part(source) };
        copy.span = Span::at(remap.to, remap.new);
        if vma.is_anonymous() && vma.anon.is_none() {
            // Untouched: as if it had been mapped there.
            copy.offset = remap.to.page_number();
        }
        let hole = vma.span.start < source.start && source.end < vma.span.end;
        let keeps = remap.dont_unmap || source.is_empty();
        let nodes = u32::from(hole && !keeps) + u32::from(!self.would_merge(env, &copy));
        if env.nodes.free_nodes() < nodes {
            return Err(Error::OutOfVmas);
        }
        let accounted = vma.flags.has(VmFlags::ACCOUNT);
        let grown = if remap.dont_unmap { remap.new } else { remap.new - remap.old };
        let charged = if accounted { grown / PAGE_SIZE } else { 0 };
        self.charge(env, charged)?;
        if let Err(error) = self.move_entries(source, remap.to) {
            env.commit.uncharge(charged);
            return Err(error.into());
        }
        let new = match self.add(env, copy) {
            Ok(new) => new,
            Err(error) => {
                let _ = self.move_entries(Span::at(remap.to, remap.old), remap.at);
                env.commit.uncharge(charged);
                return Err(error);
            }
        };
        self.count(vma.flags, copy.span.pages() as i64);
        if remap.dont_unmap {
            if new != id && source == vma.span {
                // Empty as new.
                self.tree.update(env.nodes, id, |it| it.anon = None);
            }
        } else if !source.is_empty() {
            // What it gives back moved along.
            let moved = if accounted { source.pages() } else { 0 };
            env.commit.committed = env.commit.committed.saturating_add(moved);
            self.unmap(env, source)?;
        }
        Ok(remap.to)
    }

    /// Entries go to another place; all, or on failure none.
    fn move_entries(&mut self, from: Span, to: VirtAddr) -> Result<(), OutOfTables> {
        let (mut at, mut moved) = (from.start, 0);
        while let Some((page, entry)) = self.table.first(Span::new(at, from.end)) {
            let target = to.up(page.since(from.start));
            if let Err(error) = self.table.set(target, entry) {
                let back = Span::at(to, page.since(from.start));
                let mut at = back.start;
                while let Some((page, entry)) = self.table.first(Span::new(at, back.end)) {
                    self.table.clear(page);
                    // Its table stands there still.
                    let _ = self.table.set(from.start.up(page.since(to)), entry);
                    at = page.up(PAGE_SIZE);
                }
                self.table.prune(Span::at(to, from.bytes()));
                return Err(error);
            }
            self.table.clear(page);
            moved += 1;
            at = page.up(PAGE_SIZE);
        }
        if moved > 0 {
            self.flush(from, moved);
        }
        Ok(())
    }
}
