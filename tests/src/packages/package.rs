//! What a service of the table is made of.

use std::net::Ipv4Addr;

/// A service, as a row of the table. In its texts stand `$public`, `$second`, `$page`, `$inner` and
/// `$other` for ports of its own, `$folder` for a folder of its own, `$scripts` for the folder of the
/// tests' own services, and `$foreign` and `$envoy` for what `cargo xtask setup` has installed.
#[derive(Debug)]
pub struct Package {
    /// Its own.
    pub name: &'static str,
    /// The name of its recipe.
    pub recipe: &'static str,
    /// Commands that are there where its packages are installed.
    pub(super) commands: &'static [&'static str],
    /// The user as whom it runs: some refuse to be root.
    pub(super) user: Option<&'static str>,
    /// Files of its folder, by name.
    pub(super) files: &'static [(&'static str, &'static str)],
    /// Commands that come to their end before it is started.
    pub(super) prepare: &'static [&'static [&'static str]],
    /// A program that has to run beside it.
    pub(super) beside: &'static [&'static str],
    /// The service, and the program that has its page where it has none itself, each with variables before
    /// the command, as `env` has it.
    pub(super) run: &'static [&'static [&'static str]],
    /// Settings of the target that are others than the recipe's, written in TOML; an empty one is none.
    pub(super) settings: &'static [(&'static str, &'static str)],
    /// What a client says first, where it is none before.
    pub(super) hello: &'static [u8],
    /// What makes the gauge wrong.
    pub wrong: Wrong,
}

/// What makes a gauge wrong about the connections that its target lists.
#[derive(Debug, Clone, Copy)]
pub enum Wrong {
    /// Clients of `$second`, who say this first: it counts them, and the target does not list the port.
    Port(&'static [u8]),
    /// Clients of `$public` at another address, the same.
    Address(Ipv4Addr),
    /// Clients of a Unix socket in its folder, the same.
    Unix(&'static str),
    /// Clients that have said nothing: it counts them not.
    Silent,
    /// The claim is another one, and that is off by so many.
    Claim(&'static str, i64),
}

/// A request that is answered, after which the connection is kept.
pub(super) const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// An upgrade to WebSocket.
pub(super) const UPGRADE: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// Without what a service leaves out.
pub(super) const NONE: Package = Package {
    name: "",
    recipe: "",
    commands: &[],
    user: None,
    files: &[],
    prepare: &[],
    beside: &[],
    run: &[],
    settings: &[],
    hello: &[],
    wrong: Wrong::Port(&[]),
};
