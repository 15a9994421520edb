//! glibc's thread caches: found without a debugger's stop, walked to their ends.
//!
//! A thread's cache hangs on one of glibc's thread-local variables. Which of
//! them it is, the chunk tells: its size is that of a
//! `tcache_perthread_struct`, and every list in it must hold chunks of its class.

use heapwise_layout::walk::Read;

use super::version::Table;
use crate::heap::scan::Count;

/// A thread's cache.
#[derive(Clone, Debug, Default)]
pub struct Cache {
    /// Address of the struct: a user pointer.
    pub address: usize,
    /// The thread, where known.
    pub tid: Option<u32>,
    /// What each list holds: chunk sizes 32, 48, …, then the mixed ones.
    pub lists: Vec<Count>,
    /// The chunks in the lists.
    pub chunks: Vec<usize>,
    /// Lists whose length is not what the counter says, links that lead nowhere.
    pub flaws: usize,
}

/// Flags of a header.
const FLAGS: u64 = 7;
const MAPPED: u64 = 2;

impl Cache {
    /// All that it holds.
    #[must_use]
    pub fn held(&self) -> Count {
        self.lists.iter().fold(Count::default(), |sum, list| Count {
            chunks: sum.chunks + list.chunks,
            bytes: sum.bytes + list.bytes,
        })
    }

    /// The chunk that holds the struct.
    #[must_use]
    pub fn chunk(&self) -> usize {
        self.address - 16
    }
}

/// Whether a chunk with this header could hold a cache.
#[must_use]
pub fn is_fit(table: &Table, header: u64) -> bool {
    header & MAPPED == 0 && (header & !FLAGS) as usize == table.tcache.chunk_bytes
}

/// The cache that `pointer`, a thread-local variable, leads to, if it is the one that does.
pub fn at(memory: &impl Read, table: &Table, pointer: usize, max_chunks: usize) -> Option<Cache> {
    let header = header(memory, pointer).filter(|_| pointer.is_multiple_of(16))?;
    if is_fit(table, header) { read(memory, table, pointer, max_chunks) } else { None }
}

/// Reads a cache; `None` if what stands there is none. Follows at most `max_chunks` links.
pub fn read(memory: &impl Read, table: &Table, pointer: usize, max_chunks: usize) -> Option<Cache> {
    let shape = table.tcache;
    let mut cache = Cache { address: pointer, ..Cache::default() };
    let mut left = max_chunks;
    for index in 0..shape.bins + shape.large_bins {
        let head = memory.word(pointer.checked_add(shape.entries + index * 8)?)? as usize;
        let counter = counter(
            memory,
            pointer.checked_add(index * shape.counter_bytes)?,
            shape.counter_bytes,
        )?;
        let class = (index < shape.bins).then_some(32 + index * 16);
        // The counter of an empty list is 0: the one sign of an empty cache.
        if head == 0 && shape.counts_up && counter != 0 || !head.is_multiple_of(16) {
            return None;
        }
        if head != 0 && !is_of_class(memory, head, class) {
            return None;
        }
        let before = (cache.chunks.len(), cache.flaws);
        let held = read_list(memory, table, head, class, &mut cache, &mut left);
        if shape.counts_up && cache.flaws == before.1 && held.chunks != counter {
            cache.flaws += 1;
        }
        cache.lists.push(held);
    }
    Some(cache)
}

fn counter(memory: &impl Read, place: usize, bytes: usize) -> Option<usize> {
    let word = memory.word(place & !7)? >> ((place & 7) * 8);
    Some(if bytes == 1 { word as u8 as usize } else { word as u16 as usize })
}

fn header(memory: &impl Read, pointer: usize) -> Option<u64> {
    memory.word(pointer.checked_sub(8)?)
}

fn is_of_class(memory: &impl Read, pointer: usize, class: Option<usize>) -> bool {
    header(memory, pointer).is_some_and(|header| {
        let bytes = (header & !FLAGS) as usize;
        class.map_or(bytes >= 32, |class| bytes == class)
    })
}

fn read_list(
    memory: &impl Read,
    table: &Table,
    head: usize,
    class: Option<usize>,
    cache: &mut Cache,
    left: &mut usize,
) -> Count {
    let mut count = Count::default();
    let mut pointer = head;
    while pointer != 0 {
        if *left == 0 || !pointer.is_multiple_of(16) || !is_of_class(memory, pointer, class) {
            cache.flaws += 1;
            break;
        }
        *left -= 1;
        count.chunks += 1;
        count.bytes += header(memory, pointer).map_or(0, |header| (header & !FLAGS) as usize);
        cache.chunks.push(pointer - 16);
        let Some(stored) = memory.word(pointer) else {
            cache.flaws += 1;
            break;
        };
        pointer = table.reveal(pointer, stored);
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    struct Words(HashMap<usize, u64>);
    impl Read for Words {
        fn word(&self, address: usize) -> Option<u64> {
            (address < 0x10000).then(|| self.0.get(&address).copied().unwrap_or(0))
        }
    }

    #[test]
    fn safe_links_are_followed_and_wrong_counters_counted() {
        let table = Table::of(36).unwrap();
        let mut words = HashMap::from([
            (0x1008, 0x291),             // the cache's own header
            (0x1010, 2 << 16),           // two in list 1: 48 bytes
            (0x1010 + 0x80 + 8, 0x5010), // its head
            (0x5008, 0x31),              // first
            (0x5010, (0x5050 ^ (0x5010 >> 12)) as u64),
            (0x5048, 0x31),                  // second
            (0x5050, (0x5050 >> 12) as u64), // the end
        ]);
        let cache = read(&Words(words.clone()), &table, 0x1010, 100).unwrap();
        assert_eq!(cache.chunks, [0x5000, 0x5040]);
        assert_eq!(cache.held(), Count { chunks: 2, bytes: 0x60 });
        assert_eq!(cache.flaws, 0);
        words.insert(0x1010, 3 << 16);
        assert_eq!(read(&Words(words.clone()), &table, 0x1010, 100).unwrap().flaws, 1);
        assert_eq!(read(&Words(words.clone()), &table, 0x1010, 1).unwrap().chunks.len(), 1);
        words.insert(0x5008, 0x41);
        assert!(read(&Words(words), &table, 0x1010, 100).is_none());
    }
}
