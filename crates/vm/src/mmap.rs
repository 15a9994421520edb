//! mmap: a new mapping.
//!
//! ```text
//!   arguments ─► place ─► limits ─► promise ─► (fixed: what is there goes) ─► merge or insert
//! ```

use crate::addr::{Span, VirtAddr, page_align};
use crate::area::{Placing, Wish};
use crate::error::Error;
use crate::files::{FileKind, OpenMode};
use crate::flags::{MapFlags, Prot, VmFlags};
use crate::mm::{Env, Mm};
use crate::table::PageTable;
use crate::vma::{Backing, FileId, Vma};
use heapwise_pages::{PAGE_SHIFT, PAGE_SIZE};

/// What is mapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MapSource {
    /// Zeros (`MAP_ANONYMOUS`); with `MAP_SHARED`, new nameless shared memory.
    Anonymous,
    /// A file.
    File {
        /// Which.
        file: FileId,
        /// From which byte on: whole pages.
        offset: u64,
        /// How it was opened.
        mode: OpenMode,
    },
}

/// The arguments of `mmap`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MapRequest {
    /// Where, or where rather.
    pub at: VirtAddr,
    /// How many bytes.
    pub length: u64,
    /// What it allows.
    pub prot: Prot,
    /// How.
    pub flags: MapFlags,
    /// What.
    pub source: MapSource,
}

impl MapRequest {
    /// Private anonymous memory, anywhere.
    pub const fn anonymous(length: u64, prot: Prot) -> Self {
        let flags = MapFlags::PRIVATE.with(MapFlags::ANONYMOUS);
        Self { at: VirtAddr::NULL, length, prot, flags, source: MapSource::Anonymous }
    }

    /// With these flags too.
    pub const fn with(self, flags: MapFlags) -> Self {
        Self { flags: self.flags.with(flags), ..self }
    }

    /// At this address: a hint, unless FIXED is among the flags.
    pub const fn at(self, at: VirtAddr) -> Self {
        Self { at, ..self }
    }
}

/// The mapping type's bits, and the flags that MAP_SHARED_VALIDATE knows: Linux's
/// `LEGACY_MAP_MASK`, which FIXED_NOREPLACE is not in.
const TYPE: MapFlags = MapFlags::from_bits(0xf);
const KNOWN_WITH_FILE: MapFlags = MapFlags::from_bits(0x7c07_f9f3);

impl<T: PageTable> Mm<T> {
    /// The system call; returns where. O(log n), plus what a fixed one unmaps and
    /// POPULATE faults in.
    ///
    /// [`Error::Argument`] (length 0, misaligned, contradicting flags),
    /// [`Error::TooLong`], [`Error::Offset`], [`Error::TooManyMappings`],
    /// [`Error::NoGap`], [`Error::TooLow`], [`Error::Exists`] (FIXED_NOREPLACE),
    /// [`Error::Unsupported`] (SHARED_VALIDATE with a flag that it does not know),
    /// [`Error::Access`] (the file's mode), [`Error::AddressSpaceLimit`],
    /// [`Error::DataLimit`], [`Error::Commit`], [`Error::OutOfVmas`],
    /// [`Error::OutOfFiles`].
    pub fn mmap(&mut self, env: &mut Env<'_, '_>, request: MapRequest) -> Result<VirtAddr, Error> {
        self.events.calls += 1;
        let vma = self.plan(env, &request)?;
        self.map_region(env, vma, &request)?;
        let flags = request.flags & (MapFlags::POPULATE | MapFlags::NONBLOCK);
        if flags == MapFlags::POPULATE {
            // As Linux: what cannot be faulted in now is left for later.
            let _ = self.populate(env, vma.span);
        }
        Ok(vma.span.start)
    }

    /// All checks that need no look at limits: what the VMA will be.
    fn plan(&self, env: &Env<'_, '_>, request: &MapRequest) -> Result<Vma, Error> {
        let fixed = request.flags.any(MapFlags::FIXED | MapFlags::FIXED_NOREPLACE);
        let page = match request.source {
            MapSource::Anonymous => 0,
            MapSource::File { offset, .. } if offset % PAGE_SIZE != 0 => {
                return Err(Error::Argument);
            }
            MapSource::File { offset, .. } => offset >> PAGE_SHIFT,
        };
        if request.length == 0 {
            return Err(Error::Argument);
        }
        let hint = if fixed { request.at } else { self.round_hint(request.at) };
        let bytes = page_align(request.length);
        if bytes == 0 {
            return Err(Error::TooLong);
        }
        if self.tree.len() > self.policy.max_map_count {
            return Err(Error::TooManyMappings);
        }
        let kind = request.flags & TYPE;
        let shared = kind.has(MapFlags::SHARED);
        let placing = match request.source {
            MapSource::File { file, .. } => match env.files.kind(file) {
                FileKind::Shmem => Placing::Shmem(page),
                FileKind::Regular => Placing::File(page),
            },
            MapSource::Anonymous if shared => Placing::Shmem(0),
            MapSource::Anonymous => Placing::Anonymous,
        };
        let low = request.flags.has(MapFlags::BITS32);
        let at = self.find_place(env, Wish { hint, bytes, fixed, low, placing })?;
        let span = Span::at(at, bytes);
        if request.flags.has(MapFlags::FIXED_NOREPLACE)
            && self.tree.overlapping(env.nodes, span).is_some()
        {
            return Err(Error::Exists);
        }
        let mut flags = VmFlags::of_prot(request.prot)
            .with(VmFlags::MAY_ALL)
            .with_if(VmFlags::GROWSDOWN, request.flags.has(MapFlags::GROWSDOWN))
            .with_if(VmFlags::NOHUGEPAGE, request.flags.has(MapFlags::STACK));
        let mut vma = Vma { span, ..Vma::default() };
        match request.source {
            MapSource::Anonymous if kind == MapFlags::PRIVATE => vma.offset = at.page_number(),
            MapSource::Anonymous if kind == MapFlags::SHARED => {
                if flags.has(VmFlags::GROWSDOWN) {
                    return Err(Error::Argument);
                }
                flags |= VmFlags::SHARED | VmFlags::MAYSHARE;
            }
            MapSource::Anonymous => return Err(Error::Argument),
            MapSource::File { file, mode, .. } => {
                flags = file_flags(flags, kind, request, mode)?;
                vma.offset = page;
                vma.backing = Backing::File(file);
            }
        }
        if request.flags.has(MapFlags::NORESERVE)
            && env.commit.mode != crate::commit::Overcommit::Never
        {
            flags |= VmFlags::NORESERVE;
        }
        vma.flags = flags;
        Ok(vma)
    }

    /// A hint becomes a page, and none below what may be mapped.
    fn round_hint(&self, hint: VirtAddr) -> VirtAddr {
        let hint = hint.page();
        if hint == VirtAddr::NULL { hint } else { hint.max(self.policy.min_address) }
    }

    fn map_region(
        &mut self,
        env: &mut Env<'_, '_>,
        mut vma: Vma,
        request: &MapRequest,
    ) -> Result<(), Error> {
        let span = vma.span;
        self.can_unmap(env, span)?;
        let (there, promised) = self.mapped_in(env, span);
        let charged = match self.limits_allow(env, &mut vma, there, promised) {
            Ok(charged) => charged,
            Err(error) => {
                self.cut_at_ends(env, span);
                return Err(error);
            }
        };
        let result = self.replace(env, vma, request);
        if result.is_err() {
            env.commit.uncharge(charged);
        } else if vma.flags.has(VmFlags::ACCOUNT) {
            // What was promised for those that went was given back with them.
            env.commit.committed = env.commit.committed.saturating_add(promised);
        }
        result
    }

    /// Takes out what is there and brings the VMA in.
    fn replace(
        &mut self,
        env: &mut Env<'_, '_>,
        mut vma: Vma,
        request: &MapRequest,
    ) -> Result<(), Error> {
        let hole = self.tree.holding(env.nodes, vma.span.start).is_some_and(|id| {
            let there = env.nodes[id].span;
            there.start < vma.span.start && vma.span.end < there.end
        });
        let nodes = u32::from(hole) + u32::from(!self.would_merge(env, &vma));
        if env.nodes.free_nodes() < nodes {
            return Err(Error::OutOfVmas);
        }
        let created = match self.shared_object(env, &mut vma, request) {
            Err(Error::Commit) => {
                // Linux asks for the object's promise last: what was there is gone.
                self.unmap(env, vma.span)?;
                return Err(Error::Commit);
            }
            created => created?,
        };
        let result = self.unmap(env, vma.span).and_then(|()| self.add(env, vma));
        if let Some(object) = created {
            // Ours by creation; the VMA holds it now, or nobody.
            let opened = Vma { backing: Backing::File(object), ..Vma::default() };
            crate::mm::close(env, &opened);
        }
        result?;
        self.count(vma.flags, vma.span.pages() as i64);
        Ok(())
    }

    /// Pages mapped in a span, and how many of them were promised.
    fn mapped_in(&self, env: &Env<'_, '_>, span: Span) -> (u64, u64) {
        let (mut pages, mut promised) = (0, 0);
        let mut next = self.tree.overlapping(env.nodes, span);
        while let Some(id) = next {
            let vma = &env.nodes[id];
            if vma.span.start >= span.end {
                break;
            }
            let inside = vma.span.clip(span).pages();
            pages += inside;
            promised += if vma.flags.has(VmFlags::ACCOUNT) { inside } else { 0 };
            next = self.tree.next(env.nodes, id);
        }
        (pages, promised)
    }

    /// Limits and promise for a VMA that takes the place of `there` pages; returns
    /// the pages newly promised.
    fn limits_allow(
        &self,
        env: &mut Env<'_, '_>,
        vma: &mut Vma,
        there: u64,
        promised: u64,
    ) -> Result<u64, Error> {
        let pages = vma.span.pages();
        self.may_expand(vma.flags, pages - there)?;
        if !vma.flags.is_accountable() {
            return Ok(0);
        }
        self.charge(env, pages - promised)?;
        vma.flags |= VmFlags::ACCOUNT;
        Ok(pages - promised)
    }

    /// The object behind shared anonymous memory.
    fn shared_object(
        &self,
        env: &mut Env<'_, '_>,
        vma: &mut Vma,
        request: &MapRequest,
    ) -> Result<Option<FileId>, Error> {
        if request.source != MapSource::Anonymous || !vma.flags.has(VmFlags::SHARED) {
            return Ok(None);
        }
        let pages = vma.span.pages();
        let accounted = !vma.flags.has(VmFlags::NORESERVE);
        if accounted {
            self.charge(env, pages)?;
        }
        let Some(object) = env.files.create_shared(pages, accounted) else {
            env.commit.uncharge(if accounted { pages } else { 0 });
            return Err(Error::OutOfFiles);
        };
        vma.backing = Backing::File(object);
        Ok(Some(object))
    }
}

/// What a file's mode and the mapping's type make of the flags.
fn file_flags(
    mut flags: VmFlags,
    kind: MapFlags,
    request: &MapRequest,
    mode: OpenMode,
) -> Result<VmFlags, Error> {
    if kind.has(MapFlags::SHARED) && !kind.any(MapFlags::from_bits(0xc)) {
        if kind == MapFlags::SHARED_VALIDATE && request.flags.any(!KNOWN_WITH_FILE) {
            return Err(Error::Unsupported);
        }
        if request.prot.has(Prot::WRITE) && !mode.write {
            return Err(Error::Access);
        }
        flags |= VmFlags::SHARED | VmFlags::MAYSHARE;
        if !mode.write {
            flags = flags.without(VmFlags::MAYWRITE | VmFlags::SHARED);
        }
    } else if kind != MapFlags::PRIVATE {
        return Err(Error::Argument);
    }
    if !mode.read {
        return Err(Error::Access);
    }
    if flags.has(VmFlags::GROWSDOWN) {
        return Err(Error::Argument);
    }
    Ok(flags)
}
