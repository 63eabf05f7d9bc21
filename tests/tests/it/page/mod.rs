//! The status page in a real browser, the stream by a real client, and what else is answered.

mod answers;
mod many;
mod service;
mod stale;
mod story;
mod stream;
