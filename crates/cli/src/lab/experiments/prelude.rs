//! What every experiment uses.

pub use super::super::block::{Block, Chain};
pub use super::super::calls::{grows_once, is_the_strace, maps_once, moves, unmaps_once};
pub use super::super::experiment::{Article, Experiment, Findings, Missing, OnGlibc, change, size};
pub use super::super::harness::{Run, chunk_bytes};
pub use super::super::maps::{Maps, Region};
pub use super::super::probe::{Probe, exit, page_bytes};
pub use super::super::process::{
    Foreign, Fork, calloc_overflow, fork, map_anonymous, map_at, move_break, on_a_thread,
    online_cores, set_option, sleep_a_little, start_thread, trim, unmap, wait_for,
};
pub use super::super::tracer::End;

/// 2^10 bytes.
pub const KIB: usize = 1 << 10;
/// 2^20 bytes.
pub const MIB: usize = 1 << 20;
/// How far RSS may be off for reasons of its own: code paged in, the stack, a page table's worth of caches.
pub const SLACK: usize = MIB;

/// Whether `value` is within `slack` of `want`.
pub fn near(value: usize, want: usize, slack: usize) -> bool {
    value.abs_diff(want) <= slack
}

/// What the maps say of an address, in a word.
pub fn label(maps: &Maps, address: usize) -> String {
    match maps.at(address) {
        None => "not mapped".to_owned(),
        Some(region) if region.path.is_empty() => format!("anonymous {}", region.perms),
        Some(region) => region.path.rsplit('/').next().unwrap_or_default().to_owned(),
    }
}
