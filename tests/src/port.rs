//! Ports for services: free ones, and none that the kernel would give to a client.
//!
//! A connection's source port is chosen from `net.ipv4.ip_local_port_range`, by default 32768 and
//! up. A service there might meet a client that has its port on another address.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::process;
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Context as _, Result};

/// The first port that is given.
const FIRST: u16 = 11_000;
/// How many there are to give: all below the ephemeral ones.
const COUNT: u16 = 21_000;

/// A port that nobody listens on, on any address of either family.
///
/// # Errors
/// Every port is taken.
pub fn free() -> Result<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Tests run side by side, each a process: a start of their own keeps their ports apart.
    let start = (process::id() % 300) as u16 * 70;
    (0..COUNT)
        .map(|_| FIRST + (start + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT) % COUNT)
        .find(|port| TcpListener::bind((Ipv6Addr::UNSPECIFIED, *port)).is_ok())
        .context("every port below the ephemeral ones is taken")
}

/// A free port on IPv4 loopback.
///
/// # Errors
/// Every port is taken.
pub fn free_address() -> Result<SocketAddr> {
    Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, free()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_port_is_given_twice() {
        let (one, other) = (free().expect("a port"), free().expect("a port"));
        assert_ne!(one, other);
        assert!((FIRST..FIRST + COUNT).contains(&one));
    }
}
