//! One binary for all integration tests; a module for each part that is tested.

mod campaigns;
mod deploy;
mod discover;
mod docs;
mod harness;
mod kernel;
mod liars;
mod limits;
mod newcomer;
mod page;
mod server;
mod top;
