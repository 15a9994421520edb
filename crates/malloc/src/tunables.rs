//! Every setting, in one table: names, defaults, limits, meaning.
//!
//! A setting can come from `HEAPWISE_*`, from glibc's own variable, from
//! `GLIBC_TUNABLES`, or from `mallopt`. Values are words; sizes are bytes.

use core::sync::atomic::{
    AtomicU32, AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
};
pub use heapwise_layout::settings::{SETTINGS, Setting};

/// How a setting is called and what it may be.
#[derive(Clone, Copy, Debug)]
pub struct Tunable {
    /// Which one.
    pub setting: Setting,
    /// Our environment variable.
    pub heapwise: &'static str,
    /// glibc's environment variable.
    pub malloc: Option<&'static str>,
    /// The name in `GLIBC_TUNABLES`.
    pub glibc: Option<&'static str>,
    /// The default.
    pub default: usize,
    /// Largest value; larger ones are ignored.
    pub max: usize,
    /// What it does, for people.
    pub help: &'static str,
}

const fn tunable(
    setting: Setting,
    heapwise: &'static str,
    malloc: Option<&'static str>,
    glibc: Option<&'static str>,
    default: usize,
    max: usize,
    help: &'static str,
) -> Tunable {
    Tunable { setting, heapwise, malloc, glibc, default, max, help }
}

/// Largest threshold that glibc accepts and that the dynamic one grows to, 64-bit.
pub const MMAP_THRESHOLD_MAX: usize = 32 << 20;
/// The dynamic threshold starts here.
pub const MMAP_THRESHOLD_DEFAULT: usize = 128 << 10;

/// All settings, in the order of [`Setting`].
#[rustfmt::skip]
pub const TABLE: &[Tunable] = &[
    tunable(Setting::MmapThreshold, "HEAPWISE_MMAP_THRESHOLD", Some("MALLOC_MMAP_THRESHOLD_"), Some("glibc.malloc.mmap_threshold"),
        MMAP_THRESHOLD_DEFAULT, usize::MAX, "requests from this size on get a mapping of their own; bytes; dynamic up to 32 MiB until set"),
    tunable(Setting::TrimThreshold, "HEAPWISE_TRIM_THRESHOLD", Some("MALLOC_TRIM_THRESHOLD_"), Some("glibc.malloc.trim_threshold"),
        128 << 10, usize::MAX, "a top chunk of this size lowers the break; bytes; twice the dynamic mmap threshold until set"),
    tunable(Setting::TopPad, "HEAPWISE_TOP_PAD", Some("MALLOC_TOP_PAD_"), Some("glibc.malloc.top_pad"),
        128 << 10, usize::MAX, "asked for beyond the need whenever a heap grows; bytes"),
    tunable(Setting::MmapMax, "HEAPWISE_MMAP_MAX", Some("MALLOC_MMAP_MAX_"), Some("glibc.malloc.mmap_max"),
        65536, i32::MAX as usize, "most chunks with a mapping of their own; 0 for none"),
    tunable(Setting::ArenaMax, "HEAPWISE_ARENA_MAX", Some("MALLOC_ARENA_MAX"), Some("glibc.malloc.arena_max"),
        0, usize::MAX, "most arenas; 0 for 64 x usable cores, up to 1024; threads beyond them share"),
    tunable(Setting::ArenaTest, "HEAPWISE_ARENA_TEST", Some("MALLOC_ARENA_TEST"), Some("glibc.malloc.arena_test"),
        8, usize::MAX, "arenas made before the cores are counted"),
    tunable(Setting::MxFast, "HEAPWISE_MXFAST", None, Some("glibc.malloc.mxfast"),
        120, 160, "largest request whose chunk goes to a fastbin; bytes"),
    tunable(Setting::Perturb, "HEAPWISE_PERTURB", Some("MALLOC_PERTURB_"), Some("glibc.malloc.perturb"),
        0, 255, "fill new memory with the complement of this byte, freed memory with the byte"),
    tunable(Setting::Check, "HEAPWISE_CHECK", Some("MALLOC_CHECK_"), Some("glibc.malloc.check"),
        0, 3, "3: walk the arena after every call that takes its lock, abort on the first flaw"),
    tunable(Setting::CacheMax, "HEAPWISE_CACHE_MAX", None, Some("glibc.malloc.tcache_max"),
        65544, 65544, "largest request that the thread cache keeps; bytes"),
    tunable(Setting::CacheCount, "HEAPWISE_CACHE_COUNT", None, Some("glibc.malloc.tcache_count"),
        65535, 65535, "most chunks that a thread cache keeps in one class; 0 turns the cache off"),
    tunable(Setting::HugeTlb, "HEAPWISE_HUGETLB", None, Some("glibc.malloc.hugetlb"),
        0, 1, "1: advise transparent huge pages for mappings of 4 MiB and more"),
    tunable(Setting::UnsortedLimit, "HEAPWISE_UNSORTED_LIMIT", None, Some("glibc.malloc.tcache_unsorted_limit"),
        0, usize::MAX, "most unsorted chunks that one request sorts; 0 for 10000"),
    tunable(Setting::Purge, "HEAPWISE_PURGE", None, None,
        1, 1, "0: keep free pages in the middle of a heap until malloc_trim, as glibc does"),
    tunable(Setting::PurgeBudget, "HEAPWISE_PURGE_BUDGET", None, None,
        1 << 20, usize::MAX, "dirty free bytes an arena may keep before the oldest half goes back"),
    tunable(Setting::PurgeHelper, "HEAPWISE_PURGE_HELPER", None, None,
        1, 2, "the helper that gives memory back while the process idles: 0 never, 1 when it is worth it, 2 also for little in single-threaded programs"),
    tunable(Setting::CacheBytes, "HEAPWISE_CACHE_BYTES", None, None,
        8 << 20, 1 << 30, "most that one thread's cache keeps beyond the 16 KiB that each class may; bytes"),
    tunable(Setting::HugeGrowth, "HEAPWISE_HUGE_GROWTH", None, None,
        8 << 20, usize::MAX, "a heap that small chunks have filled to this size grows in huge pages of 2 MiB where the kernel has them; bytes"),
    tunable(Setting::FreeWait, "HEAPWISE_FREE_WAIT", None, None,
        8 << 20, usize::MAX, "in an arena of this size a free may wait for the next 16 until its chunk is in the processor's cache; bytes; 0 for never"),
];

const _: () = {
    assert!(TABLE.len() == SETTINGS);
    let mut i = 0;
    while i < SETTINGS {
        assert!(TABLE[i].setting as usize == i);
        i += 1;
    }
};

/// The values in force. Published by address, so the order stays.
#[repr(C)]
pub struct Settings {
    values: [AtomicUsize; SETTINGS],
    /// 1 while the mmap threshold moves by itself.
    dynamic: AtomicUsize,
    /// [`RAW`], [`FILLING`] or [`FILLED`].
    state: AtomicU32,
}

/// All zero.
const RAW: u32 = 0;
/// Somebody puts the defaults in.
const FILLING: u32 = 1;
/// Ready.
const FILLED: u32 = 2;

impl Settings {
    /// All zero: [`Settings::fill`] comes first.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            values: [const { AtomicUsize::new(0) }; SETTINGS],
            dynamic: AtomicUsize::new(0),
            state: AtomicU32::new(RAW),
        }
    }

    /// Puts the defaults in, once.
    pub fn fill(&self) {
        if self.state.compare_exchange(RAW, FILLING, Acquire, Acquire).is_err() {
            while self.state.load(Acquire) != FILLED {
                core::hint::spin_loop();
            }
            return;
        }
        for (value, tunable) in self.values.iter().zip(TABLE) {
            value.store(tunable.default, Relaxed);
        }
        self.dynamic.store(1, Relaxed);
        self.state.store(FILLED, Release);
    }

    /// The value of one setting.
    #[inline]
    pub fn get(&self, setting: Setting) -> usize {
        self.values[setting as usize].load(Relaxed)
    }

    /// Sets a value by hand; false if it is out of range. The four that glibc
    /// names freeze the dynamic threshold.
    pub fn set(&self, setting: Setting, value: usize) -> bool {
        if value > TABLE[setting as usize].max {
            return false;
        }
        self.fill();
        self.values[setting as usize].store(value, Relaxed);
        if matches!(
            setting,
            Setting::MmapThreshold | Setting::TrimThreshold | Setting::TopPad | Setting::MmapMax
        ) {
            self.dynamic.store(0, Relaxed);
        }
        true
    }

    /// Whether thresholds and pad move by themselves: nobody has set one by hand.
    pub fn dynamic(&self) -> bool {
        self.dynamic.load(Relaxed) == 1
    }

    /// A mapping of `bytes` was freed: the dynamic threshold follows it up.
    pub fn learn_mapped_free(&self, bytes: usize) {
        if self.dynamic.load(Relaxed) == 1
            && bytes > self.get(Setting::MmapThreshold)
            && bytes <= MMAP_THRESHOLD_MAX
        {
            self.values[Setting::MmapThreshold as usize].store(bytes, Relaxed);
            self.values[Setting::TrimThreshold as usize].store(2 * bytes, Relaxed);
        }
    }

    /// Takes one `NAME=VALUE` of the environment; true if it was one of ours.
    pub fn take_variable(&self, variable: &[u8]) -> bool {
        if let Some(list) = variable.strip_prefix(b"GLIBC_TUNABLES=") {
            for pair in list.split(|&b| b == b':') {
                self.take_pair(pair, |t| t.glibc);
            }
            return true;
        }
        if variable.starts_with(b"MALLOC_") {
            return self.take_pair(variable, |t| t.malloc);
        }
        variable.starts_with(b"HEAPWISE_") && self.take_pair(variable, |t| Some(t.heapwise))
    }

    fn take_pair(&self, pair: &[u8], name: impl Fn(&Tunable) -> Option<&'static str>) -> bool {
        let Some(equals) = pair.iter().position(|&b| b == b'=') else { return false };
        let (key, value) = (&pair[..equals], &pair[equals + 1..]);
        let named = |t: &&Tunable| name(t).is_some_and(|n| n.as_bytes() == key);
        let Some(tunable) = TABLE.iter().find(named) else { return false };
        parse(value).is_some_and(|value| self.set(tunable.setting, value))
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self::new()
    }
}

/// A number as glibc reads it (decimal, 0x, 0 for octal), with K, M or G behind it if you like.
#[must_use]
pub fn parse(text: &[u8]) -> Option<usize> {
    let text = text.trim_ascii();
    let (digits, shift) = match text.last()? {
        b'k' | b'K' => (&text[..text.len() - 1], 10),
        b'm' | b'M' => (&text[..text.len() - 1], 20),
        b'g' | b'G' => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    let (digits, radix) = match digits {
        [b'0', b'x' | b'X', rest @ ..] => (rest, 16),
        [b'0', rest @ ..] if !rest.is_empty() => (rest, 8),
        _ => (digits, 10),
    };
    if digits.is_empty() || digits[0] == b'+' {
        return None;
    }
    let value = usize::from_str_radix(core::str::from_utf8(digits).ok()?, radix).ok()?;
    value.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_as_glibc_reads_them() {
        for (text, value) in [
            ("65536", Some(65536)),
            ("0x10000", Some(65536)),
            ("0200000", Some(65536)),
            ("64K", Some(65536)),
            ("0", Some(0)),
            ("", None),
            ("-1", None),
            ("12monkeys", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(parse(text.as_bytes()), value, "{text}");
        }
    }

    #[test]
    fn variables_reach_their_settings_and_freeze_the_threshold() {
        let settings = Settings::new();
        settings.fill();
        settings.learn_mapped_free(1 << 20);
        assert_eq!(settings.get(Setting::MmapThreshold), 1 << 20);
        assert_eq!(settings.get(Setting::TrimThreshold), 2 << 20);
        assert!(settings.take_variable(b"MALLOC_MMAP_THRESHOLD_=65536"));
        settings.learn_mapped_free(4 << 20);
        assert_eq!(settings.get(Setting::MmapThreshold), 65536);
        assert!(
            settings
                .take_variable(b"GLIBC_TUNABLES=glibc.malloc.arena_max=2:glibc.malloc.perturb=7")
        );
        assert_eq!((settings.get(Setting::ArenaMax), settings.get(Setting::Perturb)), (2, 7));
        assert!(!settings.take_variable(b"HEAPWISE_MXFAST=4096"));
        assert!(!settings.take_variable(b"PATH=/bin"));
    }
}
