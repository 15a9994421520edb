//! The object that a front has seen before: here, or out and likely to come back.
//!
//! ```text
//!   out  ── free: same address, cache, place in the slab; free pointer says live ──► here
//!   here ── alloc ──► out
//! ```
//! Where an object lies in its slab, and what its free pointer is hardened with, follows from
//! its address, its cache and its frame's place in the slab. As long as these are the
//! same, the front need not work it out again; that they are is looked up at each free. The
//! address stays while the object is out: a pair of calls changes one word here, which is
//! compared, so the second call's address does not wait for the first one's store.

use crate::slab::ground::{Ground, IN_FRONT, Info, Memory};
use crate::slab::shape::Shape;

/// One object of a front's cache, and whether it is here.
#[derive(Clone, Copy)]
pub(crate) struct Warm {
    addr: u64,
    /// Where its free pointer is.
    spot: u64,
    /// What that is hardened with.
    key: u64,
    /// Its slab.
    base: u64,
    /// Its frame.
    frame: u32,
    /// Of its frame's word: cache, and place in the slab.
    origin: u32,
    /// `origin` while it is out, [`HERE`], or [`NOWHERE`].
    out: u32,
}

/// The object waits here. No frame of a slab has this origin.
const HERE: u32 = 0;
/// There is no object. No frame has this origin.
const NOWHERE: u32 = u32::MAX;

impl Warm {
    /// No object.
    pub(crate) const NONE: Self =
        Self { addr: 0, spot: 0, key: 0, base: 0, frame: 0, origin: NOWHERE, out: NOWHERE };

    pub(crate) const fn is_here(&self) -> bool {
        self.out == HERE
    }

    /// Lets the object go, if it is here: its address, and that of its free pointer.
    #[inline(always)]
    pub(crate) fn take(&mut self) -> Option<(u64, u64)> {
        if self.out != HERE {
            return None;
        }
        self.out = self.origin;
        Some((self.addr, self.spot))
    }
}

impl<M: Memory, P> Ground<'_, M, P> {
    /// Takes the warm object back, if it is this one, of the same cache still, and live; and
    /// marks it as waiting.
    #[inline(always)]
    pub(crate) fn keep(&self, warm: &mut Warm, shape: &Shape, addr: u64) -> bool {
        if addr != warm.addr || self.info(warm.frame as usize).origin() != warm.out {
            return false;
        }
        let value = self.read(warm.spot) ^ warm.key;
        if value <= IN_FRONT || value.wrapping_sub(warm.base) < shape.bytes() {
            return false;
        }
        self.write(warm.spot, warm.key ^ IN_FRONT);
        warm.out = HERE;
        true
    }

    /// Makes a live object, whose frame's word has been read, the warm one, and marks it.
    #[inline(never)]
    pub(crate) fn keep_another(
        &self,
        warm: &mut Warm,
        shape: &Shape,
        addr: u64,
        (info, frame): (Info, usize),
    ) {
        let spot = addr + u64::from(shape.free_at);
        let key = self.harden(spot, 0);
        let base = self.addr_of(frame.wrapping_sub(info.offset() as usize));
        let origin = info.origin();
        *warm = Warm { addr, spot, key, base, frame: frame as u32, origin, out: HERE };
        self.write(spot, key ^ IN_FRONT);
    }
}
