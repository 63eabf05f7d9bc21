//! Every map: its size, who writes it, who reads it.

use aya_ebpf::{
    Global,
    macros::map,
    maps::{Array, HashMap, PerCpuArray},
};
use observer_ebpf::{Durations, Losses, MAX_TARGETS, Offsets, Ports, Socket, Tally, TargetKey};

/// Which local ports concern us. One element of 64 KiB. Written by user space before the programs
/// are attached and when targets change, read by both programs on every event.
#[map]
pub(crate) static PORTS: Array<Ports> = Array::with_max_entries(1, 0);

/// (network namespace, address, port) → target index. Written by user space, read by `lifecycle`.
#[map]
pub(crate) static TARGETS: HashMap<TargetKey, u32> = HashMap::with_max_entries(MAX_TARGETS, 0);

/// Socket cookie → socket. Preallocated, since an allocation may fail in softirq. `max_entries` is
/// set at load (`kernel.max-sockets`). Inserted by `lifecycle` and by user space (seeding, repair),
/// changed and removed by both programs under the socket's lock, read by user space.
#[map]
pub(crate) static SOCKETS: HashMap<u64, Socket> = HashMap::with_max_entries(262_144, 0);

/// Target index → counts, per CPU. Written by both programs, read by user space.
#[map]
pub(crate) static TALLIES: PerCpuArray<Tally> = PerCpuArray::with_max_entries(MAX_TARGETS, 0);

/// Target index → lengths of life, per CPU. Written by `lifecycle`, read by user space.
#[map]
pub(crate) static DURATIONS: PerCpuArray<Durations> = PerCpuArray::with_max_entries(MAX_TARGETS, 0);

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
    skc_rcv_saddr: 4,
    skc_v6_rcv_saddr: 72,
    skc_net: 48,
    inet_sport: 798,
    net_inum: 136,
});
