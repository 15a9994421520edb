//! A process's page table: the one in software, and a window that forgets what it is told to.

use crate::window::Window;
use heapwise_vm::{Entry, OutOfTables, PageTable, SoftTable, Span, TableArena, VirtAddr};
use std::cell::RefCell;

/// The tables of all processes.
pub type Arena<'m> = RefCell<TableArena<'m>>;

/// A page table, perhaps shown in a window.
pub struct SimTable<'m> {
    soft: SoftTable<'m, 'm, Arena<'m>>,
    window: Option<(&'m Window, u32)>,
}

impl<'m> SimTable<'m> {
    pub(crate) const fn new(arena: &'m Arena<'m>, window: Option<(&'m Window, u32)>) -> Self {
        Self { soft: SoftTable::new(arena), window }
    }

    /// The window that shows it, if it does now.
    #[must_use]
    pub fn window(&self) -> Option<&'m Window> {
        self.window.and_then(|(window, owner)| window.shows(owner).then_some(window))
    }
}

impl PageTable for SimTable<'_> {
    fn get(&self, at: VirtAddr) -> Option<Entry> {
        self.soft.get(at)
    }

    fn set(&mut self, at: VirtAddr, entry: Entry) -> Result<(), OutOfTables> {
        self.soft.set(at, entry)
    }

    fn clear(&mut self, at: VirtAddr) -> Option<Entry> {
        self.soft.clear(at)
    }

    fn first(&self, span: Span) -> Option<(VirtAddr, Entry)> {
        self.soft.first(span)
    }

    fn prune(&mut self, span: Span) {
        self.soft.prune(span);
    }

    fn flush(&mut self, span: Span) {
        if let Some(window) = self.window() {
            window.forget(span);
        }
        self.soft.flush(span);
    }

    fn tables(&self) -> u64 {
        self.soft.tables()
    }
}
