//! Frames for programs: the page allocator through the lists of the processor that runs.
//!
//! ```text
//!   fault ─► Counted (owners) ─► FrontSource ─► CpuFront of this processor ─► zones
//!                                    └ the plan: frame N is missing
//! ```

use crate::event::{Taking, What};
use crate::inject::{Injection, Plan};
use heapwise_pages::slab::Source;
use heapwise_pages::{CpuFront, Order, Pages, Pfn, Request, Zones};
use std::cell::{Cell, RefCell};

/// The page allocator, and what goes with each request.
pub struct Shared<'m> {
    /// The zones behind a lock.
    pub pages: Pages<'m, RefCell<Zones<'m>>>,
    /// One list of ready frames a processor.
    pub fronts: RefCell<Vec<CpuFront<'m>>>,
    /// The processor that runs.
    pub cpu: Cell<usize>,
    /// Faults to come.
    pub plan: RefCell<Plan>,
    /// Steps of the page allocator, while they are watched.
    pub steps: RefCell<Vec<What>>,
    /// Whether they are.
    pub watched: Cell<bool>,
    /// Frames given out and taken back, in all.
    pub taken: Cell<u64>,
    /// Frames taken back, in all.
    pub given: Cell<u64>,
}

impl<'m> Shared<'m> {
    pub(crate) fn new(pages: Pages<'m, RefCell<Zones<'m>>>, cpus: usize) -> Self {
        Self {
            pages,
            fronts: RefCell::new((0..cpus).map(|_| CpuFront::new()).collect()),
            cpu: Cell::new(0),
            plan: RefCell::default(),
            steps: RefCell::default(),
            watched: Cell::new(false),
            taken: Cell::new(0),
            given: Cell::new(0),
        }
    }

    /// Gives what all processors' lists hold back to the buddy. O(frames in the lists).
    pub fn drain(&self) {
        for front in self.fronts.borrow_mut().iter_mut() {
            self.pages.drain(front);
        }
    }

    /// Frames that nobody has: in the buddy and in the processors' lists.
    /// O(processors × lists).
    #[must_use]
    pub fn free_frames(&self) -> u64 {
        let listed: u32 = self.fronts.borrow().iter().map(CpuFront::frames).sum();
        u64::from(self.pages.zones(|zones| zones.free_frames())) + u64::from(listed)
    }

    /// A block; `None` if there is none, or the plan says so.
    /// O(1) from the processor's list, O(orders) else.
    pub fn take(&self, order: Order, request: Request) -> Option<Pfn> {
        if self.plan.borrow_mut().frame() {
            self.note(|| What::Injected { what: Injection::FrameMissing });
            return None;
        }
        let mut fronts = self.fronts.borrow_mut();
        let front = &mut fronts[self.cpu.get()];
        let before = self.watched.get().then(|| (front.frames(), self.blocks()));
        let pfn = self.pages.alloc(front, order, request).ok()?;
        if let Some((listed, blocks)) = before {
            let how = if front.frames() < listed {
                Taking::Front
            } else if front.frames() > listed {
                Taking::Refill
            } else {
                let after = self.blocks();
                let found = Order::all().rev().find(|o| after[o.get()] < blocks[o.get()]);
                Taking::Split(found.unwrap_or(order))
            };
            self.steps.borrow_mut().push(What::Taken {
                pfn,
                order,
                how,
                slab: request == Request::KERNEL,
            });
        }
        self.taken.set(self.taken.get() + u64::from(order.frames()));
        Some(pfn)
    }

    /// Takes a block back. O(1), O(orders) else.
    ///
    /// # Panics
    /// If it was not out: a mistake of the kernel's.
    pub fn give(&self, pfn: Pfn, order: Order) {
        let mut fronts = self.fronts.borrow_mut();
        let result = self.pages.free(&mut fronts[self.cpu.get()], pfn, order);
        result.unwrap_or_else(|error| panic!("{pfn:?} given back: {error}"));
        self.given.set(self.given.get() + u64::from(order.frames()));
        self.note(|| What::Given { pfn, order });
    }

    /// Free blocks of each order, in all zones. O(zones × orders).
    #[must_use]
    pub fn blocks(&self) -> [u32; heapwise_pages::ORDERS] {
        self.pages.zones(|zones| {
            let mut sum = [0; heapwise_pages::ORDERS];
            for zone in zones.iter() {
                for (all, one) in sum.iter_mut().zip(zone.free_blocks()) {
                    *all += one;
                }
            }
            sum
        })
    }

    fn note(&self, what: impl FnOnce() -> What) {
        if self.watched.get() {
            self.steps.borrow_mut().push(what());
        }
    }
}

/// Single frames for programs.
#[derive(Clone, Copy)]
pub struct FrontSource<'m>(pub(crate) &'m Shared<'m>);

impl Source for FrontSource<'_> {
    fn take(&self, order: Order) -> Option<Pfn> {
        self.0.take(order, Request::USER)
    }

    fn give(&self, pfn: Pfn, order: Order) {
        self.0.give(pfn, order);
    }
}

/// Frames for the kernel's own objects.
#[derive(Clone, Copy)]
pub struct KernelSource<'m>(pub(crate) &'m Shared<'m>);

impl Source for KernelSource<'_> {
    fn take(&self, order: Order) -> Option<Pfn> {
        self.0.take(order, Request::KERNEL)
    }

    fn give(&self, pfn: Pfn, order: Order) {
        self.0.give(pfn, order);
    }
}
