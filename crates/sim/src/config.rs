//! What a machine is, before it starts.

use crate::price::Prices;
use crate::ram::Fidelity;
use crate::window::Behind;
use heapwise_vm::{Aslr, Limits, Overcommit, Policy};

/// A machine to be.
#[derive(Clone, Debug)]
pub struct Config {
    /// Bytes of memory; rounded up to 4 MiB, at least 16 MiB.
    pub ram_bytes: u64,
    /// Bytes of swap, for the overcommit rules alone: nothing is ever swapped out.
    pub swap_bytes: u64,
    /// Processors, 1 to 64.
    pub cpus: usize,
    /// Decides everything that is random.
    pub seed: u64,
    /// `vm.overcommit_memory`.
    pub overcommit: Overcommit,
    /// `vm.overcommit_ratio`.
    pub overcommit_ratio: u64,
    /// `kernel.randomize_va_space`.
    pub aslr: Aslr,
    /// What `setrlimit` says to new processes.
    pub limits: Limits,
    /// What the administrator set.
    pub policy: Policy,
    /// What steps cost.
    pub prices: Prices,
    /// How much of a frame is really written.
    pub fidelity: Fidelity,
    /// Whether programs' addresses are real in this host process, and what is behind them.
    pub window: Option<Behind>,
    /// VMAs in the whole machine.
    pub vmas: usize,
    /// Whether a first touch where huge pages were asked for (`MADV_HUGEPAGE`) takes the whole
    /// block of 2 MiB: `transparent_hugepage/enabled` says `madvise`.
    pub huge_pages: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            ram_bytes: 256 << 20,
            swap_bytes: 0,
            cpus: 2,
            seed: 1,
            overcommit: Overcommit::Heuristic,
            overcommit_ratio: 50,
            aslr: Aslr::Off,
            limits: Limits::default(),
            policy: Policy::default(),
            prices: Prices::default(),
            fidelity: Fidelity::Word,
            window: None,
            vmas: 1 << 16,
            huge_pages: false,
        }
    }
}
