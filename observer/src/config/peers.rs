//! Peers whose connections a target leaves out.

use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use observer_ebpf::MAX_IGNORED_PEERS;

use super::error::TargetProblem;
use super::value::{Text, ValueError};

/// An address of a peer, or a network of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peers(pub IpNet);

impl FromStr for Peers {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self(address.to_canonical().into()));
        }
        let network: IpNet = text.parse().map_err(|_| ValueError::Network)?;
        Ok(Self(network.trunc()))
    }
}

/// Each network once, in order.
pub(super) fn networks(written: Vec<Text<Peers>>) -> Result<Vec<IpNet>, TargetProblem> {
    let mut networks: Vec<_> = written
        .into_iter()
        .map(|Text(Peers(peers))| peers)
        .collect();
    networks.sort_unstable();
    networks.dedup();
    match networks.len() {
        count if count > MAX_IGNORED_PEERS as usize => Err(TargetProblem::TooManyPeers { count }),
        _ => Ok(networks),
    }
}
