//! The articles' example: a `Box`, and a `Vec` that grows, on Heapwise.
//!
//! ```sh
//! cargo run -p heapwise --example vec_growth
//! ```

#[global_allocator]
static GLOBAL: heapwise::Heapwise = heapwise::Heapwise;

fn main() {
    let boxed = Box::new(42);
    println!("boxed = {boxed} at {:p}", &raw const *boxed);

    // Vec asks for room for 4, then doubles it: malloc, then realloc.
    let mut numbers = Vec::new();
    for i in 0..10 {
        numbers.push(i);
        println!("len={}, cap={}, ptr={:p}", numbers.len(), numbers.capacity(), numbers.as_ptr());
    }
    assert_eq!(numbers.iter().sum::<i32>(), 45);
}
