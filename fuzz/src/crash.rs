//! The first failure: saved, with the command that replays it, then the end.
//!
//! A failure is a panic (an assertion, the strict kernel, the line that ends a
//! program), a bad memory access, or an input that takes forever.

use crate::input::Input;
use crate::reach;
use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Longer than any input takes.
const PATIENCE: Duration = Duration::from_secs(20);

thread_local! {
    static CURRENT: RefCell<Input> = RefCell::new(Input::default());
}

/// Inputs begun: the watch sees that it grows.
static BEGUN: AtomicU64 = AtomicU64::new(0);

/// Notes the input that runs now.
pub fn begin(input: &Input) {
    CURRENT.with_borrow_mut(|current| current.clone_from(input));
    BEGUN.fetch_add(1, Relaxed);
}

/// From now on a failure of this thread's input is saved and ends the process.
pub fn save_failures() {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        default(info);
        save_and_exit();
    }));
    for signal in [libc::SIGSEGV, libc::SIGBUS] {
        // SAFETY: the failure is in the allocator under test, not in the one
        // that the handler itself uses; the process ends in it.
        unsafe { libc::signal(signal, on_signal as extern "C" fn(i32) as libc::sighandler_t) };
    }
    // SAFETY: as above; the handler of this thread's own alarm.
    unsafe { libc::signal(libc::SIGALRM, on_alarm as extern "C" fn(i32) as libc::sighandler_t) };
    arm();
}

fn arm() {
    // SAFETY: sets a timer.
    unsafe { libc::alarm(PATIENCE.as_secs() as u32) };
}

extern "C" fn on_signal(signal: i32) {
    eprintln!("bad memory access (signal {signal})");
    save_and_exit();
}

extern "C" fn on_alarm(_: i32) {
    static SEEN: AtomicU64 = AtomicU64::new(0);
    let begun = BEGUN.load(Relaxed);
    if SEEN.swap(begun, Relaxed) == begun {
        eprintln!("an input takes longer than {PATIENCE:?}");
        save_and_exit();
    }
    arm();
}

fn save_and_exit() -> ! {
    let input = CURRENT.with(|current| current.try_borrow().map(|i| i.clone()).unwrap_or_default());
    match save(&input, Path::new("fuzz-failures")) {
        Ok(file) => {
            let file = file.display();
            eprintln!(
                "\ninput {} of this run failed: {} operations",
                BEGUN.load(Relaxed),
                input.words.len()
            );
            let command = "cargo run --profile fuzz -p heapwise-fuzz --";
            let of = if reach::is_kernel() { " --kernel" } else { "" };
            eprintln!("replay:   {command}{of} --replay {file}");
            eprintln!("minimize: {command}{of} --minimize {file}");
        }
        Err(error) => eprintln!("the input cannot be saved: {error}"),
    }
    // SAFETY: ends the process without destructors, which might fail again.
    unsafe { libc::_exit(1) }
}

/// Writes an input to a file named by its contents.
pub fn save(input: &Input, folder: &Path) -> std::io::Result<PathBuf> {
    std::fs::create_dir_all(folder)?;
    let bytes = input.bytes();
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325u64, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let file = folder.join(format!("{hash:016x}"));
    std::fs::write(&file, bytes)?;
    Ok(file)
}
