//! The OOM killer: who must go when memory has run out.
//!
//! ```text
//!   points = resident + swapped + page tables + oom_score_adj × total / 1000
//!   −1000 is exempt │ the highest goes │ of equals the later one
//! ```

use crate::event::{Pid, What};
use crate::kernel::Kernel;
use crate::process::Process;
use heapwise_vm::PageTable;

/// Nobody with this adjustment is killed.
const EXEMPT: i64 = -1000;

/// A process's badness among `total` pages; `None` if it is exempt or has nothing. O(1).
#[must_use]
pub fn badness(process: &Process<'_>, total: u64) -> Option<i64> {
    let resident = process.mm.rss().total() + process.mm.table().tables();
    if process.oom_adjust <= EXEMPT || resident == 0 {
        return None;
    }
    Some(resident as i64 + process.oom_adjust * (total as i64 / 1000))
}

impl Kernel<'_> {
    /// Kills the worst process of a group, or of all; who that was. O(processes).
    pub fn kill_someone(&mut self, group: Option<u32>) -> Option<Pid> {
        let limit = group.and_then(|group| self.groups.get(&group)).map(|group| group.limit);
        let total = limit.unwrap_or_else(|| self.managed_frames() + self.commit.swap_pages);
        let candidates =
            self.processes.values().filter(|process| group.is_none() || process.group == group);
        let (points, victim) =
            candidates.filter_map(|process| Some((badness(process, total)?, process.pid))).max()?;
        let pages = self.processes.get(&victim)?.mm.rss().total();
        if let Some(group) = group.and_then(|group| self.groups.get_mut(&group)) {
            group.kills += 1;
        }
        self.counts.oom_kills += 1;
        self.end(victim, What::Killed { victim, points, pages });
        Some(victim)
    }
}
