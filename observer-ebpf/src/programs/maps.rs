//! Every map: its size, who writes it, who reads it.

use aya_ebpf::{
    Global,
    bindings::BPF_F_MMAPABLE,
    macros::map,
    maps::{Array, HashMap, LpmTrie, PerCpuArray},
};
use observer_ebpf::{
    Durations, Losses, MAX_IGNORED_PEERS, MAX_TARGETS, Offsets, Peer, Ports, Slot, Socket, Tally,
    TargetKey,
};

/// Which ports concern us. One element of 64 KiB. Written by user space before the programs
/// are attached and when targets change, read by both programs on every event.
#[map]
pub(crate) static PORTS: Array<Ports> = Array::with_max_entries(1, 0);

/// (network namespace, address, port, direction) → target index, with `IGNORES_PEERS` where some
/// peers are left out. Written by user space, read by `lifecycle`.
#[map]
pub(crate) static TARGETS: HashMap<TargetKey, u32> = HashMap::with_max_entries(MAX_TARGETS, 0);

/// Prefix of (target index, address of a peer) → nothing: the peers that are left out. Written by user
/// space before the target's key is, read by `lifecycle` where a target has some.
#[map]
pub(crate) static IGNORED_PEERS: LpmTrie<Peer, u8> =
    LpmTrie::with_max_entries(MAX_TARGETS * MAX_IGNORED_PEERS, 0);

/// Lowest bits of a socket's cookie → socket: the first place for a socket (`sockets`). Their number is
/// set at load. Claimed and freed by `lifecycle`, changed by both programs under the socket's lock;
/// read by user space, and freed where a socket's end was not seen. That is one atomic step in memory
/// that is mapped, since another socket may want the slot at that moment; and a mapped array begins
/// on a page, so that each slot is one line of the caches.
#[map]
pub(crate) static SLOTS: Array<Slot> = Array::with_max_entries(65_536, BPF_F_MMAPABLE);

/// Which bits of a cookie are the index of its slot. Set at load with the number of slots.
#[unsafe(no_mangle)]
pub(crate) static SLOT_MASK: Global<u32> = Global::new(65_535);

/// Socket cookie → socket: those whose slot is taken, and those that were open before. Preallocated,
/// since an allocation may fail in softirq. `max_entries` is set at load (`kernel.max-sockets`).
/// Inserted by `lifecycle` and by user space (seeding, repair), changed and removed by both programs
/// under the socket's lock, read by user space.
#[map]
pub(crate) static SOCKETS: HashMap<u64, Socket> = HashMap::with_max_entries(262_144, 0);

/// Target index → counts, per CPU. Written by both programs, read by user space.
#[map]
pub(crate) static TALLIES: PerCpuArray<Tally> = PerCpuArray::with_max_entries(MAX_TARGETS, 0);

/// Target index → lengths of life, per CPU. Written by `lifecycle`, read by user space.
#[map]
pub(crate) static DURATIONS: PerCpuArray<Durations> = PerCpuArray::with_max_entries(MAX_TARGETS, 0);

/// Target index → time from upgrade to the first sign of the end of its WebSockets, per CPU. Written
/// by both programs, read by user space.
#[map]
pub(crate) static WEBSOCKET_DURATIONS: PerCpuArray<Durations> =
    PerCpuArray::with_max_entries(MAX_TARGETS, 0);

/// What was not taken in, per CPU. One element. Written by `lifecycle`, read by user space.
#[map]
pub(crate) static LOSSES: PerCpuArray<Losses> = PerCpuArray::with_max_entries(1, 0);

/// Field offsets of the running kernel. Set by user space at load, constant from then on, so that
/// the verifier sees plain constants.
#[unsafe(no_mangle)]
pub(crate) static OFFSETS: Global<Offsets> = Global::new(Offsets {
    sk_protocol: 518,
    skc_family: 16,
    skc_num: 14,
    skc_dport: 12,
    skc_rcv_saddr: 4,
    skc_v6_rcv_saddr: 72,
    skc_daddr: 0,
    skc_v6_daddr: 56,
    skc_net: 48,
    inet_sport: 798,
    net_inum: 136,
    tcp_bytes_sent: 1_568,
});
