//! Placeholder: the build of the shared library comes here.
fn main() {}
