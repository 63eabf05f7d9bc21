//! Source addresses: enough of them that no load runs out of ports.
//!
//! A closed connection holds its pair of addresses and ports in TIME_WAIT for a minute, and one
//! source address has some 28,000 ephemeral ports. All of 127.0.0.0/8 is this machine: a load to it
//! takes another address every few thousand connections. Elsewhere the kernel chooses.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result};
use nix::sys::socket::{setsockopt, sockopt::IpBindAddressNoPort};
use tokio::net::{TcpSocket, TcpStream};

/// Connections from one address before the next is taken.
///
/// Far below the ephemeral ports: near the end of them the kernel searches long for a free one.
const PER_ADDRESS: u32 = 5_000;

/// Gives each connection its source address.
#[derive(Debug)]
pub struct Sources {
    next: AtomicU32,
    to: SocketAddr,
}

impl Sources {
    /// For connections to `to`.
    pub fn to(to: SocketAddr) -> Self {
        // Tests run side by side, each a process: a start of their own keeps their ports apart.
        let start = process::id().wrapping_mul(PER_ADDRESS * 16);
        Self {
            next: AtomicU32::new(start),
            to,
        }
    }

    /// Connects from the next address.
    ///
    /// # Errors
    /// The kernel refuses the address, or the service the connection.
    pub async fn connect(&self) -> Result<TcpStream> {
        let socket = if self.to.is_ipv4() {
            TcpSocket::new_v4()
        } else {
            TcpSocket::new_v6()
        }
        .context("make a socket")?;
        if let Some(source) = self.next() {
            // The port is chosen when the peer is known, so that one port serves many peers.
            setsockopt(&socket, IpBindAddressNoPort, &true).context("bind without a port")?;
            socket
                .bind(SocketAddr::new(source, 0))
                .with_context(|| format!("bind to {source}"))?;
        }
        let to = self.to;
        socket
            .connect(to)
            .await
            .with_context(|| format!("connect to {to}"))
    }

    fn next(&self) -> Option<IpAddr> {
        let IpAddr::V4(to) = self.to.ip() else {
            return None;
        };
        if !to.is_loopback() {
            return None;
        }
        let index = self.next.fetch_add(1, Ordering::Relaxed) / PER_ADDRESS;
        // 127.1.0.1 and up: 127.0.0.x is left to those who mean it. 200 · 250 addresses, then again.
        let index = index % 50_000;
        let [b, c] = [index / 250, index % 250].map(|part| part as u8);
        Some(Ipv4Addr::new(127, 1 + b, 1 + c, 1).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_serves_its_share_and_no_more() {
        let sources = Sources {
            next: AtomicU32::new(0),
            to: "127.0.0.1:80".parse().expect("an address"),
        };
        let given: Vec<_> = (0..2 * PER_ADDRESS)
            .filter_map(|_| sources.next())
            .collect();
        let of = |text: &str| given.iter().filter(|ip| ip.to_string() == text).count();
        assert_eq!(of("127.1.1.1"), PER_ADDRESS as usize);
        assert_eq!(of("127.1.2.1"), PER_ADDRESS as usize);
    }

    #[test]
    fn every_address_is_loopback() {
        let sources = Sources::to("127.0.0.1:80".parse().expect("an address"));
        for index in 0..50_000 {
            sources.next.store(index * PER_ADDRESS, Ordering::Relaxed);
            assert!(sources.next().expect("given").is_loopback());
        }
    }

    #[test]
    fn the_kernel_chooses_elsewhere() {
        for to in ["[::1]:80", "192.0.2.1:80"] {
            assert_eq!(Sources::to(to.parse().expect("an address")).next(), None);
        }
    }
}
