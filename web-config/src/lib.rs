//! Prometheus' `web.config.file`: TLS and basic authentication of a port for operators, in the format that
//! Prometheus and its exporters have, so that one file serves them all.
//!
//! It reads the file ([`Guard::open`]), makes connections of a listener's streams ([`Guard::accept`]) and
//! lets requests pass or not ([`Guard::protect`]). The file, its keys and its users are read again when they
//! have changed; what is wrong then is logged, and what was in force stays. It knows no port and no route.

mod file;
mod guard;
mod stream;
mod tls;
mod users;

pub use file::WebConfigError;
pub use guard::Guard;
pub use stream::Stream;
