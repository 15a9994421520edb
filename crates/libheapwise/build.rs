//! Link flags of the shared library.

fn main() {
    // Memory outlives any dlclose, and so must the code that frees it.
    let lives_on = ["-Wl,-z,nodelete", "-Wl,-z,now", "-Wl,-soname,libheapwise.so"];
    // What the order is for (see there) holds where segments begin at a multiple of 64 KiB; the C
    // library's empty functions for start and end would touch pages that are otherwise cold.
    let few_pages = ["-Wl,-z,max-page-size=0x10000", "-Wl,-init,none", "-Wl,-fini,none"];
    for argument in lives_on.into_iter().chain(few_pages) {
        println!("cargo::rustc-cdylib-link-arg={argument}");
    }
    let order = concat!(env!("CARGO_MANIFEST_DIR"), "/order.ld");
    println!("cargo::rustc-cdylib-link-arg=-Wl,-T,{order}");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={order}");
}
