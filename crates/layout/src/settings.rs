//! The settings by number: what an outside reader needs to read their values.
//!
//! Names, defaults and limits are the allocator's; the values stand where
//! [`crate::state::ProcessState::settings`] says, one word each, in this order.

/// A setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
#[allow(missing_docs, reason = "the allocator's table documents each")]
pub enum Setting {
    MmapThreshold,
    TrimThreshold,
    TopPad,
    MmapMax,
    ArenaMax,
    ArenaTest,
    MxFast,
    Perturb,
    Check,
    CacheMax,
    CacheCount,
    HugeTlb,
    UnsortedLimit,
    Purge,
    PurgeBudget,
    PurgeHelper,
    CacheBytes,
    HugeGrowth,
    FreeWait,
}

/// Number of settings.
pub const SETTINGS: usize = Setting::FreeWait as usize + 1;
