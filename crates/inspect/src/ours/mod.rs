//! Our own heap, read from outside by its published layout: no guesses.

pub mod arena;
pub mod mapped;
pub mod root;
pub mod survey;
