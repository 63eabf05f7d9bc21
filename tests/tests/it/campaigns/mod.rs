//! Claims that take long to test: a module is a campaign, run in full by `cargo xtask campaign`.
//!
//! `cargo xtask test` runs a share of each; [`tests::campaign::size`] says how much.

mod field;
mod opens;
mod packages;
mod power;
mod precision;
mod reloads;
mod restarts;
mod schedules;
mod sequences;
mod subjects;
mod websockets;
mod withheld;
