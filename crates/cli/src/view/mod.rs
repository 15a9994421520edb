//! What the commands that show memory have in common: `maps`, `watch` and `report`.
//!
//! ```text
//! palette   the parts of an account: order, names, signs, colours
//! heapmap   a heap by page: signs, condensing, runs, counts
//! timeline  figures of many looks, in bounded memory
//! events    what happened between two looks
//! pace      how often to look, so that looking costs little
//! ```

pub mod events;
pub mod heapmap;
pub mod pace;
pub mod palette;
pub mod timeline;

#[cfg(test)]
pub mod sample;
