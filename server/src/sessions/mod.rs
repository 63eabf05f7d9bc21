//! The open sessions of this process: who is connected, and how others reach a session.
//!
//! Deliberately knows neither sockets nor requests: what a session does with its WebSocket stands in
//! `gateway`, which is above this, and so is everything that answers HTTP.

mod delivery;
mod ending;
mod handle;
mod hub;

pub(crate) use delivery::deliver;
pub(crate) use ending::Ending;
pub(crate) use handle::Settled;
pub(crate) use hub::{Hub, Refusal, Registration};
