//! The gallery: each lying server is believed while it behaves, and caught when it lies.
//!
//! What is asked of a verdict: the right sign and the exact size, no later than two checks after
//! the first that shows the drift in full, and the shape and its cause by name.

mod decrements;
mod exported;
pub(crate) mod foreign;
mod increments;
mod others;
mod reports;
pub(crate) mod scene;
mod suspects;

pub(crate) use scene::{BOUND, Scene};
