//! Splitting and merging: how VMAs come, change and stay as few as possible.
//!
//! ```text
//!   add      ▓▓▓[new]▒▒▒    joins what is below, above, both, or stands alone
//!   change   ▓▓▓[▒▒|▒▒▒▒]   the changed part joins a neighbour, or is split off
//! ```
//! Merging comes first; only what cannot merge is split, and only a split counts
//! against `max_map_count`.

use crate::addr::{Span, VirtAddr};
use crate::error::Error;
use crate::flags::VmFlags;
use crate::mm::{Env, Mm, close};
use crate::table::PageTable;
use crate::tree::VmaId;
use crate::vma::{AnonVma, Backing, Vma};

/// Both neighbours would join what lies between: may they join each other?
fn compatible(below: &Vma, above: &Vma) -> bool {
    match (below.anon, above.anon) {
        (Some(one), Some(two)) => one.id == two.id,
        _ => true,
    }
}

/// Which neighbours a VMA between them can be one with.
struct Neighbours {
    below: Option<VmaId>,
    above: Option<VmaId>,
}

impl<T: PageTable> Mm<T> {
    fn neighbours(&self, env: &Env<'_, '_>, vma: &Vma) -> Neighbours {
        let tree = &self.tree;
        let below = tree.before(env.nodes, vma.span.start);
        let below = below.filter(|id| env.nodes[*id].merges(vma));
        let above = tree.find(env.nodes, vma.span.end);
        let above = above.filter(|id| {
            let above = &env.nodes[*id];
            vma.merges(above) && below.is_none_or(|below| compatible(&env.nodes[below], above))
        });
        Neighbours { below, above }
    }

    /// Whether [`add`](Self::add) would merge, and so need no node.
    pub(crate) fn would_merge(&self, env: &Env<'_, '_>, vma: &Vma) -> bool {
        let found = self.neighbours(env, vma);
        found.below.is_some() || found.above.is_some()
    }

    /// Brings a new VMA in where nothing is. Counting and promises are its caller's.
    /// O(log n). [`Error::OutOfVmas`] if it stands alone and there is no node.
    pub(crate) fn add(&mut self, env: &mut Env<'_, '_>, vma: Vma) -> Result<VmaId, Error> {
        let found = self.neighbours(env, &vma);
        self.add_between(env, vma, found)
    }

    /// As [`add`](Self::add), but joins only the VMA below.
    pub(crate) fn add_to_below(
        &mut self,
        env: &mut Env<'_, '_>,
        vma: Vma,
        lowest: VirtAddr,
    ) -> Result<VmaId, Error> {
        let mut found = self.neighbours(env, &vma);
        found.above = None;
        found.below = found.below.filter(|id| env.nodes[*id].span.end > lowest);
        self.add_between(env, vma, found)
    }

    fn add_between(
        &mut self,
        env: &mut Env<'_, '_>,
        vma: Vma,
        found: Neighbours,
    ) -> Result<VmaId, Error> {
        let tree = &mut self.tree;
        match (found.below, found.above) {
            (None, None) => {
                let id = tree.insert(env.nodes, vma)?;
                if let Backing::File(file) = vma.backing {
                    env.files.open(file);
                }
                Ok(id)
            }
            (Some(below), None) => {
                tree.update(env.nodes, below, |it| {
                    it.span.end = vma.span.end;
                    it.anon = it.anon.or(vma.anon);
                });
                Ok(below)
            }
            (None, Some(above)) => {
                tree.update(env.nodes, above, |it| {
                    it.span.start = vma.span.start;
                    it.offset = vma.offset;
                    it.anon = it.anon.or(vma.anon);
                });
                Ok(above)
            }
            (Some(below), Some(above)) => {
                let gone = tree.remove(env.nodes, above);
                tree.update(env.nodes, below, |it| {
                    it.span.end = gone.span.end;
                    it.anon = it.anon.or(vma.anon).or(gone.anon);
                });
                close(env, &gone);
                Ok(below)
            }
        }
    }

    /// Cuts a VMA in two; returns the upper part. O(log n).
    ///
    /// [`Error::OutOfVmas`]; nothing has changed then.
    pub(crate) fn split(
        &mut self,
        env: &mut Env<'_, '_>,
        id: VmaId,
        at: VirtAddr,
    ) -> Result<VmaId, Error> {
        let vma = env.nodes[id];
        if env.nodes.free_nodes() == 0 {
            return Err(Error::OutOfVmas);
        }
        self.tree.update(env.nodes, id, |it| it.span.end = at);
        let upper = self.tree.insert(env.nodes, vma.part(Span::new(at, vma.span.end)))?;
        if let Backing::File(file) = vma.backing {
            env.files.open(file);
        }
        Ok(upper)
    }

    /// Gives the part `span` of a VMA other flags. O(log n).
    ///
    /// [`Error::TooManyMappings`], [`Error::OutOfVmas`]: the flags are as before.
    pub(crate) fn change(
        &mut self,
        env: &mut Env<'_, '_>,
        id: VmaId,
        span: Span,
        flags: VmFlags,
    ) -> Result<VmaId, Error> {
        let vma = env.nodes[id];
        let target = Vma { flags, ..vma.part(span) };
        let mut found = self.neighbours(env, &target);
        let (at_start, at_end) = (span.start == vma.span.start, span.end == vma.span.end);
        found.below = found.below.filter(|_| at_start);
        found.above = found.above.filter(|_| at_end);
        if found.below.is_some() || found.above.is_some() {
            // What is left of the old VMA first, so that no two overlap.
            if at_start && at_end {
                let gone = self.tree.remove(env.nodes, id);
                close(env, &gone);
            } else if at_start {
                self.tree
                    .update(env.nodes, id, |it| *it = vma.part(Span::new(span.end, vma.span.end)));
            } else {
                self.tree.update(env.nodes, id, |it| it.span.end = span.start);
            }
            return self.add_between(env, target, found);
        }
        let splits = u32::from(!at_start) + u32::from(!at_end);
        if env.nodes.free_nodes() < splits {
            return Err(Error::OutOfVmas);
        }
        let mut id = id;
        if !at_start {
            id = self.split_counted(env, id, span.start)?;
        }
        if !at_end {
            self.split_counted(env, id, span.end)?;
        }
        self.tree.update(env.nodes, id, |it| it.flags = flags);
        Ok(id)
    }

    fn split_counted(
        &mut self,
        env: &mut Env<'_, '_>,
        id: VmaId,
        at: VirtAddr,
    ) -> Result<VmaId, Error> {
        if self.is_full() { Err(Error::TooManyMappings) } else { self.split(env, id, at) }
    }

    /// Sees to it that a VMA has a family for private copies: a neighbour's, if the
    /// two could be one but for their access rights, or a new one. O(log n).
    pub(crate) fn join_family(&mut self, env: &mut Env<'_, '_>, id: VmaId) {
        let vma = env.nodes[id];
        if vma.anon.is_some() {
            return;
        }
        let reusable = |vma: &Vma| vma.anon.filter(|family| !family.forked);
        let above = self.tree.next(env.nodes, id).map(|id| env.nodes[id]);
        let from_above = above.filter(|above| Vma::can_join(&vma, above));
        let below = self.tree.prev(env.nodes, id).map(|id| env.nodes[id]);
        let from_below = below.filter(|below| Vma::can_join(below, &vma));
        let family = from_above
            .and_then(|above| reusable(&above))
            .or_else(|| from_below.and_then(|below| reusable(&below)))
            .unwrap_or_else(|| self.new_family(false));
        self.tree.update(env.nodes, id, |it| it.anon = Some(family));
    }

    pub(crate) fn new_family(&mut self, forked: bool) -> AnonVma {
        let id = self.next_family;
        self.next_family = self.next_family.wrapping_add(1);
        AnonVma { id, forked }
    }
}
