//! `/proc/slabinfo`, version 2.1.
//!
//! ```text
//!   # name  <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> : …
//!   kmalloc-64    17   64   64   64   1 : tunables 0 0 0 : slabdata 1 1 0
//! ```
//! Objects in per-CPU fronts count as active, as they do on Linux.

use crate::slab::store::Slabs;
use core::fmt;

/// Prints all caches as Linux does.
pub struct SlabInfo<'s, 'm>(pub &'s Slabs<'m>);

impl fmt::Display for SlabInfo<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "slabinfo - version: 2.1")?;
        write!(f, "# name            <active_objs> <num_objs> <objsize> <objperslab> ")?;
        write!(f, "<pagesperslab> : tunables <limit> <batchcount> <sharedfactor>")?;
        writeln!(f, " : slabdata <active_slabs> <num_slabs> <sharedavail>")?;
        for slot in self.0.slots.iter().filter(|slot| slot.live) {
            let (shape, slabs) = (&slot.shape, slot.slabs);
            let objects = slabs * shape.objects;
            write!(f, "{:<17} {:6} {objects:6} ", slot.name, slot.used)?;
            write!(f, "{:6} {:4} {:4}", shape.stride, shape.objects, shape.slab_order().frames())?;
            write!(f, " : tunables {:4} {:4} {:4}", 0, 0, 0)?;
            writeln!(f, " : slabdata {slabs:6} {slabs:6} {:6}", 0)?;
        }
        Ok(())
    }
}
