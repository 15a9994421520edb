//! What the kernel tells about a process: `/proc/PID`.

pub mod cgroup;
pub mod figures;
pub mod files;
pub mod maps;
pub mod memory;
pub mod names;
pub mod pages;
pub mod rights;
pub mod stopped;
pub mod threads;
pub mod tracing;
