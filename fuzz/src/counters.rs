//! Counters that the compiler puts into every edge of the code, where it is told to.
//!
//! `fuzz/guided` compiles with LLVM's inline 8-bit counters. Each module then
//! announces its array of counters before `main`; without them nothing is
//! announced and the search goes by what it sees from outside.

use std::sync::Mutex;

/// The arrays: first byte and length.
static ARRAYS: Mutex<Vec<(usize, usize)>> = Mutex::new(Vec::new());

/// Called by compiled-in constructors, once a module.
///
/// # Safety
/// `start..end` is an array of counters that lives as long as the program.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __sanitizer_cov_8bit_counters_init(start: *mut u8, end: *mut u8) {
    let array = (start.expose_provenance(), end.addr() - start.addr());
    if let Ok(mut arrays) = ARRAYS.lock()
        && !arrays.contains(&array)
    {
        arrays.push(array);
    }
}

fn arrays() -> Vec<(usize, usize)> {
    ARRAYS.lock().map(|arrays| arrays.clone()).unwrap_or_default()
}

/// Sets all counters to 0.
pub fn reset() {
    for (start, length) in arrays() {
        // SAFETY: an array of counters; the code that runs now may add to it, no more.
        unsafe { std::ptr::with_exposed_provenance_mut::<u8>(start).write_bytes(0, length) };
    }
}

/// Calls `each` with every counter that is not 0: its number, its value.
pub fn each(mut each: impl FnMut(usize, usize)) {
    let mut base = 0;
    for (start, length) in arrays() {
        for index in 0..length {
            let counter = std::ptr::with_exposed_provenance::<u8>(start + index);
            // SAFETY: inside the array.
            match unsafe { counter.read_volatile() } {
                0 => {}
                hits => each(base + index, usize::from(hits)),
            }
        }
        base += length;
    }
}

/// Number of counters, 0 without instrumentation.
pub fn count() -> usize {
    arrays().iter().map(|(_, length)| length).sum()
}
