//! The check: what an honest service could have said, and what follows when it said something else.
//!
//! Pure: no I/O, no clock, no async. A rule is given the moments that it needs. It sees the
//! witnesses only as counts and lists, and none knows that another exists.
//!
//! - `counts`: what is open is a difference of monotonic counts; samples of them over time.
//! - `interval`: the fewest and the most connections that an honest service can claim.
//! - `verdict`: agree, over, under, unsettled or blind, and since when.
//! - `suspects`: which sockets a drift is likely about.
//! - `history` and `shape`: what the last checks found, and what is the likely cause.

mod counts;
mod history;
mod interval;
#[cfg(test)]
mod properties;
mod shape;
mod suspects;
#[cfg(test)]
mod tests;
mod verdict;

pub use counts::{Counts, Sample, Samples};
pub use history::{History, Record, Window};
pub use interval::Interval;
pub use shape::Shape;
pub use suspects::{IsCounted, Kind, Seen, Source, Suspect, Suspects};
pub use verdict::{Blind, Bounds, Check, Finding, Judge, Rule, Verdict};
