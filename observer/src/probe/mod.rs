//! Witness 1: the BPF programs. Loads and attaches them, and reads and writes their maps.
//!
//! The only home of aya: no type of it leaves this module. It knows nothing of `sock_diag` nor of
//! the claim, and draws no conclusion from the counts.

mod error;
mod kernel_log;
mod offsets;
mod programs;
mod slots;
mod sockets;
mod tallies;

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use aya::{
    Btf, Ebpf, EbpfLoader,
    maps::{Array, HashMap, LpmTrie, MapData, MapError, PerCpuArray, lpm_trie::Key},
    programs::{BtfTracePoint, CgroupAttachMode, CgroupSkb, CgroupSkbAttachType, ProgramError},
};
use error::{access, refused};
use ipnet::IpNet;
use observer_ebpf::{IGNORES_PEERS, Losses, Peer, Ports, TargetKey};

use crate::{
    config::{self, Cgroup, Listen},
    memory,
};

pub use error::{LoadError, MapAccessError, chain};
pub use kernel_log::KernelLog;
pub use offsets::OffsetsError;
pub use programs::ProgramReport;
pub use sockets::Sockets;
pub use tallies::Tallies;

#[cfg(has_ebpf_object)]
static OBJECT: Option<&[u8]> = Some(aya::include_bytes_aligned!(concat!(
    env!("OUT_DIR"),
    "/observer-ebpf"
)));
#[cfg(not(has_ebpf_object))]
static OBJECT: Option<&[u8]> = None;

/// Name of the program at `tp_btf/inet_sock_set_state`.
pub const LIFECYCLE: &str = "inet_sock_set_state";
/// Name of the program at `cgroup_skb/egress`.
pub const EGRESS: &str = "egress";

/// What to load.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many sockets there is room for, over all targets.
    pub max_sockets: u32,
    /// Where to attach the egress program; none finds the root of cgroup2.
    pub cgroup: Option<PathBuf>,
}

impl From<&config::Kernel> for Options {
    fn from(kernel: &config::Kernel) -> Self {
        Self {
            max_sockets: kernel.max_sockets,
            cgroup: match &kernel.cgroup {
                Cgroup::Auto => None,
                Cgroup::Path(path) => Some(path.clone()),
            },
        }
    }
}

/// The programs, attached; dropping it detaches and unloads them.
pub struct Probe {
    // The order of fields is the order in which they are dropped: the programs go first.
    ebpf: Ebpf,
    ports: Mutex<Array<MapData, Ports>>,
    targets: Mutex<HashMap<MapData, TargetKey, u32>>,
    ignored_peers: Mutex<LpmTrie<MapData, Peer, u8>>,
    sockets: Sockets,
    tallies: Tallies,
    losses: PerCpuArray<MapData, Losses>,
    egress_refused: Option<LoadError>,
}

impl Probe {
    /// Loads and attaches the programs for targets on these ports; no target is watched before
    /// [`Self::add_target`].
    ///
    /// The egress program is attached first: a socket that is seen to be born is then seen to send.
    /// Without `CAP_NET_ADMIN` or cgroup2 the probe works without it, and
    /// [`Self::egress_refused`] says why.
    ///
    /// # Errors
    /// When the life of sockets cannot be watched at all.
    ///
    /// # Minimum kernel version
    /// 5.12, for `bpf_get_socket_cookie` in tracing programs.
    pub fn attach(options: &Options, listens: &[Listen]) -> Result<Self, LoadError> {
        let probe = Self::load(options, listens);
        // The kernel's types are 50 MiB of small allocations while they are parsed.
        memory::give_back();
        probe
    }

    fn load(options: &Options, listens: &[Listen]) -> Result<Self, LoadError> {
        let object = OBJECT.ok_or(LoadError::NotBuilt)?;
        for capability in ["CAP_BPF", "CAP_PERFMON"] {
            if !has_capability(capability) {
                return Err(LoadError::Capability { capability });
            }
        }
        let offsets = offsets::read()?;
        let btf = Btf::from_sys_fs().map_err(refused("the kernel's BTF"))?;
        let slots = observer_ebpf::slots(options.max_sockets);
        let slot_mask = slots - 1;
        let mut ebpf = EbpfLoader::new()
            .btf(Some(&btf))
            .override_global("OFFSETS", &offsets, true)
            .override_global("SLOT_MASK", &slot_mask, true)
            .map_max_entries(kernel_log::MAP, kernel_log::size())
            .map_max_entries("SLOTS", slots)
            .map_max_entries("SOCKETS", options.max_sockets)
            .load(object)
            .map_err(refused("the maps"))?;

        let mut probe = Self {
            ports: Mutex::new(take(&mut ebpf, "PORTS")?),
            targets: Mutex::new(take(&mut ebpf, "TARGETS")?),
            ignored_peers: Mutex::new(take(&mut ebpf, "IGNORED_PEERS")?),
            sockets: Sockets::take(&mut ebpf, options.max_sockets)?,
            tallies: Tallies::take(&mut ebpf)?,
            losses: take(&mut ebpf, "LOSSES")?,
            egress_refused: None,
            ebpf,
        };
        probe
            .set_ports(listens)
            .map_err(|error| refused("the ports")(error))?;
        probe.egress_refused = probe.attach_egress(options.cgroup.as_deref()).err();
        probe.attach_lifecycle(&btf)?;
        Ok(probe)
    }

    fn attach_egress(&mut self, cgroup: Option<&Path>) -> Result<(), LoadError> {
        if !has_capability("CAP_NET_ADMIN") {
            return Err(LoadError::Capability {
                capability: "CAP_NET_ADMIN",
            });
        }
        let path = match cgroup {
            Some(path) => path.to_owned(),
            None => cgroup2_root().ok_or(LoadError::NoCgroup2)?,
        };
        let folder = File::open(&path).map_err(|source| LoadError::Cgroup { path, source })?;
        let program: &mut CgroupSkb = program(&mut self.ebpf, EGRESS)?;
        program
            .load()
            .map_err(refused("the program cgroup_skb/egress"))?;
        // With a BPF link, `Single` is what aya calls no flags; the kernel lets links be many.
        program
            .attach(
                &folder,
                CgroupSkbAttachType::Egress,
                CgroupAttachMode::Single,
            )
            .map_err(refused("attaching cgroup_skb/egress"))?;
        Ok(())
    }

    fn attach_lifecycle(&mut self, btf: &Btf) -> Result<(), LoadError> {
        let program: &mut BtfTracePoint = program(&mut self.ebpf, LIFECYCLE)?;
        program
            .load(LIFECYCLE, btf)
            .map_err(refused("the program tp_btf/inet_sock_set_state"))?;
        program
            .attach()
            .map_err(refused("attaching tp_btf/inet_sock_set_state"))?;
        Ok(())
    }

    /// The programs look at the events of these ports from now on, and of no others.
    ///
    /// # Errors
    /// When the kernel refuses the write.
    pub fn set_ports(&self, listens: &[Listen]) -> Result<(), MapAccessError> {
        let mut ports = Box::new(Ports([0; 65_536]));
        for listen in listens {
            let Some(of) = listen.address() else {
                continue;
            };
            let kind = match of.address {
                None => observer_ebpf::PORT_WILDCARD,
                Some(_) => observer_ebpf::PORT_EXACT,
            };
            match listen.is_outgoing() {
                false => ports.0[usize::from(of.port)] |= kind,
                true => {
                    let kind = kind << observer_ebpf::PORT_REMOTE;
                    ports.0[usize::from(of.port)] |= kind;
                    ports.0[0] |= kind;
                }
            }
        }
        lock(&self.ports).set(0, *ports, 0).map_err(access("PORTS"))
    }

    /// Watches a target from now on, without these peers; `index` is that of its tally.
    ///
    /// # Errors
    /// When there are too many, or the kernel refuses the write.
    pub fn add_target(
        &self,
        key: &TargetKey,
        index: u32,
        ignored: &[IpNet],
    ) -> Result<(), MapAccessError> {
        let mut value = index;
        for network in ignored {
            value |= IGNORES_PEERS;
            lock(&self.ignored_peers)
                .insert(&peers(index, *network), 0, 0)
                .map_err(access("IGNORED_PEERS"))?;
        }
        lock(&self.targets)
            .insert(key, value, 0)
            .map_err(access("TARGETS"))
    }

    /// Takes in no more sockets of a target; those that are tracked still are.
    ///
    /// # Errors
    /// When it is not watched, or the kernel refuses the write.
    pub fn remove_target(&self, key: &TargetKey) -> Result<(), MapAccessError> {
        lock(&self.targets).remove(key).map_err(access("TARGETS"))
    }

    /// Why WebSockets cannot be told from other connections, if they cannot.
    #[must_use]
    pub const fn egress_refused(&self) -> Option<&LoadError> {
        self.egress_refused.as_ref()
    }

    /// What the programs count of each target.
    #[must_use]
    pub const fn tallies(&self) -> &Tallies {
        &self.tallies
    }

    /// What was seen on targets' ports and what of it was not taken in, over all targets.
    ///
    /// # Errors
    /// When the kernel refuses the read.
    pub fn losses(&self) -> Result<Losses, MapAccessError> {
        let per_cpu = self.losses.get(&0, 0).map_err(access("LOSSES"))?;
        Ok(per_cpu
            .iter()
            .fold(Losses::default(), |sum, cpu| sum.plus(cpu)))
    }

    /// The sockets that are tracked.
    #[must_use]
    pub const fn sockets(&self) -> &Sockets {
        &self.sockets
    }

    /// What the kernel says of each program.
    #[must_use]
    pub fn programs(&self) -> Vec<ProgramReport> {
        programs::report(&self.ebpf)
    }

    /// Events that the kernel did not hand to the program of state changes:
    /// [`ProgramReport::missed`].
    #[must_use]
    pub fn missed(&self) -> Option<u64> {
        programs::report_of(&self.ebpf, LIFECYCLE).missed
    }

    /// The programs' own log; it can be taken once.
    #[must_use]
    pub fn take_log(&mut self) -> Option<KernelLog> {
        KernelLog::take(&mut self.ebpf)
    }
}

/// Whether a capability, or the `CAP_SYS_ADMIN` that includes it, is in the effective set.
#[must_use]
pub fn has_capability(name: &str) -> bool {
    let has =
        |capability| caps::has_cap(None, caps::CapSet::Effective, capability).unwrap_or(false);
    has(caps::Capability::CAP_SYS_ADMIN) || name.parse().is_ok_and(has)
}

/// Where cgroup2 is mounted: `/sys/fs/cgroup`, or a folder below it on hybrid hosts.
#[must_use]
pub fn cgroup2_root() -> Option<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    mounts.lines().find_map(|line| {
        // proc_pid_mountinfo(5): fields 4 and 5 are root and mount point; the type follows " - ".
        let (mount, source) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        (root == "/" && source.starts_with("cgroup2 ")).then(|| PathBuf::from(point))
    })
}

/// A panic elsewhere leaves a map whole: each system call is complete in itself.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The key of all peers of a target in this network.
fn peers(target: u32, network: IpNet) -> Key<Peer> {
    let (address, bits) = match network {
        IpNet::V4(network) => {
            let address = network.network().to_ipv6_mapped().octets();
            (address, 96 + u32::from(network.prefix_len()))
        }
        IpNet::V6(network) => (network.network().octets(), network.prefix_len().into()),
    };
    Key::new(Peer::TARGET_BITS + bits, Peer { target, address })
}

fn program<'a, P>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut P, LoadError>
where
    &'a mut P: TryFrom<&'a mut aya::programs::Program, Error = ProgramError>,
{
    ebpf.program_mut(name)
        .expect("the object has both programs: it was built from the sources of this build")
        .try_into()
        .map_err(refused("the type of a program"))
}

fn take<M>(ebpf: &mut Ebpf, name: &'static str) -> Result<M, LoadError>
where
    M: TryFrom<aya::maps::Map, Error = MapError>,
{
    ebpf.take_map(name)
        .expect("the object has every map: it was built from the sources of this build")
        .try_into()
        .map_err(refused("the type of a map"))
}
