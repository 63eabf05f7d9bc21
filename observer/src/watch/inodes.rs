//! How many inode numbers the host has given to sockets, pipes and what else has no disk: each socket
//! that a service accepts takes one, also at a Unix socket, of which the kernel counts nothing else.
//!
//! The kernel hands the numbers out to the CPUs in batches, in order; each CPU gives those of its batch
//! in order, and only then takes the next one (`get_next_ino()` of `fs/inode.c`). So the number that a
//! CPU gives to a socket says how much of its batch is unused, and the numbers of all CPUs how many
//! were given in all: those of all batches, less what is unused.
//!
//! Only differences mean something, and the sockets that are made here are not among them.

use std::{
    fs, io,
    sync::{Mutex, MutexGuard},
};

use rustix::{
    fs::fstat,
    net::{AddressFamily, SocketFlags, SocketType, socket_with},
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};

use super::lock;

/// `LAST_INO_BATCH`.
const BATCH: u32 = 1_024;
/// Rounds in search of a moment at which no CPU took a new batch.
const ROUNDS: u32 = 4;
/// Added when CPUs came or went: more than they can have left unused.
const JUMP: u64 = 1 << 20;
/// The kernel's list of the CPUs that run.
const ONLINE: &str = "/sys/devices/system/cpu/online";

/// There is one counter for the host.
static HOST: Mutex<Host> = Mutex::new(Host {
    online: String::new(),
    cpus: Vec::new(),
    last: None,
    total: 0,
});

struct Host {
    /// What [`ONLINE`] says, and which CPUs these are.
    online: String,
    cpus: Vec<usize>,
    /// The last count, as the kernel has it.
    last: Option<u32>,
    /// How far it has gone, without the sockets that were made here.
    total: u64,
}

/// The counter can be read by whoever has this.
pub(super) struct Inodes(());

impl Inodes {
    /// Looks whether it can be.
    ///
    /// # Errors
    /// When a CPU may not be run on: what is opened there cannot be counted.
    pub(super) fn open() -> io::Result<Self> {
        host().look()?;
        Ok(Self(()))
    }

    /// No more than have been given by now.
    ///
    /// # Errors
    /// When a CPU may not be run on, or no socket can be made.
    pub(super) fn at_least(&self) -> io::Result<u64> {
        let mut host = host();
        let mut numbers = host.look()?;
        for _ in 0..ROUNDS {
            let count = host.take_in(given(&numbers));
            let later = host.look()?;
            if numbers.iter().map(batch).eq(later.iter().map(batch)) {
                return Ok(count);
            }
            numbers = later;
        }
        // Each CPU may have taken a batch that was not seen.
        let unseen = u64::from(BATCH) * numbers.len() as u64;
        Ok(host.take_in(given(&numbers)).wrapping_sub(unseen))
    }

    /// No fewer than had been given when it was called.
    ///
    /// # Errors
    /// As [`Self::at_least`].
    pub(super) fn at_most(&self) -> io::Result<u64> {
        let mut host = host();
        let numbers = host.look()?;
        Ok(host.take_in(given(&numbers)))
    }
}

fn host() -> MutexGuard<'static, Host> {
    lock(&HOST)
}

impl Host {
    /// The number that each CPU gives to a new socket.
    fn look(&mut self) -> io::Result<Vec<u32>> {
        let online = fs::read_to_string(ONLINE)?;
        if online != self.online {
            self.cpus = cpus(&online)?;
            self.online = online;
            self.total = self.total.wrapping_add(JUMP);
        }
        let usual = sched_getaffinity(None)?;
        let numbers: io::Result<Vec<u32>> = self.cpus.iter().map(|cpu| number_on(*cpu)).collect();
        sched_setaffinity(None, &usual)?;
        // They will have been given when somebody counts again, and are none of the others'.
        self.total = self.total.wrapping_sub(self.cpus.len() as u64);
        numbers
    }

    fn take_in(&mut self, given: u32) -> u64 {
        let moved = given.wrapping_sub(self.last.unwrap_or(given)).cast_signed();
        self.last = Some(given);
        self.total = self.total.wrapping_add_signed(i64::from(moved));
        self.total
    }
}

/// The CPUs of a list such as `0-3,8`.
fn cpus(online: &str) -> io::Result<Vec<usize>> {
    let range = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some(first.parse().ok()?..=last.parse().ok()?)
    };
    let ranges: Option<Vec<_>> = online.trim().split(',').map(range).collect();
    let cpus: Vec<usize> = ranges.into_iter().flatten().flatten().collect();
    match cpus.iter().all(|cpu| *cpu < CpuSet::MAX_CPU) && !cpus.is_empty() {
        true => Ok(cpus),
        false => Err(io::Error::other(format!("{ONLINE} lists no CPUs"))),
    }
}

/// The number of a socket that this CPU makes now. The thread stays on it.
fn number_on(cpu: usize) -> io::Result<u32> {
    let mut only = CpuSet::new();
    only.set(cpu);
    sched_setaffinity(None, &only).map_err(|error| {
        let reason = io::Error::from(error);
        let text = format!(
            "the connections of a Unix socket are bounded by the inode numbers of each CPU, and CPU \
             {cpu} may not be run on ({reason}): leave the observer all CPUs"
        );
        io::Error::new(reason.kind(), text)
    })?;
    let (family, kind) = (AddressFamily::UNIX, SocketType::DGRAM);
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
    Ok(fstat(&socket)?.st_ino as u32)
}

/// The batch that a number is of: one number each is the last of its batch, and a multiple.
fn batch(number: &u32) -> u32 {
    number.wrapping_sub(1) / BATCH
}

/// How many were given, by the last number of each CPU. Only differences mean something.
fn given(numbers: &[u32]) -> u32 {
    let Some(first) = numbers.first().map(batch) else {
        return 0;
    };
    // The numbers begin again after 32 bits, so that a later batch may have a smaller number.
    let ahead = |number: &u32| {
        let bits = BATCH.trailing_zeros();
        (batch(number).wrapping_sub(first) << bits).cast_signed() >> bits
    };
    let newest = numbers.iter().map(ahead).max().unwrap_or_default();
    let taken = first
        .wrapping_add_signed(newest)
        .wrapping_add(1)
        .wrapping_mul(BATCH);
    let unused = numbers
        .iter()
        .map(|number| BATCH - 1 - number.wrapping_sub(1) % BATCH);
    taken.wrapping_sub(unused.sum())
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;

    #[test]
    fn the_list_of_cpus_is_read() {
        assert_eq!(cpus("0-1\n").expect("a list"), [0, 1]);
        assert_eq!(cpus("0,2-3,7\n").expect("a list"), [0, 2, 3, 7]);
        for wrong in ["", "\n", "a-b", "0-99999"] {
            cpus(wrong).expect_err(wrong);
        }
    }

    /// CPUs that take numbers as the kernel hands them out, from a batch just before they begin again.
    #[test]
    fn as_many_are_counted_as_cpus_have_given_in_any_order() {
        let mut next_batch = 0_u32.wrapping_sub(3 * BATCH);
        let mut last = [0_u32; 3];
        for number in &mut last {
            *number = next_batch + 1;
            next_batch = next_batch.wrapping_add(BATCH);
        }
        let before = given(&last);
        let mut seed = 1_u64;
        for count in 1..=20_000_u32 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            // The first CPU is busier than the second, and the third one gives hardly any.
            let cpu = [0, 0, 0, 0, 1, 1, 0, 2][(seed >> 61) as usize].min((count / 64) as usize);
            let number = &mut last[cpu];
            if number.is_multiple_of(BATCH) {
                *number = next_batch;
                next_batch = next_batch.wrapping_add(BATCH);
            }
            *number = number.wrapping_add(1);
            assert_eq!(given(&last).wrapping_sub(before), count, "{last:?}");
        }
    }

    #[test]
    fn each_socket_of_the_host_is_counted() {
        let inodes = Inodes::open().expect("each CPU may be run on");
        let before = inodes.at_least().expect("a count");
        let sockets: Vec<_> = (0..3_000).map(|_| UnixDatagram::unbound()).collect();
        let after = inodes.at_most().expect("a count");
        assert!(sockets.iter().all(Result::is_ok));
        let counted = after.wrapping_sub(before);
        // Others make some as well.
        assert!((3_000..50_000).contains(&counted), "{counted}");
    }
}
