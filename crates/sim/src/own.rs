//! Memory for the kernel itself: blocks, objects, scattered areas; priced and written down.
//!
//! ```text
//!   alloc_pages   one block of frames     kmalloc, caches   objects in slabs
//!   vmalloc       frames from anywhere, side by side in the kernel's addresses
//! ```

use crate::event::{Maker, What};
use crate::kernel::Kernel;
use crate::source::KernelSource;
use heapwise_pages::slab::CacheId;
use heapwise_pages::{Order, PAGE_SIZE, Pfn, Request, SlabError, Virt};
use heapwise_vm::{VirtAddr, VmallocError};

impl Kernel<'_> {
    fn made<T, E>(&mut self, how: Maker, bytes: u64, result: Result<T, E>) -> Result<T, E> {
        let (got, frames) = (result.is_ok(), bytes.div_ceil(PAGE_SIZE).max(1));
        let price = match how {
            Maker::Vmalloc => self.prices.mapping + frames * self.prices.object,
            _ => self.prices.object,
        };
        self.emit(0, price, What::Kernel { how, bytes, got });
        result
    }

    fn unmade<T, E>(&mut self, how: Maker, result: Result<T, E>) -> Result<T, E> {
        self.emit(0, self.prices.object, What::KernelFree { how });
        result
    }

    /// `alloc_pages`: `None` if there is no block of that order: memory is short, or in pieces.
    /// O(1) from the processor's list, O(orders) else.
    pub fn take_block(&mut self, order: Order, request: Request) -> Option<Pfn> {
        let pfn = self.shared.take(order, request);
        self.made(Maker::AllocPages, order.bytes(), pfn.ok_or(())).ok()
    }

    /// `free_pages`. O(1), O(orders) else.
    pub fn give_block(&mut self, pfn: Pfn, order: Order) {
        self.shared.give(pfn, order);
        let _ = self.unmade::<(), ()>(Maker::AllocPages, Ok(()));
    }

    /// `kmalloc`. O(1), O(objects of a slab) for a new one.
    ///
    /// # Errors
    /// Out of memory, or too large.
    pub fn kmalloc(&mut self, bytes: u64) -> Result<Virt, SlabError> {
        let result = self.objects.kmalloc(bytes);
        self.made(Maker::Kmalloc, bytes, result)
    }

    /// `kfree`. O(1).
    ///
    /// # Errors
    /// Every misuse, as the slab heap tells it.
    pub fn kfree(&mut self, at: Virt) -> Result<(), SlabError> {
        let result = self.objects.kfree(at);
        self.unmade(Maker::Kmalloc, result)
    }

    /// `kmem_cache_alloc`. O(1), O(objects of a slab) for a new one.
    ///
    /// # Errors
    /// Out of memory, no such cache.
    pub fn cache_alloc(&mut self, cache: CacheId) -> Result<Virt, SlabError> {
        let bytes = self.objects.object_size(cache).unwrap_or(0);
        let result = self.objects.alloc(cache);
        self.made(Maker::KmemCacheAlloc, u64::from(bytes), result)
    }

    /// `kmem_cache_free`. O(1).
    ///
    /// # Errors
    /// Every misuse.
    pub fn cache_free(&mut self, cache: CacheId, at: Virt) -> Result<(), SlabError> {
        let result = self.objects.free(cache, at);
        self.unmade(Maker::KmemCacheAlloc, result)
    }

    /// `vmalloc`. O(log areas + pages).
    ///
    /// # Errors
    /// Out of memory, of addresses, of areas.
    pub fn vmalloc(&mut self, bytes: u64) -> Result<VirtAddr, VmallocError> {
        let result = self.scattered.alloc(&KernelSource(self.shared), bytes);
        self.made(Maker::Vmalloc, bytes, result)
    }

    /// `vfree`. O(log areas); the pages go in bulk, later.
    ///
    /// # Errors
    /// No area, or freed already.
    pub fn vfree(&mut self, at: VirtAddr) -> Result<u64, VmallocError> {
        let result = self.scattered.free(&KernelSource(self.shared), at);
        self.unmade(Maker::Vmalloc, result)
    }

    /// The frames of an area, in the order of its addresses. O(log areas + pages).
    pub fn vmalloc_frames(&self, at: VirtAddr) -> impl Iterator<Item = Pfn> + '_ {
        let pages = self.scattered.size(at).unwrap_or(0) / PAGE_SIZE;
        (0..pages).filter_map(move |nth| self.scattered.frame(at.up(nth * PAGE_SIZE)))
    }

    /// `/proc/vmallocinfo`. O(areas × pages).
    #[must_use]
    pub fn vmallocinfo(&self) -> String {
        self.scattered.to_string()
    }
}
