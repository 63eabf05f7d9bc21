//! Witness 2: the kernel's own list of sockets, by netlink `sock_diag`.
//!
//! `wire` and `filter` are pure: bytes to sockets and back; `netlink` is the socket. It knows nothing of the BPF
//! programs: what ties the two witnesses together is the socket cookie, and only `check` and
//! `watch` see both.

mod filter;
mod netlink;
mod wire;

pub use netlink::{DumpError, SockDiag};
pub use wire::{
    Entry, Holder, Info, Listed, States, WireError, parse as parse_datagram, state_name,
};
