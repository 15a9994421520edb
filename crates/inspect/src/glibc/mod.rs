//! An unmodified glibc's heap (2.26 to 2.43, x86_64), read from outside.

pub mod arena;
pub mod heap;
pub mod locate;
pub mod mapped;
pub mod survey;
pub mod symbols;
pub mod tcache;
pub mod version;
