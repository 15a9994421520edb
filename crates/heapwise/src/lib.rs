//! The Rust face of Heapwise.
#![no_std]
