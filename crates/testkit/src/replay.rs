//! The command that runs a failed test again, printed even if the test dies of a signal.

use std::cell::RefCell;
use std::io::Write;
use std::sync::Once;

thread_local! {
    static COMMAND: RefCell<String> = const { RefCell::new(String::new()) };
}

/// While it lives, a panic or a bad memory access of this thread prints the command.
#[derive(Debug)]
pub struct Replay(());

impl Replay {
    /// Names the command for what this thread does now.
    #[must_use]
    pub fn with(command: String) -> Self {
        static HANDLERS: Once = Once::new();
        HANDLERS.call_once(|| {
            for signal in [libc::SIGSEGV, libc::SIGBUS] {
                // SAFETY: the handler prints and lets the signal strike again, unhandled.
                unsafe {
                    libc::signal(signal, on_signal as extern "C" fn(i32) as libc::sighandler_t);
                }
            }
        });
        COMMAND.with_borrow_mut(|c| *c = command);
        Self(())
    }
}

impl Drop for Replay {
    fn drop(&mut self) {
        if std::thread::panicking() {
            print();
        }
        COMMAND.with_borrow_mut(String::clear);
    }
}

fn print() {
    COMMAND.with_borrow(|command| {
        let _ = writeln!(std::io::stderr().lock(), "\nreplay: {command}");
    });
}

extern "C" fn on_signal(signal: i32) {
    // SAFETY: back to the default, which ends the process at the next access.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
    print();
}
