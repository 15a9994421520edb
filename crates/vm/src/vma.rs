//! A VMA: one stretch of address space that is the same all along.
//!
//! ```text
//!   55555556a000-55555558b000 rw-p 00000000 00:00 0   [heap]
//!   └── span ───────────────┘ flags offset  └ backing ┘
//! ```
//! Two neighbours that could be one are one: equal flags, the same file at offsets
//! that go on, and no two different families of private copies ([`AnonVma`]).

use crate::addr::Span;
use crate::flags::VmFlags;
use heapwise_pages::PAGE_SHIFT;

/// A file, or any memory object that several mappings can share.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[repr(transparent)]
pub struct FileId(pub u32);

/// What lies behind a VMA.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Backing {
    /// Zeros, until written.
    #[default]
    Anonymous,
    /// A file or shared memory.
    File(FileId),
    /// Pages that the kernel itself keeps there.
    Special(Special),
}

impl Backing {
    /// The file, if it is one.
    pub const fn file(self) -> Option<FileId> {
        if let Self::File(file) = self { Some(file) } else { None }
    }
}

/// The kernel's own mappings.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Special {
    /// Data of the vDSO.
    Vvar,
    /// Clocks of the vDSO.
    VvarVclock,
    /// Code of the vDSO.
    Vdso,
}

impl Special {
    /// As `/proc/PID/maps` names it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Vvar => "[vvar]",
            Self::VvarVclock => "[vvar_vclock]",
            Self::Vdso => "[vdso]",
        }
    }
}

/// A family of private copies: what Linux calls an `anon_vma`. VMAs of one family
/// were split from one another or could have been; pages of two families never come
/// to lie in one VMA.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct AnonVma {
    /// Which; counted by each address space.
    pub id: u32,
    /// Copies of a parent's may be among them: only that very family merges.
    pub forked: bool,
}

/// A stretch of address space.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Vma {
    /// From where to where.
    pub span: Span,
    /// What it is.
    pub flags: VmFlags,
    /// Where it starts in its file, in pages. Of anonymous memory: the page number
    /// where it was mapped, which moves along when it is moved untouched.
    pub offset: u64,
    /// What lies behind it.
    pub backing: Backing,
    /// The family of its private copies, once it has had one.
    pub anon: Option<AnonVma>,
}

impl Vma {
    /// Anonymous and private: no file, nothing special.
    pub const fn is_anonymous(&self) -> bool {
        matches!(self.backing, Backing::Anonymous)
    }

    /// Something may be loaded, stored or fetched.
    pub const fn is_accessible(&self) -> bool {
        self.flags.any(VmFlags::ACCESS)
    }

    /// The offset of an address in it, in pages of the file.
    pub const fn offset_at(&self, at: crate::addr::VirtAddr) -> u64 {
        self.offset.wrapping_add(at.since(self.span.start) >> PAGE_SHIFT)
    }

    /// Its part from `start` to `end`.
    pub const fn part(&self, span: Span) -> Self {
        Self { span, offset: self.offset_at(span.start), ..*self }
    }

    /// Whether `next`, right above, is of the same kind and goes on in the file.
    const fn goes_on(&self, next: &Self) -> bool {
        let same_backing = match (self.backing, next.backing) {
            (Backing::Anonymous, Backing::Anonymous) => true,
            (Backing::File(one), Backing::File(two)) => one.0 == two.0,
            _ => false,
        };
        self.span.end.get() == next.span.start.get()
            && same_backing
            && self.offset.wrapping_add(self.span.pages()) == next.offset
    }

    /// Whether this and `next`, right above, can be one VMA.
    pub(crate) fn merges(&self, next: &Self) -> bool {
        self.flags == next.flags
            && !self.flags.any(VmFlags::SPECIAL)
            && self.goes_on(next)
            && families_merge(self.anon, next.anon)
    }

    /// The family that `self`'s first private copy may join: that of `other`, a
    /// neighbour which differs in access rights at most.
    pub(crate) fn can_join(below: &Self, above: &Self) -> bool {
        below.goes_on(above) && !(below.flags ^ above.flags).any(!VmFlags::ACCESS)
    }
}

/// Linux's rule since 6.16 (`is_mergeable_anon_vma`).
fn families_merge(one: Option<AnonVma>, two: Option<AnonVma>) -> bool {
    match (one, two) {
        (None, None) => true,
        (Some(one), Some(two)) => one.id == two.id,
        (Some(family), None) | (None, Some(family)) => !family.forked,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::VirtAddr;

    fn vma(from: u64, to: u64) -> Vma {
        let span = Span::new(VirtAddr::new(from << 12), VirtAddr::new(to << 12));
        Vma { span, flags: VmFlags::DATA, offset: from, ..Vma::default() }
    }

    #[test]
    fn neighbours_merge_only_if_all_goes_on() {
        let (low, high) = (vma(1, 2), vma(2, 4));
        assert!(low.merges(&high));
        assert!(!high.merges(&low));
        assert!(!low.merges(&vma(3, 4)));
        assert!(!low.merges(&Vma { offset: 7, ..high }));
        assert!(!low.merges(&Vma { flags: VmFlags::READ, ..high }));
        assert!(!low.merges(&Vma { backing: Backing::File(FileId(1)), ..high }));
    }

    #[test]
    fn families_stay_apart() {
        let family = |id, forked| Some(AnonVma { id, forked });
        assert!(families_merge(family(1, false), None));
        assert!(families_merge(family(1, true), family(1, true)));
        assert!(!families_merge(family(1, true), None));
        assert!(!families_merge(family(1, false), family(2, false)));
    }
}
