//! A copy of a process's writable memory, to be damaged and walked.

use std::cell::Cell;
use std::collections::HashMap;

use heapwise_inspect::process::maps::{self, Mapping};
use heapwise_inspect::process::memory::{Image, Memory};
use heapwise_inspect::process::pages::{Pages, Run};
use heapwise_inspect::span::Span;
use heapwise_layout::walk::Read;

const PAGE: usize = 4096;

/// The copy.
pub struct Dump {
    words: HashMap<usize, Box<[u64]>>,
    pages: Pages,
    /// The mappings.
    pub maps: Vec<Mapping>,
    /// Words read so far.
    pub reads: Cell<usize>,
}

impl Dump {
    /// Copies what `pid` may write to and has in memory.
    pub fn of(pid: u32) -> Self {
        let maps = maps::of(pid).unwrap();
        let pages = Pages::of(pid, &maps, PAGE).unwrap();
        let memory = Memory::open(pid, &pages).unwrap();
        let mut words = HashMap::new();
        for mapping in maps.iter().filter(|mapping| mapping.writable) {
            for run in pages.runs_in(mapping.span) {
                for page in (run.span.start..run.span.end).step_by(PAGE) {
                    let Some(bytes) = memory.copy(Span::new(page, page + PAGE)) else { continue };
                    let content = bytes
                        .chunks_exact(8)
                        .map(|word| u64::from_le_bytes(word.try_into().unwrap()))
                        .collect();
                    words.insert(page, content);
                }
            }
        }
        let mut dump = Self { words, pages, maps, reads: Cell::new(0) };
        dump.set_pages();
        dump
    }

    /// Only what was copied is resident.
    fn set_pages(&mut self) {
        let mut all: Vec<usize> = self.words.keys().copied().collect();
        all.sort_unstable();
        let run = |page| Run { span: Span::new(page, page + PAGE), of_file: false, huge: false };
        self.pages = Pages::from_runs(PAGE, all.into_iter().map(run).collect(), true);
    }

    /// Words in all.
    pub fn len(&self) -> usize {
        self.words.len() * PAGE / 8
    }

    /// The same, damaged: words overwritten with what could mislead, pages gone.
    pub fn damaged(&self, random: &mut Random) -> Self {
        let mut copy = Self {
            words: self.words.clone(),
            pages: self.pages.clone(),
            maps: self.maps.clone(),
            reads: Cell::new(0),
        };
        let mut all: Vec<usize> = self.words.keys().copied().collect();
        all.sort_unstable();
        for _ in 0..1 + random.below(40) {
            let page = all[random.below(all.len())];
            let filled: Vec<usize> =
                (0..PAGE / 8).filter(|&index| self.words[&page][index] != 0).collect();
            if filled.is_empty() {
                continue;
            }
            let index = filled[random.below(filled.len())];
            let other = all[random.below(all.len())] + random.below(PAGE / 16) * 16;
            let Some(content) = copy.words.get_mut(&page) else { continue };
            let old = content[index];
            content[index] = match random.below(12) {
                0 => 0,
                1 => u64::MAX,
                2 => old ^ 1 << random.below(64),
                3 => old & !1,
                4 => old.wrapping_add(16),
                5 => 0x11,
                6 => (random.below(1 << 20) * 16 + 1) as u64,
                7 => other as u64,
                8 => (page + index * 8) as u64,
                9 => (page + index * 8).wrapping_sub(16) as u64,
                10 => u64::MAX << 4 | 1,
                _ => {
                    copy.words.remove(&page);
                    continue;
                }
            };
        }
        copy.set_pages();
        copy
    }
}

impl Read for Dump {
    fn word(&self, address: usize) -> Option<u64> {
        self.reads.set(self.reads.get() + 1);
        if !address.is_multiple_of(8) {
            return None;
        }
        self.words.get(&(address & !(PAGE - 1))).map(|page| page[address % PAGE / 8])
    }
}

impl Image for Dump {
    fn pages(&self) -> &Pages {
        &self.pages
    }
}

/// A seeded generator (xorshift).
pub struct Random(pub u64);

impl Random {
    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % end
    }
}
