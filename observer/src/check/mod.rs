//! The check: what an honest service could have said, and what follows when it said something else.
//!
//! Pure: no I/O, no clock, no async. A rule is given the moments that it needs. It sees the
//! witnesses only as counts and lists, and none knows that another exists.
//!
//! - `counts`: what is open is a difference of monotonic counts; samples of them over time.
//! - `interval`: the fewest and the most connections that an honest service can claim.
//! - `openings`: what an honest counter of openings can say.
//! - `closing`: which closing sockets the service holds, and which it has closed itself.
//! - `verdict`: agree, over, under, unsettled or blind: the words.
//! - `evidence`: what the recent checks leave of the drift, and when that is a verdict.
//! - `likely` and `lags`: the lag that was learnt, and the drift that is likely with it.
//! - `settling`: how long a service may take to count, where that is learnt.
//! - `judge`: which reason goes before which, and whom a check is held against.
//! - `trust`: whether the counts can be trusted, and by how much they may be off.
//! - `suspects`: which sockets a drift is likely about.
//! - `history` and `shape`: what the last checks found, and what is the likely cause.

mod closing;
mod counts;
mod evidence;
mod history;
mod interval;
mod judge;
mod lags;
#[cfg(test)]
mod learning;
mod likely;
mod openings;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod services;
mod settling;
mod shape;
mod suspects;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod traffic;
mod trust;
mod verdict;

pub use closing::{ClosingKind, ClosingSocket, ClosingSockets};
pub use counts::{Counts, Glance, Lives, Sample, Samples};
pub use evidence::{Confirmation, Evidence};
pub use history::{History, Record, Widening, Window};
pub use interval::{Allowance, Interval};
pub use judge::{
    Facts, Judge, Measured, Rules, TooWide, is_restart, is_same_start, pause_before_recheck,
};
pub use likely::{Claimed, Lag, Learner, Likely, Slack};
pub use openings::{Opened, Openings};
pub use settling::Settling;
pub use shape::Shape;
pub use suspects::{IsCounted, Kind, Seen, Source, Suspect, Suspects};
pub use trust::{Surveyed, Trust};
pub use verdict::{Blind, Bounds, Finding, Rule, Verdict};
