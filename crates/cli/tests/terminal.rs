//! Ctrl-C and Ctrl-Z at a real terminal: the kernel signals the whole foreground
//! group, so the program must get each exactly once.

mod common;

use common::terminal::Session;

/// Runs `heapwise run --report SCRIPT` at a terminal; sends `keys` once it has said "ready";
/// returns all it printed and the exit code.
fn at_terminal(script: &str, keys: &[u8]) -> (String, Option<i32>) {
    let arguments = ["run", "--report", "-o", "/dev/null", "--", "sh", "-c", script];
    let mut session = Session::start(&arguments, &[]);
    session.wait_for("ready");
    session.send(keys);
    session.finish()
}

#[test]
fn control_c_arrives_once() {
    let script = "trap 'echo INT; got=1' INT; echo ready; while [ -z \"$got\" ]; do sleep 0.05; done; sleep 0.3";
    let (output, code) = at_terminal(script, b"\x03");
    assert_eq!((output.matches("INT").count(), code), (1, Some(0)), "{output}");
}

#[test]
fn control_c_ends_a_program_that_does_not_catch_it() {
    // Without exec, dash itself loses the signal now and then between fork and exec.
    let (output, code) = at_terminal("echo ready; exec sleep 10", b"\x03");
    assert_eq!(code, Some(130), "{output}");
}

#[test]
fn control_backslash_arrives_once() {
    let script = "trap 'echo GOT; got=1' QUIT; echo ready; while [ -z \"$got\" ]; do sleep 0.05; done; sleep 0.3";
    let (output, code) = at_terminal(script, b"\x1c");
    assert_eq!((output.matches("GOT").count(), code), (1, Some(0)), "{output}");
}
