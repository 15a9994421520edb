//! Everything that ends a program: one exact line each, glibc's text where the cause is glibc's.

/// A misuse of the heap, or a heap that somebody has overwritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// free of what is not the start of a live chunk.
    FreeInvalidPointer,
    /// free of a chunk whose header is no header.
    FreeInvalidSize,
    /// free of a chunk whose next neighbour's header is no header.
    FreeInvalidNextSize,
    /// free of a chunk that waits in a thread cache, an inbox or a fastbin.
    DoubleFreeInTransit,
    /// free of a chunk that lies in a bin.
    DoubleFreeBinned,
    /// free of a chunk that has become part of the top.
    DoubleFreeTop,
    /// free of a mapping's inside.
    UnmapInvalidPointer,
    /// realloc of a chunk whose header is no header.
    ReallocInvalidOldSize,
    /// realloc of a mapped chunk whose header is no header.
    RemapInvalidPointer,
    /// realloc of what is not the start of a live chunk.
    ReallocInvalidPointer,
    /// realloc of a chunk whose next neighbour's header is no header.
    ReallocInvalidNextSize,
    /// The top chunk's size is impossible.
    CorruptTop,
    /// A chunk waiting for its bin has an impossible size.
    CorruptUnsortedSize,
    /// The ring of chunks waiting for their bins is broken.
    CorruptUnsortedRing,
    /// The ring of a small bin is broken.
    CorruptSmallRing,
    /// The ring of a large bin is broken.
    CorruptLargeRing,
    /// The ring around a chunk that is to be merged is broken.
    CorruptRing,
    /// A free chunk's size does not stand again at its end.
    CorruptPrevSize,
    /// The same, found while merging backwards.
    CorruptPrevSizeMerging,
    /// A chunk in transit is not aligned: its list was overwritten.
    UnalignedInTransit,
    /// A chunk in a fastbin is not aligned or has another size.
    CorruptFastbin,
    /// Somebody lowered the break below our heap.
    BreakLowered,
}

impl Fault {
    /// The line, without its newline.
    #[must_use]
    pub const fn line(self) -> &'static str {
        match self {
            Self::FreeInvalidPointer => "free(): invalid pointer",
            Self::FreeInvalidSize => "free(): invalid size",
            Self::FreeInvalidNextSize => "free(): invalid next size (normal)",
            Self::DoubleFreeInTransit => "free(): double free detected in tcache 2",
            Self::DoubleFreeBinned => "double free or corruption (!prev)",
            Self::DoubleFreeTop => "double free or corruption (top)",
            Self::UnmapInvalidPointer => "munmap_chunk(): invalid pointer",
            Self::ReallocInvalidOldSize => "realloc(): invalid old size",
            Self::RemapInvalidPointer => "mremap_chunk(): invalid pointer",
            Self::ReallocInvalidPointer => "realloc(): invalid pointer",
            Self::ReallocInvalidNextSize => "realloc(): invalid next size",
            Self::CorruptTop => "malloc(): corrupted top size",
            Self::CorruptUnsortedSize => "malloc(): invalid size (unsorted)",
            Self::CorruptUnsortedRing => "malloc(): unsorted double linked list corrupted",
            Self::CorruptSmallRing => "malloc(): smallbin double linked list corrupted",
            Self::CorruptLargeRing => "malloc(): largebin double linked list corrupted (nextsize)",
            Self::CorruptRing => "corrupted double-linked list",
            Self::CorruptPrevSize => "corrupted size vs. prev_size",
            Self::CorruptPrevSizeMerging => "corrupted size vs. prev_size while consolidating",
            Self::UnalignedInTransit => "malloc(): unaligned tcache chunk detected",
            Self::CorruptFastbin => "malloc(): unaligned fastbin chunk detected",
            Self::BreakLowered => "break adjusted to free malloc space",
        }
    }
}
