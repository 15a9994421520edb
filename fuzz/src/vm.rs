//! Fuzzes the address spaces: programs of memory calls over a machine that is too small.
//!
//! ```text
//! cargo run --profile fuzz -p heapwise-fuzz -- --vm --seconds 20
//! cargo run --profile fuzz -p heapwise-fuzz -- --vm-replay FILE
//! ```
//! What must hold after each call: tree, counters and pages agree; no load sees what was
//! stored elsewhere or before its page went; at the end every frame, table, node and
//! promise is back. Frames, nodes and tables run out often. A program that ends calls in
//! a new way, or at another depth of mappings, is kept and mutated further.

use heapwise_pages::slab::Source;
use heapwise_pages::{Order, Pfn};
use heapwise_seed::Rng;
use heapwise_vm::*;
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::time::{Duration, Instant};

const PAGE: u64 = 4096;
const AREA: u64 = 0x10_0000_0000;
/// Pages in which everything collides.
const PAGES: u64 = 96;
const FRAMES: u32 = 40;
const NODES: usize = 40;
const TABLES: usize = 30;
const MOST_CALLS: usize = 300;

/// How a call ended, and where: what the search calls new.
type Feature = (u8, u8, u8, u8);

struct Stack(RefCell<Vec<u32>>);

impl Source for Stack {
    fn take(&self, _: Order) -> Option<Pfn> {
        self.0.borrow_mut().pop().map(Pfn::new)
    }

    fn give(&self, pfn: Pfn, _: Order) {
        self.0.borrow_mut().push(pfn.get());
    }
}

/// The first word of each frame.
#[derive(Default)]
struct Words(HashMap<u32, u64>);

impl Contents for Words {
    fn zero(&mut self, pfn: Pfn) {
        self.0.insert(pfn.get(), 0);
    }

    fn copy(&mut self, from: Pfn, to: Pfn) {
        let word = self.0.get(&from.get()).copied().unwrap_or(0);
        self.0.insert(to.get(), word);
    }
}

/// What private pages hold, as far as it is known: forgotten where a call failed half way.
type Known = HashMap<u64, u64>;

fn forget(known: &mut Known, at: VirtAddr, bytes: u64) {
    let end = at.up(page_align(bytes));
    known.retain(|page, _| *page < at.page().get() || *page >= end.get());
}

/// Searches for `time`; a failure panics with the file's name.
pub fn search(time: Duration, seed: u64) {
    let mut rng = Rng::new(seed);
    let mut corpus: Vec<Vec<u64>> = vec![Vec::new()];
    let mut seen = HashSet::new();
    let start = Instant::now();
    let (mut runs, mut calls) = (0_u64, 0_usize);
    while start.elapsed() < time {
        let program = mutated(&corpus, &mut rng);
        let features = match std::panic::catch_unwind(|| run(&program)) {
            Ok(features) => features,
            Err(_) => fail(&program),
        };
        runs += 1;
        calls += program.len();
        let before = seen.len();
        seen.extend(features);
        if seen.len() > before {
            corpus.push(program);
        }
    }
    println!(
        "{runs} programs, {calls} memory calls in {:.1} s; {} features, {} kept; no failure",
        start.elapsed().as_secs_f64(),
        seen.len(),
        corpus.len()
    );
}

/// Runs one program again.
pub fn replay(file: &Path) -> std::io::Result<()> {
    let bytes = std::fs::read(file)?;
    let words = bytes.chunks_exact(8).filter_map(|chunk| chunk.try_into().ok());
    let program: Vec<_> = words.map(u64::from_le_bytes).collect();
    let features = run(&program);
    println!(
        "{}: {} calls, {} features, no failure",
        file.display(),
        program.len(),
        features.len()
    );
    Ok(())
}

fn fail(program: &[u64]) -> ! {
    let bytes: Vec<u8> = program.iter().flat_map(|word| word.to_le_bytes()).collect();
    let name = format!("vm-{}-{}", std::process::id(), program.len());
    let file = Path::new("fuzz-failures").join(name);
    let saved =
        std::fs::create_dir_all("fuzz-failures").and_then(|()| std::fs::write(&file, bytes));
    if let Err(error) = saved {
        panic!("the program cannot be saved: {error}");
    }
    let file = file.display();
    panic!("replay: cargo run --profile fuzz -p heapwise-fuzz -- --vm-replay {file}");
}

fn mutated(corpus: &[Vec<u64>], rng: &mut Rng) -> Vec<u64> {
    let mut program = corpus[rng.index(corpus.len())].clone();
    for _ in 0..1 + rng.index(8) {
        let at = rng.index(program.len() + 1);
        let end = (at + 1 + rng.index(12)).min(program.len());
        match rng.index(6) {
            0 | 1 => drop(program.splice(at..at, (0..1 + rng.index(10)).map(|_| rng.word()))),
            2 => drop(program.drain(at..end)),
            3 => {
                let again = program[at..end].to_vec();
                program.splice(end..end, again);
            }
            4 => {
                let other = &corpus[rng.index(corpus.len())];
                let from = rng.index(other.len() + 1);
                let to = (from + 20).min(other.len());
                program.splice(at..at, other[from..to].iter().copied());
            }
            _ if at < program.len() => program[at] ^= 0xff << (8 * rng.index(8)),
            _ => program.push(rng.word()),
        }
    }
    program.truncate(MOST_CALLS);
    program
}

/// Runs a program: one call a word.
fn run(program: &[u64]) -> HashSet<Feature> {
    let mut slots = vec![VmaSlot::new(); NODES];
    let mut nodes = VmaPool::new(&mut slots);
    let mut tables = vec![Table::new(); TABLES];
    let arena = RefCell::new(TableArena::new(&mut tables));
    let mut owners = vec![0; FRAMES as usize];
    let source = Stack(RefCell::new((0..FRAMES).collect()));
    let frames = Counted::new(source, Words::default(), Pfn::new(0), &mut owners);
    let mut frames = frames.expect("a page of zeros");
    let mut objects = [const { ShmemSlot::new() }; 6];
    let mut files = Shmem::new(&mut objects, &arena);
    let memfd = files.create(FileKind::Shmem, 20, "/memfd:m").expect("room");
    let mut commit = Commit::new(Overcommit::Heuristic, 1 << 20);
    let policy = Policy { max_map_count: 30, ..Policy::default() };
    let limits = Limits { data: 300 * PAGE, ..Limits::default() };
    let layout = Layout::new(Width::Bits64, Aslr::Off, &limits, &policy, &mut || 0);
    let mut first = Mm::new(SoftTable::new(&arena), layout, limits, policy);
    first.bounds.start_brk = VirtAddr::new(AREA + 2 * PAGES * PAGE);
    first.bounds.brk = first.bounds.start_brk;
    let mut spaces = vec![(first, Known::new())];
    let mut features = HashSet::new();
    for word in program {
        let mut env =
            Env { nodes: &mut nodes, frames: &mut frames, files: &mut files, commit: &mut commit };
        let who = (word >> 60) as usize % spaces.len();
        let call = Call::of(*word, memfd);
        let count = spaces.len();
        let (mm, known) = &mut spaces[who];
        let ending = match call.kind {
            11 if count < 3 => {
                let known = known.clone();
                match mm.fork(&mut env, SoftTable::new(&arena)) {
                    Ok(child) => {
                        let mut known = known;
                        known.retain(|page, _| {
                            let vma = child.vma_at(env.nodes, VirtAddr::new(*page));
                            vma.is_some_and(|vma| !vma.flags.has(VmFlags::WIPEONFORK))
                        });
                        spaces.push((child, known));
                        0
                    }
                    Err(error) => 1 + error as u8,
                }
            }
            12 if count > 1 => {
                spaces.swap_remove(who).0.exit(&mut env);
                0
            }
            13..=15 => {
                let ending = store(mm, &mut env, known, &call, *word);
                if let Ok(pfn) = ending {
                    frames.contents_mut().0.insert(pfn.get(), *word);
                }
                ending.map_or_else(|error| 100 + error as u8, |_| 0)
            }
            16.. => load(mm, &mut env, &call).map_or_else(
                |error| 100 + error as u8,
                |pfn| {
                    let seen = frames.contents_mut().0.get(&pfn.get()).copied().unwrap_or(0);
                    if let Some(stored) = known.get(&call.at.get()) {
                        assert_eq!(seen, *stored, "at {:?} of space {who}", call.at);
                    }
                    0
                },
            ),
            _ => call.run(mm, &mut env, known),
        };
        for (mm, _) in &spaces {
            assert!(mm.is_sound(&nodes), "after {call:?}");
        }
        let depth = spaces.iter().map(|space| space.0.map_count()).sum::<u32>();
        let low = u8::from(frames.in_use() + 2 > u64::from(FRAMES));
        features.insert((call.kind, ending, depth as u8 / 4, low));
    }
    let mut env =
        Env { nodes: &mut nodes, frames: &mut frames, files: &mut files, commit: &mut commit };
    for (mm, _) in &mut spaces {
        mm.exit(&mut env);
    }
    env.files.close(memfd, env.frames);
    assert_eq!(frames.in_use(), 0, "frames are lost");
    assert_eq!(nodes.free_nodes() as usize, NODES, "nodes are lost");
    assert_eq!(arena.borrow().free_tables(), TABLES, "tables are lost");
    assert_eq!((commit.committed, files.objects()), (0, 0), "promises or objects are lost");
    features
}

/// A decoded word.
#[derive(Debug)]
struct Call {
    kind: u8,
    at: VirtAddr,
    bytes: u64,
    to: VirtAddr,
    choice: u64,
    memfd: FileId,
}

impl Call {
    fn of(word: u64, memfd: FileId) -> Self {
        let field = |shift: u32, bound: u64| (word >> shift & 0xff) % bound;
        Self {
            kind: field(0, 20) as u8,
            at: VirtAddr::new(AREA + field(8, PAGES) * PAGE),
            bytes: (1 + field(16, 12) * field(24, 2) + field(16, 3)) * PAGE,
            to: VirtAddr::new(AREA + field(32, PAGES) * PAGE),
            choice: word >> 40 & 0xffff,
            memfd,
        }
    }

    /// A call of one address space; what it makes unknown is forgotten.
    fn run<T: PageTable>(&self, mm: &mut Mm<T>, env: &mut Env<'_, '_>, known: &mut Known) -> u8 {
        let code = |error: Error| 1 + error as u8;
        let prot = Prot::from_bits((self.choice >> 4) as u32 & 7);
        match self.kind {
            0..=2 => {
                let fixed = self.choice & 3 != 0;
                let flags = [MapFlags::PRIVATE, MapFlags::PRIVATE, MapFlags::SHARED]
                    [self.choice as usize / 4 % 3]
                    .with_if(MapFlags::FIXED, fixed)
                    .with_if(MapFlags::POPULATE, self.choice & 0x700 == 0)
                    .with_if(MapFlags::GROWSDOWN, self.choice & 0xf000 == 0x1000);
                let source = if self.choice & 0x800 != 0 {
                    let (file, offset) = (self.memfd, (self.choice >> 12) * PAGE);
                    MapSource::File { file, offset, mode: OpenMode::READ_WRITE }
                } else {
                    MapSource::Anonymous
                };
                let at = if fixed { self.at } else { VirtAddr::NULL };
                let request = MapRequest { at, length: self.bytes, prot, flags, source };
                let result = mm.mmap(env, request);
                let start = *result.as_ref().unwrap_or(&at);
                forget(known, start, self.bytes);
                result.map_or_else(code, |_| 0)
            }
            3 | 4 => {
                let result = mm.munmap(env, self.at, self.bytes);
                forget(known, self.at, self.bytes);
                result.map_or_else(code, |()| 0)
            }
            5 | 6 => {
                let flags = RemapFlags::from_bits(self.choice as u32 & 7);
                let new_length = self.bytes + (self.choice >> 8 & 7) * PAGE;
                let new_length = if self.choice & 0x800 != 0 { self.bytes } else { new_length };
                let (at, to) = (self.at, self.to);
                let request = RemapRequest { at, old_length: self.bytes, new_length, flags, to };
                let result = mm.mremap(env, request);
                forget(known, at, self.bytes.max(new_length));
                forget(known, to, self.bytes.max(new_length));
                if let Ok(moved) = result {
                    forget(known, moved, new_length);
                }
                result.map_or_else(code, |_| 0)
            }
            7 | 8 => mm.mprotect(env, self.at, self.bytes, prot).map_or_else(code, |()| 0),
            9 => {
                let advice = Advice::ALL[self.choice as usize % Advice::ALL.len()];
                let result = mm.madvise(env, self.at, self.bytes, advice);
                if advice == Advice::DontNeed {
                    forget(known, self.at, self.bytes);
                }
                result.map_or_else(code, |()| 0)
            }
            _ => {
                let before = mm.bounds.brk;
                let wanted = mm.bounds.start_brk.up(self.choice % 64 * 512);
                let result = mm.try_brk(env, wanted);
                forget(known, wanted.min(before), wanted.max(before).since(wanted.min(before)));
                result.map_or_else(code, |()| 0)
            }
        }
    }
}

/// The frame behind a store; remembers it if nobody else may change it.
fn store<T: PageTable>(
    mm: &mut Mm<T>,
    env: &mut Env<'_, '_>,
    known: &mut Known,
    call: &Call,
    word: u64,
) -> Result<Pfn, FaultError> {
    let touch = mm.access(env, call.at, Access::Write)?;
    let vma = mm.vma_at(env.nodes, call.at).ok_or(FaultError::NotMapped)?;
    if !vma.flags.has(VmFlags::SHARED) {
        assert_eq!(env.frames.owners(touch.pfn), 1, "a store to a frame of several");
        known.insert(call.at.get(), word);
    }
    Ok(touch.pfn)
}

fn load<T: PageTable>(
    mm: &mut Mm<T>,
    env: &mut Env<'_, '_>,
    call: &Call,
) -> Result<Pfn, FaultError> {
    mm.access(env, call.at, Access::Read).map(|touch| touch.pfn)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_of_memory_calls() {
        search(Duration::from_secs(1), 1);
    }
}
