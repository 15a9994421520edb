//! The form of a cache: where in a slab what lies, and how large a slab is.
//!
//! ```text
//!   plain    │ object … free pointer mid-object …      │ next object
//!   ctor     │ object             │ free pointer       │     (its contents stay)
//!   debug    │ red │ object │ red │ free pointer │ pad │
//!   slab     order: the smallest that wastes ≤ 1/16 (then 1/8, 1/4, 1/2) with
//!            4 × (fls(cpus) + 1) objects, at most 3     (Linux: calculate_order)
//! ```

use crate::error::SlabError;
use crate::frame::{Order, PAGE_SHIFT, PAGE_SIZE, Virt};
use crate::slab::ground::Spot;

/// Slabs of several objects are at most this large.
const SLUB_MAX_ORDER: u32 = 3;
/// Objects a slab can count (10 bits, one value kept for "none").
pub(crate) const MAX_OBJECTS: u32 = 1022;
const WORD: u32 = 8;

/// Makes a new object once, when its slab is made; freed objects keep what they
/// hold, so a constructed object comes back as it was freed.
pub type Constructor = fn(&mut Fresh<'_>);

/// An object under construction.
pub struct Fresh<'a> {
    pub(crate) at: u64,
    pub(crate) words: u32,
    pub(crate) write: &'a dyn Fn(Spot, u64),
}

impl Fresh<'_> {
    /// Where it is.
    pub const fn addr(&self) -> Virt {
        Virt(self.at)
    }

    /// Its length in 8-byte words.
    pub const fn words(&self) -> u32 {
        self.words
    }

    /// Sets a word; past the end, nothing.
    pub fn set(&mut self, word: u32, value: u64) {
        if word < self.words {
            (self.write)(Spot(self.at + u64::from(word) * 8), value);
        }
    }
}

/// What a cache shall be (`kmem_cache_create`).
#[derive(Clone, Copy, Debug)]
pub struct CacheSpec {
    /// For slabinfo.
    pub name: &'static str,
    /// Bytes of an object.
    pub size: u32,
    /// Its alignment; 0 and below 8 mean 8.
    pub align: u32,
    /// Run on every object of a new slab.
    pub constructor: Option<Constructor>,
    /// Red zones around objects and poison in free ones, checked at every alloc and
    /// free; such objects bypass the per-CPU fronts.
    pub debug: bool,
}

impl CacheSpec {
    /// A plain cache.
    pub const fn new(name: &'static str, size: u32) -> Self {
        Self { name, size, align: 0, constructor: None, debug: false }
    }
}

/// A cache's geometry: all that a front needs to know.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Shape {
    /// Which cache, once and for all: never reused.
    pub(crate) serial: u32,
    /// Bytes that the user may use.
    pub(crate) object_size: u32,
    /// From one object to the next.
    pub(crate) stride: u32,
    /// From a stride's start to the object.
    pub(crate) left: u32,
    /// From an object to its free pointer.
    pub(crate) free_at: u32,
    /// Of a slab.
    pub(crate) bytes: u32,
    pub(crate) objects: u32,
    /// ceil(2^64 / stride): offset % stride == 0 ⇔ offset × this < this.
    pub(crate) inverse: u64,
    /// Bytes of a slab's objects.
    pub(crate) end: u32,
    /// Objects that a front may hold.
    pub(crate) limit: u32,
    pub(crate) debug: bool,
    pub(crate) constructed: bool,
}

impl Shape {
    /// [`SlabError::BadLayout`].
    pub(crate) fn of(spec: &CacheSpec, cpus: u32, serial: u32) -> Result<Self, SlabError> {
        let align = spec.align.max(WORD);
        let largest = Order::MAX.bytes() as u32 / 2;
        if spec.size == 0 || spec.size > largest || !align.is_power_of_two() {
            return Err(SlabError::BadLayout);
        }
        if u64::from(align) > PAGE_SIZE {
            return Err(SlabError::BadLayout);
        }
        let left = if spec.debug { align } else { 0 };
        let padded = spec.size.next_multiple_of(WORD);
        let mut end = padded;
        if spec.debug {
            end += WORD;
        }
        let mut free_at = (padded / 2) & !(WORD - 1);
        if spec.debug || spec.constructor.is_some() {
            free_at = end;
            end += WORD;
        }
        let stride = (left + end).next_multiple_of(align);
        let order = slab_order(stride, cpus).ok_or(SlabError::BadLayout)?;
        let bytes = (PAGE_SIZE as u32) << order;
        let objects = (bytes / stride).min(MAX_OBJECTS);
        Ok(Self {
            serial,
            object_size: spec.size,
            stride,
            left,
            free_at,
            bytes,
            objects,
            end: objects * stride,
            inverse: u64::MAX / u64::from(stride) + 1,
            limit: match stride {
                _ if spec.debug => 0,
                0..=256 => super::front::CAPACITY as u32,
                257..=1024 => super::front::CAPACITY as u32 / 2,
                _ => super::front::CAPACITY as u32 / 4,
            },
            debug: spec.debug,
            constructed: spec.constructor.is_some(),
        })
    }

    /// Bytes of a slab.
    #[inline]
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes as u64
    }

    /// Where object `nth` of the slab at `base` is.
    #[inline]
    pub(crate) const fn object(&self, base: u64, nth: u32) -> u64 {
        base + nth as u64 * self.stride as u64 + self.left as u64
    }

    /// Which object of the slab at `base` starts at `addr`.
    #[inline]
    pub(crate) const fn nth(&self, base: u64, addr: u64) -> Option<u32> {
        let offset = addr.wrapping_sub(base).wrapping_sub(self.left as u64);
        let starts = offset.wrapping_mul(self.inverse) < self.inverse;
        if offset >= self.bytes() || !starts {
            return None;
        }
        // The high half of the product is the quotient.
        let nth = ((offset as u128 * self.inverse as u128) >> 64) as u32;
        if nth < self.objects { Some(nth) } else { None }
    }

    /// The same without the number.
    #[inline]
    pub(crate) const fn is_object(&self, base: u64, addr: u64) -> bool {
        let offset = addr.wrapping_sub(base).wrapping_sub(self.left as u64);
        offset < self.end as u64 && offset.wrapping_mul(self.inverse) < self.inverse
    }

    /// The order's type.
    pub(crate) const fn slab_order(&self) -> Order {
        Order::of(self.bytes.trailing_zeros() as usize - PAGE_SHIFT as usize)
    }
}

/// Linux 6.12, `calculate_order`.
fn slab_order(stride: u32, cpus: u32) -> Option<u32> {
    let objects_in = |order: u32| ((PAGE_SIZE as u32) << order) / stride;
    let order_for = |bytes: u32| Order::for_bytes(u64::from(bytes)).map(|o| o.get() as u32);
    let fls = u32::BITS - cpus.leading_zeros();
    let wanted = (4 * (fls + 1)).min(objects_in(SLUB_MAX_ORDER).max(1));
    let least = order_for(wanted * stride)?;
    for fraction in [16, 8, 4, 2] {
        for order in least..=SLUB_MAX_ORDER {
            let bytes = (PAGE_SIZE as u32) << order;
            if bytes % stride <= bytes / fraction && objects_in(order) > 0 {
                return Some(order);
            }
        }
    }
    order_for(stride)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_linux_s() {
        // From the formula, for 4 processors: 16 objects at least.
        for (size, order) in [
            (8, 0),
            (64, 0),
            (96, 0),
            (192, 0),
            (256, 0),
            (512, 1),
            (1024, 2),
            (2048, 3),
            (8192, 3),
        ] {
            assert_eq!(slab_order(size, 4), Some(order), "size {size}");
        }
        assert_eq!(slab_order(100_000, 4), Some(5));
    }

    #[test]
    fn finds_objects_by_multiplication() {
        for size in [8, 24, 96, 104, 192, 1000, 2048, 5000] {
            for debug in [false, true] {
                let spec = CacheSpec { debug, ..CacheSpec::new("t", size) };
                let shape = Shape::of(&spec, 4, 1).unwrap();
                for offset in 0..shape.bytes() {
                    let offset_in = offset.wrapping_sub(u64::from(shape.left));
                    let nth = offset_in / u64::from(shape.stride);
                    let starts =
                        offset_in % u64::from(shape.stride) == 0 && nth < u64::from(shape.objects);
                    let expected = starts.then_some(nth as u32);
                    assert_eq!(shape.nth(1 << 40, (1 << 40) + offset), expected);
                    assert_eq!(shape.is_object(1 << 40, (1 << 40) + offset), starts);
                }
            }
        }
    }
}
