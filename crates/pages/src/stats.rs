//! Figures, in the form in which Linux prints them.
//!
//! ```text
//!   /proc/buddyinfo
//!   Node 0, zone   Normal     12      7      3      1      0 …    free blocks an order
//! ```

use crate::frame::{ORDERS, Order};
use crate::migrate::MigrateType;
use crate::state::State;
use crate::zone::Zone;
use crate::zones::Zones;
use core::fmt;

impl Zone<'_> {
    /// Free blocks of each order. O(orders).
    pub fn free_blocks(&self) -> [u32; ORDERS] {
        let mut blocks = [0; ORDERS];
        for counts in &self.settled_counts() {
            for (sum, count) in blocks.iter_mut().zip(counts) {
                *sum += count;
            }
        }
        blocks
    }

    /// Free blocks of each order of one migrate type. O(orders).
    pub fn free_blocks_of(&self, migrate: MigrateType) -> [u32; ORDERS] {
        self.settled_counts()[migrate.index()]
    }

    /// Linux's fragmentation index, in thousandths: why a request of this order
    /// fails. −1000: it does not; near 0: memory is short; near 1000: it is in
    /// pieces. Linux compacts above 500. O(orders).
    pub fn fragmentation_index(&self, order: Order) -> i32 {
        let blocks = self.free_blocks();
        let total: u64 = blocks.iter().map(|count| u64::from(*count)).sum();
        if total == 0 {
            return 0;
        }
        if blocks[order.get()..].iter().any(|count| *count != 0) {
            return -1000;
        }
        let requested = u64::from(order.frames());
        let pieces = (1000 + u64::from(self.free_frames()) * 1000 / requested) / total;
        1000 - pieces as i32
    }

    /// Linux's unusable index, in thousandths: the part of free memory that a
    /// request of this order cannot use. O(orders).
    pub fn unusable_index(&self, order: Order) -> i32 {
        if self.free_frames() == 0 {
            return 1000;
        }
        let usable: u64 = Order::all()
            .zip(self.free_blocks())
            .skip(order.get())
            .map(|(order, count)| u64::from(count) << order.get())
            .sum();
        ((u64::from(self.free_frames()) - usable) * 1000 / u64::from(self.free_frames())) as i32
    }

    /// Checks every invariant of the books. O(frames): for tests.
    #[doc(hidden)]
    pub fn check(&self) -> Result<(), &'static str> {
        let (mut covered, mut free, mut absent) = (0, 0_u32, 0_u32);
        let run = self.run;
        let mut counts = [[0; ORDERS]; crate::migrate::MIGRATE_TYPES];
        for index in 0..self.map.len() {
            let state = self.state_at(index);
            if state != self.map.get(index) && self.map.get(index) != State::PLAIN {
                return Err("a frame is marked twice");
            }
            absent += u32::from(state.is_absent());
            let mut found = None;
            for migrate in MigrateType::ALL {
                for (order, count) in counts[migrate.index()].iter_mut().enumerate() {
                    let aligned = index & ((1 << order) - 1) == 0;
                    if aligned && self.is_free_block(migrate, order, index) {
                        if found.replace(order).is_some() {
                            return Err("a frame starts two free blocks");
                        }
                        if self.type_at(index) != migrate {
                            return Err("a free block is in another type's set");
                        }
                        let buddy = index ^ (1 << order);
                        if order < self.max_order.min(9)
                            && self.is_free_block(migrate, order, buddy)
                        {
                            return Err("two buddies are free");
                        }
                        *count += 1;
                        free += 1 << order;
                    }
                }
            }
            if run.contains(index) {
                if found.is_some() || index < covered || state != State::PLAIN {
                    return Err("a frame of the run is elsewhere, too");
                }
                free += 1;
                continue;
            }
            let order = match found {
                Some(_) if state != State::PLAIN => {
                    return Err("a free block's frame is not plain");
                }
                Some(order) => order,
                None if state.is_head() => state.order().get(),
                None if index < covered || state.is_absent() => continue,
                None => return Err("a frame is lost"),
            };
            if index < covered {
                return Err("two blocks overlap");
            }
            covered = index + (1 << order);
        }
        if counts != self.counts() || free != self.free_frames() {
            return Err("the counts are wrong");
        }
        if self.managed != self.map.len() as u32 - absent {
            return Err("managed frames are wrong");
        }
        for (counts, nonempty) in counts.iter().zip(self.nonempty) {
            if (0..ORDERS).any(|order| (counts[order] != 0) != (nonempty >> order & 1 != 0)) {
                return Err("a set's flag is wrong");
            }
        }
        Ok(())
    }
}

/// Prints as `/proc/buddyinfo`.
pub struct BuddyInfo<'z, 'm>(pub &'z Zones<'m>);

impl fmt::Display for BuddyInfo<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for zone in self.0.iter() {
            write!(f, "Node 0, zone {:>8} ", zone.kind().name())?;
            for count in zone.free_blocks() {
                write!(f, "{count:6} ")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// Prints the free blocks as the first table of `/proc/pagetypeinfo` does.
pub struct PageTypeInfo<'z, 'm>(pub &'z Zones<'m>);

impl fmt::Display for PageTypeInfo<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for zone in self.0.iter() {
            for migrate in MigrateType::ALL {
                let (name, of) = (zone.kind().name(), migrate.name());
                write!(f, "Node    0, zone {name:>8}, type {of:>12} ")?;
                for count in zone.free_blocks_of(migrate) {
                    write!(f, "{count:6} ")?;
                }
                writeln!(f)?;
            }
        }
        Ok(())
    }
}
