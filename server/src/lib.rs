//! A message relay over WebSocket, with complete in-process metrics.
//!
//! [`Server`] binds two ports that share nothing but the process: the public one (`http`,
//! `gateway`) and the management one (`management`). All metrics are declared and recorded in
//! [`metrics_service`]; every SQL statement stands in `store`.

mod accept;
mod account;
mod attachments;
mod authentication;
mod bus;
mod check;
pub mod config;
mod data_dir;
mod gateway;
mod group_commit;
mod http;
mod management;
mod message;
pub mod metrics_service;
mod rate;
mod relay;
mod retention;
mod routes;
mod server;
mod sessions;
mod share;
mod store;
mod tasks;

pub use accept::BindError;
pub use attachments::{AttachmentsError, EmbeddedError};
pub use check::{SettingsError, check};
pub use data_dir::DataDirError;
pub use server::{Server, StartError, guard};
pub use store::OpenError;
pub use tasks::TaskEnded;
