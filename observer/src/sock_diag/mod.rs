//! Witness 2: the kernel's own list of sockets, by netlink `sock_diag`.
//!
//! `wire`, `unix` and `filter` are pure: bytes to sockets and back; `netlink` is the socket. It knows
//! nothing of the BPF programs: what ties the two witnesses together is the socket cookie, and only `check` and
//! `watch` see both.

mod filter;
mod listed;
mod netlink;
mod unix;
mod wire;

pub use listed::{Holder, Listed};
pub use netlink::{DumpError, SockDiag};
pub use unix::{Bound, UnixSocket, VfsId};
pub use wire::{Entry, Info, Ports, States, WireError, parse as parse_datagram, state_name};
