//! How many cores this process may use: its affinity, cut by its cgroup's quota.

use super::machine::{nr, syscall};
use super::{path, read_file};
use crate::tunables::parse;

/// Affinity ∩ cgroup quota, at least 1.
pub fn usable() -> usize {
    let quota = quota_v2().or_else(quota_v1).unwrap_or(usize::MAX);
    affinity().min(quota).max(1)
}

fn affinity() -> usize {
    let mut mask = [0u64; 128];
    let args = [0, size_of_val(&mask), mask.as_mut_ptr().addr(), 0, 0, 0];
    // SAFETY: the kernel writes at most the mask's size.
    let bytes = unsafe { syscall(nr::SCHED_GETAFFINITY, args) };
    if bytes <= 0 { 1 } else { mask.iter().map(|word| word.count_ones() as usize).sum() }
}

/// Cores that `quota` microseconds in each `period` amount to, rounded up.
fn cores(quota: &[u8], period: &[u8]) -> Option<usize> {
    let (quota, period) = (parse(quota)?, parse(period)?);
    (period > 0 && quota > 0).then(|| quota.div_ceil(period))
}

/// The smallest `cpu.max` from this process's cgroup up to the root.
fn quota_v2() -> Option<usize> {
    let mut text = [0; 512];
    let groups = read_file(b"/proc/self/cgroup\0", &mut text)?;
    let line = groups.split(|&b| b == b'\n').find_map(|line| line.strip_prefix(b"0::"))?;
    let mut group = line;
    let mut least = None;
    loop {
        let (mut name, mut value) = ([0; 640], [0; 64]);
        let file = path(&mut name, &[b"/sys/fs/cgroup", group, b"/cpu.max"])?;
        if let Some(value) = read_file(file, &mut value) {
            let mut words = value.trim_ascii().split(|&b| b == b' ');
            if let (Some(quota), Some(period)) = (words.next(), words.next())
                && let Some(cores) = cores(quota, period)
            {
                least = Some(least.map_or(cores, |l: usize| l.min(cores)));
            }
        }
        match group.iter().rposition(|&b| b == b'/') {
            Some(slash) if group.len() > 1 => group = &group[..slash],
            _ => return least,
        }
    }
}

fn quota_v1() -> Option<usize> {
    let (mut quota, mut period) = ([0; 32], [0; 32]);
    let quota = read_file(b"/sys/fs/cgroup/cpu/cpu.cfs_quota_us\0", &mut quota)?;
    let period = read_file(b"/sys/fs/cgroup/cpu/cpu.cfs_period_us\0", &mut period)?;
    cores(quota, period)
}

#[cfg(test)]
mod tests {
    use super::cores;

    #[test]
    fn quotas_round_up() {
        assert_eq!(cores(b"150000", b"100000"), Some(2));
        assert_eq!(cores(b"max", b"100000"), None);
        assert_eq!(cores(b"-1", b"100000"), None);
        assert_eq!(cores(b"50000", b"0"), None);
    }
}
