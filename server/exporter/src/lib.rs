//! How a service counts what it owns, and shows that. Deliberately knows no service.
//!
#![doc = include_str!("../README.md")]
//! # Where things are
//!
//! | module | what it counts |
//! |---|---|
//! | [`http`] | requests, by route, method and status |
//! | [`listener`] | TCP connections, from accept to close |
//! | [`sessions`] | WebSockets, or whatever else stays open and can be listed |
//! | [`channel`] | what waits in a bounded queue |
//! | [`breaker`] | whether a dependency is asked |
//! | [`transfer`] | downloads to their last byte, such as those from S3 |
//! | `pool` (feature `sqlx`) | waiting for, opening and using database connections |
//! | [`process`] | CPU, memory, descriptors |
//! | [`management`] | the private port: `/metrics`, `/connections`, health |

pub mod breaker;
mod catalogue;
pub mod channel;
mod declaration;
mod exposition;
mod histogram;
pub mod http;
pub mod listener;
pub mod management;
mod measurement;
#[cfg(feature = "sqlx")]
pub mod pool;
pub mod process;
mod registry;
pub mod sessions;
mod trace;
pub mod transfer;

pub use declaration::{
    Bound, Declaration, FAST, Kind, Label, Metric, SLOW, label, render_markdown,
};
pub use exposition::{Format, Page};
pub use measurement::{CANCELLED, Level, Outcomes, Stopwatch};
pub use metrics::{Counter, Gauge, Histogram};
pub use registry::{Registry, RegistryError};

#[cfg(test)]
mod tests {
    #[test]
    fn the_service_of_the_readme_is_the_example() {
        let example = include_str!("../examples/service.rs");
        let (_, code) = example.split_once("\n\n").unwrap();
        let readme = include_str!("../README.md");
        assert!(readme.contains(code), "write the example into README.md");
    }
}
