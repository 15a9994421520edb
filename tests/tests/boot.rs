//! The kernel half on bare (emulated) metal: `examples/boot` is built with the host's
//! own toolchain, boots under QEMU, takes real page faults, serves malloc, and ends by
//! itself.

use heapwise_tests::program::find_or_skip;
use heapwise_tests::run::run;
use heapwise_tests::workspace::{build_dir, root};
use std::process::Command;
use std::time::Duration;

/// QEMU's status where the image wrote 16 to `isa-debug-exit`.
const SUCCESS: i32 = 33;

#[test]
fn the_image_boots_and_says_that_all_is_well() {
    let Some(qemu) = find_or_skip("qemu-system-x86_64") else { return };
    let target = build_dir("boot");
    let mut build = Command::new(env!("CARGO"));
    build
        .args(["build", "--release", "--quiet", "--target-dir"])
        .arg(&target)
        // What the image is compiled with stands in its own configuration.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("CARGO_BUILD_TARGET")
        .current_dir(root().join("examples/boot"));
    let built = run(build, None, Duration::from_secs(600));
    assert!(built.success(), "{}", built.describe());
    let image = target.join("x86_64-unknown-linux-gnu/release/heapwise-boot");
    let mut machine = Command::new(qemu);
    machine
        .args(["-m", "64", "-display", "none", "-serial", "stdio", "-no-reboot"])
        .args(["-device", "isa-debug-exit,iobase=0xf4,iosize=4", "-accel", "tcg", "-kernel"])
        .arg(image);
    let outcome = run(machine, None, Duration::from_secs(300));
    let text = outcome.stdout_text();
    let code = outcome.status.and_then(|status| status.code());
    assert_eq!(code, Some(SUCCESS), "{}", outcome.describe());
    for line in ["Node 0, zone    DMA32", "[heap]", "page faults", "vmalloc", "all is well"] {
        assert!(text.contains(line), "no `{line}` in:\n{text}");
    }
}
