//! What the kernel tells about a process: `/proc/PID`.

pub mod cgroup;
pub mod figures;
pub mod files;
#[cfg(target_arch = "x86_64")]
pub mod frozen;
#[cfg(target_arch = "x86_64")]
pub mod interrupted;
pub mod maps;
pub mod memory;
pub mod names;
pub mod pages;
pub mod remote;
pub mod rights;
pub mod stopped;
pub mod threads;
pub mod tracing;
