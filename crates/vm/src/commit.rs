//! Overcommit: how much memory all programs together may be promised.
//!
//! ```text
//!   mode 1   always
//!   mode 0   one request ≤ RAM + swap
//!   mode 2   committed < (RAM − huge pages) × ratio + swap − reserves
//! ```
//! Private writable mappings count, and shared memory in full size.

use crate::error::Error;
use heapwise_pages::PAGE_SHIFT;

/// `vm.overcommit_memory`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Overcommit {
    /// 0: refuse only what is absurd by itself.
    Heuristic,
    /// 1: refuse nothing.
    Always,
    /// 2: strict accounting.
    Never,
}

/// The machine's promises. One for all address spaces.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Commit {
    /// The policy.
    pub mode: Overcommit,
    /// Pages of RAM.
    pub ram_pages: u64,
    /// Of these, reserved as huge pages.
    pub huge_pages: u64,
    /// Pages of swap.
    pub swap_pages: u64,
    /// `vm.overcommit_ratio`, per cent of RAM.
    pub ratio: u64,
    /// `vm.admin_reserve_kbytes`, in pages: for the privileged alone.
    pub admin_reserve: u64,
    /// `vm.user_reserve_kbytes`, in pages: no single program may take the last.
    pub user_reserve: u64,
    /// Pages promised.
    pub committed: u64,
}

impl Commit {
    /// The usual settings for so much RAM, without swap.
    pub const fn new(mode: Overcommit, ram_pages: u64) -> Self {
        Self {
            mode,
            ram_pages,
            huge_pages: 0,
            swap_pages: 0,
            ratio: 50,
            admin_reserve: (8 << 20) >> PAGE_SHIFT,
            user_reserve: (128 << 20) >> PAGE_SHIFT,
            committed: 0,
        }
    }

    /// `CommitLimit`, in pages. O(1).
    pub const fn limit(&self) -> u64 {
        let ram = self.ram_pages.saturating_sub(self.huge_pages);
        (ram as u128 * self.ratio as u128 / 100) as u64 + self.swap_pages
    }

    /// Promises `pages` more to a program that has `total_vm` pages mapped. O(1).
    ///
    /// [`Error::Commit`]; nothing is promised then.
    pub fn charge(&mut self, pages: u64, total_vm: u64, privileged: bool) -> Result<(), Error> {
        let after = self.committed.saturating_add(pages);
        let granted = match self.mode {
            Overcommit::Always => true,
            Overcommit::Heuristic => pages <= self.ram_pages.saturating_add(self.swap_pages),
            Overcommit::Never => {
                let reserve = if privileged { 0 } else { self.admin_reserve };
                let allowed = self.limit() as i128
                    - reserve as i128
                    - (total_vm / 32).min(self.user_reserve) as i128;
                (after as i128) < allowed
            }
        };
        if !granted {
            return Err(Error::Commit);
        }
        self.committed = after;
        Ok(())
    }

    /// Takes a promise back. O(1).
    pub const fn uncharge(&mut self, pages: u64) {
        debug_assert!(pages <= self.committed);
        self.committed = self.committed.saturating_sub(pages);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_modes() {
        let mut always = Commit::new(Overcommit::Always, 100);
        assert!(always.charge(1 << 40, 0, false).is_ok());
        let mut heuristic = Commit::new(Overcommit::Heuristic, 100);
        heuristic.swap_pages = 20;
        assert_eq!(heuristic.charge(121, 0, false), Err(Error::Commit));
        for _ in 0..10 {
            assert!(heuristic.charge(120, 0, false).is_ok());
        }
        assert_eq!(heuristic.committed, 1200);
        // 8 GiB: limit 2^20 pages, less 2048 for the admin, less 2^20/32 for the user.
        let mut never = Commit::new(Overcommit::Never, 1 << 21);
        assert_eq!(never.limit(), 1 << 20);
        let most = (1 << 20) - 2048 - (1 << 15) - 1;
        assert_eq!(never.charge(most + 1, 1 << 20, false), Err(Error::Commit));
        assert!(never.charge(most, 1 << 20, false).is_ok());
        assert_eq!(never.charge(1, 1 << 20, false), Err(Error::Commit));
        assert!(never.charge(2048, 1 << 20, true).is_ok());
        never.uncharge(2048);
        assert_eq!(never.committed, most);
    }
}
