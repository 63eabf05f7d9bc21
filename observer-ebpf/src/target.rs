//! Which sockets belong to which target, and where the kernel keeps what tells it.

/// Most targets that one observer can watch.
pub const MAX_TARGETS: u32 = 256;

/// Most addresses and networks of peers that one target leaves out.
pub const MAX_IGNORED_PEERS: u32 = 64;

/// A target has this port on any address.
pub const PORT_WILDCARD: u8 = 1;
/// A target has this port on one address.
pub const PORT_EXACT: u8 = 2;
/// So many bits further are these two of targets to which the port is remote.
pub const PORT_REMOTE: u8 = 2;

/// A target's port is local: its connections come in there.
pub const INCOMING: u16 = 0;
/// A target's port is remote: its connections go there.
pub const OUTGOING: u16 = 1;

/// Key of the map `TARGETS`; its value is the target's index. 24 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct TargetKey {
    /// Address: IPv6, or IPv4 as `::ffff:a.b.c.d`; all zero for any address.
    pub address: [u8; 16],
    /// Network namespace: the inode number of its `nsfs` file (`struct ns_common.inum`).
    pub netns: u32,
    /// Port, host order.
    pub port: u16,
    /// [`INCOMING`] where address and port are the socket's own, [`OUTGOING`] where they are its peer's.
    pub direction: u16,
}

/// Bit of a value of `TARGETS`, beside the index: some of the target's peers are left out.
pub const IGNORES_PEERS: u32 = 1 << 31;

/// What the map `IGNORED_PEERS` finds the longest prefix of: whose peer it is, and its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Peer {
    /// Index of the target, which the prefix holds as a whole.
    pub target: u32,
    /// As [`TargetKey::address`].
    pub address: [u8; 16],
}

impl Peer {
    /// Bits before the address.
    pub const TARGET_BITS: u32 = u32::BITS;
    /// All bits.
    pub const BITS: u32 = Self::TARGET_BITS + 128;
}

/// The value of the one-element map `PORTS`: for each port [`PORT_WILDCARD`] and [`PORT_EXACT`], of
/// targets to which it is local and of those to which it is remote ([`PORT_REMOTE`]), or 0 for a port of
/// no target. Port 0, which no socket has, has those of all remote ports. It turns away other traffic
/// with two loads.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Ports(pub [u8; 65_536]);

/// Where the running kernel keeps the fields that the programs read: byte offsets from its BTF.
///
/// The defaults are those of Linux 6.1 on `x86_64` and are always overridden at load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Offsets {
    /// `struct sock`.`sk_protocol`, 2 bytes.
    pub sk_protocol: u32,
    /// `struct sock_common`.`skc_family`, 2 bytes.
    pub skc_family: u32,
    /// `struct sock_common`.`skc_num`, 2 bytes, host order.
    pub skc_num: u32,
    /// `struct sock_common`.`skc_dport`, 2 bytes, network order.
    pub skc_dport: u32,
    /// `struct sock_common`.`skc_rcv_saddr`, 4 bytes.
    pub skc_rcv_saddr: u32,
    /// `struct sock_common`.`skc_v6_rcv_saddr`, 16 bytes.
    pub skc_v6_rcv_saddr: u32,
    /// `struct sock_common`.`skc_daddr`, 4 bytes.
    pub skc_daddr: u32,
    /// `struct sock_common`.`skc_v6_daddr`, 16 bytes.
    pub skc_v6_daddr: u32,
    /// `struct sock_common`.`skc_net`, a pointer to `struct net`.
    pub skc_net: u32,
    /// `struct inet_sock`.`inet_sport`, 2 bytes, network order. It outlives `skc_num`.
    pub inet_sport: u32,
    /// `struct net`.`ns.inum`, 4 bytes.
    pub net_inum: u32,
    /// `struct tcp_sock`.`bytes_sent`, 8 bytes: payload that was handed to IP.
    pub tcp_bytes_sent: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_no_padding() {
        assert_eq!(size_of::<TargetKey>(), 16 + 4 + 2 + 2);
        assert_eq!(size_of::<Peer>() as u32 * 8, Peer::BITS);
        assert_eq!(size_of::<Ports>(), 65_536);
        assert_eq!(size_of::<Offsets>(), 12 * 4);
    }
}
