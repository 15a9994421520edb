//! What the allocator promises, one promise a test, over the kernel in memory.

mod aligned;
mod bench;
mod bins;
mod depot;
mod giving_back;
mod growth;
mod huge;
mod mapped;
mod misuse;
mod neighbours;
mod ownership;
mod resize;
mod waiting;
mod zero;
