//! The observer: counts a service's connections in the kernel and checks what its gauge claims.
//!
//! Two witnesses ([`probe`](self), `sock_diag`) and one claim meet in `check`; `watch` is the loop
//! that feeds it. This crate never links `server`: they meet at the kernel and at `/metrics`.

pub mod api;
pub mod args;
pub mod blocking;
mod cgroups;
mod chain;
pub mod check;
pub mod claim;
pub mod config;
pub mod discover;
pub mod doctor;
pub mod http;
pub mod instruments;
pub mod memory;
pub mod netns;
pub mod printable;
pub mod privileges;
pub mod probe;
pub mod recipes;
mod similar;
pub mod sock_diag;
pub mod sockets;
pub mod tui;
pub mod watch;
