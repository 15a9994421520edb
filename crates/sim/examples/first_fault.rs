//! From malloc to the frame, on a machine of one seed.
//!
//! `cargo run -p heapwise-sim --example first_fault`

use heapwise_sim::journey::{parse, travel};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let acts = parse("a = malloc 1000\ntouch a\nb = malloc 256K\ntouch b\nfree b\nfree a")?;
    let journey = travel(&acts, 1)?;
    for step in &journey.steps {
        println!("{:>14}  {}", step.layer.name(), step.title);
        for line in &step.detail {
            println!("{:>14}    {line}", "");
        }
    }
    println!("{} states", journey.states.len());
    Ok(())
}
