//! What the programs count of each target, by its index, summed over the CPUs.

use std::sync::{
    PoisonError, RwLock, RwLockReadGuard,
    atomic::{AtomicU32, AtomicU64, Ordering},
};

use aya::{
    Ebpf,
    maps::{MapData, MapError, PerCpuArray, PerCpuValues},
    util::nr_cpus,
};
use observer_ebpf::{Durations, Tally};

use super::{LoadError, MapAccessError, error::access, take};

type Map<T> = RwLock<PerCpuArray<MapData, T>>;

/// The counts of all targets.
pub struct Tallies {
    tallies: Map<Tally>,
    durations: Map<Durations>,
    websocket_durations: Map<Durations>,
    /// Indices below this were begun.
    begun: AtomicU32,
    /// What was opened under indices that were begun again.
    opened_before: AtomicU64,
}

impl Tallies {
    /// Takes the maps out of the loaded object.
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, LoadError> {
        Ok(Self {
            tallies: RwLock::new(take(ebpf, "TALLIES")?),
            durations: RwLock::new(take(ebpf, "DURATIONS")?),
            websocket_durations: RwLock::new(take(ebpf, "WEBSOCKET_DURATIONS")?),
            begun: AtomicU32::new(0),
            opened_before: AtomicU64::new(0),
        })
    }

    /// The counts of an index begin anew, for another target than before: no program counts under it.
    ///
    /// # Errors
    /// When the kernel refuses the read or the write.
    pub fn begin(&self, target: u32) -> Result<(), MapAccessError> {
        let opened = self.of(target)?.opened;
        clear(&self.tallies, target).map_err(access("TALLIES"))?;
        clear(&self.durations, target).map_err(access("DURATIONS"))?;
        clear(&self.websocket_durations, target).map_err(access("WEBSOCKET_DURATIONS"))?;
        self.opened_before.fetch_add(opened, Ordering::Relaxed);
        self.begun.fetch_max(target + 1, Ordering::Relaxed);
        Ok(())
    }

    /// The counts of a target. Each is at least the true one when the call began and at most the true
    /// one when it returned.
    ///
    /// # Errors
    /// When the kernel refuses the read.
    pub fn of(&self, target: u32) -> Result<Tally, MapAccessError> {
        let per_cpu = read(&self.tallies).get(&target, 0);
        let per_cpu = per_cpu.map_err(access("TALLIES"))?;
        Ok(per_cpu
            .iter()
            .fold(Tally::default(), |sum, cpu| sum.plus(cpu)))
    }

    /// Connections that were ever opened, over all targets.
    ///
    /// # Errors
    /// When the kernel refuses the read.
    pub fn opened(&self) -> Result<u64, MapAccessError> {
        let mut opened = self.opened_before.load(Ordering::Relaxed);
        // What was counted under an index is there until it is begun again.
        for target in 0..self.begun.load(Ordering::Relaxed) {
            opened = opened.wrapping_add(self.of(target)?.opened);
        }
        Ok(opened)
    }

    /// How long the closed sockets of a target lived.
    ///
    /// # Errors
    /// When the kernel refuses the read.
    pub fn durations(&self, target: u32) -> Result<Durations, MapAccessError> {
        sum(&self.durations, target).map_err(access("DURATIONS"))
    }

    /// How long the ended WebSockets of a target were ones, from upgrade to the first sign of their
    /// end: of those whose upgrade was seen.
    ///
    /// # Errors
    /// When the kernel refuses the read.
    pub fn websocket_durations(&self, target: u32) -> Result<Durations, MapAccessError> {
        sum(&self.websocket_durations, target).map_err(access("WEBSOCKET_DURATIONS"))
    }
}

fn read<T: aya::Pod>(map: &Map<T>) -> RwLockReadGuard<'_, PerCpuArray<MapData, T>> {
    map.read().unwrap_or_else(PoisonError::into_inner)
}

fn clear<T: aya::Pod + Default + Clone>(map: &Map<T>, index: u32) -> Result<(), MapError> {
    let cpus = nr_cpus().map_err(|(_, error)| MapError::IoError(error))?;
    let zero = PerCpuValues::try_from(vec![T::default(); cpus])?;
    let mut map = map.write().unwrap_or_else(PoisonError::into_inner);
    map.set(index, zero, 0)
}

fn sum(histogram: &Map<Durations>, target: u32) -> Result<Durations, MapError> {
    let mut sum = Durations::default();
    for cpu in read(histogram).get(&target, 0)?.iter() {
        for (total, count) in sum.buckets.iter_mut().zip(cpu.buckets) {
            *total += count;
        }
        sum.sum_ns += cpu.sum_ns;
    }
    Ok(sum)
}
