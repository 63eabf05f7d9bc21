//! The gateway: WebSockets through which accounts receive.
//!
//! Knows what a session does once its socket is upgraded. The handshake is a request, and stands in
//! `http`; who is connected stands in `sessions`.

mod close;
mod protocol;
mod session;

pub(crate) use session::Session;
