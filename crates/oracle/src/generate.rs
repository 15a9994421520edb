//! Random scripts. The model goes along, so that most steps hit something.
//!
//! ```text
//!   fixed area    64 pages at 16 TiB, where everything collides
//!   mmap region   wherever the calls of the script got memory
//!   heap          4 MiB above its start
//! ```
//! No step may hurt the child itself: ranges that touch one of its first mappings are
//! drawn again, and so is what falls under an [`Exception`].

use crate::exception::Exception;
use crate::op::{Op, Step};
use crate::ours::Ours;
use heapwise_seed::Rng;
use heapwise_vm::Span;

const PAGE: u64 = 4096;
/// Where scripts map at fixed places.
pub const AREA: u64 = 0x1000_0000_0000;
/// And how far.
pub const AREA_BYTES: u64 = 1 << 40;
const HUGE: u64 = 512;

/// Makes a script.
pub struct Generator {
    rng: Rng,
    first: Vec<Span>,
    who: u64,
    forked: bool,
    forks: bool,
    limited: bool,
}

impl Generator {
    /// For a seed; `first` are the mappings that no step may touch.
    pub fn new(seed: u64, first: Vec<Span>) -> Self {
        let mut rng = Rng::new(seed);
        let forks = rng.one_in(2);
        Self { rng, first, who: 0, forked: false, forks, limited: false }
    }

    /// The next step. The caller runs it on the model before it asks for another.
    pub fn next(&mut self, ours: &Ours<'_, '_, '_>) -> Step {
        if self.forked && self.rng.one_in(6) {
            self.who = 1 - self.who;
        }
        loop {
            let op = self.draw(ours);
            if self.is_harmless(&op) {
                if op == Op::Fork {
                    self.forked = true;
                }
                let who = if op == Op::Fork { 0 } else { self.who };
                return Step { who, op, blind: false };
            }
        }
    }

    fn is_harmless(&self, op: &Op) -> bool {
        let free = |at: u64, bytes: u64| {
            let end = at.saturating_add(bytes.max(1)).saturating_add(PAGE);
            self.first.iter().all(|span| span.start.get() >= end || span.end.get() <= at)
        };
        if Exception::of(op).is_some() {
            return false;
        }
        match *op {
            Op::Mmap { at, length, flags, .. } => flags & 0x10_0010 == 0 || free(at, length),
            Op::Munmap(at, length) | Op::Mprotect(at, length, _) | Op::Madvise(at, length, _) => {
                free(at, length)
            }
            Op::Mremap { at, old, new, to, .. } => free(at, old.max(new)) && free(to, new),
            Op::Read(at) | Op::Write(at, _) => free(at, 8),
            Op::Brk(_)
            | Op::Limit(..)
            | Op::Memfd(..)
            | Op::File(..)
            | Op::Truncate(..)
            | Op::Fork
            | Op::Look
            | Op::Smaps => true,
        }
    }

    fn draw(&mut self, ours: &Ours<'_, '_, '_>) -> Op {
        let rng = &mut self.rng;
        match rng.below(100) {
            0..=6 => Op::Brk(self.brk(ours)),
            7..=28 => self.mmap(ours),
            29..=36 => {
                let (at, length) = self.range(ours);
                Op::Munmap(at, length)
            }
            37..=47 => self.mremap(ours),
            48..=59 => {
                let (at, length) = self.range(ours);
                Op::Mprotect(at, length, self.rng.pick(&[0, 1, 1, 3, 3, 3, 2, 4, 5, 7]))
            }
            60..=70 => {
                let (at, length) = self.range(ours);
                let advice =
                    [14, 15, 0, 1, 2, 3, 4, 4, 4, 8, 8, 10, 11, 16, 17, 18, 19, 22, 23, 99];
                Op::Madvise(at, length, self.rng.pick(&advice))
            }
            71..=79 => Op::Read(self.word(ours)),
            80..=95 => {
                let value = self.rng.word() >> 8;
                Op::Write(self.word(ours), value)
            }
            96 => self.limit(),
            97 if !self.forked && self.rng.one_in(2) => {
                Op::Memfd(self.rng.below(3), 1 + self.rng.below(24))
            }
            97 => Op::Truncate(self.rng.below(3), self.rng.below(24)),
            98..=99 if self.forks && !self.forked => Op::Fork,
            _ => Op::Write(self.word(ours), 1),
        }
    }

    /// A page that some mapping of the script's has, or any in the fixed area.
    fn page(&mut self, ours: &Ours<'_, '_, '_>) -> u64 {
        if self.rng.one_in(2) {
            let own = ours.spans(self.who);
            let own: Vec<_> = own.iter().filter(|span| !self.first.contains(span)).collect();
            if !own.is_empty() {
                let span = own[self.rng.below(own.len() as u64) as usize];
                return match self.rng.below(4) {
                    0 => span.start.get(),
                    1 => span.end.get() - PAGE,
                    2 => span.start.get().wrapping_sub(PAGE * self.rng.below(3)),
                    _ => span.start.get() + PAGE * self.rng.below(span.pages().min(600)),
                };
            }
        }
        AREA + PAGE * self.rng.below(64)
    }

    fn word(&mut self, ours: &Ours<'_, '_, '_>) -> u64 {
        self.page(ours) + 8 * self.rng.below(3)
    }

    fn bytes(&mut self) -> u64 {
        match self.rng.below(60) {
            0 => 0,
            1 => 1 + self.rng.below(3 * PAGE),
            2 => PAGE * HUGE * (1 + self.rng.below(3)),
            3 => PAGE * (HUGE * self.rng.below(3) + self.rng.below(700)),
            4 => self.rng.pick(&[1 << 47, 40 << 30, u64::MAX, u64::MAX - PAGE, 1 << 63]),
            5..=12 => PAGE * (1 + self.rng.below(40)),
            _ => PAGE * (1 + self.rng.below(8)),
        }
    }

    fn range(&mut self, ours: &Ours<'_, '_, '_>) -> (u64, u64) {
        let odd = if self.rng.one_in(40) { 1 + self.rng.below(PAGE - 1) } else { 0 };
        (self.page(ours) + odd, self.bytes())
    }

    fn brk(&mut self, ours: &Ours<'_, '_, '_>) -> u64 {
        let start = ours.start_brk();
        match self.rng.below(12) {
            0 => 0,
            1 => start.wrapping_sub(PAGE * self.rng.below(3)),
            2 => self.rng.pick(&[u64::MAX, 1 << 47, (1 << 47) - PAGE, 1 << 46]),
            3..=5 => start + self.rng.below(64 * PAGE),
            6..=8 => ours.brk(self.who) + self.rng.below(8 * PAGE),
            _ => (ours.brk(self.who)).saturating_sub(self.rng.below(6 * PAGE)).max(start),
        }
    }

    fn mmap(&mut self, ours: &Ours<'_, '_, '_>) -> Op {
        let rng = &mut self.rng;
        let mut flags = rng.pick(&[0x22, 0x22, 0x22, 0x22, 0x21, 0x02, 0x01, 0x03, 0x23, 0x20]);
        let file = if flags & 0x20 == 0 { rng.below(3) } else { u64::MAX };
        let offset = if flags & 0x20 == 0 { rng.below(6) * PAGE } else { 0 };
        let offset = if rng.one_in(60) { offset + 7 } else { offset };
        flags |= rng.pick(&[0, 0, 0, 0, 0, 0, 0, 0, 0x4000, 0x8000, 0x8000, 0x2_0000, 0x40]);
        if rng.one_in(25) {
            flags |= 0x100;
        }
        let prot = rng.pick(&[3, 3, 3, 3, 1, 0, 0, 7, 5, 2]);
        let at = match rng.below(10) {
            0..=3 => 0,
            4..=6 => {
                flags |= 0x10;
                self.page(ours)
            }
            7 => {
                flags |= 0x10_0000;
                self.page(ours)
            }
            8 => self.page(ours) + self.rng.below(2) * 5,
            _ => self.rng.pick(&[0x7fff_ffff_f000, 0x1000, 0x2aaa_aaaa_b000, 0x4000_0000]),
        };
        Op::Mmap { at, length: self.bytes(), prot, flags, file, offset }
    }

    fn mremap(&mut self, ours: &Ours<'_, '_, '_>) -> Op {
        let (at, mut old) = self.range(ours);
        if self.rng.one_in(2) {
            // Just one whole mapping, most often.
            let own = ours.spans(self.who);
            if let Some(span) = own.iter().find(|span| span.start.get() == at) {
                old = span.bytes();
            }
        }
        let flags = self.rng.pick(&[0, 0, 1, 1, 1, 1, 3, 3, 3, 5, 7, 4, 2, 8]);
        let new = if self.rng.one_in(4) { old } else { self.bytes() };
        let to = if self.rng.one_in(30) { 5 } else { self.page(ours) };
        Op::Mremap { at, old, new, flags, to }
    }

    fn limit(&mut self) -> Op {
        let which = self.rng.below(2);
        if self.limited {
            self.limited = false;
            return Op::Limit(which, u64::MAX);
        }
        self.limited = true;
        let most = if which == 0 { 1 << 24 } else { 1 << 22 };
        Op::Limit(which, (1 << 20) + self.rng.below(most))
    }
}

/// A script of so many steps for a seed, made on the model of the process `ours`.
pub fn script(seed: u64, steps: usize, ours: &mut Ours<'_, '_, '_>) -> Vec<Step> {
    let mut generator = Generator::new(seed, ours.spans(0));
    let memfds = (0..3).map(|nth| Step::new(Op::Memfd(nth, 4 + 5 * nth)));
    let mut script: Vec<_> = memfds.collect();
    for step in &script {
        ours.step(&Step { blind: true, ..*step });
    }
    while script.len() < steps {
        let step = generator.next(ours);
        ours.step(&Step { blind: true, ..step });
        script.push(step);
    }
    script
}
