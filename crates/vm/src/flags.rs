//! Bit sets with Linux's values: what a call asks for, and what a VMA is.

use core::fmt;
use core::ops::{BitAnd, BitOr, BitOrAssign, BitXor, Not};

macro_rules! flags {
    ($(#[$doc:meta])* $name:ident: $repr:ty { $($(#[$bit_doc:meta])* $bit:ident = $value:expr;)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
        #[repr(transparent)]
        pub struct $name($repr);

        impl $name {
            /// No bit.
            pub const NONE: Self = Self(0);
            $($(#[$bit_doc])* pub const $bit: Self = Self($value);)+

            /// These very bits.
            #[inline]
            pub const fn from_bits(bits: $repr) -> Self {
                Self(bits)
            }

            /// The bits as a number.
            #[inline]
            pub const fn bits(self) -> $repr {
                self.0
            }

            /// Whether all of `other` are in it.
            #[inline]
            pub const fn has(self, other: Self) -> bool {
                self.0 & other.0 == other.0
            }

            /// Whether any of `other` is in it.
            #[inline]
            pub const fn any(self, other: Self) -> bool {
                self.0 & other.0 != 0
            }

            /// Both.
            #[inline]
            pub const fn with(self, other: Self) -> Self {
                Self(self.0 | other.0)
            }

            /// Without those of `other`.
            #[inline]
            pub const fn without(self, other: Self) -> Self {
                Self(self.0 & !other.0)
            }

            /// With `other` if `condition`.
            #[inline]
            pub const fn with_if(self, other: Self, condition: bool) -> Self {
                if condition { self.with(other) } else { self }
            }
        }

        impl BitOr for $name {
            type Output = Self;
            fn bitor(self, other: Self) -> Self {
                Self(self.0 | other.0)
            }
        }
        impl BitOrAssign for $name {
            fn bitor_assign(&mut self, other: Self) {
                self.0 |= other.0;
            }
        }
        impl BitAnd for $name {
            type Output = Self;
            fn bitand(self, other: Self) -> Self {
                Self(self.0 & other.0)
            }
        }
        impl BitXor for $name {
            type Output = Self;
            fn bitxor(self, other: Self) -> Self {
                Self(self.0 ^ other.0)
            }
        }
        impl Not for $name {
            type Output = Self;
            fn not(self) -> Self {
                Self(!self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut rest = self.0;
                let mut first = true;
                $(
                    if $value != 0 && rest & $value == $value {
                        rest &= !$value;
                        f.write_str(if first { "" } else { "|" })?;
                        f.write_str(stringify!($bit))?;
                        first = false;
                    }
                )+
                if rest != 0 || first {
                    write!(f, "{}{rest:#x}", if first { "" } else { "|" })?;
                }
                Ok(())
            }
        }
    };
}

flags! {
    /// What a mapping allows: `PROT_*`.
    Prot: u32 {
        /// Loads.
        READ = 1;
        /// Stores.
        WRITE = 2;
        /// Instruction fetches.
        EXEC = 4;
    }
}

impl Prot {
    /// `PROT_READ | PROT_WRITE`.
    pub const RW: Self = Self::READ.with(Self::WRITE);
    /// `PROT_READ | PROT_EXEC`.
    pub const RX: Self = Self::READ.with(Self::EXEC);
}

flags! {
    /// How to map: `MAP_*`.
    MapFlags: u32 {
        /// Stores reach the file, and every other mapping of it.
        SHARED = 0x01;
        /// Stores stay here.
        PRIVATE = 0x02;
        /// [`SHARED`](Self::SHARED), with unknown flags refused.
        SHARED_VALIDATE = 0x03;
        /// At this very address; what is there goes.
        FIXED = 0x10;
        /// Of no file.
        ANONYMOUS = 0x20;
        /// In the first 2 GiB.
        BITS32 = 0x40;
        /// A stack that grows at faults below it.
        GROWSDOWN = 0x100;
        /// Not counted against the commit limit, unless that is strict.
        NORESERVE = 0x4000;
        /// Faulted in at once.
        POPULATE = 0x8000;
        /// With POPULATE: not faulted in after all.
        NONBLOCK = 0x1_0000;
        /// For a thread's stack: without huge pages.
        STACK = 0x2_0000;
        /// At this very address; refused if something is there.
        FIXED_NOREPLACE = 0x10_0000;
    }
}

flags! {
    /// How to move a mapping: `MREMAP_*`.
    RemapFlags: u32 {
        /// It may go elsewhere.
        MAYMOVE = 1;
        /// To this very address.
        FIXED = 2;
        /// What it leaves stays mapped, empty.
        DONTUNMAP = 4;
    }
}

flags! {
    /// What a VMA is: `VM_*`. Two VMAs merge only if all of these are equal.
    VmFlags: u64 {
        /// Loads are allowed.
        READ = 0x1;
        /// Stores are allowed.
        WRITE = 0x2;
        /// Instruction fetches are allowed.
        EXEC = 0x4;
        /// Stores reach the file.
        SHARED = 0x8;
        /// `mprotect` may allow loads.
        MAYREAD = 0x10;
        /// `mprotect` may allow stores.
        MAYWRITE = 0x20;
        /// `mprotect` may allow fetches.
        MAYEXEC = 0x40;
        /// Mapped with `MAP_SHARED`, though perhaps of a read-only file.
        MAYSHARE = 0x80;
        /// Grows down at faults.
        GROWSDOWN = 0x100;
        /// Frames without books: special mappings.
        PFNMAP = 0x400;
        /// Advised: read in order.
        SEQUENTIAL = 0x8000;
        /// Advised: read at random.
        RANDOM = 0x1_0000;
        /// Not in a forked child.
        DONTCOPY = 0x2_0000;
        /// `mremap` may not grow it.
        DONTEXPAND = 0x4_0000;
        /// Counted against the commit limit.
        ACCOUNT = 0x10_0000;
        /// Never counted.
        NORESERVE = 0x20_0000;
        /// Empty in a forked child.
        WIPEONFORK = 0x200_0000;
        /// Not in a core dump.
        DONTDUMP = 0x400_0000;
        /// Advised: huge pages.
        HUGEPAGE = 0x2000_0000;
        /// Advised: no huge pages.
        NOHUGEPAGE = 0x4000_0000;
    }
}

impl VmFlags {
    /// Loads, stores, fetches.
    pub const ACCESS: Self = Self::READ.with(Self::WRITE).with(Self::EXEC);
    /// What `mprotect` may allow, all of it.
    pub const MAY_ALL: Self = Self::MAYREAD.with(Self::MAYWRITE).with(Self::MAYEXEC);
    /// Never merged.
    pub const SPECIAL: Self = Self::DONTEXPAND.with(Self::PFNMAP);
    /// Data as `brk` makes it.
    pub const DATA: Self = Self::READ.with(Self::WRITE).with(Self::MAY_ALL);

    /// The access bits that a protection asks for.
    #[inline]
    pub const fn of_prot(prot: Prot) -> Self {
        Self((prot.bits() & 7) as u64)
    }

    /// What it allows now.
    #[inline]
    pub const fn prot(self) -> Prot {
        Prot::from_bits((self.0 & 7) as u32)
    }

    /// Counts as data: private, writable, no stack.
    #[inline]
    pub const fn is_data(self) -> bool {
        self.0 & (Self::WRITE.0 | Self::SHARED.0 | Self::GROWSDOWN.0) == Self::WRITE.0
    }

    /// Counts as code: executable, not writable, no stack.
    #[inline]
    pub const fn is_code(self) -> bool {
        self.0 & (Self::EXEC.0 | Self::WRITE.0 | Self::GROWSDOWN.0) == Self::EXEC.0
    }

    /// May hold private copies: not shared, and perhaps writable.
    #[inline]
    pub const fn is_cow(self) -> bool {
        self.0 & (Self::SHARED.0 | Self::MAYWRITE.0) == Self::MAYWRITE.0
    }

    /// Counts against the commit limit: private and writable.
    #[inline]
    pub const fn is_accountable(self) -> bool {
        self.0 & (Self::NORESERVE.0 | Self::SHARED.0 | Self::WRITE.0) == Self::WRITE.0
    }
}

/// What `madvise` says: `MADV_*`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Advice {
    /// No advice; takes RANDOM and SEQUENTIAL back.
    Normal = 0,
    /// Read at random.
    Random = 1,
    /// Read in order.
    Sequential = 2,
    /// Soon needed: nothing to do where all files are in memory.
    WillNeed = 3,
    /// Drop the pages now: zeros, or the file's contents, at the next read.
    DontNeed = 4,
    /// Anonymous pages may go when memory is short, unless written before.
    Free = 8,
    /// Not in a forked child.
    DontFork = 10,
    /// In a forked child again.
    DoFork = 11,
    /// Huge pages wanted.
    HugePage = 14,
    /// No huge pages.
    NoHugePage = 15,
    /// Not in a core dump.
    DontDump = 16,
    /// In a core dump again.
    DoDump = 17,
    /// Empty in a forked child.
    WipeOnFork = 18,
    /// Copied to a forked child again.
    KeepOnFork = 19,
    /// Fault all pages in, as by reads.
    PopulateRead = 22,
    /// Fault all pages in, as by writes.
    PopulateWrite = 23,
}

impl Advice {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::Normal,
        Self::Random,
        Self::Sequential,
        Self::WillNeed,
        Self::DontNeed,
        Self::Free,
        Self::DontFork,
        Self::DoFork,
        Self::HugePage,
        Self::NoHugePage,
        Self::DontDump,
        Self::DoDump,
        Self::WipeOnFork,
        Self::KeepOnFork,
        Self::PopulateRead,
        Self::PopulateWrite,
    ];

    /// The advice of this number.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|advice| *advice as u32 == number)
    }
}

/// What a load, a store or a fetch wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Access {
    /// A load.
    Read,
    /// A store.
    Write,
    /// An instruction fetch.
    Execute,
}
