//! The whole standard library on our heap, threads and all.

use std::alloc::{GlobalAlloc, Layout};
use std::collections::BTreeMap;

#[global_allocator]
static GLOBAL: heapwise::Heapwise = heapwise::Heapwise;

#[test]
fn collections_and_threads() {
    let workers: Vec<_> = (0..20u64)
        .map(|seed| {
            std::thread::spawn(move || {
                let mut map = BTreeMap::new();
                for i in 0..5000u64 {
                    map.insert(i.wrapping_mul(seed + 1) % 1009, vec![i; (i % 300) as usize]);
                }
                map.values().map(Vec::len).sum::<usize>()
            })
        })
        .collect();
    let sums: Vec<usize> = workers.into_iter().map(|w| w.join().unwrap()).collect();
    assert!(sums.iter().all(|&sum| sum > 0));
    heapwise::check().unwrap();
}

#[test]
fn every_alignment_and_zeroed() {
    for align in (0..21).map(|log2| 1usize << log2) {
        for size in [1, 15, 16, 100, 4096, 100_000, 1 << 20] {
            let layout = Layout::from_size_align(size, align).unwrap();
            // SAFETY: the layout is not empty; each block is used within its size and freed once.
            unsafe {
                let block = GLOBAL.alloc_zeroed(layout);
                assert!(block.addr().is_multiple_of(align), "{layout:?}");
                assert!((0..size).step_by(61).all(|i| block.add(i).read() == 0), "{layout:?}");
                block.write_bytes(0xa5, size);
                let grown = GLOBAL.realloc(block, layout, size * 2);
                assert!(grown.addr().is_multiple_of(align));
                assert!((0..size).step_by(61).all(|i| grown.add(i).read() == 0xa5));
                assert!(heapwise::usable_size(grown) >= size * 2);
                GLOBAL.dealloc(grown, Layout::from_size_align(size * 2, align).unwrap());
            }
        }
    }
    heapwise::check().unwrap();
}

#[test]
fn settings_can_be_read_and_changed() {
    assert_eq!(heapwise::setting(heapwise::Setting::TopPad), 128 << 10);
    assert!(!heapwise::set(heapwise::Setting::MxFast, 4096));
    assert!(heapwise::set(heapwise::Setting::TopPad, 64 << 10));
    assert_eq!(heapwise::setting(heapwise::Setting::TopPad), 64 << 10);
}

#[test]
fn no_c_symbols_are_exported() {
    // SAFETY: looks up a name.
    let (ours, theirs) = unsafe {
        let c_malloc = libc_malloc(1000);
        let rust = GLOBAL.alloc(Layout::from_size_align(1000, 16).unwrap());
        (rust, c_malloc)
    };
    // The C library's malloc does not serve from our heap.
    // SAFETY: `ours` is live; for a foreign pointer our table answers 0.
    unsafe {
        assert!(heapwise::usable_size(ours) >= 1000);
        assert_eq!(heapwise::usable_size(theirs), 0);
        GLOBAL.dealloc(ours, Layout::from_size_align(1000, 16).unwrap());
        libc_free(theirs);
    }
}

unsafe extern "C" {
    #[link_name = "malloc"]
    fn libc_malloc(size: usize) -> *mut u8;
    #[link_name = "free"]
    fn libc_free(pointer: *mut u8);
}
