//! What the kernel says of this process, under the names that Prometheus' client libraries give it.
//!
//! Read at each scrape from `/proc/self`, and written behind the registry's own metrics: seconds of CPU
//! time are a counter with a fraction, which the registry has not. Deliberately reads nothing outside of
//! `/proc/self`, which a unit's `ProcSubset=pid` leaves visible; what cannot be read is absent.

use std::fs;

use rustix::{
    param::{clock_ticks_per_second, page_size},
    process::{Resource, getrlimit},
    time::{ClockId, clock_gettime},
};

use crate::{declaration::Declaration, exposition::Page, registry::Registry};

crate::catalogue! {
    /// What is read of the kernel, by the names of Prometheus' client libraries. It is for the manual: what
    /// [`show`] writes is no part of a registry.
    pub CATALOGUE:
    CPU = counter, "process_cpu_seconds_total" [] "seconds"
        "User and system CPU time spent.";
    RESIDENT = gauge, "process_resident_memory_bytes" [] "bytes"
        "Resident memory.";
    VIRTUAL = gauge, "process_virtual_memory_bytes" [] "bytes"
        "Virtual memory.";
    FDS = gauge, "process_open_fds" [] "descriptors"
        "Open file descriptors.";
    MAX_FDS = gauge, "process_max_fds" [] "descriptors"
        "Most file descriptors that may be open; absent where there is no limit.";
    THREADS = gauge, "process_threads" [] "threads"
        "Threads of the operating system.";
    START = gauge, "process_start_time_seconds" [] "seconds"
        "When the process started, since the Unix epoch; the same for as long as it runs.";
}

/// Shows this process on every page of a registry.
pub fn show(registry: &Registry) {
    let start = Start::read();
    registry.append(move |page| write(&start, page));
}

/// When this process started, by the wall clock of the first time that it was asked.
///
/// Computed once: a clock that is set must not look like a restart.
struct Start(Option<f64>);

impl Start {
    /// Asks the kernel.
    fn read() -> Self {
        let start = Stat::read().map(|stat| {
            let age = seconds(clock_gettime(ClockId::Boottime)) - stat.started;
            seconds(clock_gettime(ClockId::Realtime)) - age
        });
        // As fine as the kernel's ticks.
        Self(start.map(|start| (start * 100.0).round() / 100.0))
    }
}

/// Writes the numbers of now.
fn write(start: &Start, page: &mut Page) {
    let stat = Stat::read();
    let of_stat = |field: fn(&Stat) -> f64| stat.as_ref().map(field);
    let descriptors = fs::read_dir("/proc/self/fd").ok();
    // None means that there is no limit.
    let limit = getrlimit(Resource::Nofile).current;
    let numbers: [(Declaration, Option<f64>); 7] = [
        (CPU.declaration(), of_stat(|stat| stat.cpu)),
        (RESIDENT.declaration(), of_stat(|stat| stat.resident)),
        (VIRTUAL.declaration(), of_stat(|stat| stat.virtual_size)),
        (THREADS.declaration(), of_stat(|stat| stat.threads)),
        (START.declaration(), start.0),
        // Less the one by which they are counted.
        (
            FDS.declaration(),
            descriptors.map(|entries| entries.count() as f64 - 1.0),
        ),
        (MAX_FDS.declaration(), limit.map(|limit| limit as f64)),
    ];
    for (declaration, number) in numbers {
        if let Some(number) = number {
            page.push(&declaration, number);
        }
    }
}

/// What stands in `/proc/self/stat`.
struct Stat {
    /// User and system time. Unit: seconds.
    cpu: f64,
    threads: f64,
    /// When it started. Unit: seconds since the host's start.
    started: f64,
    /// Unit: bytes.
    virtual_size: f64,
    /// Unit: bytes.
    resident: f64,
}

impl Stat {
    fn read() -> Option<Self> {
        let text = fs::read_to_string("/proc/self/stat").ok()?;
        Self::parse(&text, clock_ticks_per_second() as f64, page_size() as f64)
    }

    fn parse(text: &str, ticks: f64, page: f64) -> Option<Self> {
        // The second field is the program's name, which may hold anything, between parentheses.
        let (_, rest) = text.rsplit_once(") ")?;
        let fields: Vec<f64> = rest
            .split_whitespace()
            .map(|field| field.parse().unwrap_or(f64::NAN))
            .collect();
        // The manual counts from 1, and the first field here is its third.
        let field = |number: usize| {
            fields
                .get(number - 3)
                .copied()
                .filter(|value| !value.is_nan())
        };
        Some(Self {
            cpu: (field(14)? + field(15)?) / ticks,
            threads: field(20)?,
            started: field(22)? / ticks,
            virtual_size: field(23)?,
            resident: field(24)? * page,
        })
    }
}

fn seconds(time: rustix::time::Timespec) -> f64 {
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn a_name_that_looks_like_fields_is_none() {
        let text =
            "7 (a) 1 2 (b) c) S 1 7 7 0 -1 4194304 9 0 0 0 250 50 0 0 20 0 3 0 1000 8192 5 0";
        let stat = Stat::parse(text, 100.0, 4096.0).unwrap();
        assert_eq!((stat.cpu, stat.threads, stat.started), (3.0, 3.0, 10.0));
        assert_eq!((stat.virtual_size, stat.resident), (8192.0, 20480.0));
        assert!(Stat::parse("7 (a) S 1 2", 100.0, 4096.0).is_none());
        assert!(Stat::parse("", 100.0, 4096.0).is_none());
    }

    #[test]
    fn this_process_started_a_moment_ago_and_always_at_the_same() {
        let registry = Registry::new(&[]).unwrap();
        show(&registry);
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap();
        let start = || -> f64 {
            let page = registry.render();
            let line = page
                .lines()
                .find_map(|line| line.strip_prefix("process_start_time_seconds "));
            line.unwrap().parse().unwrap()
        };
        let age = now.as_secs_f64() - start();
        assert!((-0.1..600.0).contains(&age), "{age}");
        assert_eq!(start(), start());
        let page = registry.render();
        assert!(
            page.contains("# TYPE process_cpu_seconds_total counter\n"),
            "{page}"
        );
    }
}
