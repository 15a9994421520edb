// What Rust's collections hold by the system's allocator, counted from inside.
use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

unsafe extern "C" {
    fn malloc_usable_size(block: *mut u8) -> usize;
    fn malloc_trim(pad: usize) -> i32;
}

static LIVE: AtomicUsize = AtomicUsize::new(0);
static BYTES: AtomicUsize = AtomicUsize::new(0);

struct Counted;

// SAFETY: all is System's; it is only counted, and filled as far as it is usable.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise; a block of malloc's has the size that it tells.
        unsafe {
            let block = System.alloc(layout);
            if !block.is_null() {
                let usable = malloc_usable_size(block);
                block.write_bytes(0x5a, usable);
                LIVE.fetch_add(1, Relaxed);
                BYTES.fetch_add(usable, Relaxed);
            }
            block
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe {
            LIVE.fetch_sub(1, Relaxed);
            BYTES.fetch_sub(malloc_usable_size(block), Relaxed);
            System.dealloc(block, layout);
        }
    }
}

#[global_allocator]
static COUNTED: Counted = Counted;

fn main() {
    let mut names: Vec<Option<String>> = (0..20000).map(|i| Some("x".repeat(10 + i % 300))).collect();
    names.iter_mut().step_by(3).for_each(|name| *name = None);
    let rows: Vec<Box<[u64]>> = (0..500).map(|i| vec![i; i as usize * 7 % 900 + 1].into()).collect();
    let mut large: Vec<Vec<u8>> = (0..4000).map(|i| vec![1; 1000 + i % 500]).collect();
    for (_, block) in large.iter_mut().enumerate().filter(|(i, _)| i % 50 != 0) {
        *block = Vec::new();
    }
    let mut output = std::io::stdout();
    output.write_all(b"").unwrap();
    let (mut line, mut length) = ([0; 64], 0);
    for (name, value) in [("live=", LIVE.load(Relaxed)), (" live_bytes=", BYTES.load(Relaxed))] {
        let mut rest = &mut line[length..];
        let before = rest.len();
        write!(rest, "{name}{value}").unwrap();
        length += before - rest.len();
    }
    line[length] = b'\n';
    output.write_all(&line[..=length]).unwrap();
    // Whatever is typed asks for a trim.
    let mut input = std::io::stdin();
    while input.read(&mut line).is_ok_and(|length| length > 0) {
        // SAFETY: it only gives free memory back.
        unsafe { malloc_trim(0) };
        output.write_all(b"trimmed=1\n").unwrap();
    }
    drop((names, rows, large));
}
