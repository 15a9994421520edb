//! What a seed decides before the first operation.

use crate::os::Boot;
use heapwise_malloc::tunables::Setting;
use heapwise_seed::Rng;

/// A world to be.
#[derive(Clone, Debug)]
pub struct Setup {
    /// How the kernel starts.
    pub boot: Boot,
    /// Threads at any one time.
    pub threads: usize,
    /// Settings before the first call.
    pub settings: Vec<(Setting, usize)>,
    /// Whether the first thread shares its arena.
    pub share_first: bool,
    /// While a thread is in the kernel, others run once in so many calls; 0 for never.
    pub interrupt_one_in: u64,
    /// The heap is checked after so many operations.
    pub check_every: usize,
    /// Most blocks that the program holds.
    pub max_blocks: usize,
    /// Most bytes.
    pub max_bytes: usize,
    /// Whether operations that make the kernel refuse are left out.
    pub kind_kernel: bool,
    /// Seeds what is decided on the way.
    pub seed: u64,
}

impl Setup {
    /// One thread on a kernel that never refuses.
    #[must_use]
    pub fn plain() -> Self {
        Self {
            boot: Boot::default(),
            threads: 1,
            settings: Vec::new(),
            share_first: false,
            interrupt_one_in: 0,
            check_every: 1,
            max_blocks: 2_000,
            max_bytes: 64 << 20,
            kind_kernel: true,
            seed: 0,
        }
    }

    /// What `seed` decides.
    #[must_use]
    pub fn of_seed(seed: u64) -> Self {
        let mut rng = Rng::new(seed ^ 0x5e70_ab1e);
        let boot = Boot {
            page_bytes: rng.pick(&[4096, 4096, 4096, 16384, 65536]),
            break_offset: rng.pick(&[0, 0, 16, 1000, 4080]),
            skew_pages: rng.index(20_000),
            cores: rng.pick(&[1, 2, 2, 64]),
            address_space_limited: false,
            secret: rng.word(),
            place: seed as usize,
        };
        let mut settings = Vec::new();
        for (setting, values) in [
            (Setting::ArenaMax, &[1, 2, 3, 4, 5, 8][..]),
            (Setting::CacheCount, &[0, 1, 3, 20]),
            (Setting::CacheMax, &[0, 64, 1032, 4096]),
            (Setting::MxFast, &[0, 160]),
            (Setting::PurgeBudget, &[0, 64 << 10]),
            (Setting::TopPad, &[0, 1 << 20]),
            (Setting::MmapThreshold, &[4096, 4 << 20]),
            (Setting::FreeWait, &[0, 1, 1, 64 << 10]),
        ] {
            if rng.one_in(4) {
                settings.push((setting, rng.pick(values)));
            }
        }
        if rng.one_in(16) {
            settings.push((Setting::Check, 3));
        }
        let share_first = settings.contains(&(Setting::ArenaMax, 1)) || rng.one_in(16);
        Self {
            boot,
            threads: rng.pick(&[1, 2, 3, 5, 8, 12]),
            settings,
            share_first,
            interrupt_one_in: rng.pick(&[0, 1, 3, 10]),
            check_every: rng.pick(&[1_000, 2_500]),
            max_blocks: rng.pick(&[30, 300, 3_000, 10_000]),
            max_bytes: rng.pick(&[1 << 20, 16 << 20, 100 << 20]),
            kind_kernel: rng.one_in(3),
            seed,
        }
    }
}
