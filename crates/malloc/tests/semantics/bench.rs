//! Short words for the tests: worlds, threads, what the kernel saw.

use heapwise_layout::bins::FASTBINS;
use heapwise_layout::state::{ArenaState, Cache};
use heapwise_malloc::os::Span;
use heapwise_malloc::stats::Tally;
use heapwise_malloc::tunables::Setting;
use heapwise_testkit::World;
use heapwise_testkit::host::{self, address};
use heapwise_testkit::os::Seen;
use heapwise_testkit::setup::Setup;

/// A page of the kernel in memory.
pub const PAGE: usize = 4096;
/// Larger than any cached chunk, smaller than the mmap threshold: always the arena's own.
pub const LARGE: usize = 70_000;

/// One thread, defaults.
pub fn plain() -> Box<World> {
    World::new(Setup::plain())
}

/// One thread, these settings.
pub fn set(settings: &[(Setting, usize)]) -> Box<World> {
    World::new(Setup { settings: settings.to_vec(), ..Setup::plain() })
}

/// Without a thread cache: every free reaches the bins.
pub fn uncached() -> Box<World> {
    set(&[(Setting::CacheCount, 0)])
}

/// So many threads, these settings.
pub fn threads(count: usize, settings: &[(Setting, usize)]) -> Box<World> {
    World::new(Setup { threads: count, settings: settings.to_vec(), ..Setup::plain() })
}

/// What the kernel sees while `work` is done.
pub fn seen(world: &World, work: impl FnOnce()) -> Vec<Seen> {
    world.alloc.os.trace();
    work();
    world.alloc.os.trace()
}

/// Frees the block at `pointer` in `thread`.
pub fn free(world: &World, thread: usize, pointer: usize) {
    let block = world.block_at(pointer).expect("a held block");
    world.free(thread, block);
}

/// Resizes the block at `pointer` in the first thread.
pub fn realloc(world: &World, pointer: usize, request: usize) -> usize {
    world.realloc(0, world.block_at(pointer).expect("a held block"), request)
}

/// The header word of the chunk at `pointer`.
pub fn header(pointer: usize) -> u64 {
    // SAFETY: a block of the world.
    unsafe { address::<u64>(pointer - 8).read() }
}

/// Writes a word somewhere in the heap, as a program with a bug does.
pub fn smash(address_of_word: usize, word: u64) {
    // SAFETY: inside a heap of the world.
    unsafe { address::<u64>(address_of_word).write(word) };
}

/// The cache of `thread`.
pub fn cache(world: &World, thread: usize) -> &Cache {
    // SAFETY: a slot holds the address of a cache, which lives as long as the world.
    unsafe { &*address::<Cache>(world.slot(thread).0.get()) }
}

/// The arena of `thread`.
pub fn arena(world: &World, thread: usize) -> &ArenaState {
    // SAFETY: an attached cache holds the address of its arena.
    unsafe { &*address::<ArenaState>(cache(world, thread).arena.get()) }
}

/// What waits in a bin of the main arena: the fastbins are `fast`, others by number.
pub fn bin(world: &World, number: usize) -> Tally {
    world.alloc.arena_figures(0).expect("the main arena").1[FASTBINS + number - 1].tally
}

/// What waits in the fastbin of chunks of `size`.
pub fn fastbin(world: &World, size: usize) -> Tally {
    world.alloc.arena_figures(0).expect("the main arena").1[(size - 32) / 16].tally
}

/// Bytes of memory behind `start..start + bytes`.
pub fn resident_bytes(start: usize, bytes: usize) -> usize {
    host::resident_bytes(Span::new(start, start + bytes))
}
