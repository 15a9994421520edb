//! Link flags of the shared library.

fn main() {
    // Memory outlives any dlclose, and so must the code that frees it.
    for argument in ["-Wl,-z,nodelete", "-Wl,-z,now", "-Wl,-soname,libheapwise.so"] {
        println!("cargo::rustc-cdylib-link-arg={argument}");
    }
    println!("cargo::rerun-if-changed=build.rs");
}
