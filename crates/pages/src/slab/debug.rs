//! Red zones and poison, with Linux's bytes.
//!
//! ```text
//!   free     bb bb bb │ 6b 6b 6b … 6b a5 │ bb bb │ free pointer
//!   in use   cc cc cc │ 6b 6b …  the user's │ cc cc │
//!            left red   object              slack and right red
//! ```
//! The red zone tells a write out of bounds, the poison a write after free. A
//! constructed object is not poisoned: it must stay as it was freed.

use crate::error::SlabError;
use crate::slab::ground::{Ground, Memory};
use crate::slab::shape::Shape;

const RED_INACTIVE: u8 = 0xbb;
const RED_ACTIVE: u8 = 0xcc;
const POISON_FREE: u8 = 0x6b;
const POISON_END: u8 = 0xa5;

const fn repeat(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

const fn red(active: bool) -> u8 {
    if active { RED_ACTIVE } else { RED_INACTIVE }
}

/// The object's last word: its bytes from `inside`, the slack from `outside`.
const fn last_word(size: u32, inside: [u8; 8], outside: u8) -> u64 {
    let mut bytes = [outside; 8];
    let mut at = 0;
    let kept = if size.is_multiple_of(8) { 8 } else { size as usize % 8 };
    while at < kept {
        bytes[at] = inside[at];
        at += 1;
    }
    u64::from_le_bytes(bytes)
}

impl<M: Memory, P> Ground<'_, M, P> {
    /// Marks an object as free or in use. O(object size).
    pub(crate) fn paint(&self, shape: &Shape, addr: u64, active: bool) {
        let size = shape.object_size;
        let padded = u64::from(size.next_multiple_of(8));
        for at in (addr - u64::from(shape.left)..addr).step_by(8) {
            self.write(at, repeat(red(active)));
        }
        let last = addr + padded - 8;
        let mut inside = self.read(last).to_le_bytes();
        if !shape.constructed {
            for at in (addr..last).step_by(8) {
                self.write(at, repeat(POISON_FREE));
            }
            inside = [POISON_FREE; 8];
            inside[(size as usize - 1) % 8] = POISON_END;
        }
        self.write(last, last_word(size, inside, red(active)));
        self.write(addr + padded, repeat(red(active)));
    }

    /// Checks the red zones of an object. O(1).
    pub(crate) fn check_red(
        &self,
        shape: &Shape,
        addr: u64,
        active: bool,
    ) -> Result<(), SlabError> {
        let size = shape.object_size;
        let padded = u64::from(size.next_multiple_of(8));
        let mut left = (addr - u64::from(shape.left)..addr).step_by(8);
        let last = self.read(addr + padded - 8);
        let whole = left.all(|at| self.read(at) == repeat(red(active)))
            && last == last_word(size, last.to_le_bytes(), red(active))
            && self.read(addr + padded) == repeat(red(active));
        if whole { Ok(()) } else { Err(SlabError::RedZone) }
    }

    /// Checks that a free object is as it was left. O(object size).
    pub(crate) fn check_poison(&self, shape: &Shape, addr: u64) -> Result<(), SlabError> {
        self.check_red(shape, addr, false)?;
        if shape.constructed {
            return Ok(());
        }
        let size = shape.object_size;
        let last = addr + u64::from(size.next_multiple_of(8)) - 8;
        let mut end = [POISON_FREE; 8];
        end[(size as usize - 1) % 8] = POISON_END;
        let whole = (addr..last).step_by(8).all(|at| self.read(at) == repeat(POISON_FREE))
            && self.read(last) == last_word(size, end, RED_INACTIVE);
        if whole { Ok(()) } else { Err(SlabError::Corrupt) }
    }
}
