//! Compaction in the machine: frames move, and every page table that knows them follows.

use crate::event::{Pid, What};
use crate::kernel::Kernel;
use heapwise_pages::{Compacted, Order, Pfn};
use heapwise_vm::{EntryBits, PageTable, Span, VirtAddr};
use std::collections::BTreeMap;

impl Kernel<'_> {
    /// Moves programs' private pages together until a block of `wanted` is free.
    /// O(frames + pages mapped).
    pub fn compact(&mut self, wanted: Order) -> Compacted {
        self.shared.drain();
        let mut homes = self.homes();
        let mut all = Compacted::default();
        let shared = self.shared;
        for nth in 0..shared.pages.zones(|zones| zones.iter().count()) {
            let Some(kind) = shared.pages.zones(|zones| zones.iter().nth(nth).map(|z| z.kind()))
            else {
                continue;
            };
            let done = shared.pages.zones(|zones| {
                let zone = zones.zone_mut(kind)?;
                Some(zone.compact(wanted, &mut |from, to, order| {
                    order == Order::ZERO && self.migrate(&mut homes, from, to)
                }))
            });
            if let Some(done) = done {
                all.success |= done.success;
                all.scanned += done.scanned;
                all.moved += done.moved;
                all.refused += done.refused;
            }
        }
        self.counts.compact_scanned += u64::from(all.scanned);
        self.counts.compact_moved += u64::from(all.moved);
        self.counts.compact_success += u64::from(all.success);
        let price = self.prices.migrate * u64::from(all.moved);
        self.emit(0, price, What::Compacted { moved: all.moved, success: all.success });
        all
    }

    /// Who maps each private frame.
    fn homes(&self) -> BTreeMap<Pfn, Vec<(Pid, VirtAddr)>> {
        let mut homes: BTreeMap<Pfn, Vec<(Pid, VirtAddr)>> = BTreeMap::new();
        for process in self.processes.values() {
            for vma in process.mm.vmas(&self.nodes) {
                let mut at = vma.span.start;
                while let Some((page, entry)) =
                    process.mm.table().first(Span::new(at, vma.span.end))
                {
                    if entry.bits.has(EntryBits::ANON) {
                        homes.entry(entry.pfn).or_default().push((process.pid, page));
                    }
                    at = page.up(heapwise_pages::PAGE_SIZE);
                }
            }
        }
        homes
    }

    /// Moves one frame; false if not all of its owners are known.
    fn migrate(
        &mut self,
        homes: &mut BTreeMap<Pfn, Vec<(Pid, VirtAddr)>>,
        from: Pfn,
        to: Pfn,
    ) -> bool {
        use heapwise_vm::Frames;
        let Some(users) = homes.get(&from) else { return false };
        if self.frames.owners(from) as usize != users.len() || !self.frames.relocate(from, to) {
            return false;
        }
        for &(pid, page) in users {
            if let Some(process) = self.processes.get_mut(&pid) {
                process.mm.relocate(page, from, to);
            }
        }
        let users = homes.remove(&from).unwrap_or_default();
        homes.insert(to, users);
        true
    }
}
