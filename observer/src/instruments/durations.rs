//! Samples that no recorder takes: histograms that the kernel counts per bucket, and seconds.

use std::fmt::Write as _;

use observer_ebpf::Durations;

use super::{DURATION, RUN_SECONDS};
use crate::watch::{Watch, kernel::Kernel};

/// The histograms of durations: the kernel counts per bucket.
pub(super) fn durations(watch: &Watch) -> String {
    let mut samples = String::new();
    for target in watch.targets() {
        // Of a set of characters that needs no escape: `config` sees to that.
        let name = &target.config.name;
        let of = |index| watch.kernel.durations(index);
        if let Some(durations) = target.endpoints.durations(of) {
            write_histogram(&mut samples, name, &durations);
        }
    }
    samples
}

fn write_histogram(samples: &mut String, target: &str, durations: &Durations) {
    let mut total = 0;
    for (index, count) in durations.buckets.iter().enumerate() {
        total += count;
        let bound = if index + 1 == durations.buckets.len() {
            "+Inf".to_owned()
        } else {
            // 2^(20+i) ns: the first bucket ends at 1.05 ms.
            ((1_u64 << (20 + index)) as f64 / 1e9).to_string()
        };
        let _ = writeln!(
            samples,
            "{DURATION}_bucket{{target=\"{target}\",le=\"{bound}\"}} {total}"
        );
    }
    let sum = durations.sum_ns as f64 / 1e9;
    let _ = writeln!(samples, "{DURATION}_sum{{target=\"{target}\"}} {sum}");
    let _ = writeln!(samples, "{DURATION}_count{{target=\"{target}\"}} {total}");
}

/// Seconds are no whole numbers, which is all that a counter of the recorder takes.
pub(super) fn run_seconds(kernel: &Kernel) -> String {
    let mut samples = String::new();
    for program in kernel.programs() {
        if let Some(time) = program.run_time {
            let (name, seconds) = (program.name, time.as_secs_f64());
            let _ = writeln!(samples, "{RUN_SECONDS}{{program=\"{name}\"}} {seconds}");
        }
    }
    samples
}
