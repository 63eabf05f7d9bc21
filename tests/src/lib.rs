//! The harness: what tests of the whole stand on.
//!
//! It starts the workspace's own binaries ([`process`], [`relay`], [`honest`], [`observer`]) and other
//! people's services ([`foreign`], [`packages`]) and services that lie ([`gallery`], made with
//! [`liar`]), makes traffic that it keeps books of ([`load`]) or that is right to the segment
//! ([`scripted`]), makes claims ([`claim_page`]), reads `/metrics` pages ([`scrape`]) or has
//! Prometheus do it ([`prometheus`]), looks at the kernel by other people's tools ([`ss`], [`bpf`])
//! and at pages by a browser ([`browser`]), listens to streams ([`events`]), waits within bounds
//! ([`wait`]), rolls dice that fall the same way again ([`dice`]), comes in two sizes where a test
//! takes long ([`campaign`]) and records what could not be tested here ([`skip`]). It links neither
//! the observer nor the server: tests meet them where users do. Errors are told in full, since nobody
//! sees a test fail at leisure.

pub mod bpf;
pub mod browser;
pub mod cable;
pub mod campaign;
pub mod claim_page;
pub mod database;
pub mod dice;
pub mod events;
pub mod foreign;
pub mod gallery;
pub mod honest;
pub mod http;
pub mod liar;
pub mod load;
pub mod observer;
pub mod packages;
pub mod port;
pub mod postgres;
pub mod process;
pub mod prometheus;
pub mod relay;
pub mod scrape;
pub mod scripted;
pub mod skip;
pub mod ss;
pub mod terminal;
pub mod wait;
pub mod watched;

pub use skip::{kernel_or_skip, skip};
