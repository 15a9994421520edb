//! The top chunk: growing it by the break or in a reserved heap, trimming it.
//!
//! The main arena's heap grows by `sbrk`: need + top pad + 32, rounded up to
//! pages. Somebody else's `sbrk` in between closes the old stretch with
//! fenceposts; the heap goes on above. A break that cannot grow sends the main
//! arena to reserved heaps, as the secondary arenas use.

use crate::arena::Held;
use crate::chunk::{Chunk, at};
use crate::fatal::Fault;
use crate::huge::HUGE_BYTES;
use crate::os::{Os, Span};
use crate::tunables::Setting;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use heapwise_layout::header::{ALIGNMENT, Header, MIN_CHUNK, PREV_IN_USE};
use heapwise_layout::state::{HEAP_MAGIC, HeapInfo};

/// Bytes of a fencepost.
const FENCEPOST: usize = ALIGNMENT;
/// No break is lowered by less, unless a threshold was set by hand.
const MIN_SURPLUS: usize = 64 << 10;
/// Largest growth worth computing with.
const MAX_GROWTH: usize = isize::MAX as usize / 2;

impl<O: Os> Held<'_, O> {
    /// The heap that holds the top.
    pub(crate) fn heap(&self) -> Option<&HeapInfo> {
        let heap = self.arena.heap.load(Acquire);
        // SAFETY: the newest heap of the held arena, mapped.
        (heap != 0).then(|| unsafe { &*at::<HeapInfo>(heap) })
    }

    /// The heap that holds `chunk`, which is a chunk of this arena.
    pub(crate) fn heap_of(&self, chunk: Chunk) -> &HeapInfo {
        let held = |h: &&HeapInfo| (h.start.get()..h.end.load(Relaxed)).contains(&chunk.0);
        match self.root.heaps(self.arena).find(held) {
            Some(heap) => heap,
            None => self.root.fatal(Fault::FreeInvalidPointer),
        }
    }

    /// End of the heap that holds `chunk`.
    pub(crate) fn top_limit(&self, chunk: Chunk) -> usize {
        self.heap_of(chunk).end.load(Relaxed)
    }

    /// First chunk of the heap that holds `chunk`.
    pub(crate) fn heap_start(&self, chunk: Chunk) -> usize {
        self.heap_of(chunk).start.get()
    }

    /// Makes the top large enough to cut `size` bytes from it and leave a chunk.
    pub(crate) fn ensure_top(&self, size: usize) -> bool {
        let need = size + MIN_CHUNK;
        if self.top_bytes() >= need {
            return true;
        }
        if size > MAX_GROWTH {
            return false;
        }
        if self.arena.fast_bytes.get() > 0 {
            self.consolidate_fast();
            if self.top_bytes() >= need {
                return true;
            }
        }
        if self.is_main() && self.grow_break(size) {
            return true;
        }
        self.grow_reserved(need)
    }

    /// Extends the heap's usable part to `end`, the top with it.
    pub(crate) fn extend_to(&self, heap: &HeapInfo, end: usize) {
        let old_end = heap.end.load(Relaxed);
        let top = Chunk(self.arena.top.get());
        let bytes = self.top_bytes() + (end - old_end);
        self.count_system(end - old_end);
        heap.end.store(end, Release);
        self.set_top(top, bytes);
        self.publish_range();
        // It grows because it is full.
        self.set_depot_limit(self.arena.system_bytes.load(Relaxed));
        self.arena.used_bytes.set(self.arena.system_bytes.load(Relaxed) - self.top_bytes());
    }

    /// Notes bytes from the system; the arena's thread is to look around then.
    pub(crate) fn count_system(&self, bytes: usize) {
        self.arena.cache.grew.store(1, Relaxed);
        let now = self.arena.system_bytes.fetch_add(bytes, Relaxed) + bytes;
        self.arena.system_peak_bytes.fetch_max(now, Relaxed);
    }

    /// Moves the break up; false if it does not move, or not far enough in one piece.
    fn grow_break(&self, size: usize) -> bool {
        let pad = self.growth_pad();
        let last = self.heap().filter(|h| h.on_break.get() == 1);
        let Some(current) = self.root.sbrk(0) else { return false };
        let old_end = last.map(|h| h.end.load(Relaxed));
        if let Some(heap) = last
            && old_end == Some(current)
        {
            let need = current + size + MIN_CHUNK - self.top_bytes();
            for end in self.growth_ends(need, size) {
                let delta = end - current;
                match self.root.sbrk(delta as isize) {
                    Some(start) if start == current => {
                        self.extend_to(heap, end);
                        return true;
                    }
                    Some(start) => return self.new_stretch(start, start + delta, size),
                    None => {}
                }
            }
            return false;
        }
        // Also below an older stretch, while the newest heap is a reserved one.
        let mut stretches = self.root.heaps(self.arena).filter(|h| h.on_break.get() == 1);
        if stretches.any(|h| current < h.end.load(Relaxed)) {
            self.root.fatal(Fault::BreakLowered);
        }
        // A fresh stretch: round its end, not its start, to pages.
        let head = size_of::<HeapInfo>();
        let end = self.root.page_up(current + head + ALIGNMENT + size + pad + MIN_CHUNK);
        match self.root.sbrk((end - current) as isize) {
            Some(start) => self.new_stretch(start, start + (end - current), size),
            None => false,
        }
    }

    /// Makes `start..end`, fresh from the break, the heap that holds the top.
    fn new_stretch(&self, start: usize, end: usize, size: usize) -> bool {
        let base = (start + ALIGNMENT - 1) & !(ALIGNMENT - 1);
        // Whoever moved the break between our two calls may have left it inside a
        // page: what we trimmed off such a page would not come back as zero.
        let end = self.root.page_down(end);
        if base + size_of::<HeapInfo>() + size + MIN_CHUNK > end {
            return false;
        }
        self.begin_heap(base, base + size_of::<HeapInfo>(), end, end, true);
        // What lies below the first whole page may have been touched before.
        self.arena.top_touched.set(self.arena.top_touched.get().max(self.root.page_up(start)));
        true
    }

    /// Closes the old top and starts a heap: its head at `base`, its chunks from `first`.
    pub(crate) fn begin_heap(
        &self,
        base: usize,
        first: usize,
        end: usize,
        reserved_end: usize,
        on_break: bool,
    ) {
        let old_top = (Chunk(self.arena.top.get()), self.top_bytes());
        let older = self.arena.heap.load(Relaxed);
        let head = HeapInfo {
            magic: HEAP_MAGIC.into(),
            arena: core::ptr::from_ref(self.arena).expose_provenance().into(),
            older: older.into(),
            start: first.into(),
            end: end.into(),
            reserved_end: reserved_end.into(),
            on_break: usize::from(on_break).into(),
            fence: 0.into(),
            parts: 0.into(),
            spare: [const { core::cell::Cell::new(0) }; 7],
        };
        // SAFETY: fresh memory of ours, large enough, aligned to 16.
        unsafe { at::<HeapInfo>(base).write(head) };
        self.count_system(end - base);
        self.arena.heap.store(base, Release);
        self.arena.top_touched.set(0);
        self.arena.top_peak.set(0);
        self.arena.top_resident.set(0);
        self.set_top(Chunk(first), end - first);
        self.publish_range();
        if old_top.1 > 0 {
            self.close(older, old_top.0, old_top.1);
        }
    }

    /// Turns a former top into a free chunk and fenceposts.
    fn close(&self, heap: usize, chunk: Chunk, bytes: usize) {
        let flags = PREV_IN_USE | self.arena_flag();
        let free = if bytes >= MIN_CHUNK + 2 * FENCEPOST { bytes - 2 * FENCEPOST } else { 0 };
        let mut post = chunk.offset(free);
        // SAFETY: the head of the heap whose top this was.
        unsafe { &*at::<HeapInfo>(heap) }.fence.set(post.0);
        while post.0 < chunk.0 + bytes {
            // SAFETY: inside the former top, ours.
            unsafe { post.set_header(Header::new(FENCEPOST, flags)) };
            post = post.offset(FENCEPOST);
        }
        if free > 0 {
            // SAFETY: as above.
            unsafe { chunk.set_header(Header::new(free, flags)) };
            self.coalesce(chunk, free);
        }
    }

    /// What a heap grows beyond its need: the pad, and if nobody set that by hand a
    /// sixteenth of what the arena has, up to a huge page, and as much as that once heaps
    /// grow in huge pages. It costs addresses, no memory.
    pub(crate) fn growth_pad(&self) -> usize {
        let settings = &self.root.settings;
        let pad = settings.get(Setting::TopPad).min(MAX_GROWTH);
        if !settings.dynamic() {
            return pad;
        }
        if self.grows_huge() {
            return pad.max(HUGE_BYTES);
        }
        let share = self.arena.system_bytes.load(Relaxed) / 16;
        pad.max(self.root.page_up(share.min(HUGE_BYTES)))
    }

    /// Where a heap that must reach `least` might end: with room for more, and, where that is
    /// too much, with the pad alone. (A heap that fails to grow is closed for good.)
    pub(crate) fn growth_ends(
        &self,
        least: usize,
        size: usize,
    ) -> impl Iterator<Item = usize> + use<O> {
        let plain_pad = self.root.settings.get(Setting::TopPad).min(MAX_GROWTH);
        let plain = self.root.page_up(least + plain_pad);
        let roomy = self.whole_huge(self.root.page_up(least + self.growth_pad()), size);
        let fewer = (plain < roomy).then_some(plain);
        core::iter::once(roomy).chain(fewer)
    }

    /// Lowers the break if a merge has left a top over the trim threshold, and by enough
    /// to be worth the call.
    pub(crate) fn trim_top_if_large(&self) {
        let settings = &self.root.settings;
        let pad = self.growth_pad();
        let least = if settings.dynamic() { pad + MIN_SURPLUS.max(pad / 2) } else { 0 };
        let threshold = settings.get(Setting::TrimThreshold).max(least);
        if self.top_bytes() >= threshold && self.root.budget.allows(&self.root.os) {
            self.trim_top(pad);
        }
    }

    /// Gives whole pages of the top back, `pad` bytes kept; true if any.
    pub(crate) fn trim_top(&self, pad: usize) -> bool {
        let Some(heap) = self.heap() else { return false };
        let kept = pad.saturating_add(MIN_CHUNK).saturating_add(self.root.page_bytes());
        let surplus = self.root.page_down(self.top_bytes().saturating_sub(kept));
        if surplus == 0 {
            return false;
        }
        if heap.on_break.get() == 0 {
            return self.purge_top(pad);
        }
        let end = heap.end.load(Relaxed);
        if self.root.sbrk(0) != Some(end) {
            return self.purge_top(pad);
        }
        // Nobody may take the range for chunks once the pages are gone.
        heap.end.store(end - surplus, Release);
        self.root.heap_epoch.fetch_add(1, Release);
        let bytes = self.top_bytes() - surplus;
        self.set_top(Chunk(self.arena.top.get()), bytes);
        self.arena.top_touched.set(self.arena.top_touched.get().min(end - surplus));
        self.arena.top_resident.set(self.arena.top_resident.get().min(end - surplus));
        self.arena.system_bytes.fetch_sub(surplus, Relaxed);
        self.publish_range();
        if self.root.sbrk(-(surplus as isize)).is_none() {
            self.extend_to(heap, end);
            self.arena.top_touched.set(end);
            return false;
        }
        true
    }

    /// Bytes of the top that have memory ahead of their use.
    pub(crate) fn top_ahead(&self) -> usize {
        let touched = self.root.page_up(self.arena.top_touched.get());
        self.arena.top_resident.get().saturating_sub(touched)
    }

    /// Something has been taken from the top, which had been touched up to `before`: what of that
    /// had been given back takes tokens.
    pub(crate) fn note_top_touched(&self, before: usize) {
        let peak = self.arena.top_peak.get();
        let now = self.arena.top_touched.get();
        if now > before {
            self.root.budget.refault(now.min(peak).saturating_sub(before));
            self.arena.top_peak.set(peak.max(now));
        }
    }

    /// The dirty pages of the top: touched, or resident ahead of that, and not given back.
    pub(crate) fn top_dirty(&self) -> Span {
        let top = self.arena.top.get();
        if top == 0 {
            return Span::default();
        }
        let start = self.root.page_up(top + MIN_CHUNK);
        Span::new(
            start,
            self.root
                .page_up(self.arena.top_touched.get())
                .max(self.arena.top_resident.get())
                .min(self.root.page_down(self.top_end())),
        )
    }
}
