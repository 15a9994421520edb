//! The five kinds of bins: fast, unsorted, small, large, and the top behind them.

mod fast;
mod large;
mod small;
mod unsorted;
