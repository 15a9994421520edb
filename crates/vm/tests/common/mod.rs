//! A machine for the tests: a buddy, tables, nodes and files, in leaked memory.
#![allow(dead_code)]

use heapwise_pages::slab::Source;
use heapwise_pages::{Metadata, Order, Pfn, Request, Urgency, Zone, ZoneKind, Zones};
use heapwise_vm::*;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::AtomicU8;

pub type Arena = RefCell<TableArena<'static>>;
pub type Pt = SoftTable<'static, 'static, Arena>;
pub type Space = Mm<Pt>;

/// The buddy; the call whose number is in `fail_at` fails.
#[derive(Clone)]
pub struct Buddy {
    pub zones: Rc<RefCell<Zones<'static>>>,
    pub fail_at: Rc<Cell<u32>>,
}

impl Source for Buddy {
    fn take(&self, order: Order) -> Option<Pfn> {
        let left = self.fail_at.get();
        self.fail_at.set(left.saturating_sub(1));
        if left == 1 {
            return None;
        }
        self.zones.borrow_mut().alloc(order, Request::KERNEL.urgent(Urgency::Exhaust)).ok()
    }

    fn give(&self, pfn: Pfn, order: Order) {
        self.zones.borrow_mut().free(pfn, order).unwrap();
    }
}

/// Each frame's first word, so that copies can be told apart.
#[derive(Default)]
pub struct Words(pub std::collections::HashMap<u32, u64>);

impl Contents for Words {
    fn zero(&mut self, pfn: Pfn) {
        self.0.insert(pfn.get(), 0);
    }

    fn copy(&mut self, from: Pfn, to: Pfn) {
        let word = self.0.get(&from.get()).copied().unwrap_or(0);
        self.0.insert(to.get(), word);
    }
}

pub struct Machine {
    pub nodes: VmaPool<'static>,
    pub frames: Counted<'static, Buddy, Words>,
    pub files: Shmem<'static, 'static, 'static, Arena>,
    pub commit: Commit,
    pub arena: &'static Arena,
    pub buddy: Buddy,
}

impl Machine {
    pub fn new(frames: u32) -> Self {
        Self::sized(frames, 4096, 1024)
    }

    pub fn sized(frames: u32, nodes: usize, tables: usize) -> Self {
        let (start, end) = (Pfn::new(0), Pfn::new(frames));
        let states: Vec<AtomicU8> =
            (0..Metadata::frame_bytes(start, end)).map(|_| AtomicU8::new(0)).collect();
        let words = vec![0; Metadata::words(start, end)].leak();
        let metadata = Metadata { frames: states.leak(), words };
        let mut zones = Zones::new();
        zones
            .add_zone(Zone::new(ZoneKind::Normal, start, end, Order::MAX, metadata).unwrap())
            .unwrap();
        zones.add_region(start, end).unwrap();
        let buddy = Buddy { zones: Rc::new(RefCell::new(zones)), fail_at: Rc::default() };
        let arena: &'static Arena =
            Box::leak(Box::new(RefCell::new(TableArena::new(vec![Table::new(); tables].leak()))));
        let owners = vec![0; frames as usize].leak();
        let slots: Vec<ShmemSlot<'static, 'static, Arena>> =
            (0..256).map(|_| ShmemSlot::new()).collect();
        Self {
            nodes: VmaPool::new(vec![VmaSlot::new(); nodes].leak()),
            frames: Counted::new(buddy.clone(), Words::default(), start, owners).unwrap(),
            files: Shmem::new(slots.leak(), arena),
            commit: Commit::new(Overcommit::Heuristic, u64::from(frames)),
            arena,
            buddy,
        }
    }

    pub fn space(&self) -> Space {
        self.space_with(Limits::default(), Policy::default())
    }

    pub fn space_with(&self, limits: Limits, policy: Policy) -> Space {
        let layout = Layout::new(Width::Bits64, Aslr::Off, &limits, &policy, &mut || 0);
        let mut mm = Mm::new(SoftTable::new(self.arena), layout, limits, policy);
        mm.bounds.start_brk = VirtAddr::new(0x5555_5556_0000);
        mm.bounds.brk = mm.bounds.start_brk;
        mm
    }

    pub fn table(&self) -> Pt {
        SoftTable::new(self.arena)
    }

    pub fn env(&mut self) -> Env<'_, 'static> {
        Env {
            nodes: &mut self.nodes,
            frames: &mut self.frames,
            files: &mut self.files,
            commit: &mut self.commit,
        }
    }

    /// Frames, tables and nodes that are free.
    pub fn free(&self) -> (u32, usize, u32) {
        let frames = self.buddy.zones.borrow().free_frames();
        (frames, self.arena.borrow().free_tables(), self.nodes.free_nodes())
    }

    pub fn maps(&self, mm: &Space) -> String {
        render::Maps { mm, nodes: &self.nodes, files: &self.files }.to_string()
    }

    /// Stores a word through the page table; reads one.
    pub fn poke(&mut self, mm: &mut Space, at: u64, word: u64) -> Result<Touch, FaultError> {
        let touch = mm.access(&mut self.env(), VirtAddr::new(at), Access::Write)?;
        self.frames.contents_mut().0.insert(touch.pfn.get(), word);
        Ok(touch)
    }

    pub fn peek(&mut self, mm: &mut Space, at: u64) -> Result<u64, FaultError> {
        let touch = mm.access(&mut self.env(), VirtAddr::new(at), Access::Read)?;
        Ok(self.frames.contents_mut().0.get(&touch.pfn.get()).copied().unwrap_or(0))
    }
}

/// A program's file as an ELF reader would describe it: text, and data that ends in pages of zeros.
pub const PROGRAM: [Segment; 2] = [
    Segment { address: 0, offset: 0, file_bytes: 5000, memory_bytes: 5000, prot: Prot::RX },
    Segment {
        address: 0x3100,
        offset: 0x2100,
        file_bytes: 300,
        memory_bytes: 9000,
        prot: Prot::RW,
    },
];

/// Starts it, with an interpreter of the same form.
pub const fn start(file: FileId, environment_bytes: u64) -> Start<'static> {
    let program = Image { file, segments: &PROGRAM, entry: 0x40, relocatable: true };
    Start { program, interpreter: Some(program), argument_bytes: 20, environment_bytes, vdso: true }
}
