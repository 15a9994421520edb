//! `/proc/PID/maps`, `smaps`, `smaps_rollup` and `status`, byte for byte as Linux prints them.
//!
//! ```text
//!   let text = format!("{}", Maps { mm: &mm, nodes: &nodes, files: &files });
//! ```

mod maps;
mod smaps;
mod status;

pub use maps::Maps;
pub use smaps::{Resident, Smaps, SmapsRollup};
pub use status::Status;
