//! A message relay over WebSocket, with complete in-process metrics.
//!
//! [`Server`] binds two ports that share nothing but the process: the public one (`http`,
//! `gateway`) and the management one (`management`). All metrics are declared and recorded in
//! [`metrics_service`]; every SQL statement stands in `store`.

mod accept;
pub mod account;
pub mod config;
mod gateway;
mod http;
mod management;
pub mod metrics_service;
mod relay;
mod server;
pub mod store;

pub use accept::BindError;
pub use server::{Server, StartError};
