//! The face towards pointers, and the only unsafe code of this crate.
//!
//! ```text
//!   Cache<T>      KernelAlloc (GlobalAlloc)        typed, raw pointers
//!   ───────┬───────────────┬──────────────────────────────────────────
//!          SlabHeap: safe policy, addresses are numbers
//!   ───────┬──────────────────────────────────────────────────────────
//!   Memory: one word read, one word written        Direct: real memory
//! ```
//! Why it is sound: only this crate makes a [`Spot`], and makes it only for words
//! of slabs, which nobody but the slab heap and the holder of an object touches;
//! what a [`Memory`] stores, it must give back.
#![allow(unsafe_code)]

use crate::error::SlabError;
use crate::frame::{PAGE_SIZE, Virt};
use crate::lock::Lock;
use crate::slab::{CacheId, CacheSpec, CpuSlab, SlabHeap, Slabs, Source};
use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::marker::PhantomData;
use core::mem::{align_of, needs_drop, size_of};
use core::ptr::{self, NonNull};
use core::sync::atomic::{
    AtomicBool, AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release,
};

/// A word of a slab: an address, a multiple of 8, that the slab heap vouches for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Spot(pub(crate) u64);

impl Spot {
    /// The virtual address.
    #[inline]
    pub const fn addr(self) -> u64 {
        self.0
    }
}

/// How the slab heap reaches its objects' memory.
///
/// # Safety
/// A word that was written reads as written until the slab's frames go back to
/// their source, unless the holder of the object overwrote it; and the accesses
/// touch nothing but that word.
pub unsafe trait Memory {
    /// Reads a word.
    fn read(&self, at: Spot) -> u64;
    /// Writes a word.
    fn write(&self, at: Spot, value: u64);
    /// Writes a word if it is still `old`, in one step; whether it was. Only heaps with
    /// exact frees call it ([`SlabHeap::with_exact_frees`]). One that is not atomic will do
    /// where one CPU works at a time.
    fn exchange(&self, at: Spot, old: u64, new: u64) -> bool {
        let same = self.read(at) == old;
        if same {
            self.write(at, new);
        }
        same
    }
}

/// Memory that is mapped where the direct map says: plain loads and stores.
pub struct Direct(());

impl Direct {
    /// # Safety
    /// Every frame that the slab heap's source gives is mapped, readable and
    /// writable, at its direct-map address as long as the heap has it, and nobody
    /// else touches it but holders of objects theirs. Whoever can reach the heap frees
    /// only what it holds: keep a heap under [`Cache`] or [`KernelAlloc`] private.
    pub const unsafe fn new() -> Self {
        Self(())
    }
}

// SAFETY: plain memory, as `Direct::new`'s caller promised.
unsafe impl Memory for Direct {
    #[inline]
    fn read(&self, at: Spot) -> u64 {
        let word = ptr::with_exposed_provenance::<u64>(at.0 as usize);
        // SAFETY: a spot is an aligned word of a slab; `Direct::new`'s caller
        // promised that slabs are mapped. Volatile, since the object's holder may
        // have left it uninitialised or written it as another type.
        unsafe { word.read_volatile() }
    }

    #[inline]
    fn write(&self, at: Spot, value: u64) {
        let word = ptr::with_exposed_provenance_mut::<u64>(at.0 as usize);
        // SAFETY: as in `read`; a spot written to is in a free object or in the
        // slab's own words.
        unsafe { word.write_volatile(value) }
    }

    #[inline]
    fn exchange(&self, at: Spot, old: u64, new: u64) -> bool {
        let word = ptr::with_exposed_provenance_mut::<u64>(at.0 as usize);
        // SAFETY: as in `write`; other CPUs that free the same object exchange, too, and
        // its holder has no business there any more.
        unsafe { AtomicU64::from_ptr(word) }.compare_exchange(old, new, Relaxed, Relaxed).is_ok()
    }
}

/// A cache of `T`s: `kmem_cache_create` for one type.
pub struct Cache<'h, 'm, T, M, P, L> {
    heap: &'h SlabHeap<'m, M, P, L>,
    id: CacheId,
    of: PhantomData<fn(T) -> T>,
}

impl<'h, 'm, T, P: Source, L: Lock<Slabs<'m>>> Cache<'h, 'm, T, Direct, P, L> {
    /// A cache for objects of this type. O(caches).
    ///
    /// [`SlabError::BadLayout`] for types of no size, above 2 MiB, or aligned above a
    /// frame; [`SlabError::TooManyCaches`].
    pub fn new(
        heap: &'h SlabHeap<'m, Direct, P, L>,
        name: &'static str,
    ) -> Result<Self, SlabError> {
        let size = u32::try_from(size_of::<T>()).map_err(|_| SlabError::BadLayout)?;
        let align = u32::try_from(align_of::<T>()).map_err(|_| SlabError::BadLayout)?;
        let id = heap.create(&CacheSpec { align, ..CacheSpec::new(name, size) })?;
        Ok(Self { heap, id, of: PhantomData })
    }

    /// The cache's number in the heap.
    pub const fn id(&self) -> CacheId {
        self.id
    }

    /// Places a value in an object. O(1), as [`SlabHeap::alloc`].
    ///
    /// The error, with the value back.
    pub fn alloc(&self, cpu: &mut CpuSlab<'_>, value: T) -> Result<NonNull<T>, (SlabError, T)> {
        let object = match self.heap.alloc(cpu, self.id) {
            Ok(Virt(addr)) => ptr::with_exposed_provenance_mut::<T>(addr as usize),
            Err(error) => return Err((error, value)),
        };
        let Some(object) = NonNull::new(object) else {
            return Err((SlabError::OutOfMemory, value));
        };
        // SAFETY: an object of this cache has the size and alignment of a T, and is
        // ours alone from now on.
        unsafe { object.write(value) };
        Ok(object)
    }

    /// Drops the value and takes the object back. O(1), as [`SlabHeap::free`].
    ///
    /// As [`SlabHeap::free`].
    ///
    /// # Safety
    /// `object` came from this cache, holds a valid `T`, and is not used again.
    pub unsafe fn free(&self, cpu: &mut CpuSlab<'_>, object: NonNull<T>) -> Result<(), SlabError> {
        if needs_drop::<T>() {
            // SAFETY: the caller's promise.
            unsafe { ptr::drop_in_place(object.as_ptr()) };
        }
        self.heap.free(cpu, self.id, Virt(object.as_ptr().expose_provenance() as u64))
    }
}

/// The current CPU's fronts.
///
/// # Safety
/// `with` runs `work` with fronts that nobody else uses meanwhile: preemption (and
/// interrupts, if those allocate) off.
pub unsafe trait CurrentCpu {
    /// Runs `work` on them.
    fn with<R>(&self, work: impl FnOnce(&mut CpuSlab<'_>) -> R) -> R;
}

/// A kernel's `#[global_allocator]` over kmalloc.
pub struct KernelAlloc<'m, C, P, L> {
    heap: SlabHeap<'m, Direct, P, L>,
    cpus: C,
}

impl<'m, C: CurrentCpu, P: Source, L: Lock<Slabs<'m>>> KernelAlloc<'m, C, P, L> {
    /// Over a heap, and a way to the current CPU's fronts.
    pub const fn new(heap: SlabHeap<'m, Direct, P, L>, cpus: C) -> Self {
        Self { heap, cpus }
    }

    /// The heap.
    pub const fn heap(&self) -> &SlabHeap<'m, Direct, P, L> {
        &self.heap
    }
}

/// The size to ask kmalloc for, so that the alignment comes with it.
const fn padded(layout: &Layout) -> Option<u64> {
    let (size, align) = (layout.size() as u64, layout.align() as u64);
    let least = if size > align { size } else { align };
    // Classes are aligned to 8, 16, then at least 32 (96 is not to 64); powers of
    // two to their size, up to a frame; blocks of pages, above 8 KiB, to theirs.
    if align <= 32 {
        return Some(least);
    }
    let least = if align > 4096 && least <= 8192 { 8193 } else { least };
    least.checked_next_power_of_two()
}

// SAFETY: kmalloc gives memory that is nobody else's, of at least the size asked
// for; `padded` sees to the alignment. Failure is null, never a panic.
unsafe impl<'m, C: CurrentCpu, P: Source, L: Lock<Slabs<'m>>> GlobalAlloc
    for KernelAlloc<'m, C, P, L>
{
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some(size) = padded(&layout) else { return ptr::null_mut() };
        self.cpus.with(|cpu| match self.heap.kmalloc(cpu, size) {
            Ok(Virt(addr)) if addr % layout.align() as u64 == 0 => {
                ptr::with_exposed_provenance_mut(addr as usize)
            }
            Ok(at) => {
                // A direct map that is less aligned than its frames.
                let _ = self.heap.kfree(cpu, at);
                ptr::null_mut()
            }
            Err(_) => ptr::null_mut(),
        })
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let Ok(wanted) = Layout::from_size_align(new_size, layout.align()) else {
            return ptr::null_mut();
        };
        let Some(size) = padded(&wanted) else { return ptr::null_mut() };
        if layout.align() as u64 > PAGE_SIZE {
            // SAFETY: the caller's promise; both sizes are this layout's, and not 0.
            return unsafe { self.move_to(at, layout, wanted) };
        }
        let old = Virt(at.expose_provenance() as u64);
        // Where it stays or goes is a kmalloc of this size, and so is aligned as one.
        match self.cpus.with(|cpu| self.heap.krealloc(cpu, old, size)) {
            Ok(Virt(addr)) => ptr::with_exposed_provenance_mut(addr as usize),
            Err(_) => ptr::null_mut(),
        }
    }

    unsafe fn dealloc(&self, at: *mut u8, _layout: Layout) {
        // A refused free leaves the heap as it was: the object stays out.
        let at = Virt(at.expose_provenance() as u64);
        let _ = self.cpus.with(|cpu| self.heap.kfree(cpu, at));
    }
}

impl<'m, C: CurrentCpu, P: Source, L: Lock<Slabs<'m>>> KernelAlloc<'m, C, P, L> {
    /// A new place, whatever is in the old one.
    ///
    /// # Safety
    /// As [`GlobalAlloc::realloc`].
    unsafe fn move_to(&self, at: *mut u8, layout: Layout, wanted: Layout) -> *mut u8 {
        // SAFETY: the caller's promise: the size is not 0.
        let to = unsafe { self.alloc(wanted) };
        if !to.is_null() {
            // SAFETY: two live blocks of these sizes; the old one is freed once.
            unsafe {
                at.copy_to_nonoverlapping(to, layout.size().min(wanted.size()));
                self.dealloc(at, layout);
            }
        }
        to
    }
}

/// A spinlock to start with: no fairness, no interrupts masked.
pub struct SpinLock<T> {
    held: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: `with` gives the value to one thread at a time.
unsafe impl<T: Send> Sync for SpinLock<T> {}

impl<T> SpinLock<T> {
    /// Around a value.
    pub const fn new(value: T) -> Self {
        Self { held: AtomicBool::new(false), value: UnsafeCell::new(value) }
    }
}

impl<T> Lock<T> for SpinLock<T> {
    fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        /// Releases the lock also when `work` unwinds.
        struct Held<'l>(&'l AtomicBool);
        impl Drop for Held<'_> {
            fn drop(&mut self) {
                self.0.store(false, Release);
            }
        }
        while self.held.compare_exchange_weak(false, true, Acquire, Relaxed).is_err() {
            while self.held.load(Relaxed) {
                core::hint::spin_loop();
            }
        }
        let _held = Held(&self.held);
        // SAFETY: the lock is ours until `_held` drops, after `work`.
        work(unsafe { &mut *self.value.get() })
    }
}
