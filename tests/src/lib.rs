//! The harness: what tests of the whole stand on.
//!
//! It starts the workspace's own binaries ([`process`]), makes traffic that it keeps books of
//! ([`load`]), reads `/metrics` pages ([`scrape`]), waits within bounds ([`wait`]) and records what
//! could not be tested here ([`skip`]). It links neither the observer nor the server: tests meet
//! them where users do. Errors are told in full, since nobody sees a test fail at leisure.

pub mod database;
pub mod http;
pub mod load;
pub mod postgres;
pub mod process;
pub mod relay;
pub mod scrape;
pub mod skip;
pub mod wait;

pub use skip::{kernel_or_skip, skip};
